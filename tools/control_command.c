/* SPDX-License-Identifier: BSD-3-Clause */
/* ramferry control: one command to a running migration. */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "tools/common.h"
#include "tools/control_client.h"
#include "tools/control_proto.h"

#define MAX_WORDS 16

struct control_opts {
	struct output_opts out;
	const char *migration;
};

static const struct rf_opt table[] = {
	RF_OPT_STRING(struct control_opts, migration, "migration", 0, "N", NULL,
		      "index of the one that is meant; default: every one of the process"),
	OUTPUT_ROWS(struct control_opts),
	RF_OPT_END,
};

static char usage[1536];

/* The commands and settings as the protocol has them. */
static void make_usage(void)
{
	const char *name, *doc;
	int n = snprintf(usage, sizeof(usage),
			 "[OPTION ...] PATH COMMAND [NAME=VALUE ...]\n\n"
			 "Tells the process that was started with --control PATH to do something "
			 "now.\n\nCommands:\n");

	for (int i = 0; (doc = control_command_doc((enum control_command)i, &name)); i++)
		n += snprintf(usage + n, sizeof(usage) - (size_t)n, "  %-10s %s\n", name, doc);
	n += snprintf(usage + n, sizeof(usage) - (size_t)n, "\nSettings:\n ");
	for (int i = 0; i < CONTROL_PARAMETERS; i++)
		n += snprintf(usage + n, sizeof(usage) - (size_t)n, " %s",
			      control_parameter_name((enum control_parameter)i));
	snprintf(usage + n, sizeof(usage) - (size_t)n,
		 "\n\nExample: ramferry control /run/move.sock set max-bandwidth=100M");
}

/* NAME=VALUE; the process judges what is in it. */
static bool add_argument(struct json_object *args, const char *word)
{
	const char *eq = strchr(word, '=');
	char name[64];

	if (!eq || eq == word || (size_t)(eq - word) >= sizeof(name)) {
		fprintf(stderr, "ramferry control: \"%s\" is no NAME=VALUE\n", word);
		return false;
	}
	snprintf(name, sizeof(name), "%.*s", (int)(eq - word), word);
	json_object_object_add(args, name, json_object_new_string(eq + 1));
	return true;
}

/* -1, which no migration has, for what is no number. */
static int64_t to_index(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	return text[0] >= '0' && text[0] <= '9' && !*end && n <= INT32_MAX ? (int64_t)n : -1;
}

/* Events as they come, until the process ends. */
static void print_events(struct control_client *c)
{
	struct json_object *o;
	bool end = false;

	while (!end) {
		o = control_client_next(c, -1, &end);
		if (o && json_object_object_get_ex(o, "event", NULL))
			print_json_line(o);
		json_object_put(o);
	}
}

static int run(const struct control_opts *o, const char *path, const char *command,
	       struct json_object *args)
{
	struct control_client c;
	struct json_object *ret;
	bool ok;

	if (!control_client_open(&c, "ramferry control", path)) {
		json_object_put(args);
		return EXIT_FAILURE;
	}
	ret = control_client_ask(&c, command, args);
	ok = ret != NULL;
	if (ok && (o->out.json || !strcmp(command, "status")))
		print_json_line(ret);
	json_object_put(ret);
	if (ok && !strcmp(command, "events"))
		print_events(&c);
	control_client_close(&c);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int cmd_control(int argc, char **argv)
{
	static const char prog[] = "ramferry control";
	const char *words[MAX_WORDS] = {0};
	struct control_opts o = {0};
	struct json_object *args;
	unsigned n = 0;
	int rc;

	make_usage();
	rc = parse_command(table, prog, usage, argc, argv, &o, &o.out, words, MAX_WORDS, &n);
	if (rc >= 0)
		return rc;
	if (n < 2) {
		fprintf(stderr,
			"%s: give the PATH of a control socket and a COMMAND; see "
			"'ramferry control --help'\n",
			prog);
		return EXIT_USAGE;
	}
	args = json_object_new_object();
	for (unsigned i = 2; i < n; i++) {
		if (!add_argument(args, words[i])) {
			json_object_put(args);
			return EXIT_USAGE;
		}
	}
	if (o.migration)
		json_object_object_add(args, "migration",
				       json_object_new_int64(to_index(o.migration)));
	return run(&o, words[0], words[1], args);
}
