/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ramferry/err.h>
#include <ramferry/log.h>

#include "common/size.h"

#define WANT_BEGIN offsetof(struct bench_opts, want)
#define WANT_END   (WANT_BEGIN + sizeof(struct bench_params))

/* Where a row's value is in bench_params; NULL for rows of something else. */
static const void *value_of(const struct rf_opt *row, const struct bench_params *p)
{
	if (row->type == RF_OPT_TYPE_GROUP || row->offset < WANT_BEGIN || row->offset >= WANT_END)
		return NULL;
	return (const char *)p + (row->offset - WANT_BEGIN);
}

static uint64_t number_of(const struct rf_opt *row, const void *value)
{
	uint64_t n;

	if (row->type == RF_OPT_TYPE_BOOL)
		return *(const bool *)value;
	memcpy(&n, value, sizeof(n));
	return n;
}

void options_put(const struct rf_opt *table, const struct bench_params *p, struct msg *m)
{
	for (const struct rf_opt *row = table; row->type != RF_OPT_TYPE_END; row++) {
		const void *v = value_of(row, p);

		if (v)
			msg_put_u64(m, number_of(row, v));
	}
}

void options_get(const struct rf_opt *table, struct bench_params *p, struct msg *m)
{
	for (const struct rf_opt *row = table; row->type != RF_OPT_TYPE_END; row++) {
		void *v = (void *)value_of(row, p);
		uint64_t n;

		if (!v)
			continue;
		n = msg_get_u64(m);
		if (n < row->min || (row->max && n > row->max))
			m->bad = true;
		else if (row->type == RF_OPT_TYPE_BOOL)
			*(bool *)v = n != 0;
		else
			memcpy(v, &n, sizeof(n));
	}
}

static void show(const struct rf_opt *row, uint64_t n, char text[32])
{
	if (row->type == RF_OPT_TYPE_BOOL)
		snprintf(text, 32, "%s", n ? "yes" : "no");
	else if (row->type == RF_OPT_TYPE_SIZE)
		rf_size_format(n, text, 32);
	else
		snprintf(text, 32, "%" PRIu64 "%s", n,
			 row->type == RF_OPT_TYPE_DURATION ? "ms" : "");
}

const char *options_conflict(const struct rf_opt *table, const struct bench_params *mine,
			     const struct bench_params *theirs, char texts[2][32])
{
	char *none[] = {(char *)"", NULL};
	struct bench_opts defaults = {0};
	unsigned npos;

	if (rf_opts_parse(table, "", 1, none, &defaults, NULL, 0, &npos, NULL))
		return NULL;
	for (const struct rf_opt *row = table; row->type != RF_OPT_TYPE_END; row++) {
		const void *v = value_of(row, mine);
		uint64_t m, t;

		if (!v)
			continue;
		m = number_of(row, v);
		t = number_of(row, value_of(row, theirs));
		if (m == t || m == number_of(row, value_of(row, &defaults.want)))
			continue;
		show(row, m, texts[0]);
		show(row, t, texts[1]);
		return row->name;
	}
	return NULL;
}

static bool asks_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

static int refuse(const char *prog, const char *words)
{
	fprintf(stderr, "%s: %s\n", prog, words);
	return EXIT_USAGE;
}

/* What the rows cannot say. */
static int check(const char *prog, const struct bench_opts *o)
{
	bool mem = !strcmp(o->transport, "mem");

	if (o->host && !o->host[0])
		return refuse(prog, "the host to connect to is empty");
	if (mem && o->host)
		return refuse(prog, "--transport mem has both sides in this process: give no host");
	if (mem && o->want.raw)
		return refuse(prog, "--raw is a loop over libfabric: --transport mem has none");
	if (o->odp && o->want.raw)
		return refuse(prog, "--raw is a plain loop over libfabric: --odp is not for it");
	if (!strcmp(o->transport, "verbs") && o->want.raw)
		return refuse(prog, "--raw is a loop over libfabric: compare --transport verbs "
				    "with ib_write_bw or ib_write_lat");
	if (o->provider && strcmp(o->transport, "ofi") && strcmp(o->transport, "auto"))
		return refuse(prog, "--provider goes with --transport ofi");
	if (o->gid_index && strspn(o->gid_index, "0123456789") != strlen(o->gid_index))
		return refuse(prog, "--gid-index is a number");
	return -1;
}

int options_parse(const struct rf_opt *table, const char *prog, const char *purpose, int argc,
		  char **argv, struct bench_opts *o)
{
	enum rf_log_level level;
	unsigned npos;

	if (asks_help(argc, argv)) {
		printf("Usage: %s [OPTION ...]        server: waits for one client\n"
		       "       %s [OPTION ...] HOST   client: measures, and prints\n\n%s\n\n",
		       prog, prog, purpose);
		rf_opts_help(table, stdout);
		return 0;
	}
	o->host = NULL;
	if (rf_opts_parse(table, prog, argc, argv, o, &o->host, 1, &npos, stderr) != RF_OK)
		return EXIT_USAGE;
	if (!npos)
		o->host = NULL;
	if (rf_log_level_parse(o->log_level, &level) == RF_OK)
		rf_log_set_level(level);
	return check(prog, o);
}
