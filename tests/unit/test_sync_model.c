/* SPDX-License-Identifier: BSD-3-Clause */
/* Every interleaving of writes, claims and harvests of small cases: no write is lost. */
#include "tests/unit/unit.h"

#include "tests/unit/sync_model.h"

static uint64_t check_all(enum sync_flaw flaw, const char **violation)
{
	uint64_t states = 0;

	*violation = NULL;
	for (unsigned i = 0; i < 8; i++) {
		struct sync_case c = {
			.flaw = flaw,
			.marks = i & 1,
			.writes = 2,
			.rounds = 1 + (i >> 1 & 1),
			.sync_harvests = 1 + (i >> 2 & 1),
		};
		struct sync_result r;

		sync_check(&c, &r);
		states += r.states;
		if (r.violation && !*violation)
			*violation = r.violation;
	}
	return states;
}

static void no_interleaving_loses_a_write(void **state)
{
	const char *violation;
	uint64_t states = check_all(SYNC_FLAW_NONE, &violation);

	if (violation)
		fail_msg("%s", violation);
	print_message("%llu states\n", (unsigned long long)states);
	assert_true(states > 10000);
}

/* The model is worth something only if it notices what is wrong. */
static void every_flaw_is_noticed(void **state)
{
	static const struct {
		enum sync_flaw flaw;
		const char *name;
	} flaws[] = {
		{SYNC_FLAW_PENDING_FIRST, "pending is read before the dirty bits"},
		{SYNC_FLAW_BEFORE_PROTECT, "pending is read before pages are protected again"},
		{SYNC_FLAW_READ_BEFORE_CLAIM, "the sender reads, then claims"},
		{SYNC_FLAW_NO_LOCK, "a harvest does not wait for the end of another"},
		{SYNC_FLAW_PROTECT_ALL, "what is not reported is protected again, too"},
		{SYNC_FLAW_MARK_FIRST, "marks come before the writes"},
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
		cmocka_unit_test(no_interleaving_loses_a_write),
		cmocka_unit_test(every_flaw_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
