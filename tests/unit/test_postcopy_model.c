/* SPDX-License-Identifier: BSD-3-Clause */
/* Every interleaving of small cases of postcopy: exactly once, nothing lost, everybody wakes. */
#include "tests/unit/unit.h"

#include "tests/unit/postcopy_model.h"

static uint64_t check_all(enum model_flaw flaw, const char **violation)
{
	uint64_t states = 0;

	*violation = NULL;
	for (int i = 0; i < 8; i++) {
		struct model_case c = {
			.flaw = flaw,
			.window_stop = i & 1,
			.touches = {i >> 1 & 1, i >> 2 & 1},
		};
		struct model_result r;

		model_check(&c, &r);
		states += r.states;
		if (r.violation && !*violation)
			*violation = r.violation;
	}
	return states;
}

static void no_interleaving_breaks_a_rule(void **state)
{
	const char *violation;
	uint64_t states = check_all(FLAW_NONE, &violation);

	if (violation)
		fail_msg("%s", violation);
	print_message("%llu states\n", (unsigned long long)states);
	assert_true(states > 10000);
}

/* The model is worth something only if it notices what is wrong. */
static void every_flaw_is_noticed(void **state)
{
	static const struct {
		enum model_flaw flaw;
		const char *name;
	} flaws[] = {
		{FLAW_NO_SECOND_LOOK, "no second look"},
		{FLAW_LATE_CURRENT, "current is published late"},
		{FLAW_NO_BOOST, "no boost"},
		{FLAW_NO_URGENT_CHECK, "announced pages are not placed"},
		{FLAW_NO_CLAIM, "no claim"},
	};

	for (size_t i = 0; i < COUNT_OF(flaws); i++) {
		const char *violation;

		check_all(flaws[i].flaw, &violation);
		if (!violation)
			fail_msg("not noticed: %s", flaws[i].name);
		print_message("%s: %s\n", flaws[i].name, violation);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_interleaving_breaks_a_rule),
		cmocka_unit_test(every_flaw_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
