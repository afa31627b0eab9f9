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

static const struct {
	const char *name;
	const struct rf_window_cfg *cfg;
	uint32_t open;
	uint64_t now_us, last_us;
	uint64_t bytes, piece; /* of 1 MiB pieces */
	uint64_t mb;	       /* the link carries a second */
} cases[] = {
	{"nobody ever asked", &cfg, 0, 5000, 0, 8 * MIB, MIB, 0},
	{"one is open", &cfg, 1, 5000, 1000, 64 * KIB, 64 * KIB, 0},
	{"open, however long ago it came", &cfg, 1, 9000000, 1000, 64 * KIB, 64 * KIB, 0},
	{"just answered", &cfg, 0, 5001, 5000, 64 * KIB, 64 * KIB, 0},
	{"the end of the hold", &cfg, 0, 6000, 5000, 128 * KIB, 128 * KIB, 0},
	{"a step later", &cfg, 0, 6500, 5000, 256 * KIB, 256 * KIB, 0},
	{"pieces stay what they were", &cfg, 0, 8000, 5000, 2 * MIB, MIB, 0},
	{"full", &cfg, 0, 9000, 5000, 8 * MIB, MIB, 0},
	{"full for ever", &cfg, 0, 900000000, 5000, 8 * MIB, MIB, 0},
	{"a clock that went back is now", &cfg, 0, 4000, 5000, 64 * KIB, 64 * KIB, 0},
	{"as large as the full one: off", &off, 3, 5000, 5000, 8 * MIB, MIB, 20},
	{"10 GB/s: half a millisecond is more than enough", &cfg, 1, 5000, 1000, 64 * KIB, 64 * KIB,
	 10000},
	{"20 MB/s: two pages", &cfg, 1, 5000, 1000, 8 * KIB, 8 * KIB, 20},
	{"100 MB/s: a power of two", &cfg, 1, 5000, 1000, 32 * KIB, 32 * KIB, 100},
	{"1 MB/s: never less than a page", &cfg, 1, 5000, 1000, 4 * KIB, 4 * KIB, 1},
	{"20 MB/s, quiet: what keeps it busy", &cfg, 0, 5000, 0, 64 * KIB, 64 * KIB, 20},
	{"1 GB/s, quiet: four milliseconds", &cfg, 0, 5000, 0, 2 * MIB, MIB, 1000},
	{"10 GB/s, quiet: all", &cfg, 0, 5000, 0, 8 * MIB, MIB, 10000},
	{"20 MB/s, it grows from there", &cfg, 0, 6000, 5000, 16 * KIB, 16 * KIB, 20},
	{"20 MB/s, and ends early", &cfg, 0, 90000, 5000, 64 * KIB, 64 * KIB, 20},
	{"stopped at any rate", &stop, 1, 5000, 1000, 0, 4 * KIB, 20},
	{"stopped: nothing, and a piece is a page", &stop, 3, 5000, 5000, 0, 4 * KIB, 0},
	{"stopped, held", &stop, 0, 5500, 5000, 0, 4 * KIB, 0},
	{"stopped, then two pages", &stop, 0, 6000, 5000, 8 * KIB, 8 * KIB, 0},
};

static void decisions_are_those_of_the_table(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct rf_window_in in = {
			.open = cases[i].open,
			.now_ns = cases[i].now_us * US,
			.last_ns = cases[i].last_us * US,
			.rate = cases[i].mb * 1000000,
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

/* Samples of 10 ms; what is slower than before is forgotten slowly. */
static void rate_is_the_best_of_the_last_seconds(void **state)
{
	struct rf_link_rate r = {0};
	uint64_t t = 77000 * US, bytes = 12345, best;

	assert_int_equal(rf_link_rate_note(&r, t, bytes), 0);
	assert_int_equal(rf_link_rate_note(&r, t + 9999 * US, bytes + MIB), 0);
	t += 10000 * US;
	bytes += 200000;
	assert_int_equal(rf_link_rate_note(&r, t, bytes), 20000000);
	/* nothing for a while: it is not the link that became slow */
	for (int i = 0; i < 100; i++, t += 10000 * US)
		best = rf_link_rate_note(&r, t + 10000 * US, bytes);
	assert_true(best > 15000000 && best < 20000000);
	bytes += 1000000;
	t += 10000 * US;
	assert_int_equal(rf_link_rate_note(&r, t, bytes), 100000000);
	for (int i = 0; i < 3000; i++, t += 10000 * US)
		best = rf_link_rate_note(&r, t + 10000 * US, bytes);
	assert_true(best < 1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decisions_are_those_of_the_table),
		cmocka_unit_test(window_only_grows_while_it_is_quiet),
		cmocka_unit_test(rate_is_the_best_of_the_last_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
