/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <json-c/json.h>

#include "tools/status_view.h"

#define ONE(status, more)                                                                        \
	"{\"side\":\"source\",\"pid\":7,\"time\":5000,\"migrations\":[{\"migration\":0,"         \
	"\"status\":\"" status "\",\"transport\":\"ofi\",\"provider\":\"tcp\",\"lanes\":1,"      \
	"\"tracker\":\"kvm-log\",\"rounds\":2,\"total-time\":1500.0,\"downtime-limit\":300,"     \
	"\"max-bandwidth\":104857600,\"cpu-throttle-percentage\":20,\"ram\":{\"total\":1048576," \
	"\"remaining\":524288,\"transferred\":262144,\"skipped\":0,\"page-size\":4096,"          \
	"\"dirty-sync-count\":1}" more "}]}"

static char *block(struct status_view *v, const char *text)
{
	struct json_object *o = json_tokener_parse(text);
	char *out;

	assert_non_null(o);
	status_view_sample(v, o);
	out = status_view_block(v, o);
	json_object_put(o);
	assert_non_null(out);
	return out;
}

static void assert_has(const char *text, const char *word)
{
	if (!strstr(text, word))
		fail_msg("no \"%s\" in:\n%s", word, text);
}

static void one_source_is_shown_in_full(void **state)
{
	static const char *const words[] = {
		"source 7: active, round 2, 1.5 s, ofi:tcp, 1 lane, kvm-log\n",
		"[===============               ]",
		"transferred  256 KiB, now -, last round 0 B/s",
		"remaining    512 KiB of 1 MiB",
		"not known yet, limit 300 ms",
		"bandwidth 100 MiB/s, postcopy push none",
		"throttle     20 %",
	};
	struct status_view v = {0};
	char *text = block(&v, ONE("active", ""));

	for (size_t i = 0; i < COUNT_OF(words); i++)
		assert_has(text, words[i]);
	assert_null(strstr(text, "requests"));
	free(text);
}

static void postcopy_and_errors_are_shown_where_there_are_some(void **state)
{
	struct status_view v = {0};
	char *text = block(&v, ONE("postcopy-active",
				   ",\"postcopy\":true,\"postcopy-requests\":12,"
				   "\"postcopy-bytes\":49152,\"error-desc\":\"went wrong\""));

	assert_has(text, "requests     12, 48 KiB answered");
	assert_has(text, "error        went wrong\n");
	free(text);
}

static void the_rate_is_that_between_two_answers(void **state)
{
	struct status_view v = {.time = 4000, .transferred = {131072}};
	char *text = block(&v, ONE("active", ""));

	assert_has(text, "now 128 KiB/s");
	free(text);
}

static void several_migrations_have_a_line_each_and_a_sum(void **state)
{
	static const char status[] =
		"{\"side\":\"source\",\"pid\":7,\"time\":3000,\"migrations\":["
		"{\"migration\":0,\"status\":\"active\",\"ram\":{\"transferred\":1048576}},"
		"{\"migration\":1,\"status\":\"completed\",\"ram\":{\"transferred\":3145728}}]}";
	struct status_view v = {.time = 2000, .transferred = {0, 1048576}};
	char *text = block(&v, status);

	assert_has(text, "source 7: 2 migrations\n");
	assert_has(text, "1 MiB/s");
	assert_has(text, "2 MiB/s");
	assert_has(text, "sum");
	assert_has(text, "3 MiB/s");
	assert_has(text, "4 MiB");
	/* fits a terminal */
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
		assert_true(strcspn(line, "\n") < 80);
	free(text);
}

static void it_is_over_when_all_are(void **state)
{
	static const struct {
		const char *a, *b;
		bool over, completed;
	} cases[] = {
		{"active", "completed", false, false},	{"completed", "completed", true, true},
		{"completed", "failed", true, false},	{"cancelled", "completed", true, false},
		{"cancelling", "failed", false, false}, {"none", "setup", false, false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char text[256];
		struct json_object *o;
		bool completed;

		snprintf(text, sizeof(text),
			 "{\"migrations\":[{\"status\":\"%s\"},{\"status\":\"%s\"}]}", cases[i].a,
			 cases[i].b);
		o = json_tokener_parse(text);
		assert_int_equal(status_view_over(o, &completed), cases[i].over);
		if (cases[i].over)
			assert_int_equal(completed, cases[i].completed);
		json_object_put(o);
	}
}

/* The process may be of another version: what is not there is not needed. */
static void answers_that_lack_things_are_shown_all_the_same(void **state)
{
	static const char *const cases[] = {
		"{}",
		"{\"migrations\":null}",
		"{\"migrations\":7}",
		"{\"migrations\":[]}",
		"{\"migrations\":[null]}",
		"{\"migrations\":[{}]}",
		"{\"migrations\":[{\"ram\":7,\"status\":[]},{}]}",
		"{\"side\":\"source\",\"migrations\":[{\"postcopy\":true}]}",
		"{\"side\":\"destination\",\"migrations\":[{\"postcopy\":true}]}",
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct status_view v = {0};
		struct json_object *o = json_tokener_parse(cases[i]);
		char *line;

		free(block(&v, cases[i]));
		line = status_view_line(&v, o);
		assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
		free(line);
		json_object_put(o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_source_is_shown_in_full),
		cmocka_unit_test(postcopy_and_errors_are_shown_where_there_are_some),
		cmocka_unit_test(the_rate_is_that_between_two_answers),
		cmocka_unit_test(several_migrations_have_a_line_each_and_a_sum),
		cmocka_unit_test(it_is_over_when_all_are),
		cmocka_unit_test(answers_that_lack_things_are_shown_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
