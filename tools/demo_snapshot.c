/* SPDX-License-Identifier: BSD-3-Clause */
/* ramferry demo --snapshot: takes a snapshot of a running guest, and runs it from the file twice.
 */
#include "tools/demo_snapshot.h"

#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS 24

struct step {
	char *argv[ARGS + 1];
	int n;
	struct json_object *report;
	bool done; /* it ended well */
};

static volatile sig_atomic_t interrupted, child;

static void on_signal(int sig)
{
	interrupted = 1;
	if (child > 0)
		kill((pid_t)child, sig);
}

static void add(struct step *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct step *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (s->n < ARGS && vasprintf(&s->argv[s->n], fmt, ap) >= 0)
		s->n++;
	va_end(ap);
	s->argv[s->n] = NULL;
}

static void begin_step(struct step *s, const char *command, const char *log_level)
{
	*s = (struct step){0};
	add(s, "ramferry");
	add(s, "%s", command);
	add(s, "--json");
	add(s, "--log-level=%s", log_level);
}

static void end_step(struct step *s)
{
	for (int i = 0; i < s->n; i++)
		free(s->argv[i]);
	json_object_put(s->report);
}

/* It dies with us, whatever kills us. */
static void exec_self(const struct step *s, int out, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	dup2(out, STDOUT_FILENO);
	execv("/proc/self/exe", s->argv);
	fprintf(stderr, "ramferry demo: cannot start myself: %s\n", strerror(errno));
	_exit(127);
}

static void read_report(struct step *s, FILE *f)
{
	char *line = NULL;
	size_t cap = 0;

	while (getline(&line, &cap, f) > 0) {
		json_object_put(s->report);
		s->report = line[0] == '{' ? json_tokener_parse(line) : NULL;
	}
	free(line);
}

static bool run_step(struct step *s)
{
	pid_t parent = getpid(), pid;
	int p[2], status = -1;
	FILE *f;

	if (interrupted || pipe(p) < 0)
		return false;
	pid = fork();
	if (pid == 0)
		exec_self(s, p[1], parent);
	child = pid;
	if (interrupted)
		on_signal(SIGTERM);
	close(p[1]);
	f = fdopen(p[0], "r");
	if (f && pid > 0)
		read_report(s, f);
	if (f)
		fclose(f);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	child = 0;
	s->done = pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 && s->report;
	return s->done;
}

static double number(struct json_object *j, const char *group, const char *name)
{
	struct json_object *g, *v;

	if (!json_object_object_get_ex(j, group, &g) || !json_object_object_get_ex(g, name, &v))
		return 0;
	return json_object_get_double(v);
}

static void print_story(const struct step *take, const struct step *eager, const struct step *lazy)
{
	if (take->done)
		printf("snapshot: %.1f MiB in %.0f ms, the guest stood still for %.1f ms, %.0f "
		       "writes waited (p99 %.0f us); equal to a copy taken in the pause\n",
		       number(take->report, "snapshot", "bytes-written") / 1048576,
		       number(take->report, "snapshot", "total-time"),
		       number(take->report, "snapshot", "pause-time"),
		       number(take->report, "snapshot", "write-faults"),
		       number(take->report, "snapshot", "write-fault-latency-p99"));
	if (eager->done)
		printf("restored: the guest ran after %.0f ms\n",
		       number(eager->report, "restore", "start-time"));
	if (lazy->done)
		printf("restored lazily: it ran after %.0f ms, and had its memory after %.0f ms\n",
		       number(lazy->report, "restore", "start-time"),
		       number(lazy->report, "restore", "total-time"));
	printf("verified: %s\n", take->done && eager->done && lazy->done ? "true" : "false");
}

static void print_all(struct step *take, struct step *eager, struct step *lazy)
{
	struct json_object *j = json_object_new_object();

	json_object_object_add(j, "verified",
			       json_object_new_boolean(take->done && eager->done && lazy->done));
	json_object_object_add(j, "snapshot", json_object_get(take->report));
	json_object_object_add(j, "eager", json_object_get(eager->report));
	json_object_object_add(j, "lazy", json_object_get(lazy->report));
	print_json_line(j);
	json_object_put(j);
}

static void take_args(struct step *s, const struct demo_snapshot *d, const char *path)
{
	const struct guest_opts *g = d->guest;

	begin_step(s, "snapshot", d->log_level);
	add(s, "--verify");
	add(s, "--to=%s", path);
	add(s, "--guest=%s", g->kind);
	add(s, "--memory=%llu", (unsigned long long)g->memory);
	add(s, "--page-size=%s", g->page_size);
	add(s, "--vcpus=%llu", (unsigned long long)g->vcpus);
	add(s, "--working-set=%llu", (unsigned long long)g->working_set);
	add(s, "--dirty-rate=%llu", (unsigned long long)g->dirty_rate);
	add(s, "--fill=%llu", (unsigned long long)g->fill);
	add(s, "--pattern=%s", g->pattern);
	add(s, "--seed=%llu", (unsigned long long)g->seed);
	add(s, "--run-before=%llums", (unsigned long long)d->run_before);
	add(s, "--run-after=%llums", (unsigned long long)d->run_after);
	add(s, "--max-bandwidth=%llu", (unsigned long long)d->max_bandwidth);
}

int demo_snapshot(const struct demo_snapshot *d)
{
	const struct sigaction sa = {.sa_handler = on_signal};
	const char *tmp = getenv("TMPDIR");
	struct step take = {0}, eager = {0}, lazy = {0};
	char dir[4096], path[4128];
	bool good;

	snprintf(dir, sizeof(dir), "%s/ramferry-demo-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
	if (!mkdtemp(dir)) {
		fprintf(stderr, "ramferry demo: %s: %s\n", dir, strerror(errno));
		return EXIT_FAILURE;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	snprintf(path, sizeof(path), "%s/snapshot", dir);
	take_args(&take, d, path);
	begin_step(&eager, "restore", d->log_level);
	add(&eager, "--run-after=%llums", (unsigned long long)d->run_after);
	add(&eager, "%s", path);
	begin_step(&lazy, "restore", d->log_level);
	add(&lazy, "--lazy");
	add(&lazy, "--run-after=%llums", (unsigned long long)d->run_after);
	add(&lazy, "%s", path);
	good = run_step(&take) && run_step(&eager) && run_step(&lazy);
	print_story(&take, &eager, &lazy);
	if (d->json)
		print_all(&take, &eager, &lazy);
	end_step(&take);
	end_step(&eager);
	end_step(&lazy);
	unlink(path);
	rmdir(dir);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
