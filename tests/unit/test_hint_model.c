/* SPDX-License-Identifier: BSD-3-Clause */
/* Every interleaving of hints, harvests and writes: no page that is used again is lost. */
#include "tests/unit/unit.h"

#include "tests/unit/hint_model.h"

static void no_page_in_use_is_lost(void **state)
{
	for (int background = 0; background < 2; background++) {
		struct hint_case c = {.background = background};
		struct hint_result r;

		hint_model_check(&c, &r);
		if (r.violation)
			fail_msg("%s: %s",
				 background ? "harvests in rounds" : "harvests between rounds",
				 r.violation);
		print_message("%s: %llu states, %llu ends that spared a page\n",
			      background ? "harvests in rounds" : "harvests between rounds",
			      (unsigned long long)r.states, (unsigned long long)r.spared);
		assert_true(r.states > 10000);
		assert_true(r.spared > 0);
	}
}

/* The model is worth something only if it notices what is wrong. */
static void every_flaw_is_noticed(void **state)
{
	static const char *const names[HINT_FLAWS] = {
		[HINT_FLAW_NO_EPOCH] = "stale hints are taken",
		[HINT_FLAW_EVEN_HARVEST] = "hints are taken in a harvest, by the new epoch",
		[HINT_FLAW_LATE_EPOCH] = "hints are taken in a harvest, by the old epoch",
		[HINT_FLAW_NO_LOCK] = "the epoch is looked at without the lock",
		[HINT_FLAW_STILL_FREE] = "what was found stays free",
		[HINT_FLAW_FREE_IF_NEXT] = "what was found pending stays free",
	};

	for (int flaw = 1; flaw < HINT_FLAWS; flaw++) {
		const char *violation = NULL;

		for (int background = 0; background < 2 && !violation; background++) {
			struct hint_case c = {.flaw = flaw, .background = background};
			struct hint_result r;

			hint_model_check(&c, &r);
			violation = r.violation;
		}
		if (!violation)
			fail_msg("not noticed: %s", names[flaw]);
		print_message("%s: %s\n", names[flaw], violation);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_page_in_use_is_lost),
		cmocka_unit_test(every_flaw_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
