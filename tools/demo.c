/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ramferry demo: starts 'receive' and 'send' as processes of their own on loopback, moves a
 * self-checking guest and puts both reports together.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/common.h"
#include "tools/demo_report.h"
#include "tools/demo_snapshot.h"
#include "tools/mover.h"

struct demo_opts {
	struct guest_opts guest;
	struct migration_opts mig;
	struct output_opts out;
	const char *host, *placement;
	uint64_t run_before, run_after, migrations;
	bool snapshot;
};

/* Options are handed to the two commands by name: these are for the source only. */
static const struct rf_opt table[] = {
	GUEST_ROWS(struct demo_opts),
	PROGRAM_ROWS(struct demo_opts),
	PLACEMENT_ROW(struct demo_opts),
	RF_OPT_DURATION(struct demo_opts, run_before, "run-before", 0, "TIME", "300ms",
			"how long the guest runs before it is moved", 1000),
	RF_OPT_DURATION(struct demo_opts, run_after, "run-after", 0, "TIME", "500ms",
			"how long it runs afterwards before it is checked", 1000),
	RF_OPT_UINT(struct demo_opts, migrations, "migrations", 'n', "N", "1",
		    "guests, moved at once; --max-bandwidth is for all of them together", .min = 1,
		    .max = MOVERS_MAX),
	RF_OPT_BOOL(
		struct demo_opts, snapshot, "snapshot", 0, "no",
		"do not move the guest: write it to a file while it runs, and run it from there; "
		"of what follows only --max-bandwidth counts"),
	LINK_ROWS(struct demo_opts),
	RF_OPT_STRING(struct demo_opts, host, "host", 0, "ADDRESS", "127.0.0.1",
		      "address the destination listens on"),
	MIGRATION_ROWS(struct demo_opts, "yes"),
	CONVERGENCE_ROWS(struct demo_opts),
	POSTCOPY_ROWS(struct demo_opts),
	CONTROL_ROWS(struct demo_opts,
		     "socket of the source for 'ramferry status' and 'ramferry control'; the "
		     "destination's is PATH.dest"),
	OUTPUT_ROWS(struct demo_opts),
	RF_OPT_END,
};

/* A child and the pipe from its stdout. */
struct child {
	const char *name;
	pid_t pid;
	FILE *out;
	int status;
};

static volatile sig_atomic_t interrupted;
static volatile sig_atomic_t child_pids[2];

static void on_signal(int sig)
{
	interrupted = 1;
	for (int i = 0; i < 2; i++)
		if (child_pids[i] > 0)
			kill((pid_t)child_pids[i], sig);
}

#define MAX_ARGS (95 + MOVERS_MAX)

struct args {
	char *v[MAX_ARGS + 1];
	int n;
};

static void add(struct args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct args *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (a->n < MAX_ARGS && vasprintf(&a->v[a->n], fmt, ap) >= 0)
		a->n++;
	va_end(ap);
	a->v[a->n] = NULL;
}

static void free_args(struct args *a)
{
	for (int i = 0; i < a->n; i++)
		free(a->v[i]);
}

static void add_shared(struct args *a, const struct demo_opts *o, const char *command)
{
	add(a, "ramferry");
	add(a, "%s", command);
	add(a, "--json");
	add(a, "--log-level=%s", o->out.log_level);
	add(a, "--guest=%s", o->guest.kind);
	add(a, "--memory=%llu", (unsigned long long)o->guest.memory);
	add(a, "--page-size=%s", o->guest.page_size);
	add(a, "--vcpus=%llu", (unsigned long long)o->guest.vcpus);
	add(a, "--transport=%s", o->mig.transport);
	add(a, "--poll-mode=%s", o->mig.poll_mode);
	if (o->mig.poll_cpus)
		add(a, "--poll-cpus=%s", o->mig.poll_cpus);
	add(a, o->mig.odp ? "--odp" : "--no-odp");
	if (o->mig.provider)
		add(a, "--provider=%s", o->mig.provider);
	add(a, "--connect-timeout=%llums", (unsigned long long)o->mig.connect_timeout);
	add(a, "--link-timeout=%llums", (unsigned long long)o->mig.link_timeout);
}

static void receive_args(struct args *a, const struct demo_opts *o)
{
	add_shared(a, o, "receive");
	if (o->out.control)
		add(a, "--control=%s.dest", o->out.control);
	add(a, "--migrations=%llu", (unsigned long long)o->migrations);
	add(a, "--run-after=%llums", (unsigned long long)o->run_after);
	add(a, "--placement=%s", o->placement);
	add(a, "%s%s%s:0", strchr(o->host, ':') ? "[" : "", o->host,
	    strchr(o->host, ':') ? "]" : "");
}

static void policy_args(struct args *a, const struct migration_opts *m)
{
	add(a, "--max-bandwidth=%llu", (unsigned long long)m->max_bandwidth);
	add(a, "--avail-switchover-bandwidth=%llu",
	    (unsigned long long)m->avail_switchover_bandwidth);
	add(a, "--max-postcopy-bandwidth=%llu", (unsigned long long)m->max_postcopy_bandwidth);
	add(a, "--timeout-action=%s", m->timeout_action);
	add(a, m->auto_converge ? "--auto-converge" : "--no-auto-converge");
	add(a, "--cpu-throttle-initial=%llu", (unsigned long long)m->cpu_throttle_initial);
	add(a, "--cpu-throttle-increment=%llu", (unsigned long long)m->cpu_throttle_increment);
	add(a, "--max-cpu-throttle=%llu", (unsigned long long)m->max_cpu_throttle);
	add(a, m->cpu_throttle_tailslow ? "--cpu-throttle-tailslow" : "--no-cpu-throttle-tailslow");
	add(a, m->background_sync ? "--background-sync" : "--no-background-sync");
	add(a, "--sync-interval=%llums", (unsigned long long)m->sync_interval);
	add(a, m->defer_hot ? "--defer-hot" : "--no-defer-hot");
}

static void send_args(struct args *a, const struct demo_opts *o, const unsigned *ports)
{
	add_shared(a, o, "send");
	if (o->out.control)
		add(a, "--control=%s", o->out.control);
	add(a, "--working-set=%llu", (unsigned long long)o->guest.working_set);
	add(a, "--dirty-rate=%llu", (unsigned long long)o->guest.dirty_rate);
	add(a, "--balloon=%llu", (unsigned long long)o->guest.balloon);
	add(a, "--free-fraction=%llu", (unsigned long long)o->guest.free_fraction);
	add(a, o->mig.free_hints ? "--free-hints" : "--no-free-hints");
	add(a, "--fill=%llu", (unsigned long long)o->guest.fill);
	add(a, "--hot=%llu", (unsigned long long)o->guest.hot);
	add(a, "--pattern=%s", o->guest.pattern);
	add(a, "--seed=%llu", (unsigned long long)o->guest.seed);
	add(a, "--tracker=%s", o->guest.tracker);
	add(a, "--run-before=%llums", (unsigned long long)o->run_before);
	add(a, "--lanes=%llu", (unsigned long long)o->mig.lanes);
	add(a, "--chunk-size=%llu", (unsigned long long)o->mig.chunk_size);
	add(a, "--piece-size=%llu", (unsigned long long)o->mig.piece_size);
	add(a, "--downtime-limit=%llums", (unsigned long long)o->mig.downtime_limit);
	add(a, "--timeout=%llums", (unsigned long long)o->mig.timeout);
	add(a, "--mode=%s", o->mig.mode);
	add(a, "--postcopy-after=%llu", (unsigned long long)o->mig.postcopy_after);
	add(a, "--urgent-lanes=%llu", (unsigned long long)o->mig.urgent_lanes);
	add(a, "--urgent-window=%llu", (unsigned long long)o->mig.urgent_window);
	add(a, "--locality=%s", o->mig.locality);
	add(a, o->mig.release_ram ? "--release-ram" : "--no-release-ram");
	policy_args(a, &o->mig);
	add(a, o->mig.pin_all ? "--pin-all" : "--no-pin-all");
	add(a, o->mig.verify ? "--verify" : "--no-verify");
	for (unsigned i = 0; i < o->migrations; i++)
		add(a, "%s%s%s:%u", strchr(o->host, ':') ? "[" : "", o->host,
		    strchr(o->host, ':') ? "]" : "", ports[i]);
}

/* Both children die with us, whatever kills us. */
static void exec_child(struct args *a, int out, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	dup2(out, STDOUT_FILENO);
	execv("/proc/self/exe", a->v);
	fprintf(stderr, "ramferry demo: cannot start myself: %s\n", strerror(errno));
	_exit(127);
}

static bool start_child(struct child *c, struct args *a, int slot)
{
	pid_t parent = getpid();
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0) {
		fprintf(stderr, "ramferry demo: pipe: %s\n", strerror(errno));
		return false;
	}
	c->pid = fork();
	if (c->pid == 0)
		exec_child(a, p[1], parent);
	close(p[1]);
	c->out = c->pid > 0 ? fdopen(p[0], "r") : NULL;
	if (!c->out) {
		fprintf(stderr, "ramferry demo: %s cannot be started: %s\n", c->name,
			strerror(errno));
		close(p[0]);
		return false;
	}
	child_pids[slot] = c->pid;
	return true;
}

/* The last line a child prints is its report. */
static struct json_object *read_report(struct child *c)
{
	struct json_object *report = NULL;
	char *line = NULL;
	size_t cap = 0;

	while (c->out && getline(&line, &cap, c->out) > 0) {
		struct json_object *j = line[0] == '{' ? json_tokener_parse(line) : NULL;

		if (!j)
			continue;
		json_object_put(report);
		report = j;
	}
	free(line);
	return report;
}

static void end_child(struct child *c, int slot, bool terminate)
{
	if (c->pid > 0 && terminate)
		kill(c->pid, SIGTERM);
	if (c->pid > 0)
		while (waitpid(c->pid, &c->status, 0) < 0 && errno == EINTR)
			;
	child_pids[slot] = 0;
	if (c->out)
		fclose(c->out);
	c->pid = 0;
	c->out = NULL;
}

static bool read_port(struct child *c, unsigned *port)
{
	char line[512];

	while (fgets(line, sizeof(line), c->out)) {
		const char *p = strstr(line, " port ");

		if (!strncmp(line, "listening on ", 13) && p && sscanf(p, " port %u", port) == 1)
			return true;
	}
	return false;
}

static bool read_ports(const struct demo_opts *o, struct child *c, unsigned *ports)
{
	for (unsigned i = 0; i < o->migrations; i++)
		if (!read_port(c, &ports[i]))
			return false;
	return true;
}

/* One that exits with an error has said why itself. */
static void tell_end(const struct child *c)
{
	if (WIFSIGNALED(c->status))
		fprintf(stderr, "ramferry demo: %s was ended by signal %d (%s)\n", c->name,
			WTERMSIG(c->status), strsignal(WTERMSIG(c->status)));
	else if (c->status == 0)
		fprintf(stderr, "ramferry demo: %s ended without a report\n", c->name);
}

static int report(const struct demo_opts *o, const struct child *tx, struct json_object *s,
		  struct json_object *r)
{
	bool verified;

	if (!s) {
		tell_end(tx);
		return EXIT_FAILURE;
	}
	verified = demo_report(o->mig.verify, s, r);
	if (o->out.json)
		print_json_line(s);
	return verified ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run(const struct demo_opts *o)
{
	struct child rx = {.name = "receive"}, tx = {.name = "send"};
	struct args rx_args = {0}, tx_args = {0};
	struct json_object *s = NULL, *r = NULL;
	int rc = EXIT_FAILURE;
	unsigned ports[MOVERS_MAX];

	receive_args(&rx_args, o);
	if (!start_child(&rx, &rx_args, 0))
		goto free_args;
	if (!read_ports(o, &rx, ports)) {
		end_child(&rx, 0, false);
		tell_end(&rx);
		goto free_args;
	}
	send_args(&tx_args, o, ports);
	if (!interrupted && start_child(&tx, &tx_args, 1)) {
		s = read_report(&tx);
		end_child(&tx, 1, false);
	}
	/* A source that failed before it connected leaves the destination waiting. */
	if (tx.status != 0 && rx.pid > 0)
		kill(rx.pid, SIGTERM);
	r = read_report(&rx);
	end_child(&rx, 0, false);
	rc = report(o, &tx, s, r);
	json_object_put(s);
	json_object_put(r);
free_args:
	free_args(&rx_args);
	free_args(&tx_args);
	return rc;
}

static int run_snapshot(const struct demo_opts *o)
{
	const struct demo_snapshot d = {
		.guest = &o->guest,
		.log_level = o->out.log_level,
		.run_before = o->run_before,
		.run_after = o->run_after,
		.max_bandwidth = o->mig.max_bandwidth,
		.json = o->out.json,
	};

	return demo_snapshot(&d);
}

int cmd_demo(int argc, char **argv)
{
	static const char prog[] = "ramferry demo";
	struct sigaction sa = {.sa_handler = on_signal};
	struct demo_opts o = {0};
	unsigned npos = 0;
	int rc = parse_command(
		table, prog,
		"[OPTION ...]\n\n"
		"Moves a guest that checks its own memory from one process to another "
		"and proves that not a byte went wrong.",
		argc, argv, &o, &o.out, NULL, 0, &npos);

	if (rc >= 0)
		return rc;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	return o.snapshot ? run_snapshot(&o) : run(&o);
}
