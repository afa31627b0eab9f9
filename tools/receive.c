/* SPDX-License-Identifier: BSD-3-Clause */
/* ramferry receive: waits for a guest, runs it, checks it. */
#include <json-c/json.h>
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
	const char *placement;
	uint64_t run_after, accept_timeout, max_lanes;
};

static const struct rf_opt table[] = {
	GUEST_ROWS(struct receive_opts),
	PLACEMENT_ROW(struct receive_opts),
	RF_OPT_DURATION(struct receive_opts, run_after, "run-after", 0, "TIME", "500ms",
			"how long the guest runs here before it is stopped and checked, at least",
			1000, .max = 86400000),
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

static struct rf_dest *running;
static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
	if (running)
		rf_dest_cancel(running);
}

static void catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void print_result(const struct receive_opts *o, struct rf_dest *d, struct watched_vm *w,
			 bool moved, bool sound)
{
	struct rf_stats st = {.size = sizeof(st)};
	struct json_object *j, *g;

	if (!o->out.json)
		return;
	rf_dest_stats(d, &st);
	j = stats_to_json(&st);
	g = json_object_new_object();
	json_object_object_add(g, "kind", json_object_new_string(rf_vm_kind(w->vm)));
	if (moved) {
		json_object_object_add(g, "passes-resume",
				       json_object_new_uint64(w->story.at_resume));
		json_object_object_add(g, "passes-end", json_object_new_uint64(w->story.at_end));
	}
	json_object_object_add(g, "sound", json_object_new_boolean(sound));
	json_object_object_add(j, "guest", g);
	print_json_line(j);
	json_object_put(j);
}

static void tell(void *arg, const struct rf_stats *st)
{
	control_report(*(struct control **)arg, 0, st);
}

static int take_guest(const struct receive_opts *o, struct rf_dest *d, struct watched_vm *w,
		      struct control **control)
{
	char desc[256];
	bool sound = false;
	int rc = rf_dest_run(d);

	running = NULL;
	if (rc == RF_OK) {
		sound = run_and_check(w, w->story.at_resume, o->run_after, 60000, &interrupted,
				      desc, sizeof(desc));
		if (!sound)
			fprintf(stderr, "ramferry receive: guest: %s\n", desc);
	}
	print_result(o, d, w, rc == RF_OK, sound);
	if (rc == RF_ERR_GUEST_LOST) {
		control_stop(control);
		/* Its threads wait in page faults and can be ended only with the process. */
		fflush(NULL);
		_exit(EXIT_FAILURE);
	}
	if (sound && !o->out.json)
		printf("the guest ran here and checked its memory: passes %llu to %llu\n",
		       (unsigned long long)w->story.at_resume, (unsigned long long)w->story.at_end);
	return sound ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int make_guest(const struct receive_opts *o, struct rf_dest *d, struct watched_vm *w)
{
	struct rf_dest_region region = {
		.size = sizeof(region),
		.id = "ram",
		.len = o->guest.memory,
		.page_size = guest_page_size(&o->guest),
		.placement =
			!strcmp(o->placement, "copy") ? RF_PLACEMENT_COPY : RF_PLACEMENT_CONTINUE,
	};
	struct rf_dest_memory mem = {.size = sizeof(mem)};
	struct rf_vm_cfg cfg;
	int rc = rf_dest_add_region(d, &region, &mem);

	if (rc != RF_OK)
		return rc;
	guest_config(&o->guest, &cfg);
	cfg.memory_at = mem.guest_view;
	cfg.memfd = mem.memfd;
	return rf_vm_new(&cfg, &w->vm);
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

static int run(const struct receive_opts *o, const char *host, uint16_t port)
{
	struct watched_vm w = {0};
	struct control *control = NULL;
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
		.poll_mode = o->mig.poll_mode,
		.poll_cpus = o->mig.poll_cpus,
		.guest = watched_vm_ops,
		.guest_arg = &w,
		.progress = tell,
		.progress_arg = &control,
	};
	struct rf_dest *d;
	struct control_dests controlled = {.dests = &d, .n = 1};
	int rc = EXIT_FAILURE;

	if (rf_dest_new(&cfg, &d) != RF_OK)
		return EXIT_FAILURE;
	if (make_guest(o, d, &w) == RF_OK && start_control(o, &controlled, &control)) {
		running = d;
		catch_signals();
		/* Scripts read the port from this line. */
		printf("listening on %s port %u\n", host, rf_dest_port(d));
		fflush(stdout);
		rc = take_guest(o, d, &w, &control);
	}
	control_stop(&control);
	rf_vm_delete(&w.vm);
	rf_dest_delete(&d);
	return rc;
}

int cmd_receive(int argc, char **argv)
{
	static const char prog[] = "ramferry receive";
	struct receive_opts o = {0};
	const char *at = "127.0.0.1:0";
	unsigned npos = 0;
	char host[256];
	uint16_t port;
	int rc = parse_command(
		table, prog,
		"[OPTION ...] [HOST:PORT]\n\n"
		"Waits at HOST:PORT (default: any free port of 127.0.0.1) for a guest, "
		"runs it and checks it.",
		argc, argv, &o, &o.out, &at, 1, &npos);

	if (rc >= 0)
		return rc;
	if (!parse_host_port(prog, at, host, sizeof(host), &port))
		return EXIT_USAGE;
	return run(&o, host, port);
}
