/* SPDX-License-Identifier: BSD-3-Clause */
/* ramferry snapshot: runs a built-in guest and takes snapshots of it. */
#include <json-c/json.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/size.h"
#include "common/state.h"
#include "tools/common.h"
#include "tools/control.h"
#include "tools/snapshot_desk.h"
#include "tools/snapshot_subject.h"

struct snapshot_opts {
	struct guest_opts guest;
	struct migration_opts mig; /* what a destination needs */
	struct output_opts out;
	const char *to, *strategy, *saved;
	uint64_t run_before, run_after, pool, fault_threads, max_bandwidth, sink_timeout;
	bool verify, hold;
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
	RF_OPT_BOOL(struct snapshot_opts, hold, "hold", 0, "no",
		    "the guest runs until SIGINT, and snapshots are taken when they are asked for: "
		    "ramferry control PATH snapshot to=..."),
	REACH_ROWS(struct snapshot_opts),
	LANES_ROW(struct snapshot_opts),
	CONTROL_ROWS(struct snapshot_opts, "socket for 'ramferry status' and 'ramferry control'"),
	OUTPUT_ROWS(struct snapshot_opts),
	RF_OPT_END,
};

/* For the signal handler, which only this thread runs: threads of guest and library block all. */
static struct rf_snapshot *volatile running;
static volatile sig_atomic_t interrupted;
static struct snapshot_desk desk;

static void on_signal(int sig)
{
	uint64_t one = 1;

	(void)sig;
	interrupted = 1;
	if (running)
		rf_snapshot_cancel(running);
	if (write(desk.wake_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable all the same */
}

static void catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* How it ended, once the desk is done with it. */
static void tell_end(const struct subject *g, const struct snapshot_to *to)
{
	control_report_state(g->control, 0, g->stats.status, snapshot_report_json(&g->stats, to));
}

static void show_progress(void *arg, const struct rf_snapshot_stats *st)
{
	struct subject *g = arg;
	char saved[32], left[32];

	if (!rf_state_is_over(st->status))
		control_report_state(g->control, 0, st->status, NULL);
	if (!isatty(STDERR_FILENO))
		return;
	rf_size_format(st->pages_saved * RF_PAGE_SIZE, saved, sizeof(saved));
	rf_size_format(st->remaining, left, sizeof(left));
	fprintf(stderr, "\r\033[K%-9s saved %s  left %s  write faults %llu  p99 %.0f us",
		rf_state_str(st->status), saved, left, (unsigned long long)st->write_faults,
		st->write_fault_latency_p99);
	if (st->status != RF_STATE_ACTIVE)
		fprintf(stderr, "\n");
}

/* sound: NULL as long as the guest runs on. */
static void print_result(const struct snapshot_opts *o, const struct subject *g,
			 const struct snapshot_to *to, bool verified, const bool *sound)
{
	const struct rf_snapshot_stats *st = &g->stats;
	struct json_object *j, *guest;
	char written[32];

	rf_size_format(st->bytes_written, written, sizeof(written));
	if (!o->out.json) {
		if (st->status == RF_STATE_COMPLETED)
			printf("snapshot %s: %s, pause %.1f ms, total %.0f ms, %llu write faults "
			       "(p99 %.0f us)%s\n",
			       to->text, written, st->pause_time, st->total_time,
			       (unsigned long long)st->write_faults, st->write_fault_latency_p99,
			       verified ? ", verified" : "");
		fflush(stdout);
		return;
	}
	j = snapshot_report_json(st, to);
	guest = subject_json(g);
	if (sound)
		json_object_object_add(guest, "sound", json_object_new_boolean(*sound));
	json_object_object_add(j, "strategy", json_object_new_string(o->strategy));
	json_object_object_add(j, "verified", json_object_new_boolean(verified));
	json_object_object_add(j, "guest", guest);
	print_json_line(j);
	json_object_put(j);
}

static void fill_config(const struct snapshot_opts *o, struct subject *g,
			const struct snapshot_to *to, struct rf_snapshot_cfg *cfg)
{
	*cfg = (struct rf_snapshot_cfg){
		.size = sizeof(*cfg),
		.path = to->host[0] ? NULL : to->text,
		.host = to->host[0] ? to->host : NULL,
		.port = to->port,
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
		.guest_arg = g,
		.progress = show_progress,
		.progress_arg = g,
	};
}

/* One of the guest as it runs; how it ended is in g->stats. */
static int take_one(const struct snapshot_opts *o, struct subject *g, const struct snapshot_to *to)
{
	struct rf_snapshot_cfg cfg;
	struct rf_snapshot *s = NULL;
	struct rf_region ram;
	int rc;

	fill_config(o, g, to, &cfg);
	rf_vm_region(g->vm, &ram);
	rc = rf_snapshot_new(&cfg, &s);
	if (rc == RF_OK)
		rc = rf_snapshot_add_region(s, &ram);
	if (rc != RF_OK) {
		snapshot_desk_fail(&desk, rf_err_str(rc), &g->stats);
		tell_end(g, to);
		rf_snapshot_delete(&s);
		return rc;
	}
	snapshot_desk_begin(&desk, s, to);
	running = s;
	/* the end of this one is another than of that before */
	control_report_state(g->control, 0, RF_STATE_SETUP, NULL);
	if (interrupted)
		rf_snapshot_cancel(s);
	subject_note(g, &g->before_ns, &g->before_pages);
	rc = rf_snapshot_run(s);
	subject_note(g, &g->after_ns, &g->after_pages);
	running = NULL;
	snapshot_desk_end(&desk, &g->stats);
	tell_end(g, to);
	rf_snapshot_delete(&s);
	return rc;
}

static bool verify(const struct snapshot_opts *o, struct subject *g, const struct snapshot_to *to)
{
	const char *file = to->host[0] ? o->saved : to->text;
	char desc[128];

	if (paused_copy_equals(&g->copy, file, desc, sizeof(desc)))
		return true;
	fprintf(stderr, "ramferry snapshot: %s is not what the guest was: %s\n", file, desc);
	return false;
}

/* One, then the guest is checked. */
static int take_and_check(const struct snapshot_opts *o, struct subject *g,
			  const struct snapshot_to *to)
{
	int rc = take_one(o, g, to);
	bool verified = rc == RF_OK && o->verify && verify(o, g, to);
	bool sound = subject_is_sound(g, o->run_after);

	print_result(o, g, to, verified, &sound);
	if (rc == RF_ERR_CANCELLED)
		fprintf(stderr, "ramferry snapshot: cancelled; the guest %s\n",
			sound ? "ran on unharmed" : "is not sound");
	return rc == RF_OK && sound && verified == o->verify ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Those that are asked for, until a signal comes. */
static int take_asked(const struct snapshot_opts *o, struct subject *g, struct snapshot_to *to)
{
	unsigned tried = 0, taken = 0;
	struct json_object *j;
	bool sound;

	if (!o->out.json)
		printf("the guest runs; ramferry control %s snapshot to=FILE|HOST:PORT\n",
		       o->out.control);
	fflush(stdout);
	while (to->text[0] || snapshot_desk_wait(&desk, &interrupted, to)) {
		taken += take_one(o, g, to) == RF_OK;
		tried++;
		print_result(o, g, to, false, NULL);
		g->start_ns = g->after_ns;
		g->start_pages = g->after_pages;
		to->text[0] = 0;
	}
	sound = subject_is_sound(g, o->run_after);
	if (!o->out.json) {
		printf("%u of %u snapshots taken; the guest is %ssound\n", taken, tried,
		       sound ? "" : "not ");
		return sound ? EXIT_SUCCESS : EXIT_FAILURE;
	}
	j = json_object_new_object();
	json_object_object_add(j, "snapshots", json_object_new_uint64(tried));
	json_object_object_add(j, "completed", json_object_new_uint64(taken));
	json_object_object_add(j, "sound", json_object_new_boolean(sound));
	print_json_line(j);
	json_object_put(j);
	return sound ? EXIT_SUCCESS : EXIT_FAILURE;
}

static bool start_control(const struct snapshot_opts *o, struct control **out)
{
	struct control_target target;

	if (!o->out.control)
		return true;
	control_target_desk(&target, &desk);
	return control_start("ramferry snapshot", o->out.control, &target, out);
}

static int run(const struct snapshot_opts *o, struct snapshot_to *to)
{
	struct subject g = {.verify = o->verify};
	struct rf_vm_cfg vm_cfg;
	int rc = EXIT_FAILURE;

	guest_config(&o->guest, &vm_cfg);
	if (!snapshot_desk_init(&desk, o->hold))
		return rc;
	catch_signals(); /* who can open the socket may send signals, too */
	if (start_control(o, &g.control) && rf_vm_new(&vm_cfg, &g.vm) == RF_OK &&
	    rf_vm_ops.resume(g.vm) == RF_OK) {
		subject_note(&g, &g.start_ns, &g.start_pages);
		for (uint64_t t = 0; t < o->run_before && !interrupted; t += 5)
			usleep(5000);
		rc = o->hold ? take_asked(o, &g, to) : take_and_check(o, &g, to);
	}
	control_stop(&g.control);
	paused_copy_free(&g.copy);
	rf_vm_delete(&g.vm);
	snapshot_desk_fini(&desk);
	return rc;
}

/* What is wrong with them in one line; or NULL. */
static const char *find_fault(const struct snapshot_opts *o, struct snapshot_to *to)
{
	static char why[192];

	if (o->hold && (!o->out.control || o->verify))
		return "--hold goes with --control PATH, and not with --verify";
	if (!o->to && !o->hold)
		return "where to? give --to FILE or --to HOST:PORT";
	if (o->to && !snapshot_to_parse(o->to, to, why, sizeof(why)))
		return why;
	if (o->saved ? !to->host[0] || !o->verify : to->host[0] && o->verify)
		return "--saved FILE goes with --verify and --to HOST:PORT";
	return NULL;
}

int cmd_snapshot(int argc, char **argv)
{
	static const char prog[] = "ramferry snapshot";
	struct snapshot_opts o = {0};
	struct snapshot_to to = {0};
	const char *fault;
	unsigned npos = 0;
	int rc = parse_command(
		table, prog,
		"[OPTION ...] --to FILE|HOST:PORT\n\n"
		"Runs a built-in guest and writes its memory and state, as they are at one "
		"instant, to FILE while it runs on. 'ramferry restore FILE' runs it from there. "
		"At HOST:PORT 'ramferry receive' runs it at once, so that there are two of it, or "
		"saves it. With --hold it takes those that 'ramferry control' asks for.",
		argc, argv, &o, &o.out, NULL, 0, &npos);

	if (rc >= 0)
		return rc;
	fault = find_fault(&o, &to);
	if (!fault)
		return run(&o, &to);
	fprintf(stderr, "%s: %s\n", prog, fault);
	return EXIT_USAGE;
}
