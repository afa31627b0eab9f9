/* SPDX-License-Identifier: BSD-3-Clause */
/* Free page hints: what is hinted is not moved, what is used again is. */
#include "tests/migration/move.h"

#include <sys/random.h>
#include <unistd.h>

#define PAGES (4 * MIB / PAGE)
#define HALF  (PAGES / 2)

/* Pages the destination held when its guest was loaded: comparing fills holes. */
static uint64_t there;

/* All that holds data in the first half is freed before a page is sent. */
static int free_half(struct mv *m, enum mv_step s)
{
	if (s == MV_HINT_START) {
		assert_int_equal(rf_source_hint_epoch(m->source), m->epoch);
		assert_int_equal(mv_guest_free(m, 0, 0, HALF, m->epoch), RF_OK);
	}
	if (s == MV_LOAD)
		there = mv_pages_there(m);
	return RF_OK;
}

static void assert_told_once(const struct mv *m)
{
	assert_int_equal(m->src.hint_starts, 1);
	assert_int_equal(m->src.hint_dones, m->src.rc == RF_OK ? 0 : 1);
	assert_int_equal(m->dst.hint_dones, m->src.rc == RF_OK ? 1 : 0);
}

static void hinted_pages_are_not_sent(void **state)
{
	static const struct {
		const char *name, *transport, *provider;
		enum mv_memory memory;
	} rows[] = {
		{"mem", "mem", NULL, MV_MEMFD},
		{"mem, anonymous", "mem", NULL, MV_ANONYMOUS},
		{"tcp", "ofi", "tcp", MV_MEMFD},
	};

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct mv_cfg cfg = {
			.name = rows[i].name,
			.transport = rows[i].transport,
			.provider = rows[i].provider,
			.memory = rows[i].memory,
			.content = MV_DATA,
			.verify = true, /* digests are of what is not free */
			.free_hints = true,
			.hook = free_half,
		};
		struct mv m;

		mv_open(&m, &cfg);
		mv_run(&m);
		mv_assert_moved(&m);
		assert_told_once(&m);
		assert_int_equal(m.src.stats.ram.normal, PAGES - HALF);
		assert_int_equal(m.src.stats.free_hints.hints, 1);
		assert_int_equal(m.src.stats.free_hints.pages, HALF);
		assert_int_equal(m.src.stats.free_hints.avoided, HALF);
		assert_int_equal(m.src.stats.free_hints.told, HALF);
		assert_int_equal(m.dst.stats.free_hints.told, HALF);
		assert_int_equal(m.src.stats.free_hints.stale, 0);
		assert_int_equal(there, PAGES - HALF);
		mv_close(&m);
	}
}

/* The destination's guest reads all memory when it begins, so each hinted page is a fault. */
static void in_postcopy_hinted_pages_are_made_there(void **state)
{
	static const bool mixed[] = {false, true};

	for (size_t i = 0; i < COUNT_OF(mixed); i++) {
		struct mv_cfg cfg = {
			.name = mixed[i] ? "postcopy hints, huge pages" : "postcopy hints",
			.mode = RF_MODE_POSTCOPY,
			.content = MV_DATA,
			.regions = 2,
			.mixed = mixed[i],
			.free_hints = true,
			.hook = free_half,
		};
		struct mv m;

		mv_need(&cfg);
		mv_open(&m, &cfg);
		mv_run(&m);
		mv_assert_moved(&m);
		assert_told_once(&m);
		assert_int_equal(m.src.stats.free_hints.told, HALF);
		assert_int_equal(m.dst.stats.free_hints.faults, HALF);
		assert_true(m.dst.stats.free_hints.latency > 0);
		assert_true(m.dst.stats.free_hints.latency_max >=
			    m.dst.stats.free_hints.latency_p50);
		/* not one of them was asked for */
		assert_int_equal(m.src.stats.ram.normal + m.src.stats.postcopy.bytes / PAGE,
				 2 * PAGES - HALF);
		mv_close(&m);
	}
}

/* ---- used again ---- */

static int free_and_write(struct mv *m, enum mv_step s)
{
	if (s == MV_HINT_START)
		(void)free_half(m, s);
	/* The second harvest: after a round. */
	if (s == MV_HARVEST && atomic_load(&m->harvests) == 2)
		for (uint64_t p = 0; p < 20; p++)
			mv_guest_write(m, 0, p * 7, false);
	return RF_OK;
}

static void a_page_that_is_used_again_is_sent(void **state)
{
	static const enum rf_mode modes[] = {RF_MODE_PRECOPY, RF_MODE_POSTCOPY};

	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		struct mv_cfg cfg = {
			.name = "used again",
			.mode = modes[i],
			.content = MV_DATA,
			.verify = modes[i] == RF_MODE_PRECOPY,
			.free_hints = true,
			.hook = free_and_write,
		};
		struct mv m;

		mv_need(&cfg);
		mv_open(&m, &cfg);
		mv_run(&m);
		mv_assert_moved(&m);
		assert_int_equal(m.src.stats.free_hints.avoided, HALF);
		assert_int_equal(m.src.stats.free_hints.told, HALF - 20);
		mv_close(&m);
	}
}

/* ---- refused ---- */

static int refused(struct mv *m, enum mv_step s)
{
	uint64_t epoch = rf_source_hint_epoch(m->source);

	switch (s) {
	case MV_SRC_ACTIVE:
	case MV_PAUSE: /* still runs */
	case MV_TRACKER_START:
		break;
	case MV_SRC_DEVICE:
	case MV_SAVE:
		assert_int_equal(epoch, 0);
		assert_int_equal(rf_source_hint_free(m->source, 0, 0, PAGE, m->epoch),
				 RF_ERR_STATE);
		break;
	case MV_HARVEST: /* in the middle of it */
		assert_int_equal(epoch, 0);
		if (atomic_load(&m->harvests) == 2 && !m->paused)
			assert_int_equal(rf_source_hint_free(m->source, 0, 0, PAGE, m->epoch),
					 RF_AGAIN);
		break;
	case MV_HINT_START:
		assert_true(epoch > 0);
		assert_int_equal(rf_source_hint_free(m->source, 1, 0, PAGE, epoch), RF_ERR_INVALID);
		assert_int_equal(rf_source_hint_free(m->source, 0, 1, PAGE, epoch), RF_ERR_INVALID);
		assert_int_equal(rf_source_hint_free(m->source, 0, 0, 1, epoch), RF_ERR_INVALID);
		assert_int_equal(rf_source_hint_free(m->source, 0, 0, 0, epoch), RF_ERR_INVALID);
		assert_int_equal(rf_source_hint_free(m->source, 0, PAGES * PAGE, PAGE, epoch),
				 RF_ERR_INVALID);
		assert_int_equal(rf_source_hint_free(m->source, 0, PAGE, UINT64_MAX - PAGE + 1,
						     epoch),
				 RF_ERR_INVALID);
		assert_int_equal(rf_source_hint_free(m->source, 0, 0, PAGE, epoch + 1), RF_AGAIN);
		assert_int_equal(rf_source_hint_free(m->source, 0, 0, PAGE, epoch - 1), RF_AGAIN);
		break;
	case MV_SRC_PROGRESS: /* after a round: the first epoch is over */
		if (epoch && epoch != m->epoch)
			assert_int_equal(rf_source_hint_free(m->source, 0, 0, PAGE, m->epoch),
					 RF_AGAIN);
		break;
	default:
		break;
	}
	return RF_OK;
}

static void what_is_stale_or_wrong_is_refused(void **state)
{
	struct mv_cfg cfg = {
		.name = "refused",
		.content = MV_DATA,
		.rounds = 3,
		.verify = true,
		.free_hints = true,
		.hook = refused,
	};
	struct mv m;

	mv_open(&m, &cfg);
	assert_int_equal(rf_source_hint_epoch(m.source), 0);
	assert_int_equal(rf_source_hint_free(m.source, 0, 0, PAGE, 0), RF_ERR_STATE);
	mv_run(&m);
	mv_assert_moved(&m);
	assert_int_equal(rf_source_hint_epoch(m.source), 0);
	assert_int_equal(rf_source_hint_free(m.source, 0, 0, PAGE, m.epoch), RF_ERR_STATE);
	assert_int_equal(m.src.stats.free_hints.hints, 0);
	assert_true(m.src.stats.free_hints.stale >= 5);
	assert_int_equal(m.src.stats.free_hints.told, 0);
	mv_close(&m);
}

static void without_the_option_there_are_no_hints(void **state)
{
	struct mv_cfg cfg = {.name = "no hints", .content = MV_DATA, .verify = true};
	struct mv m;

	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_moved(&m);
	assert_int_equal(m.src.hint_starts, 0);
	assert_int_equal(m.dst.hint_dones, 0);
	mv_close(&m);
}

static int free_and_cancel(struct mv *m, enum mv_step s)
{
	(void)free_half(m, s);
	if (s == MV_SRC_PROGRESS)
		rf_source_cancel(m->source);
	return RF_OK;
}

static void a_guest_that_stays_is_told_here(void **state)
{
	struct mv_cfg cfg = {
		.name = "cancelled",
		.content = MV_DATA,
		.rounds = 3,
		.free_hints = true,
		.hook = free_and_cancel,
	};
	struct mv m;

	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_stayed(&m, RF_ERR_CANCELLED, RF_ERR_CANCELLED);
	assert_told_once(&m);
	mv_close(&m);
}

/* ---- all at once ---- */

/* A guest that frees and uses pages, and a VMM whose hints come late. */
struct balloon {
	struct mv *m;
	_Atomic bool stop;
	pthread_t thread;
	uint64_t seed;
};

static void *free_and_use(void *arg)
{
	struct balloon *b = arg;
	struct mv *m = b->m;

	while (!atomic_load(&b->stop)) {
		uint64_t epoch = rf_source_hint_epoch(m->source);
		uint64_t first = next_random(&b->seed) % (PAGES - 16);
		uint64_t count = 1 + next_random(&b->seed) % 16;
		bool reuse = next_random(&b->seed) % 2;

		pthread_mutex_lock(&m->cpu);
		for (uint64_t p = first; !m->paused && p < first + count; p++)
			atomic_store(&m->regions[0].freed[p], true);
		if (m->paused)
			epoch = 0;
		pthread_mutex_unlock(&m->cpu);
		if (!epoch) {
			usleep(100);
			continue;
		}
		for (uint64_t p = first; reuse && p < first + count / 2; p++) {
			pthread_mutex_lock(&m->cpu);
			if (!m->paused)
				mv_guest_write(m, 0, p, p % 5 == 0);
			pthread_mutex_unlock(&m->cpu);
		}
		if (next_random(&b->seed) % 8 == 0)
			usleep(500); /* so late that a harvest may have been meanwhile */
		(void)rf_source_hint_free(m->source, 0, first * PAGE, count * PAGE, epoch);
	}
	return NULL;
}

static int begin_balloon(struct mv *m, enum mv_step s)
{
	struct balloon *b = m->cfg.hook_arg;

	if (s == MV_HINT_START)
		assert_int_equal(pthread_create(&b->thread, NULL, free_and_use, b), 0);
	/* A moment for it in a migration that would be over at once. */
	if (s == MV_HARVEST && atomic_load(&m->harvests) < 8)
		usleep(2000);
	return RF_OK;
}

static void run_balloon(enum rf_mode mode, uint64_t seed)
{
	struct balloon b = {.seed = seed};
	struct mv_cfg cfg = {
		.name = mode == RF_MODE_PRECOPY ? "balloon, precopy" : "balloon, postcopy",
		.mode = mode,
		.content = MV_DATA,
		.writer = true,
		.verify = mode == RF_MODE_PRECOPY,
		.max_bandwidth = mode == RF_MODE_PRECOPY ? 200 * MIB : 0,
		.free_hints = true,
		.hook = begin_balloon,
		.hook_arg = &b,
	};
	struct mv m;

	mv_need(&cfg);
	mv_open(&m, &cfg);
	b.m = &m;
	mv_start(&m);
	mv_join(&m);
	atomic_store(&b.stop, true);
	pthread_join(b.thread, NULL);
	mv_check(&m);
	mv_assert_moved(&m);
	assert_told_once(&m);
	mv_close(&m);
}

static void pages_freed_and_used_all_the_time(void **state)
{
	const char *given = getenv("RF_SEED"), *runs = getenv("RF_RUNS");
	uint64_t seed = given ? strtoull(given, NULL, 0) : 0;
	unsigned n = runs ? (unsigned)strtoul(runs, NULL, 0) : 5;

	while (!seed)
		assert_int_equal(getrandom(&seed, sizeof(seed), 0), sizeof(seed));
	printf("RF_SEED=%#lx\n", seed);
	for (unsigned i = 0; i < n; i++) {
		run_balloon(RF_MODE_PRECOPY, seed + 2 * i);
		run_balloon(RF_MODE_POSTCOPY, seed + 2 * i + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hinted_pages_are_not_sent),
		cmocka_unit_test(in_postcopy_hinted_pages_are_made_there),
		cmocka_unit_test(a_page_that_is_used_again_is_sent),
		cmocka_unit_test(what_is_stale_or_wrong_is_refused),
		cmocka_unit_test(without_the_option_there_are_no_hints),
		cmocka_unit_test(a_guest_that_stays_is_told_here),
		cmocka_unit_test(pages_freed_and_used_all_the_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
