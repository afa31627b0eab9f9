/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "common/wire.h"
#include "tools/common.h"

static int cmd_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("ramferry %s (wire protocol %d.%d)\n", rf_version(), RF_WIRE_MAJOR, RF_WIRE_MINOR);
	return 0;
}

static int cmd_help(int argc, char **argv);

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *doc;
} commands[] = {
	{"demo", cmd_demo, "move a self-checking guest between two processes of this host"},
	{"send", cmd_send, "run a built-in guest and move it to a destination"},
	{"receive", cmd_receive, "wait for a guest and run it"},
	{"snapshot", cmd_snapshot, "save a guest to a file or another host while it runs on"},
	{"restore", cmd_restore, "run a guest from such a file"},
	{"status", cmd_status, "show a migration while it runs (--control PATH)"},
	{"control", cmd_control, "steer it: cancel, postcopy, set"},
	{"doctor", cmd_doctor, "say what this host can do, and what to change"},
	{"version", cmd_version, "print the version"},
	{"help", cmd_help, "print this help"},
};

static void print_help(FILE *f)
{
	fprintf(f, "Usage: ramferry COMMAND [OPTION ...]\n\n"
		   "Moves the memory of a running guest to another host.\n\nCommands:\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].doc);
	fprintf(f, "\n'ramferry COMMAND --help' lists the options of a command.\n");
}

static int cmd_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	print_help(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	/* libfabric's sockets sleep at once; the library cannot set this, others may read the
	 * environment meanwhile (docs/architecture.md, Transport). */
	setenv("FI_SOCKETS_PE_WAITTIME", "0", 0);
	/* What the demo starts would be listed as "exe", after the link it is started by. */
	prctl(PR_SET_NAME, "ramferry");
	if (!name) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(name, "--help") || !strcmp(name, "-h"))
		name = "help";
	if (!strcmp(name, "--version") || !strcmp(name, "-V"))
		name = "version";
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(name, commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "ramferry: unknown command \"%s\"; see 'ramferry help'\n", name);
	return EXIT_USAGE;
}
