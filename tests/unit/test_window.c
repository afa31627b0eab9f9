/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include "scheduler/window.h"

#define KIB 1024u
#define MIB (1024u * 1024u)
#define US  1000u

static const struct rf_window_cfg cfg = {.urgent = 64 * KIB,
					 .full = 8 * MIB,
					 .hold_ns = 1000 * US,
					 .step_ns = 500 * US};
static const struct rf_window_cfg stop = {.urgent = 0,
					  .full = 8 * MIB,
					  .hold_ns = 1000 * US,
					  .step_ns = 500 * US};

static const struct {
	const char *name;
	const struct rf_window_cfg *cfg;
	uint32_t open;
	uint64_t now_us, last_us;
	uint64_t bytes, piece; /* of 1 MiB pieces */
} cases[] = {
	{"nobody ever asked", &cfg, 0, 5000, 0, 8 * MIB, MIB},
	{"one is open", &cfg, 1, 5000, 1000, 64 * KIB, 64 * KIB},
	{"open, however long ago it came", &cfg, 1, 9000000, 1000, 64 * KIB, 64 * KIB},
	{"just answered", &cfg, 0, 5001, 5000, 64 * KIB, 64 * KIB},
	{"the end of the hold", &cfg, 0, 6000, 5000, 128 * KIB, 128 * KIB},
	{"a step later", &cfg, 0, 6500, 5000, 256 * KIB, 256 * KIB},
	{"pieces stay what they were", &cfg, 0, 8000, 5000, 2 * MIB, MIB},
	{"full", &cfg, 0, 9000, 5000, 8 * MIB, MIB},
	{"full for ever", &cfg, 0, 900000000, 5000, 8 * MIB, MIB},
	{"a clock that went back is now", &cfg, 0, 4000, 5000, 64 * KIB, 64 * KIB},
	{"stopped: nothing, and a piece is a page", &stop, 3, 5000, 5000, 0, 4 * KIB},
	{"stopped, held", &stop, 0, 5500, 5000, 0, 4 * KIB},
	{"stopped, then two pages", &stop, 0, 6000, 5000, 8 * KIB, 8 * KIB},
};

static void decisions_are_those_of_the_table(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct rf_window_in in = {
			.open = cases[i].open,
			.now_ns = cases[i].now_us * US,
			.last_ns = cases[i].last_us * US,
		};
		struct rf_window w = rf_window_decide(cases[i].cfg, &in, MIB);

		if (w.bytes != cases[i].bytes || w.piece != cases[i].piece)
			fail_msg("%s: %llu in pieces of %llu", cases[i].name,
				 (unsigned long long)w.bytes, (unsigned long long)w.piece);
	}
}

/* Whatever comes in: never over full, pieces whole pages, and quiet time never shrinks it. */
static void window_only_grows_while_it_is_quiet(void **state)
{
	uint64_t before = 0;

	for (uint64_t us = 1; us < 20000; us += 7) {
		struct rf_window_in in = {.now_ns = (5000 + us) * US, .last_ns = 5000 * US};
		struct rf_window w = rf_window_decide(&cfg, &in, MIB);

		assert_true(w.bytes >= before && w.bytes <= cfg.full);
		assert_true(w.piece && w.piece % 4096 == 0 && w.piece <= MIB);
		before = w.bytes;
	}
	assert_int_equal(before, cfg.full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decisions_are_those_of_the_table),
		cmocka_unit_test(window_only_grows_while_it_is_quiet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
