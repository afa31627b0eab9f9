/* SPDX-License-Identifier: BSD-3-Clause */
/* ramferry send: runs a built-in guest and moves it. */
#include <json-c/json.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/common.h"
#include "tools/control.h"
#include "tools/control_ends.h"

struct send_opts {
	struct guest_opts guest;
	struct migration_opts mig;
	struct output_opts out;
	uint64_t run_before;
};

static const struct rf_opt table[] = {
	GUEST_ROWS(struct send_opts),
	PROGRAM_ROWS(struct send_opts),
	RF_OPT_DURATION(struct send_opts, run_before, "run-before", 0, "TIME", "300ms",
			"how long the guest runs before it is moved, at least", 1000,
			.max = 86400000),
	LINK_ROWS(struct send_opts),
	MIGRATION_ROWS(struct send_opts, "no"),
	CONVERGENCE_ROWS(struct send_opts),
	POSTCOPY_ROWS(struct send_opts),
	CONTROL_ROWS(struct send_opts, "socket for 'ramferry status' and 'ramferry control'"),
	OUTPUT_ROWS(struct send_opts),
	RF_OPT_END,
};

/* Who is told how it goes. */
struct audience {
	struct progress progress;
	struct control *control; /* NULL: none */
};

static struct rf_source *running; /* for the signal handler; set before it is installed */
static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
	if (running)
		rf_source_cancel(running);
}

static void on_postcopy(int sig)
{
	(void)sig;
	if (running)
		rf_source_start_postcopy(running);
}

static void catch_signals(void)
{
	struct sigaction go = {.sa_handler = on_postcopy};

	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGUSR1, &go, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void tell(void *arg, const struct rf_stats *st)
{
	struct audience *a = arg;

	progress_show(&a->progress, st);
	control_report(a->control, 0, st);
}

static void fill_config(const struct send_opts *o, const char *host, uint16_t port,
			struct watched_vm *w, struct audience *a, struct rf_source_cfg *cfg)
{
	*cfg = (struct rf_source_cfg){
		.size = sizeof(*cfg),
		.host = host,
		.port = port,
		.transport = o->mig.transport,
		.provider = o->mig.provider,
		.bulk_lanes = (unsigned)o->mig.lanes,
		.chunk_size = o->mig.chunk_size,
		.piece_size = (uint32_t)o->mig.piece_size,
		.pin_all = o->mig.pin_all,
		.verify = o->mig.verify,
		.downtime_limit = (uint32_t)o->mig.downtime_limit,
		.timeout = (uint32_t)o->mig.timeout,
		.connect_timeout = (uint32_t)o->mig.connect_timeout,
		.link_timeout = (uint32_t)o->mig.link_timeout,
		.mode = !strcmp(o->mig.mode, "hybrid")	   ? RF_MODE_HYBRID
			: !strcmp(o->mig.mode, "postcopy") ? RF_MODE_POSTCOPY
							   : RF_MODE_PRECOPY,
		.urgent_lanes = (unsigned)o->mig.urgent_lanes,
		.urgent_window = o->mig.urgent_window ? (uint32_t)o->mig.urgent_window
						      : RF_URGENT_WINDOW_STOP,
		.follow_faults = !strcmp(o->mig.locality, "follow"),
		.postcopy_after = (unsigned)o->mig.postcopy_after,
		.poll_mode = o->mig.poll_mode,
		.poll_cpus = o->mig.poll_cpus,
		.guest = watched_vm_ops,
		.guest_arg = w,
		.progress = tell,
		.progress_arg = a,
	};
}

static void fill_policy(const struct migration_opts *m, struct rf_source_cfg *cfg)
{
	cfg->max_bandwidth = m->max_bandwidth;
	cfg->max_postcopy_bandwidth = m->max_postcopy_bandwidth;
	cfg->avail_switchover_bandwidth = m->avail_switchover_bandwidth;
	cfg->timeout_action = !strcmp(m->timeout_action, "postcopy") ? RF_TIMEOUT_POSTCOPY
			      : !strcmp(m->timeout_action, "switch") ? RF_TIMEOUT_SWITCH
								     : RF_TIMEOUT_CANCEL;
	cfg->auto_converge = m->auto_converge;
	cfg->cpu_throttle_initial = (unsigned)m->cpu_throttle_initial;
	cfg->cpu_throttle_increment = (unsigned)m->cpu_throttle_increment;
	cfg->max_cpu_throttle = (unsigned)m->max_cpu_throttle;
	cfg->cpu_throttle_tailslow = m->cpu_throttle_tailslow;
	cfg->sync_interval = m->background_sync ? (uint32_t)m->sync_interval : RF_SYNC_OFF;
	cfg->hot_in_order = !m->defer_hot;
}

/* The guest runs a while, so that there is something to move and a count of passes. */
static bool warm_up(struct watched_vm *w, uint64_t ms)
{
	char desc[256];

	if (rf_vm_ops.resume(w->vm) != RF_OK)
		return false;
	w->story.at_start = rf_vm_passes(w->vm);
	for (uint64_t t = 0; t < ms && !interrupted; t += 5)
		usleep(5000);
	w->story.at_migration = rf_vm_passes(w->vm);
	if (rf_vm_health(w->vm, desc, sizeof(desc)) == RF_OK)
		return true;
	fprintf(stderr, "ramferry send: guest: %s\n", desc);
	return false;
}

static void print_result(const struct send_opts *o, struct rf_source *src, struct watched_vm *w,
			 bool here_sound)
{
	struct rf_stats st = {.size = sizeof(st)};
	struct json_object *j, *g;

	if (!o->out.json)
		return;
	rf_source_stats(src, &st);
	j = stats_to_json(&st);
	g = json_object_new_object();
	json_object_object_add(g, "kind", json_object_new_string(rf_vm_kind(w->vm)));
	json_object_object_add(g, "passes-start", json_object_new_uint64(w->story.at_start));
	json_object_object_add(g, "passes-migration",
			       json_object_new_uint64(w->story.at_migration));
	json_object_object_add(g, "passes-pause", json_object_new_uint64(w->story.at_pause));
	json_object_object_add(g, "sound", json_object_new_boolean(here_sound));
	json_object_object_add(j, "guest", g);
	print_json_line(j);
	json_object_put(j);
}

static bool check_paused(struct watched_vm *w)
{
	char desc[256];

	if (rf_vm_health(w->vm, desc, sizeof(desc)) == RF_OK &&
	    rf_vm_check(w->vm, desc, sizeof(desc)) == RF_OK)
		return true;
	fprintf(stderr, "ramferry send: guest: %s\n", desc);
	return false;
}

/* The move failed: shows that the guest goes on here as if nothing had happened. */
static bool check_survivor(struct watched_vm *w)
{
	const volatile sig_atomic_t go_on = 0;
	char desc[256];

	if (run_and_check(w, rf_vm_passes(w->vm), 100, 30000, &go_on, desc, sizeof(desc))) {
		fprintf(stderr, "ramferry send: the guest ran on here unharmed\n");
		return true;
	}
	fprintf(stderr, "ramferry send: the guest here: %s\n", desc);
	return false;
}

static int migrate(const struct send_opts *o, struct rf_source *src, struct watched_vm *w)
{
	struct rf_stats st = {.size = sizeof(st)};
	bool sound;
	int rc;

	rc = rf_source_run(src);
	rf_source_stats(src, &st);
	if (rc == RF_OK || rc == RF_ERR_UNKNOWN_OUTCOME)
		sound = check_paused(w);
	else
		sound = check_survivor(w);
	print_result(o, src, w, sound);
	if (rc == RF_OK && !o->out.json)
		printf("moved: %s%s%s, total %.0f ms, downtime %.1f ms, %.1f MiB\n", st.transport,
		       st.provider[0] ? ":" : "", st.provider, st.total_time, st.downtime,
		       (double)st.ram.transferred / 1048576);
	return rc == RF_OK && sound ? EXIT_SUCCESS : EXIT_FAILURE;
}

static bool start_control(const struct send_opts *o, struct control_sources *s,
			  struct control **out)
{
	struct control_target target;

	if (!o->out.control)
		return true;
	control_target_sources(&target, s);
	return control_start("ramferry send", o->out.control, &target, out);
}

static int run(const struct send_opts *o, const char *host, uint16_t port)
{
	struct watched_vm w = {0};
	struct rf_source_cfg cfg;
	struct rf_vm_cfg vm_cfg;
	struct rf_source *src = NULL;
	struct rf_region region;
	struct control_sources controlled = {.sources = &src, .n = 1};
	struct audience a = {0};
	int rc = EXIT_FAILURE;

	progress_init(&a.progress);
	guest_config(&o->guest, &vm_cfg);
	if (rf_vm_new(&vm_cfg, &w.vm) != RF_OK)
		return EXIT_FAILURE;
	fill_config(o, host, port, &w, &a, &cfg);
	fill_policy(&o->mig, &cfg);
	if (rf_vm_tracker(w.vm, &cfg.tracker) != RF_OK || rf_source_new(&cfg, &src) != RF_OK)
		goto delete_vm;
	rf_vm_region(w.vm, &region);
	if (rf_source_add_region(src, &region) != RF_OK)
		goto delete_source;
	controlled.mode = cfg.mode;
	if (!start_control(o, &controlled, &a.control))
		goto delete_source;
	running = src;
	catch_signals();
	if (warm_up(&w, o->run_before))
		rc = migrate(o, src, &w);
	progress_end(&a.progress);
	running = NULL;
	control_stop(&a.control);
delete_source:
	rf_source_delete(&src);
delete_vm:
	rf_vm_delete(&w.vm);
	return rc;
}

int cmd_send(int argc, char **argv)
{
	static const char prog[] = "ramferry send";
	struct send_opts o = {0};
	const char *to = NULL;
	unsigned npos = 0;
	char host[256];
	uint16_t port;
	int rc = parse_command(
		table, prog,
		"[OPTION ...] HOST:PORT\n\n"
		"Runs a built-in guest and moves it to 'ramferry receive' at HOST:PORT.",
		argc, argv, &o, &o.out, &to, 1, &npos);

	if (rc >= 0)
		return rc;
	if (!npos) {
		fprintf(stderr, "%s: where to? give HOST:PORT of a 'ramferry receive'\n", prog);
		return EXIT_USAGE;
	}
	if (!parse_host_port(prog, to, host, sizeof(host), &port))
		return EXIT_USAGE;
	if (!port) {
		fprintf(stderr, "%s: port 0 in \"%s\"; give the port the destination prints\n",
			prog, to);
		return EXIT_USAGE;
	}
	return run(&o, host, port);
}
