/* SPDX-License-Identifier: BSD-3-Clause */
/* ramferry snapshot: runs a built-in guest and takes a snapshot of it. */
#include <json-c/json.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/size.h"
#include "tools/common.h"
#include "tools/snapshot_verify.h"

struct snapshot_opts {
	struct guest_opts guest;
	struct migration_opts mig; /* what a destination needs */
	struct output_opts out;
	const char *to, *strategy, *saved;
	char host[256]; /* of the destination; empty: to is a file */
	uint16_t port;
	uint64_t run_before, run_after, pool, fault_threads, max_bandwidth, sink_timeout;
	bool verify;
};

static const struct rf_opt table[] = {
	GUEST_ROWS(struct snapshot_opts),
	WORK_ROWS(struct snapshot_opts),
	RF_OPT_DURATION(struct snapshot_opts, run_before, "run-before", 0, "TIME", "300ms",
			"how long the guest runs before the snapshot", 1000, .max = 86400000),
	RF_OPT_DURATION(struct snapshot_opts, run_after, "run-after", 0, "TIME", "100ms",
			"how long it runs afterwards before it is stopped and checked, at least",
			1000, .max = 86400000),
	RF_OPT_GROUP("Snapshot"),
	RF_OPT_STRING(struct snapshot_opts, to, "to", 'o', "FILE|HOST:PORT", NULL,
		      "the file, which appears when it is complete; or a 'ramferry receive', which "
		      "runs a second guest from it, or saves it. ./A:1 is a file"),
	RF_OPT_CHOICE(struct snapshot_opts, strategy, "strategy", 's', "auto|queue|copy", "auto",
		      "when the guest writes to a page that is not saved: wait until it is, before "
		      "all others, or copy it; auto: copy while the file is slow"),
	RF_OPT_SIZE(struct snapshot_opts, pool, "snapshot-pool", 0, "SIZE", "64M",
		    "memory for these copies", .min = 4096),
	RF_OPT_UINT(struct snapshot_opts, fault_threads, "fault-threads", 0, "N", "1",
		    "threads that answer writes of the guest", .min = 1, .max = 16),
	RF_OPT_SIZE(struct snapshot_opts, max_bandwidth, "max-bandwidth", 0, "SIZE", "0",
		    "bytes a second written; 0: no limit"),
	RF_OPT_DURATION(struct snapshot_opts, sink_timeout, "sink-timeout", 0, "TIME", "30s",
			"what takes nothing for so long is dead", 1000, .min = 1, .max = 3600000),
	RF_OPT_BOOL(struct snapshot_opts, verify, "verify", 0, "no",
		    "copy all memory while the guest is paused, and compare the file with it"),
	RF_OPT_STRING(struct snapshot_opts, saved, "saved", 0, "FILE", NULL,
		      "with --verify and HOST:PORT: the file it saves, as it is found from here"),
	REACH_ROWS(struct snapshot_opts),
	LANES_ROW(struct snapshot_opts),
	OUTPUT_ROWS(struct snapshot_opts),
	RF_OPT_END,
};

/* A guest and how much it had written when. */
struct subject {
	struct rf_vm *vm;
	bool verify;
	struct paused_copy copy;
	uint64_t start_ns, start_pages;	  /* it began to run */
	uint64_t before_ns, before_pages; /* just before the snapshot */
	uint64_t after_ns, after_pages;
};

static struct rf_snapshot *running; /* for the signal handler; set before it is installed */
static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
	if (running)
		rf_snapshot_cancel(running);
}

static void catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int pause_subject(void *arg)
{
	return rf_vm_ops.pause(((struct subject *)arg)->vm);
}

static int resume_subject(void *arg)
{
	return rf_vm_ops.resume(((struct subject *)arg)->vm);
}

static int save_subject(void *arg, void **buf, size_t *len)
{
	struct subject *g = arg;
	struct rf_region ram;
	int rc = rf_vm_ops.save_state(g->vm, buf, len);

	if (rc != RF_OK || !g->verify)
		return rc;
	rf_vm_region(g->vm, &ram);
	if (paused_copy_take(&g->copy, &ram, *buf, *len))
		return RF_OK;
	free(*buf);
	return RF_ERR_GUEST;
}

static const struct rf_guest_ops subject_ops = {
	.size = sizeof(struct rf_guest_ops),
	.pause = pause_subject,
	.resume = resume_subject,
	.save_state = save_subject,
};

static void show_progress(void *arg, const struct rf_snapshot_stats *st)
{
	bool *open = arg;
	char saved[32], left[32];

	if (!isatty(STDERR_FILENO))
		return;
	rf_size_format(st->pages_saved * RF_PAGE_SIZE, saved, sizeof(saved));
	rf_size_format(st->remaining, left, sizeof(left));
	fprintf(stderr, "\r\033[K%-9s saved %s  left %s  write faults %llu  p99 %.0f us",
		rf_state_str(st->status), saved, left, (unsigned long long)st->write_faults,
		st->write_fault_latency_p99);
	*open = st->status == RF_STATE_ACTIVE;
	if (!*open)
		fprintf(stderr, "\n");
}

static void add_number(struct json_object *o, const char *name, uint64_t v)
{
	json_object_object_add(o, name, json_object_new_uint64(v));
}

static void add_real(struct json_object *o, const char *name, double v)
{
	char text[40];

	if (!isfinite(v))
		return;
	snprintf(text, sizeof(text), "%.3f", v);
	json_object_object_add(o, name, json_object_new_double_s(v, text));
}

static struct json_object *stats_object(const struct rf_snapshot_stats *st)
{
	struct json_object *o = json_object_new_object(), *dist = json_object_new_array();

	add_number(o, "total", st->total);
	add_number(o, "remaining", st->remaining);
	add_number(o, "pages-saved", st->pages_saved);
	add_number(o, "pages-zero", st->pages_zero);
	add_number(o, "saved-by-fault", st->saved_by_fault);
	add_number(o, "bytes-written", st->bytes_written);
	add_number(o, "file-size", st->file_size);
	add_number(o, "write-faults", st->write_faults);
	add_number(o, "copied", st->copied);
	add_number(o, "pool-size", st->pool_size);
	add_number(o, "pool-high-water", st->pool_high_water);
	add_number(o, "pool-full", st->pool_full);
	add_real(o, "write-fault-latency", st->write_fault_latency);
	add_real(o, "write-fault-latency-p50", st->write_fault_latency_p50);
	add_real(o, "write-fault-latency-p99", st->write_fault_latency_p99);
	add_real(o, "write-fault-latency-max", st->write_fault_latency_max);
	for (unsigned i = 0; i < RF_LATENCY_BUCKETS; i++)
		json_object_array_add(dist,
				      json_object_new_uint64(st->write_fault_latency_dist[i]));
	json_object_object_add(o, "write-fault-latency-dist", dist);
	add_real(o, "pause-time", st->pause_time);
	add_real(o, "protect-time", st->protect_time);
	add_real(o, "total-time", st->total_time);
	add_number(o, "device-state", st->device_state);
	if (st->transport[0])
		json_object_object_add(o, "transport", json_object_new_string(st->transport));
	if (st->provider[0])
		json_object_object_add(o, "provider", json_object_new_string(st->provider));
	json_object_object_add(o, "direct", json_object_new_boolean(st->direct));
	return o;
}

/* Bytes a second of pages the guest wrote between two moments. */
static double write_rate(uint64_t pages0, uint64_t ns0, uint64_t pages1, uint64_t ns1)
{
	return ns1 > ns0 ? (double)(pages1 - pages0) * RF_PAGE_SIZE * 1e9 / (double)(ns1 - ns0) : 0;
}

static struct json_object *guest_object(const struct subject *g, bool sound)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "kind", json_object_new_string(rf_vm_kind(g->vm)));
	add_real(o, "write-rate-before",
		 write_rate(g->start_pages, g->start_ns, g->before_pages, g->before_ns));
	add_real(o, "write-rate-during",
		 write_rate(g->before_pages, g->before_ns, g->after_pages, g->after_ns));
	json_object_object_add(o, "sound", json_object_new_boolean(sound));
	return o;
}

static void print_result(const struct snapshot_opts *o, const struct subject *g,
			 const struct rf_snapshot_stats *st, bool verified, bool sound)
{
	struct json_object *j;
	char written[32];

	rf_size_format(st->bytes_written, written, sizeof(written));
	if (!o->out.json) {
		if (st->status == RF_STATE_COMPLETED)
			printf("snapshot %s: %s, pause %.1f ms, total %.0f ms, %llu write faults "
			       "(p99 %.0f us)%s\n",
			       o->to, written, st->pause_time, st->total_time,
			       (unsigned long long)st->write_faults, st->write_fault_latency_p99,
			       verified ? ", verified" : "");
		return;
	}
	j = json_object_new_object();
	json_object_object_add(j, "status", json_object_new_string(rf_state_str(st->status)));
	if (st->error_desc[0])
		json_object_object_add(j, "error-desc", json_object_new_string(st->error_desc));
	json_object_object_add(j, o->host[0] ? "destination" : "file",
			       json_object_new_string(o->to));
	json_object_object_add(j, "strategy", json_object_new_string(o->strategy));
	json_object_object_add(j, "verified", json_object_new_boolean(verified));
	json_object_object_add(j, "snapshot", stats_object(st));
	json_object_object_add(j, "guest", guest_object(g, sound));
	print_json_line(j);
	json_object_put(j);
}

static void note(const struct subject *g, uint64_t *ns, uint64_t *pages)
{
	*ns = rf_now_ns(&rf_clock_monotonic);
	*pages = rf_vm_pages_written(g->vm);
}

/* The guest must be sound afterwards however the snapshot ended. */
static bool check_survivor(struct subject *g, uint64_t run_after)
{
	const volatile sig_atomic_t go_on = 0;
	struct watched_vm w = {.vm = g->vm};
	char desc[256];

	if (run_and_check(&w, rf_vm_passes(g->vm), run_after, 60000, &go_on, desc, sizeof(desc)))
		return true;
	fprintf(stderr, "ramferry snapshot: the guest: %s\n", desc);
	return false;
}

static int take(const struct snapshot_opts *o, struct subject *g)
{
	struct rf_snapshot_stats st = {.size = sizeof(st)};
	bool sound, verified = false;
	char desc[128];
	int rc;

	if (rf_vm_ops.resume(g->vm) != RF_OK)
		return EXIT_FAILURE;
	note(g, &g->start_ns, &g->start_pages);
	for (uint64_t t = 0; t < o->run_before && !interrupted; t += 5)
		usleep(5000);
	note(g, &g->before_ns, &g->before_pages);
	rc = rf_snapshot_run(running);
	note(g, &g->after_ns, &g->after_pages);
	rf_snapshot_stats(running, &st);
	if (rc == RF_OK && o->verify) {
		const char *file = o->host[0] ? o->saved : o->to;

		verified = paused_copy_equals(&g->copy, file, desc, sizeof(desc));
		if (!verified)
			fprintf(stderr, "ramferry snapshot: %s is not what the guest was: %s\n",
				file, desc);
	}
	sound = check_survivor(g, o->run_after);
	print_result(o, g, &st, verified, sound);
	if (rc == RF_ERR_CANCELLED)
		fprintf(stderr, "ramferry snapshot: cancelled; the guest %s\n",
			sound ? "ran on unharmed" : "is not sound");
	return rc == RF_OK && sound && verified == o->verify ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run(const struct snapshot_opts *o)
{
	struct subject g = {.verify = o->verify};
	bool line_open = false;
	struct rf_snapshot_cfg cfg = {
		.size = sizeof(cfg),
		.path = o->host[0] ? NULL : o->to,
		.host = o->host[0] ? o->host : NULL,
		.port = o->port,
		.transport = o->mig.transport,
		.provider = o->mig.provider,
		.bulk_lanes = (unsigned)o->mig.lanes,
		.connect_timeout = (uint32_t)o->mig.connect_timeout,
		.link_timeout = (uint32_t)o->mig.link_timeout,
		.strategy = !strcmp(o->strategy, "queue")  ? RF_SNAPSHOT_QUEUE
			    : !strcmp(o->strategy, "copy") ? RF_SNAPSHOT_COPY
							   : RF_SNAPSHOT_AUTO,
		.pool = o->pool,
		.fault_threads = (unsigned)o->fault_threads,
		.max_bandwidth = o->max_bandwidth,
		.sink_timeout = (uint32_t)o->sink_timeout,
		.guest = subject_ops,
		.guest_arg = &g,
		.progress = show_progress,
		.progress_arg = &line_open,
	};
	struct rf_vm_cfg vm_cfg;
	struct rf_region ram;
	int rc = EXIT_FAILURE;

	guest_config(&o->guest, &vm_cfg);
	if (rf_vm_new(&vm_cfg, &g.vm) != RF_OK)
		return EXIT_FAILURE;
	rf_vm_region(g.vm, &ram);
	if (rf_snapshot_new(&cfg, &running) == RF_OK &&
	    rf_snapshot_add_region(running, &ram) == RF_OK) {
		catch_signals();
		rc = take(o, &g);
	}
	paused_copy_free(&g.copy);
	rf_vm_delete(&g.vm);
	rf_snapshot_delete(&running);
	return rc;
}

static bool is_address(const char *to)
{
	const char *colon = strrchr(to, ':');

	return colon && colon[1] && !strchr(to, '/') &&
	       strspn(colon + 1, "0123456789") == strlen(colon + 1);
}

/* False with one line on stderr. */
static bool find_target(const char *prog, struct snapshot_opts *o)
{
	if (!o->to) {
		fprintf(stderr, "%s: where to? give --to FILE or --to HOST:PORT\n", prog);
		return false;
	}
	if (is_address(o->to) && !parse_host_port(prog, o->to, o->host, sizeof(o->host), &o->port))
		return false;
	if (o->host[0] && !o->port) {
		fprintf(stderr, "%s: %s: there is no port 0\n", prog, o->to);
		return false;
	}
	if (o->saved ? !o->host[0] || !o->verify : o->host[0] && o->verify) {
		fprintf(stderr, "%s: --saved FILE goes with --verify and --to HOST:PORT\n", prog);
		return false;
	}
	return true;
}

int cmd_snapshot(int argc, char **argv)
{
	static const char prog[] = "ramferry snapshot";
	struct snapshot_opts o = {0};
	unsigned npos = 0;
	int rc = parse_command(
		table, prog,
		"[OPTION ...] --to FILE|HOST:PORT\n\n"
		"Runs a built-in guest and writes its memory and state, as they are at one "
		"instant, to FILE while it runs on. 'ramferry restore FILE' runs it from there. "
		"At HOST:PORT 'ramferry receive' runs it at once, so that there are two of it, or "
		"saves it.",
		argc, argv, &o, &o.out, NULL, 0, &npos);

	if (rc >= 0)
		return rc;
	return find_target(prog, &o) ? run(&o) : EXIT_USAGE;
}
