/* SPDX-License-Identifier: BSD-3-Clause */
/* ramferry send: runs built-in guests and moves them, each to an address of its own. */
#include <json-c/json.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/common.h"
#include "tools/control.h"
#include "tools/control_ends.h"
#include "tools/mover.h"

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

/* For the signal handlers; set before they are installed. */
static struct rf_source *running[MOVERS_MAX];
static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
	for (unsigned i = 0; i < MOVERS_MAX; i++)
		if (running[i])
			rf_source_cancel(running[i]);
}

static void on_postcopy(int sig)
{
	(void)sig;
	for (unsigned i = 0; i < MOVERS_MAX; i++)
		if (running[i])
			rf_source_start_postcopy(running[i]);
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

static enum rf_mode mode_of(const struct migration_opts *m)
{
	return !strcmp(m->mode, "hybrid")     ? RF_MODE_HYBRID
	       : !strcmp(m->mode, "postcopy") ? RF_MODE_POSTCOPY
					      : RF_MODE_PRECOPY;
}

static void fill_config(const struct send_opts *o, struct rf_source_cfg *cfg)
{
	*cfg = (struct rf_source_cfg){
		.size = sizeof(*cfg),
		.transport = o->mig.transport,
		.provider = o->mig.provider,
		.bulk_lanes = (unsigned)o->mig.lanes,
		.chunk_size = o->mig.chunk_size,
		.piece_size = (uint32_t)o->mig.piece_size,
		.pin_all = o->mig.pin_all,
		.odp = o->mig.odp,
		.verify = o->mig.verify,
		.free_hints = o->mig.free_hints && o->guest.balloon,
		.release_ram = o->mig.release_ram,
		.downtime_limit = (uint32_t)o->mig.downtime_limit,
		.timeout = (uint32_t)o->mig.timeout,
		.connect_timeout = (uint32_t)o->mig.connect_timeout,
		.link_timeout = (uint32_t)o->mig.link_timeout,
		.mode = mode_of(&o->mig),
		.urgent_lanes = (unsigned)o->mig.urgent_lanes,
		.urgent_window = o->mig.urgent_window ? (uint32_t)o->mig.urgent_window
						      : RF_URGENT_WINDOW_STOP,
		.follow_faults = !strcmp(o->mig.locality, "follow"),
		.postcopy_after = (unsigned)o->mig.postcopy_after,
		.poll_mode = o->mig.poll_mode,
		.poll_cpus = o->mig.poll_cpus,
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

static bool start_control(const struct send_opts *o, struct control_sources *s,
			  struct control **out)
{
	struct control_target target;

	if (!o->out.control)
		return true;
	control_target_sources(&target, s);
	return control_start("ramferry send", o->out.control, &target, out);
}

/* What they got of the bandwidth while all of them wanted some. */
static struct json_object *report_shares(struct mover *m, unsigned n, const struct rf_limiter *l)
{
	struct share_track tracks[MOVERS_MAX];
	double part[MOVERS_MAX];
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	struct shares s;

	for (unsigned i = 0; i < n; i++)
		tracks[i] = m[i].track;
	json_object_object_add(o, "max-bandwidth", json_object_new_uint64(rf_limiter_get(l)));
	if (shares_compute(tracks, n, part, &s)) {
		json_object_object_add(o, "seconds", json_object_new_double(s.seconds));
		json_object_object_add(o, "bandwidth",
				       json_object_new_uint64((uint64_t)s.bandwidth));
		for (unsigned i = 0; i < n; i++)
			json_object_array_add(list, json_object_new_double(part[i]));
	}
	json_object_object_add(o, "shares", list);
	return o;
}

/* One: its report. Several: a list of them, and what they got of the bandwidth. */
static void print_json(struct mover *m, unsigned n, const struct rf_limiter *l)
{
	struct json_object *o, *all;

	if (!l) {
		o = mover_report(m);
	} else {
		o = json_object_new_object();
		all = json_object_new_array();
		for (unsigned i = 0; i < n; i++)
			json_object_array_add(all, mover_report(&m[i]));
		json_object_object_add(o, "migrations", all);
		json_object_object_add(o, "together", report_shares(m, n, l));
	}
	print_json_line(o);
	json_object_put(o);
}

static void print_lines(struct mover *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct rf_stats st = {.size = sizeof(st)};

		rf_source_stats(m[i].src, &st);
		if (st.status == RF_STATE_COMPLETED)
			printf("moved: %s%s%s, total %.0f ms, downtime %.1f ms, %.1f MiB\n",
			       st.transport, st.provider[0] ? ":" : "", st.provider, st.total_time,
			       st.downtime, (double)st.ram.transferred / 1048576);
	}
}

static void *run_mover(void *arg)
{
	mover_run(arg);
	return NULL;
}

/* All at once. True if every one of them arrived. */
static bool run_movers(struct mover *m, unsigned n)
{
	unsigned started;
	bool ok = true;

	for (started = 1; started < n; started++) {
		int err = pthread_create(&m[started].thread, NULL, run_mover, &m[started]);

		if (err) {
			fprintf(stderr, "ramferry send: no thread for another guest: %s\n",
				strerror(err));
			on_signal(0);
			break;
		}
	}
	mover_run(&m[0]);
	for (unsigned i = 1; i < started; i++)
		pthread_join(m[i].thread, NULL);
	for (unsigned i = 0; i < n; i++)
		ok = ok && m[i].rc == EXIT_SUCCESS;
	return ok;
}

static bool open_movers(const struct send_opts *o, struct mover *m, unsigned n,
			struct rf_limiter *l)
{
	struct rf_source_cfg cfg;

	fill_config(o, &cfg);
	fill_policy(&o->mig, &cfg);
	cfg.limiter = l;
	if (l)
		cfg.max_bandwidth = 0; /* it is for all of them together */
	for (unsigned i = 0; i < n; i++) {
		m[i].index = i;
		m[i].run_before = o->run_before;
		m[i].stop = &interrupted;
		progress_init(&m[i].progress, n > 1 ? (int)i : -1);
		if (!mover_open(&m[i], &o->guest, &cfg))
			return false;
		running[i] = m[i].src;
	}
	return true;
}

static int run(const struct send_opts *o, struct mover *m, unsigned n)
{
	struct control_sources controlled = {.sources = running, .n = n};
	struct control *control = NULL;
	struct rf_limiter *limiter = NULL;
	int rc = EXIT_FAILURE;

	/* Without a limit too: they make room for each other's page requests. */
	if (n > 1 && rf_limiter_new(o->mig.max_bandwidth, &limiter) != RF_OK)
		return EXIT_FAILURE;
	controlled.mode = mode_of(&o->mig);
	controlled.limiter = limiter;
	if (open_movers(o, m, n, limiter) && start_control(o, &controlled, &control)) {
		for (unsigned i = 0; i < n; i++)
			m[i].control = control;
		catch_signals();
		if (run_movers(m, n))
			rc = EXIT_SUCCESS;
		if (o->out.json)
			print_json(m, n, limiter);
		else
			print_lines(m, n);
	}
	control_stop(&control);
	for (unsigned i = 0; i < n; i++) {
		running[i] = NULL;
		mover_close(&m[i]);
	}
	rf_limiter_delete(&limiter);
	return rc;
}

static bool parse_address(const char *prog, const char *to, struct mover *m)
{
	if (!parse_host_port(prog, to, m->host, sizeof(m->host), &m->port))
		return false;
	if (m->port)
		return true;
	fprintf(stderr, "%s: port 0 in \"%s\"; give the port the destination prints\n", prog, to);
	return false;
}

int cmd_send(int argc, char **argv)
{
	static const char prog[] = "ramferry send";
	static struct mover movers[MOVERS_MAX];
	struct send_opts o = {0};
	const char *to[MOVERS_MAX];
	unsigned n = 0;
	int rc = parse_command(
		table, prog,
		"[OPTION ...] HOST:PORT ...\n\n"
		"Runs a built-in guest and moves it to 'ramferry receive' at HOST:PORT. With "
		"several\n"
		"addresses: a guest for each, moved at once; --max-bandwidth is for all of them\n"
		"together, each gets an equal share.",
		argc, argv, &o, &o.out, to, MOVERS_MAX, &n);

	if (rc >= 0)
		return rc;
	if (!n) {
		fprintf(stderr, "%s: where to? give HOST:PORT of a 'ramferry receive'\n", prog);
		return EXIT_USAGE;
	}
	for (unsigned i = 0; i < n; i++)
		if (!parse_address(prog, to[i], &movers[i]))
			return EXIT_USAGE;
	return run(&o, movers, n);
}
