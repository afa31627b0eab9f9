/* SPDX-License-Identifier: BSD-3-Clause */
/* ramferry receive: waits for guests, runs them, checks them. */
#include <json-c/json.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/common.h"
#include "tools/control.h"
#include "tools/control_ends.h"

struct receive_opts {
	struct guest_opts guest;
	struct migration_opts mig;
	struct output_opts out;
	const char *placement, *save;
	uint64_t run_after, accept_timeout, max_lanes, migrations;
};

#define TAKERS_MAX 64

/* One guest that is to come, and its destination. */
struct taker {
	/* fixed after open */
	const struct receive_opts *o;
	unsigned index;
	struct rf_dest *dest;
	struct control *control; /* NULL: none */
	pthread_t thread;
	/* who runs it, until it is over */
	struct watched_vm w;
	int rc; /* of rf_dest_run */
	bool sound;
};

static const struct rf_opt table[] = {
	GUEST_ROWS(struct receive_opts),
	PLACEMENT_ROW(struct receive_opts),
	RF_OPT_DURATION(struct receive_opts, run_after, "run-after", 0, "TIME", "500ms",
			"how long the guest runs here before it is stopped and checked, at least",
			1000, .max = 86400000),
	RF_OPT_UINT(struct receive_opts, migrations, "migrations", 'n', "N", "1",
		    "guests to wait for, at as many ports: PORT and those after it, or free ones",
		    .min = 1, .max = TAKERS_MAX),
	RF_OPT_STRING(struct receive_opts, save, "save", 0, "FILE", NULL,
		      "take a snapshot and write it to FILE instead of running a guest; "
		      "'ramferry restore FILE' does that"),
	LINK_ROWS(struct receive_opts),
	RF_OPT_DURATION(struct receive_opts, accept_timeout, "accept-timeout", 0, "TIME", "0",
			"give up if no source comes within this time; 0: never", 1000,
			.max = 4000000000),
	RF_OPT_UINT(struct receive_opts, max_lanes, "max-lanes", 0, "N", "16",
		    "most bulk lanes a source may ask for", .min = 1, .max = 16),
	CONTROL_ROWS(struct receive_opts, "socket for 'ramferry status' and 'ramferry control'"),
	OUTPUT_ROWS(struct receive_opts),
	RF_OPT_END,
};

/* For the signal handlers; set before they are installed. */
static struct rf_dest *running[TAKERS_MAX];
static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
	for (unsigned i = 0; i < TAKERS_MAX; i++)
		if (running[i])
			rf_dest_cancel(running[i]);
}

static void catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void tell(void *arg, const struct rf_stats *st)
{
	struct taker *t = arg;

	control_report(t->control, t->index, st);
}

/* Takes the guest, lets it run and checks it. */
static void *run_taker(void *arg)
{
	struct taker *t = arg;
	char desc[256];

	t->rc = rf_dest_run(t->dest);
	t->sound = t->rc == RF_OK;
	if (t->rc != RF_OK || t->o->save)
		return NULL;
	t->sound = run_and_check(&t->w, t->w.story.at_resume, t->o->run_after, 60000, &interrupted,
				 desc, sizeof(desc));
	if (!t->sound)
		fprintf(stderr, "ramferry receive: guest: %s\n", desc);
	return NULL;
}

static struct json_object *report_guest(const struct taker *t)
{
	struct json_object *g = json_object_new_object();

	json_object_object_add(g, "kind", json_object_new_string(rf_vm_kind(t->w.vm)));
	if (t->rc == RF_OK) {
		json_object_object_add(g, "passes-resume",
				       json_object_new_uint64(t->w.story.at_resume));
		json_object_object_add(g, "passes-end", json_object_new_uint64(t->w.story.at_end));
		json_object_object_add(g, "free-hint-done",
				       json_object_new_uint64(rf_vm_hint_dones(t->w.vm)));
	}
	json_object_object_add(g, "sound", json_object_new_boolean(t->sound));
	return g;
}

static struct json_object *report_taker(struct taker *t)
{
	struct rf_stats st = {.size = sizeof(st)};
	struct json_object *j;

	rf_dest_stats(t->dest, &st);
	j = stats_to_json(&st);
	if (t->o->save)
		json_object_object_add(j, "file", json_object_new_string(t->o->save));
	else
		json_object_object_add(j, "guest", report_guest(t));
	return j;
}

/* One: its report. Several: a list of them. */
static void print_json(struct taker *t, unsigned n)
{
	struct json_object *o, *all;

	if (n == 1) {
		o = report_taker(t);
	} else {
		o = json_object_new_object();
		all = json_object_new_array();
		for (unsigned i = 0; i < n; i++)
			json_object_array_add(all, report_taker(&t[i]));
		json_object_object_add(o, "migrations", all);
	}
	print_json_line(o);
	json_object_put(o);
}

static void print_lines(const struct taker *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (t[i].sound && t[i].o->save)
			printf("saved %s\n", t[i].o->save);
		else if (t[i].sound)
			printf("the guest ran here and checked its memory: passes %llu to %llu\n",
			       (unsigned long long)t[i].w.story.at_resume,
			       (unsigned long long)t[i].w.story.at_end);
}

static int make_guest(struct taker *t)
{
	const struct guest_opts *g = &t->o->guest;
	struct rf_dest_region region = {
		.size = sizeof(region),
		.id = "ram",
		.len = g->memory,
		.page_size = guest_page_size(g),
		.placement = !strcmp(t->o->placement, "copy") ? RF_PLACEMENT_COPY
							      : RF_PLACEMENT_CONTINUE,
	};
	struct rf_dest_memory mem = {.size = sizeof(mem)};
	struct rf_vm_cfg cfg;
	int rc = rf_dest_add_region(t->dest, &region, &mem);

	if (rc != RF_OK || t->o->save)
		return rc;
	guest_config(g, &cfg);
	cfg.memory_at = mem.guest_view;
	cfg.memfd = mem.memfd;
	return rf_vm_new(&cfg, &t->w.vm);
}

static bool open_taker(struct taker *t, const char *host, uint16_t port)
{
	const struct receive_opts *o = t->o;
	struct rf_dest_cfg cfg = {
		.size = sizeof(cfg),
		.host = host,
		.port = port,
		.transport = o->mig.transport,
		.provider = o->mig.provider,
		.max_lanes = (unsigned)o->max_lanes,
		.accept_timeout = (uint32_t)o->accept_timeout,
		.connect_timeout = (uint32_t)o->mig.connect_timeout,
		.link_timeout = (uint32_t)o->mig.link_timeout,
		.odp = o->mig.odp,
		.poll_mode = o->mig.poll_mode,
		.poll_cpus = o->mig.poll_cpus,
		.guest = watched_vm_ops,
		.guest_arg = &t->w,
		.save = o->save,
		.progress = tell,
		.progress_arg = t,
	};

	return rf_dest_new(&cfg, &t->dest) == RF_OK && make_guest(t) == RF_OK;
}

static bool start_control(const struct receive_opts *o, struct control_dests *d,
			  struct control **out)
{
	struct control_target target;

	if (!o->out.control)
		return true;
	control_target_dests(&target, d);
	return control_start("ramferry receive", o->out.control, &target, out);
}

/* All at once. True if every guest arrived and is sound. */
static bool run_takers(struct taker *t, unsigned n)
{
	unsigned started;
	bool ok = true;

	for (started = 1; started < n; started++) {
		int err = pthread_create(&t[started].thread, NULL, run_taker, &t[started]);

		if (err) {
			fprintf(stderr, "ramferry receive: no thread for another guest: %s\n",
				strerror(err));
			on_signal(0);
			break;
		}
	}
	run_taker(&t[0]);
	for (unsigned i = 1; i < started; i++)
		pthread_join(t[i].thread, NULL);
	for (unsigned i = 0; i < n; i++)
		ok = ok && t[i].sound;
	return ok;
}

static bool any_lost(const struct taker *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (t[i].rc == RF_ERR_GUEST_LOST)
			return true;
	return false;
}

static bool open_takers(const struct receive_opts *o, struct taker *t, const char *host,
			uint16_t port)
{
	unsigned n = (unsigned)o->migrations;

	for (unsigned i = 0; i < n; i++) {
		t[i].o = o;
		t[i].index = i;
		t[i].rc = RF_ERR_STATE;
		if (!open_taker(&t[i], host, port ? (uint16_t)(port + i) : 0))
			return false;
		running[i] = t[i].dest;
	}
	return true;
}

static int run(const struct receive_opts *o, struct taker *t, const char *host, uint16_t port)
{
	unsigned n = (unsigned)o->migrations;
	struct control_dests controlled = {.dests = running, .n = n};
	struct control *control = NULL;
	int rc = EXIT_FAILURE;

	if (open_takers(o, t, host, port) && start_control(o, &controlled, &control)) {
		for (unsigned i = 0; i < n; i++)
			t[i].control = control;
		catch_signals();
		/* Scripts read the ports from these lines. */
		for (unsigned i = 0; i < n; i++)
			printf("listening on %s port %u\n", host, rf_dest_port(t[i].dest));
		fflush(stdout);
		if (run_takers(t, n))
			rc = EXIT_SUCCESS;
		if (o->out.json)
			print_json(t, n);
		else
			print_lines(t, n);
	}
	control_stop(&control);
	if (any_lost(t, n)) {
		/* Its threads wait in page faults and can be ended only with the process. */
		fflush(NULL);
		_exit(EXIT_FAILURE);
	}
	for (unsigned i = 0; i < n; i++) {
		running[i] = NULL;
		rf_vm_delete(&t[i].w.vm);
		rf_dest_delete(&t[i].dest);
	}
	return rc;
}

int cmd_receive(int argc, char **argv)
{
	static const char prog[] = "ramferry receive";
	static struct taker takers[TAKERS_MAX];
	struct receive_opts o = {0};
	const char *at = "127.0.0.1:0";
	unsigned npos = 0;
	char host[256];
	uint16_t port;
	int rc = parse_command(
		table, prog,
		"[OPTION ...] [HOST:PORT]\n\n"
		"Waits at HOST:PORT (default: any free port of 127.0.0.1) for a guest or a "
		"snapshot of one, runs it and checks it; or saves it.",
		argc, argv, &o, &o.out, &at, 1, &npos);

	if (rc >= 0)
		return rc;
	if (!parse_host_port(prog, at, host, sizeof(host), &port))
		return EXIT_USAGE;
	if (port && port + o.migrations > 65536) {
		fprintf(stderr, "%s: there are no %llu ports from %u on\n", prog,
			(unsigned long long)o.migrations, port);
		return EXIT_USAGE;
	}
	if (o.save && o.migrations > 1) {
		fprintf(stderr, "%s: one file takes one snapshot: --save or --migrations\n", prog);
		return EXIT_USAGE;
	}
	return run(&o, takers, host, port);
}
