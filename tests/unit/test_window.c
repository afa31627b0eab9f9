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

static const struct rf_window_cfg off = {.urgent = UINT32_MAX,
					 .full = 8 * MIB,
					 .hold_ns = 1000 * US,
					 .step_ns = 500 * US};

/* A rate at which the windows are what the configuration says. */
#define FAST 10000

static const struct {
	const char *name;
	const struct rf_window_cfg *cfg;
	uint32_t open;
	uint64_t now_us, last_us;
	uint64_t bytes, piece; /* of 1 MiB pieces */
	uint64_t mb;	       /* the link carries a second */
	uint64_t rtt_us;
	bool probing;
} cases[] = {
	{"nobody ever asked", &cfg, 0, 5000, 0, 8 * MIB, MIB, FAST, 0, false},
	{"one is open", &cfg, 1, 5000, 1000, 64 * KIB, 16 * KIB, FAST, 0, false},
	{"open, however long ago it came", &cfg, 1, 9000000, 1000, 64 * KIB, 16 * KIB, FAST, 0,
	 false},
	{"just answered", &cfg, 0, 5001, 5000, 64 * KIB, 16 * KIB, FAST, 0, false},
	{"the end of the hold", &cfg, 0, 6000, 5000, 128 * KIB, 32 * KIB, FAST, 0, false},
	{"a step later", &cfg, 0, 6500, 5000, 256 * KIB, 64 * KIB, FAST, 0, false},
	{"pieces grow with it", &cfg, 0, 8000, 5000, 2 * MIB, 512 * KIB, FAST, 0, false},
	{"full", &cfg, 0, 9000, 5000, 8 * MIB, MIB, FAST, 0, false},
	{"full for ever", &cfg, 0, 900000000, 5000, 8 * MIB, MIB, FAST, 0, false},
	{"a clock that went back is now", &cfg, 0, 4000, 5000, 64 * KIB, 16 * KIB, FAST, 0, false},
	{"as large as the full one: off", &off, 3, 5000, 5000, 8 * MIB, MIB, 20, 0, false},
	{"off, and nothing is probed", &off, 0, 5000, 0, 8 * MIB, MIB, 0, 0, true},
	{"an unknown link is a slow one", &cfg, 0, 5000, 0, 64 * KIB, 16 * KIB, 0, 0, false},
	{"unknown, and one is open", &cfg, 1, 5000, 1000, 64 * KIB, 16 * KIB, 0, 0, false},
	{"one by one", &cfg, 0, 5000, 0, 4 * KIB, 4 * KIB, FAST, 0, true},
	{"one by one, and one is open", &cfg, 1, 5000, 1000, 4 * KIB, 4 * KIB, 0, 0, true},
	{"100 MB/s: whole pages", &cfg, 1, 5000, 1000, 48 * KIB, 24 * KIB, 100, 0, false},
	{"20 MB/s: two pages", &cfg, 1, 5000, 1000, 8 * KIB, 4 * KIB, 20, 0, false},
	{"20 MB/s: the way's length does not matter", &cfg, 1, 5000, 1000, 8 * KIB, 4 * KIB, 20,
	 20000, false},
	{"1 MB/s: never less than a page", &cfg, 1, 5000, 1000, 4 * KIB, 4 * KIB, 1, 0, false},
	{"20 MB/s, quiet: four milliseconds", &cfg, 0, 5000, 0, 72 * KIB, 16 * KIB, 20, 0, false},
	{"1 MB/s, quiet: what keeps it busy", &cfg, 0, 5000, 0, 64 * KIB, 16 * KIB, 1, 0, false},
	{"1 GB/s, quiet: four milliseconds", &cfg, 0, 5000, 0, 15 * 256 * KIB, 960 * KIB, 1000, 0,
	 false},
	{"1 GB/s, quiet, 5 ms away", &cfg, 0, 5000, 0, 8 * MIB, MIB, 1000, 5000, false},
	{"20 MB/s, quiet, 5 ms away", &cfg, 0, 5000, 0, 192 * KIB, 48 * KIB, 20, 5000, false},
	{"20 MB/s, quiet, 100 ms away", &cfg, 0, 5000, 0, 15 * 256 * KIB, 960 * KIB, 20, 100000,
	 false},
	{"10 GB/s, quiet: all", &cfg, 0, 5000, 0, 8 * MIB, MIB, FAST, 0, false},
	{"20 MB/s, it grows from there", &cfg, 0, 6000, 5000, 16 * KIB, 8 * KIB, 20, 0, false},
	{"20 MB/s, and ends early", &cfg, 0, 90000, 5000, 72 * KIB, 16 * KIB, 20, 0, false},
	{"stopped at any rate", &stop, 1, 5000, 1000, 0, 4 * KIB, 20, 0, false},
	{"stopped, and nothing is probed", &stop, 1, 5000, 1000, 0, 4 * KIB, 20, 0, true},
	{"stopped: nothing, and a piece is a page", &stop, 3, 5000, 5000, 0, 4 * KIB, 0, 0, false},
	{"stopped, held", &stop, 0, 5500, 5000, 0, 4 * KIB, 0, 0, false},
	{"stopped, then two pages", &stop, 0, 6000, 5000, 8 * KIB, 4 * KIB, 0, 0, false},
};

static void decisions_are_those_of_the_table(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct rf_window_in in = {
			.open = cases[i].open,
			.now_ns = cases[i].now_us * US,
			.last_ns = cases[i].last_us * US,
			.rate = cases[i].mb * 1000000,
			.rtt_ns = cases[i].rtt_us * US,
			.probing = cases[i].probing,
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
		struct rf_window_in in = {.now_ns = (5000 + us) * US,
					  .last_ns = 5000 * US,
					  .rate = FAST * 1000000ull};
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
