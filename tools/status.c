/* SPDX-License-Identifier: BSD-3-Clause */
/* ramferry status: what a migration is doing, once or until it is over. */
#include <json-c/json.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/clock.h"
#include "tools/common.h"
#include "tools/control_client.h"
#include "tools/status_view.h"

struct status_opts {
	struct output_opts out;
	bool watch;
	uint64_t interval;
};

static const struct rf_opt table[] = {
	RF_OPT_BOOL(struct status_opts, watch, "watch", 'w', "no",
		    "go on until every migration of the process is over"),
	RF_OPT_DURATION(struct status_opts, interval, "interval", 'i', "TIME", "500ms",
			"how often, besides each change of state (a bare number: s)", 1000,
			.min = 10, .max = 3600000),
	RF_OPT_BOOL(struct status_opts, out.json, "json", 'j', "no",
		    "print the answer itself, a line each time"),
	RF_OPT_CHOICE(struct status_opts, out.log_level, "log-level", 0,
		      "none|error|warn|info|debug|trace", "warn", "how much is told on stderr"),
	RF_OPT_BOOL(struct status_opts, out.help, "help", 'h', "no", "print this help"),
	RF_OPT_END,
};

/* How it is shown, and what stands on the terminal. */
struct screen {
	bool json, tty;
	bool block; /* all of it, not a line */
	unsigned lines;
	struct status_view view;
};

/* A line that is wider than the terminal would be two, and spoil the way back up. */
static unsigned print_cut(const char *text)
{
	struct winsize w = {0};
	size_t width = ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
	unsigned lines = 0;

	while (*text) {
		size_t len = strcspn(text, "\n");

		printf("%.*s\n", (int)(len < width ? len : width - 1), text);
		lines++;
		text += len + (text[len] == '\n');
	}
	return lines;
}

static void show(struct screen *s, struct json_object *status)
{
	char *text;

	if (s->json) {
		print_json_line(status);
		return;
	}
	status_view_sample(&s->view, status);
	text = s->block ? status_view_block(&s->view, status) : status_view_line(&s->view, status);
	if (!text)
		return;
	if (s->tty && s->lines)
		printf("\033[%uA\033[J", s->lines);
	if (s->tty)
		s->lines = print_cut(text);
	else
		fputs(text, stdout);
	fflush(stdout);
	free(text);
}

/* The last event of a migration has its statistics: they replace what was known of it. */
static void take_event(struct json_object *event, struct json_object **status)
{
	struct json_object *data = json_object_object_get(event, "data"), *all, *one, *index;

	if (!*status || !json_object_object_get_ex(data, "statistics", &one) ||
	    !json_object_object_get_ex(data, "migration", &index) ||
	    !json_object_object_get_ex(*status, "migrations", &all))
		return;
	for (size_t i = 0; i < json_object_array_length(all); i++) {
		struct json_object *old = json_object_array_get_idx(all, i);

		if (json_object_get_int64(json_object_object_get(old, "migration")) !=
		    json_object_get_int64(index))
			continue;
		json_object_object_add(one, "migration", json_object_get(index));
		json_object_array_put_idx(all, i, json_object_get(one));
	}
}

/* Takes what comes until the interval is over or a state changed. False: nothing comes any more. */
static bool wait_for_news(struct control_client *c, uint64_t until_ns, struct json_object **status)
{
	bool end = false, changed = false;
	int left;

	while (!changed && (left = rf_ms_left(&rf_clock_monotonic, until_ns)) > 0) {
		struct json_object *o = control_client_next(c, left, &end), *event;

		if (end)
			return false;
		if (o && json_object_object_get_ex(o, "event", &event)) {
			changed = !strcmp(json_object_get_string(event), "MIGRATION");
			take_event(o, status);
		}
		json_object_put(o);
	}
	return true;
}

/* An answer to `status`; events that come before it are taken too. NULL: nothing comes any more. */
static struct json_object *ask_status(struct control_client *c, struct json_object **last)
{
	struct json_object *o, *ret;
	bool end = false;

	if (!control_client_send(c, "status", NULL))
		return NULL;
	while ((o = control_client_next(c, 10000, &end))) {
		if (json_object_object_get_ex(o, "return", &ret)) {
			json_object_get(ret);
			json_object_put(o);
			return ret;
		}
		if (json_object_object_get_ex(o, "event", NULL))
			take_event(o, last);
		json_object_put(o);
	}
	return NULL;
}

static int watch(const struct status_opts *o, struct control_client *c, struct screen *s)
{
	struct json_object *status = control_client_ask(c, "events", NULL), *next;
	bool completed = false, over = false;

	if (!status)
		return EXIT_FAILURE;
	json_object_put(status);
	status = control_client_ask(c, "status", NULL);
	while (status) {
		uint64_t until = rf_now_ns(&rf_clock_monotonic) + o->interval * RF_NS_PER_MS;

		show(s, status);
		over = status_view_over(status, &completed);
		if (over || !wait_for_news(c, until, &status))
			break;
		next = ask_status(c, &status);
		if (!next)
			break;
		json_object_put(status);
		status = next;
	}
	/* The process may have ended right behind its last event. */
	if (status && !over) {
		over = status_view_over(status, &completed);
		show(s, status);
		if (!over)
			fprintf(stderr, "%s: %s: the process ended\n", c->prog, c->path);
	}
	json_object_put(status);
	return over && completed ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int show_once(struct control_client *c, struct screen *s)
{
	struct json_object *status = control_client_ask(c, "status", NULL);

	if (!status)
		return EXIT_FAILURE;
	s->block = true;
	show(s, status);
	json_object_put(status);
	return EXIT_SUCCESS;
}

int cmd_status(int argc, char **argv)
{
	static const char prog[] = "ramferry status";
	struct status_opts o = {0};
	struct screen s = {.tty = isatty(STDOUT_FILENO)};
	struct control_client c;
	const char *path = NULL;
	unsigned npos = 0;
	int rc = parse_command(
		table, prog,
		"[OPTION ...] PATH\n\n"
		"Shows the migrations of the process that was started with --control PATH.\n"
		"With --watch: on a terminal a picture that is kept up to date, elsewhere a line\n"
		"each time; exit code 0 if all of them completed.",
		argc, argv, &o, &o.out, &path, 1, &npos);

	if (rc >= 0)
		return rc;
	if (!npos) {
		fprintf(stderr, "%s: give the PATH of a control socket\n", prog);
		return EXIT_USAGE;
	}
	if (!control_client_open(&c, prog, path))
		return EXIT_FAILURE;
	s.json = o.out.json;
	s.block = s.tty;
	rc = o.watch ? watch(&o, &c, &s) : show_once(&c, &s);
	control_client_close(&c);
	return rc;
}
