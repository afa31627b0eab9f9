/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <json-c/json.h>

#include "tools/control_proto.h"

static bool parse(const char *line, struct control_request *req, struct control_refusal *why)
{
	return control_parse(line, strlen(line), req, why);
}

static void commands_are_read(void **state)
{
	static const struct {
		const char *line;
		enum control_command command;
		int migration;
		bool on;
	} cases[] = {
		{"{\"execute\": \"status\"}", CONTROL_STATUS, CONTROL_ALL, true},
		{" { \"execute\":\"cancel\" , \"arguments\":{} } ", CONTROL_CANCEL, CONTROL_ALL,
		 true},
		{"{\"arguments\":{\"migration\":3},\"execute\":\"postcopy\"}\r", CONTROL_POSTCOPY,
		 3, true},
		{"{\"execute\":\"events\"}", CONTROL_EVENTS, CONTROL_ALL, true},
		{"{\"execute\":\"snapshot\",\"arguments\":{\"to\":\"a:1\"}}", CONTROL_SNAPSHOT,
		 CONTROL_ALL, true},
		{"{\"execute\":\"events\",\"arguments\":{\"enable\":false}}", CONTROL_EVENTS,
		 CONTROL_ALL, false},
		{"{\"execute\":\"status\",\"arguments\":{\"migration\":2147483647}}",
		 CONTROL_STATUS, INT32_MAX, true},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct control_request req;
		struct control_refusal why;

		assert_true(parse(cases[i].line, &req, &why));
		assert_int_equal(req.command, cases[i].command);
		assert_int_equal(req.migration, cases[i].migration);
		assert_int_equal(req.on, cases[i].on);
		assert_string_equal(req.to ? req.to : "",
				    req.command == CONTROL_SNAPSHOT ? "a:1" : "");
		assert_null(req.id);
		control_request_fini(&req);
	}
}

static void settings_are_read_as_numbers_and_as_people_write_them(void **state)
{
	static const struct {
		const char *args;
		enum control_parameter p;
		uint64_t value;
	} cases[] = {
		{"\"max-bandwidth\":0", CONTROL_MAX_BANDWIDTH, 0},
		{"\"max-bandwidth\":104857600", CONTROL_MAX_BANDWIDTH, 100ull << 20},
		{"\"max-bandwidth\":\"100M\"", CONTROL_MAX_BANDWIDTH, 100ull << 20},
		{"\"max-bandwidth\":9223372036854775807", CONTROL_MAX_BANDWIDTH, INT64_MAX},
		{"\"max-postcopy-bandwidth\":\"1.5G\"", CONTROL_MAX_POSTCOPY_BANDWIDTH, 3ull << 29},
		{"\"downtime-limit\":300", CONTROL_DOWNTIME_LIMIT, 300},
		{"\"downtime-limit\":\"300\"", CONTROL_DOWNTIME_LIMIT, 300},
		{"\"downtime-limit\":\"2s\"", CONTROL_DOWNTIME_LIMIT, 2000},
		{"\"throttle\":\"99\"", CONTROL_THROTTLE, 99},
		{"\"throttle\":0", CONTROL_THROTTLE, 0},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct control_request req;
		struct control_refusal why;
		char line[256];

		snprintf(line, sizeof(line), "{\"execute\":\"set\",\"arguments\":{%s}}",
			 cases[i].args);
		assert_true(parse(line, &req, &why));
		for (unsigned p = 0; p < CONTROL_PARAMETERS; p++)
			assert_int_equal(req.set.given[p], p == cases[i].p);
		assert_int_equal(req.set.value[cases[i].p], cases[i].value);
		control_request_fini(&req);
	}
}

static void several_settings_come_in_one_request(void **state)
{
	struct control_request req;
	struct control_refusal why;

	assert_true(parse("{\"execute\":\"set\",\"arguments\":{\"throttle\":5,\"migration\":1,"
			  "\"downtime-limit\":\"1s\"}}",
			  &req, &why));
	assert_true(req.set.given[CONTROL_THROTTLE] && req.set.given[CONTROL_DOWNTIME_LIMIT]);
	assert_false(req.set.given[CONTROL_MAX_BANDWIDTH]);
	assert_int_equal(req.migration, 1);
	control_request_fini(&req);
}

#define EXECUTE(args) "{\"execute\":\"set\",\"arguments\":" args "}"
#define TAKE(args)    "{\"execute\":\"snapshot\",\"arguments\":{" args "}}"
#define SET(args)     EXECUTE("{" args "}")

/* Each is refused, in one printable line, with a word in it that leads to the fault. */
static void wrong_lines_are_refused_in_words(void **state)
{
	static const struct {
		const char *line, *word;
	} cases[] = {
		{"", "empty"},
		{" \t\r", "empty"},
		{"status", "no JSON"},
		{"{", "middle"},
		{"{\"execute\"", "middle"},
		{"{\"execute\":\"status\"", "middle"},
		{"\"status", "middle"},
		{"null", "no JSON object"},
		{"1", "no JSON object"},
		{"[]", "no JSON object"},
		{"\"status\"", "no JSON object"},
		{"[{\"execute\":\"status\"}]", "no JSON object"},
		{"{'execute':'status'}", "no JSON"},
		{"{\"execute\":\"status\",}", "no JSON"},
		{"{\"execute\":\"status\"}}", "no JSON"},
		{"{\"execute\":\"status\"}{\"execute\":\"cancel\"}", "no JSON"},
		{"{\"execute\":\"status\"} cancel", "no JSON"},
		{"{\"execute\":\"status\"} // or not", "no JSON"},
		{"[[[[[[[[[[[[[[[[[[[[", "no JSON"},
		{"{\"id\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}", "no JSON"},
		{"{\"execute\":\"\xff\xfe\"}", "no JSON"},
		{"{\"execute\":NaN}", "no string"},
		{"{}", "execute is missing"},
		{"{\"id\":1}", "execute is missing"},
		{"{\"arguments\":{}}", "execute is missing"},
		{"{\"execute\":null}", "execute is missing"},
		{"{\"execute\":1}", "no string"},
		{"{\"execute\":[\"status\"]}", "no string"},
		{"{\"execute\":\"\"}", "no command"},
		{"{\"execute\":\"Status\"}", "no command"},
		{"{\"execute\":\"quit\\u001b[2J\"}", "no command"},
		{"{\"execute\":\"\\u00e9\\u00e9\\u00e9\"}", "no command"},
		{"{\"execute\":\"status\",\"more\":1}", "no member \"more\""},
		{"{\"exec-oob\":\"status\"}", "no member"},
		{"{\"execute\":\"status\",\"arguments\":[]}", "no object"},
		{"{\"execute\":\"status\",\"arguments\":\"x\"}", "no object"},
		{"{\"execute\":\"status\",\"arguments\":{\"x\":1}}", "no argument \"x\""},
		{"{\"execute\":\"cancel\",\"arguments\":{\"throttle\":1}}", "no argument"},
		{"{\"execute\":\"events\",\"arguments\":{\"migration\":0}}", "no argument"},
		{"{\"execute\":\"events\",\"arguments\":{\"enable\":1}}", "true or false"},
		{"{\"execute\":\"status\",\"arguments\":{\"migration\":-1}}", "index"},
		{"{\"execute\":\"status\",\"arguments\":{\"migration\":2147483648}}", "index"},
		{"{\"execute\":\"status\",\"arguments\":{\"migration\":99999999999999999999}}",
		 "index"},
		{"{\"execute\":\"status\",\"arguments\":{\"migration\":\"0\"}}", "index"},
		{"{\"execute\":\"status\",\"arguments\":{\"migration\":0.5}}", "index"},
		{"{\"execute\":\"snapshot\"}", "where?"},
		{TAKE("\"migration\":0"), "no argument"},
		{TAKE("\"to\":7"), "takes a file"},
		{TAKE("\"to\":\"\""), "takes a file"},
		{TAKE("\"to\":\"a\\u0000b\""), "takes a file"},
		{TAKE("\"to\":\"a\",\"throttle\":1"), "no argument"},
		{"{\"execute\":\"set\"}", "set what?"},
		{EXECUTE("null"), "set what?"},
		{SET(""), "set what?"},
		{SET("\"migration\":0"), "set what?"},
		{SET("\"speed\":1"), "no setting \"speed\""},
		{SET("\"max-bandwidth\":-1"), "max-bandwidth takes"},
		{SET("\"max-bandwidth\":1.5"), "max-bandwidth takes"},
		{SET("\"max-bandwidth\":true"), "max-bandwidth takes"},
		{SET("\"max-bandwidth\":null"), "max-bandwidth takes"},
		{SET("\"max-bandwidth\":{}"), "max-bandwidth takes"},
		{SET("\"max-bandwidth\":\"fast\""), "max-bandwidth takes"},
		{SET("\"max-bandwidth\":\"\""), "max-bandwidth takes"},
		{SET("\"max-bandwidth\":\"-1M\""), "max-bandwidth takes"},
		{SET("\"max-bandwidth\":\"1M\\u0000\""), "max-bandwidth takes"},
		{SET("\"max-bandwidth\":\"8E\""), "max-bandwidth takes"},
		{SET("\"max-bandwidth\":9223372036854775808"), "max-bandwidth is from"},
		{SET("\"max-bandwidth\":99999999999999999999999"), "max-bandwidth is from"},
		{SET("\"downtime-limit\":0"), "downtime-limit is from 1"},
		{SET("\"downtime-limit\":3600001"), "downtime-limit is from"},
		{SET("\"downtime-limit\":\"2h\""), "downtime-limit is from"},
		{SET("\"downtime-limit\":\"10M\""), "downtime-limit takes"},
		{SET("\"throttle\":100"), "throttle is from"},
		{SET("\"throttle\":\"1K\""), "throttle takes"},
		{SET("\"throttle\":\"\""), "throttle takes"},
		{SET("\"throttle\":1,\"speed\":1"), "no setting"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct control_request req;
		struct control_refusal why;

		if (parse(cases[i].line, &req, &why) || !strstr(why.desc, cases[i].word))
			fail_msg("%s: \"%s\"", cases[i].line, why.desc);
		for (const char *c = why.desc; *c; c++)
			assert_true(*c >= ' ' && *c <= '~');
		assert_int_equal(why.unknown_command, strcmp(cases[i].word, "no command") == 0);
		control_request_fini(&req);
	}
}

static void a_nul_in_a_line_does_not_end_it(void **state)
{
	static const char line[] = "{\"execute\":\"status\"}\0{\"execute\":\"cancel\"}";
	struct control_request req;
	struct control_refusal why;

	assert_false(control_parse(line, sizeof(line) - 1, &req, &why));
	control_request_fini(&req);
	assert_false(control_parse("\0", 1, &req, &why));
	control_request_fini(&req);
}

/* Any change of a byte, and any end of the line before its own, gives a request or a refusal with
 * words. Under the sanitizers: and touches nothing it must not. */
static void damaged_lines_are_requests_or_refusals(void **state)
{
	static const char good[] =
		"{\"execute\":\"set\",\"arguments\":{\"migration\":1,"
		"\"max-bandwidth\":\"100M\",\"throttle\":20},\"id\":[1,\"\\u00e9\"]}";
	static const char bytes[] = "\0\n\"\\{}[]:,0-9.eEnt \x7f\x80\xc3\xff";
	struct control_request req;
	struct control_refusal why;
	char line[sizeof(good)];
	unsigned taken = 0;

	for (size_t at = 0; at + 1 < sizeof(good); at++) {
		for (size_t b = 0; b < sizeof(bytes) - 1; b++) {
			memcpy(line, good, sizeof(good));
			line[at] = bytes[b];
			if (control_parse(line, sizeof(good) - 1, &req, &why))
				taken++;
			else
				assert_true(why.desc[0]);
			control_request_fini(&req);
		}
		if (at) {
			assert_false(control_parse(good, at, &req, &why));
			assert_true(why.desc[0]);
			control_request_fini(&req);
		}
	}
	assert_true(taken > 0); /* a digit for another, say */
}

static void answers_carry_the_id_of_their_request(void **state)
{
	struct control_refusal why = {.desc = "no \"such\" thing"};
	struct control_request req;
	char *line;

	assert_true(parse("{\"execute\":\"status\",\"id\":{\"n\":[1,null]}}", &req, &why));
	line = control_return_line(json_object_new_object(), req.id);
	assert_string_equal(line, "{\"return\":{},\"id\":{\"n\":[1,null]}}\n");
	free(line);
	control_request_fini(&req);

	/* also those that are refused, as far as it could be read */
	assert_false(parse("{\"id\":\"x\",\"execute\":\"fly\"}", &req, &why));
	line = control_error_line(&why, req.id);
	assert_string_equal(line,
			    "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"there is no "
			    "command \\\"fly\\\"\"},\"id\":\"x\"}\n");
	free(line);
	control_request_fini(&req);

	line = control_return_line(json_object_new_object(), NULL);
	assert_string_equal(line, "{\"return\":{}}\n");
	free(line);
}

static void events_say_what_and_when(void **state)
{
	struct json_object *data = json_object_new_object(), *o, *v;
	char *line;

	json_object_object_add(data, "status", json_object_new_string("active"));
	line = control_event_line("MIGRATION", data);
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	o = json_tokener_parse(line);
	assert_true(json_object_object_get_ex(o, "event", &v));
	assert_string_equal(json_object_get_string(v), "MIGRATION");
	assert_true(json_object_object_get_ex(o, "data", &v));
	assert_true(json_object_object_get_ex(v, "status", NULL));
	assert_true(json_object_object_get_ex(o, "timestamp", &v));
	assert_true(json_object_object_get_ex(v, "seconds", &v));
	assert_true(json_object_get_int64(v) > 1500000000);
	json_object_put(o);
	free(line);
}

static void every_command_has_a_line_of_help(void **state)
{
	const char *name = NULL, *doc;
	unsigned n = 0;

	while ((doc = control_command_doc((enum control_command)n, &name))) {
		assert_true(doc[0] && name[0]);
		n++;
	}
	assert_int_equal(n, CONTROL_NONE);
	for (unsigned p = 0; p < CONTROL_PARAMETERS; p++)
		assert_non_null(control_parameter_name((enum control_parameter)p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_are_read),
		cmocka_unit_test(settings_are_read_as_numbers_and_as_people_write_them),
		cmocka_unit_test(several_settings_come_in_one_request),
		cmocka_unit_test(wrong_lines_are_refused_in_words),
		cmocka_unit_test(a_nul_in_a_line_does_not_end_it),
		cmocka_unit_test(damaged_lines_are_requests_or_refusals),
		cmocka_unit_test(answers_carry_the_id_of_their_request),
		cmocka_unit_test(events_say_what_and_when),
		cmocka_unit_test(every_command_has_a_line_of_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
