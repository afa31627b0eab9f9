/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include "common/opts.h"

struct cfg {
	uint64_t memory, lanes, limit;
	bool verify, pin;
	const char *kind, *host;
};

static const struct rf_opt table[] = {
	RF_OPT_GROUP("Guest"),
	RF_OPT_SIZE(struct cfg, memory, "memory", 'm', "SIZE", "256M", "guest memory", .min = 4096),
	RF_OPT_CHOICE(struct cfg, kind, "kind", 'k', "auto|kvm|threads", "auto", "kind of guest"),
	RF_OPT_GROUP("Migration"),
	RF_OPT_UINT(struct cfg, lanes, "lanes", 0, "N", "1", "bulk lanes", .min = 1, .max = 16),
	RF_OPT_DURATION(struct cfg, limit, "downtime-limit", 'd', "TIME", "300ms",
			"longest standstill", 1000, .max = 60000),
	RF_OPT_BOOL(struct cfg, verify, "verify", 'v', NULL, "compare memory"),
	RF_OPT_BOOL(struct cfg, pin, "pin-all", 0, "yes", "register all memory"),
	RF_OPT_STRING(struct cfg, host, "host", 0, "HOST", NULL, "where to"),
	RF_OPT_END,
};

/* What a parsing gave. */
struct outcome {
	struct cfg cfg;
	const char *pos[3];
	unsigned npos;
	char err[512];
	int rc;
};

/* line: the arguments with blanks between them, kept in words[] until the next call. */
static struct outcome parse(const char *line)
{
	static char words[256];
	struct outcome o = {.npos = 99};
	char *argv[32] = {(char *)"ramferry"}, *save = NULL;
	int argc = 1;
	FILE *f;

	snprintf(words, sizeof(words), "%s", line);
	for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	memset(&o.cfg, 0xff, sizeof(o.cfg));
	o.cfg.verify = o.cfg.pin = false;
	f = fmemopen(o.err, sizeof(o.err), "w");
	o.rc = rf_opts_parse(table, "ramferry send", argc, argv, &o.cfg, o.pos, 3, &o.npos, f);
	fclose(f);
	return o;
}

static void defaults_are_parsed_like_values(void **state)
{
	struct outcome o = parse("");

	assert_int_equal(o.rc, RF_OK);
	assert_int_equal(o.cfg.memory, 256u << 20);
	assert_int_equal(o.cfg.lanes, 1);
	assert_int_equal(o.cfg.limit, 300);
	assert_false(o.cfg.verify);
	assert_true(o.cfg.pin);
	assert_string_equal(o.cfg.kind, "auto");
	assert_null(o.cfg.host);
	assert_int_equal(o.npos, 0);
	assert_string_equal(o.err, "");
}

static void all_spellings_are_taken(void **state)
{
	struct outcome o = parse("--memory=1G --lanes 4 -d2 -k kvm -v --no-pin-all --host=::1");

	assert_int_equal(o.rc, RF_OK);
	assert_int_equal(o.cfg.memory, 1u << 30);
	assert_int_equal(o.cfg.lanes, 4);
	assert_int_equal(o.cfg.limit, 2000); /* a bare number is seconds in this row */
	assert_string_equal(o.cfg.kind, "kvm");
	assert_true(o.cfg.verify);
	assert_false(o.cfg.pin);
	assert_string_equal(o.cfg.host, "::1");
}

static void the_last_one_counts(void **state)
{
	struct outcome o = parse("--lanes=2 --verify --lanes=3 --no-verify");

	assert_int_equal(o.rc, RF_OK);
	assert_int_equal(o.cfg.lanes, 3);
	assert_false(o.cfg.verify);
}

static void the_rest_is_positional(void **state)
{
	struct outcome o = parse("a --lanes=2 - -- --verify");

	assert_int_equal(o.rc, RF_OK);
	assert_int_equal(o.npos, 3);
	assert_string_equal(o.pos[0], "a");
	assert_string_equal(o.pos[1], "-");
	assert_string_equal(o.pos[2], "--verify");
	assert_int_equal(o.cfg.lanes, 2);
	assert_false(o.cfg.verify);
}

static void values_may_look_like_options_or_be_empty(void **state)
{
	struct outcome o = parse("--host --verify");

	assert_int_equal(o.rc, RF_OK);
	assert_string_equal(o.cfg.host, "--verify");
	assert_false(o.cfg.verify);
	o = parse("--host=");
	assert_int_equal(o.rc, RF_OK);
	assert_string_equal(o.cfg.host, "");
	o = parse("--host=a=b");
	assert_string_equal(o.cfg.host, "a=b");
}

static void errors_say_what_where_and_what_to_do(void **state)
{
	static const struct {
		const char *line, *err;
	} cases[] = {
		{"--memory=12Q", "--memory: \"12Q\" is not a size (use e.g. 512M, 4G)"},
		{"-m 12Q", "--memory: \"12Q\" is not a size (use e.g. 512M, 4G)"},
		{"--memory=", "--memory: \"\" is not a size (use e.g. 512M, 4G)"},
		{"--memory 1K", "--memory: 1K is too small (use 4 KiB or more)"},
		{"-d soon",
		 "--downtime-limit: \"soon\" is not a duration (use e.g. 500ms, 30s, 2m)"},
		{"-d 2m", "--downtime-limit: 2m is out of range (use 0ms to 60000ms)"},
		{"--lanes 17", "--lanes: 17 is out of range (use 1 to 16)"},
		{"--lanes 0", "--lanes: 0 is out of range (use 1 to 16)"},
		{"--lanes -1", "--lanes: \"-1\" is not a number"},
		{"--lanes 1x", "--lanes: \"1x\" is not a number"},
		{"--lanes 99999999999999999999",
		 "--lanes: \"99999999999999999999\" is not a number"},
		{"--kind xen", "--kind: \"xen\" is not one of auto|kvm|threads"},
		{"--kind=", "--kind: \"\" is not one of auto|kvm|threads"},
		{"--kind=auto|kvm", "--kind: \"auto|kvm\" is not one of auto|kvm|threads"},
		{"--kind=kv", "--kind: \"kv\" is not one of auto|kvm|threads"},
		{"--verify=1", "--verify: takes no value (use --verify or --no-verify)"},
		{"--lanes", "--lanes: needs a value (see --help)"},
		{"-m", "--memory: needs a value (see --help)"},
		{"--memroy 1G", "--memroy: unknown option (did you mean --memory?)"},
		{"--lane=2", "--lane: unknown option (did you mean --lanes?)"},
		{"--zz", "--zz: unknown option (see --help)"},
		{"--colour", "--colour: unknown option (see --help)"},
		{"--no-lanes", "--no-lanes: unknown option (see --help)"},
		{"-x", "-x: unknown option (see --help)"},
		{"-vx", "-vx: unknown option (see --help)"},
		{"a b c d", "\"d\": unexpected argument (see --help)"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct outcome o = parse(cases[i].line);
		char want[256];

		snprintf(want, sizeof(want), "ramferry send: %s\n", cases[i].err);
		assert_int_equal(o.rc, RF_ERR_INVALID);
		assert_string_equal(o.err, want);
	}
}

static void endless_names_are_refused(void **state)
{
	struct outcome o =
		parse("--aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");

	assert_int_equal(o.rc, RF_ERR_INVALID);
	assert_non_null(strstr(o.err, "unknown option"));
}

static void help_is_aligned(void **state)
{
	char text[2048] = "";
	FILE *f = fmemopen(text, sizeof(text), "w");

	rf_opts_help(table, f);
	fclose(f);
	assert_string_equal(
		text, "Guest:\n"
		      "  -m, --memory SIZE            guest memory (default 256M, at least 4 KiB)\n"
		      "  -k, --kind auto|kvm|threads  kind of guest (default auto)\n"
		      "\n"
		      "Migration:\n"
		      "      --lanes N                bulk lanes (default 1, 1 to 16)\n"
		      "  -d, --downtime-limit TIME    longest standstill (default 300ms, 0 ms to "
		      "60000 ms)\n"
		      "  -v, --verify                 compare memory\n"
		      "      --[no-]pin-all           register all memory\n"
		      "      --host HOST              where to\n");
}

static void markdown_is_a_table(void **state)
{
	char text[2048] = "";
	FILE *f = fmemopen(text, sizeof(text), "w");

	rf_opts_markdown(table, f);
	fclose(f);
	assert_non_null(strstr(text, "### Guest\n\n| option | default | meaning |\n|---|---|---|\n"
				     "| `-m, --memory SIZE` | 256M | guest memory (at least 4 KiB)"
				     " |\n"));
	assert_non_null(strstr(text, "| `-k, --kind auto\\|kvm\\|threads` | auto |"));
	assert_non_null(strstr(text, "\n\n### Migration\n\n| option"));
}

static void wide_rows_and_rows_without_a_group_are_fine(void **state)
{
	static const struct rf_opt rows[] = {
		RF_OPT_CHOICE(struct cfg, kind, "kind", 0, "one-long-choice|another-long-choice",
			      NULL, "which"),
		RF_OPT_STRING(struct cfg, host, "host", 0, NULL, NULL, "where to"),
		RF_OPT_END,
	};
	char text[1024] = "";
	FILE *f = fmemopen(text, sizeof(text), "w");

	rf_opts_help(rows, f);
	rf_opts_markdown(rows, f);
	fclose(f);
	assert_string_equal(text, "      --kind one-long-choice|another-long-choice\n"
				  "                    which\n"
				  "      --host VALUE  where to\n"
				  "| option | default | meaning |\n|---|---|---|\n"
				  "| `--kind one-long-choice\\|another-long-choice` |  | which |\n"
				  "| `--host VALUE` |  | where to |\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_parsed_like_values),
		cmocka_unit_test(all_spellings_are_taken),
		cmocka_unit_test(the_last_one_counts),
		cmocka_unit_test(the_rest_is_positional),
		cmocka_unit_test(values_may_look_like_options_or_be_empty),
		cmocka_unit_test(errors_say_what_where_and_what_to_do),
		cmocka_unit_test(endless_names_are_refused),
		cmocka_unit_test(help_is_aligned),
		cmocka_unit_test(markdown_is_a_table),
		cmocka_unit_test(wide_rows_and_rows_without_a_group_are_fine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
