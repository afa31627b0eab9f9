/* SPDX-License-Identifier: BSD-3-Clause */
/* Harvests by the scheduler and by the thread, with a tracker that finds what the test says. */
#include "tests/unit/unit.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "scheduler/sync.h"
#include "scheduler/tracker.h"

#define MS    RF_NS_PER_MS
#define PAGES 640u
#define SOON  20000 /* ms; what takes longer hangs */

struct fixture {
	struct rf_src_region regions[2];
	struct rf_sync sync;
	int wake_fd;
	_Atomic unsigned harvests; /* of region 0 */
	_Atomic int rc;		   /* of region 1's harvests */
	_Atomic bool inside;	   /* the tracker must not be called twice at once */
	_Atomic unsigned overlaps;
};

/* Each harvest finds the first 10 pages of each region, and the page of its number. */
static int harvest(void *self, unsigned region, struct rf_dirty_sink *sink)
{
	struct fixture *f = self;
	unsigned n = atomic_load(&f->harvests);

	if (atomic_exchange(&f->inside, true))
		atomic_fetch_add(&f->overlaps, 1);
	if (region == 0)
		atomic_store(&f->harvests, n + 1);
	rf_dirty_sink_run(sink, 0, 10);
	rf_dirty_sink_run(sink, 100 + n % 100, 1);
	atomic_store(&f->inside, false);
	return region == 1 ? atomic_load(&f->rc) : RF_OK;
}

static const struct rf_tracker_ops ops = {
	.size = sizeof(ops),
	.name = "fake",
	.harvest = harvest,
};

static int open_fixture(void **state)
{
	static struct fixture f;
	struct rf_tracker t = {.ops = &ops, .self = &f};

	memset(&f, 0, sizeof(f));
	f.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rf_dirty_map_init(&f.regions[i].map, i ? PAGES : 200), RF_OK);
	assert_int_equal(rf_sync_init(&f.sync, f.regions, 2, &t, &rf_clock_monotonic, f.wake_fd),
			 RF_OK);
	*state = &f;
	return 0;
}

static int close_fixture(void **state)
{
	struct fixture *f = *state;

	rf_sync_stop(&f->sync);
	assert_int_equal(atomic_load(&f->overlaps), 0);
	rf_sync_fini(&f->sync);
	for (unsigned i = 0; i < 2; i++)
		rf_dirty_map_fini(&f->regions[i].map);
	close(f->wake_fd);
	return 0;
}

/* Until the thread has brought a sample. */
static struct rf_sync_sample await_sample(struct fixture *f)
{
	struct rf_sync_sample s;
	eventfd_t count;

	while (!rf_sync_take(&f->sync, &s)) {
		struct pollfd p = {.fd = f->wake_fd, .events = POLLIN};

		if (poll(&p, 1, SOON) <= 0)
			fail_msg("no harvest comes");
		eventfd_read(f->wake_fd, &count);
	}
	return s;
}

static void all_that_is_found_becomes_pending(void **state)
{
	struct fixture *f = *state;
	struct rf_sync_sample s;
	uint64_t pending;

	assert_int_equal(rf_sync_advance(&f->sync, &pending, &s), RF_OK);
	assert_int_equal(pending, 22);
	assert_int_equal(s.found.dirtied, 22);
	assert_int_equal(s.found.again, 22);
	assert_int_equal(s.harvests, 1);
	assert_int_equal(s.behind, 0);
	assert_int_equal(s.ns, 0); /* the first covers no time */
	assert_false(rf_sync_take(&f->sync, &s));
	assert_int_equal(rf_sync_advance(&f->sync, &pending, &s), RF_OK);
	assert_int_equal(pending, 24); /* two others than before */
	assert_int_equal(s.found.again, 2);
	assert_true(s.ns > 0);
}

static void the_thread_harvests_in_a_round(void **state)
{
	struct fixture *f = *state;
	struct rf_sync_sample s;
	struct rf_page_run run;
	uint64_t pending;
	unsigned n = 0;

	assert_int_equal(rf_sync_advance(&f->sync, &pending, &s), RF_OK);
	assert_int_equal(rf_sync_start(&f->sync), RF_OK);
	rf_sync_begin_round(&f->sync, MS);
	while (n < 3) {
		s = await_sample(f);
		assert_int_equal(s.error, RF_OK);
		assert_int_equal(s.behind, s.harvests);
		/* all but the page of its number is pending still */
		assert_int_equal(s.found.dirtied, 22 * s.harvests);
		assert_int_equal(s.found.again, 2 * s.harvests);
		n += s.harvests;
	}
	assert_true(rf_dirty_map_claim(&f->regions[0].map, 0, 200, 10, &run));
	assert_int_equal(run.count, 10);
	assert_int_equal(rf_sync_advance(&f->sync, &pending, &s), RF_OK);
	/* those of region 0 must go again, those of region 1 have not gone yet */
	assert_true(s.found.again >= 10);
	assert_int_equal(rf_bitmap_count_range(&f->regions[0].map.pending, 0, 10), 10);
	assert_int_equal(rf_bitmap_count(&f->regions[1].map.next), 0);
}

static void between_rounds_the_thread_rests(void **state)
{
	struct fixture *f = *state;
	struct rf_sync_sample s;
	uint64_t pending;
	unsigned before;

	assert_int_equal(rf_sync_start(&f->sync), RF_OK);
	rf_sync_begin_round(&f->sync, MS);
	(void)await_sample(f);
	assert_int_equal(rf_sync_advance(&f->sync, &pending, &s), RF_OK);
	before = atomic_load(&f->harvests);
	usleep(20000); /* if it did not rest, it would have harvested by now, most likely */
	assert_int_equal(atomic_load(&f->harvests), before);
}

static void an_error_of_the_thread_is_told(void **state)
{
	struct fixture *f = *state;
	struct rf_sync_sample s;
	unsigned before;

	assert_int_equal(rf_sync_start(&f->sync), RF_OK);
	atomic_store(&f->rc, RF_ERR_SYSTEM);
	rf_sync_begin_round(&f->sync, MS);
	s = await_sample(f);
	assert_int_equal(s.error, RF_ERR_SYSTEM);
	assert_int_equal(s.region, 1);
	/* it has given up */
	before = atomic_load(&f->harvests);
	rf_sync_begin_round(&f->sync, MS);
	rf_sync_stop(&f->sync);
	assert_int_equal(atomic_load(&f->harvests), before);
}

static void an_error_between_rounds_is_returned(void **state)
{
	struct fixture *f = *state;
	struct rf_sync_sample s;
	uint64_t pending;

	atomic_store(&f->rc, RF_ERR_SYSTEM);
	assert_int_equal(rf_sync_advance(&f->sync, &pending, &s), RF_ERR_SYSTEM);
	assert_int_equal(s.error, RF_ERR_SYSTEM);
	assert_int_equal(s.region, 1);
}

/* ---- the thread beside a sender: each write is carried by this round or by the next ---- */

static void *claim_all(void *arg)
{
	struct fixture *f = arg;
	struct rf_page_run run;

	for (unsigned turn = 0; turn < 300; turn++)
		for (unsigned r = 0; r < 2; r++)
			while (rf_dirty_map_claim(&f->regions[r].map, 0, f->regions[r].map.npages,
						  64, &run))
				;
	return NULL;
}

static void harvests_beside_a_sender(void **state)
{
	struct fixture *f = *state;
	struct rf_sync_sample s;
	uint64_t pending;
	pthread_t t;

	assert_int_equal(rf_sync_start(&f->sync), RF_OK);
	assert_int_equal(pthread_create(&t, NULL, claim_all, f), 0);
	for (unsigned i = 0; i < 20; i++) {
		rf_sync_begin_round(&f->sync, MS / 10);
		(void)await_sample(f);
		assert_int_equal(rf_sync_advance(&f->sync, &pending, &s), RF_OK);
		assert_true(pending >= 22);
	}
	pthread_join(t, NULL);
}

/* ---- intervals ---- */

static void intervals(void **state)
{
	static const struct {
		const char *what;
		struct rf_sync_pace in;
		uint64_t ns;
	} rows[] = {
		{"nothing is known", {0}, 100 * MS},
		{"a short round", {.pending = 1 << 20, .bandwidth = 1e9}, 100 * MS},
		{"an eighth of a round", {.pending = 8000000000, .bandwidth = 1e9}, 1000 * MS},
		{"a long round", {.pending = 1ull << 40, .bandwidth = 1e9}, 5000 * MS},
		{"16 TiB at a byte a second", {.pending = 1ull << 44, .bandwidth = 1}, 5000 * MS},
		{"harvests that take long", {.spent_ns = 50 * MS}, 1000 * MS},
		{"harvests that take very long",
		 {.pending = 1ull << 44, .bandwidth = 1e9, .spent_ns = 1000 * MS},
		 20000 * MS},
		{"as the user says",
		 {.pending = 1ull << 40, .bandwidth = 1e9, .spent_ns = 50 * MS, .wanted_ms = 10},
		 10 * MS},
	};

	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (rf_sync_interval(&rows[i].in) != rows[i].ns)
			fail_msg("%s: %llu", rows[i].what,
				 (unsigned long long)rf_sync_interval(&rows[i].in));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_that_is_found_becomes_pending, open_fixture,
						close_fixture),
		cmocka_unit_test_setup_teardown(the_thread_harvests_in_a_round, open_fixture,
						close_fixture),
		cmocka_unit_test_setup_teardown(between_rounds_the_thread_rests, open_fixture,
						close_fixture),
		cmocka_unit_test_setup_teardown(an_error_of_the_thread_is_told, open_fixture,
						close_fixture),
		cmocka_unit_test_setup_teardown(an_error_between_rounds_is_returned, open_fixture,
						close_fixture),
		cmocka_unit_test_setup_teardown(harvests_beside_a_sender, open_fixture,
						close_fixture),
		cmocka_unit_test(intervals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
