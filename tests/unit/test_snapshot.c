/* SPDX-License-Identifier: BSD-3-Clause */
/* Snapshots of a guest that writes as fast as it can, into a sink that is good, slow, full, failing
 * or dead. */
#include "tests/unit/unit.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ramferry/log.h>

#include "common/uffd_wp.h"
#include "tests/unit/snapshot_fixture.h"

#define MEMORY (16u << 20)

static const struct {
	const char *name;
	uint32_t page_size;
	bool file;
} memories[] = {
	{"memfd", RF_PAGE_SIZE, true},
	{"anonymous", RF_PAGE_SIZE, false},
	{"huge pages", 2u << 20, true},
};

static const enum rf_snapshot_strategy strategies[] = {RF_SNAPSHOT_AUTO, RF_SNAPSHOT_QUEUE,
						       RF_SNAPSHOT_COPY};

static struct fixture_sink sink;

static bool start(struct fixture_guest *g, size_t memory)
{
	if (fixture_guest_start(g, MEMORY, memories[memory].page_size, memories[memory].file,
				FIXTURE_WRITERS, 0))
		return true;
	printf("SKIP: test_snapshot/huge pages: sysctl vm.nr_hugepages=16\n");
	return false;
}

static void take_one(struct fixture_guest *g, enum rf_snapshot_strategy strategy,
		     enum fixture_sink_mode mode, unsigned threads)
{
	struct rf_snapshot_cfg cfg = {.strategy = strategy,
				      .fault_threads = threads,
				      .pool = 4u << 20};
	struct rf_snapshot_stats st;

	fixture_sink_init(&sink, g, mode, 0);
	assert_int_equal(fixture_snapshot(g, &sink, cfg, &st), RF_OK);
	fixture_check_image(g, &sink);
	assert_int_equal(st.status, RF_STATE_COMPLETED);
	assert_int_equal(st.remaining, 0);
	assert_true(st.saved_by_fault <= st.pages_saved);
	assert_true(st.pool_high_water <= st.pool_size);
	if (strategy == RF_SNAPSHOT_QUEUE)
		assert_int_equal(st.copied, 0);
	fixture_sink_fini(&sink);
	fixture_guest_goes_on(g);
}

/* The same guest again and again: protection is taken off whole each time. */
static void every_page_is_saved_once_as_it_was(void **state)
{
	for (size_t m = 0; m < COUNT_OF(memories); m++) {
		struct fixture_guest g;

		if (!start(&g, m))
			continue;
		for (size_t i = 0; i < COUNT_OF(strategies); i++)
			for (unsigned mode = SINK_GOOD; mode <= SINK_FULL; mode++)
				take_one(&g, strategies[i], (enum fixture_sink_mode)mode, 1 + mode);
		fixture_guest_end(&g);
	}
}

/* A pool of one page: copies and requests race for all the rest. */
static void a_small_pool_falls_back_to_waiting(void **state)
{
	struct rf_snapshot_cfg cfg = {.strategy = RF_SNAPSHOT_COPY,
				      .pool = RF_PAGE_SIZE,
				      .fault_threads = 3};
	struct rf_snapshot_stats st;
	struct fixture_guest g;

	assert_true(start(&g, 0));
	for (unsigned i = 0; i < 5; i++) {
		fixture_sink_init(&sink, &g, SINK_SLOW, 0);
		assert_int_equal(fixture_snapshot(&g, &sink, cfg, &st), RF_OK);
		fixture_check_image(&g, &sink);
		assert_true(st.pool_high_water <= RF_PAGE_SIZE);
		fixture_sink_fini(&sink);
	}
	fixture_guest_end(&g);
}

static void a_failing_sink_harms_nobody(void **state)
{
	static const unsigned at[] = {1, 2, 10, 40};
	struct rf_snapshot_stats st;
	struct fixture_guest g;

	assert_true(start(&g, 0));
	for (size_t i = 0; i < COUNT_OF(at) * COUNT_OF(strategies); i++) {
		struct rf_snapshot_cfg cfg = {.strategy = strategies[i % COUNT_OF(strategies)]};

		fixture_sink_init(&sink, &g, SINK_FAILS, at[i / COUNT_OF(strategies)]);
		assert_int_equal(fixture_snapshot(&g, &sink, cfg, &st), RF_ERR_SYSTEM);
		assert_int_equal(st.status, RF_STATE_FAILED);
		assert_false(sink.committed);
		fixture_sink_fini(&sink);
		fixture_guest_goes_on(&g);
	}
	take_one(&g, RF_SNAPSHOT_AUTO, SINK_GOOD, 1);
	fixture_guest_end(&g);
}

/* Nothing comes to its end, or nothing more is taken: the snapshot fails, and the guest's writes
 * end with it. */
static void a_dead_sink_keeps_nobody_waiting(void **state)
{
	struct rf_snapshot_stats st;
	struct fixture_guest g;

	assert_true(start(&g, 0));
	for (size_t i = 0; i < 2 * COUNT_OF(strategies); i++) {
		struct rf_snapshot_cfg cfg = {.strategy = strategies[i / 2], .sink_timeout = 50};

		fixture_sink_init(&sink, &g, i % 2 ? SINK_REFUSES : SINK_HANGS, 5);
		assert_int_equal(fixture_snapshot(&g, &sink, cfg, &st), RF_ERR_TIMEOUT);
		assert_int_equal(st.error, RF_ERR_TIMEOUT);
		assert_non_null(strstr(st.error_desc, "50 ms"));
		assert_false(sink.committed);
		fixture_sink_fini(&sink);
		fixture_guest_goes_on(&g);
	}
	fixture_guest_end(&g);
}

static struct rf_snapshot *cancelled;

static void cancel_it(void *arg, const struct rf_snapshot_stats *st)
{
	if (st->status == RF_STATE_ACTIVE)
		rf_snapshot_cancel(cancelled);
}

static int no_op(void *arg)
{
	return RF_OK;
}

static int no_state(void *arg, void **buf, size_t *len)
{
	*buf = NULL;
	*len = 0;
	return arg ? RF_ERR_GUEST : RF_OK;
}

/* Into a file; max_bandwidth makes it last until it is cancelled. */
static void a_cancelled_one_leaves_no_file(void **state)
{
	char path[] = "/tmp/rf-test-snapshot-XXXXXX/image";
	struct rf_snapshot_cfg cfg = {
		.size = sizeof(cfg),
		.path = path,
		.max_bandwidth = 4096,
		.guest = {.size = sizeof(cfg.guest),
			  .pause = no_op,
			  .resume = no_op,
			  .save_state = no_state},
		.progress = cancel_it,
	};
	struct rf_region region = {.size = sizeof(region),
				   .id = "ram",
				   .len = MEMORY,
				   .page_size = RF_PAGE_SIZE,
				   .memfd = -1};
	struct stat st;

	path[strlen(path) - 6] = 0;
	assert_non_null(mkdtemp(path));
	path[strlen(path)] = '/';
	region.addr =
		mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(region.addr, 1, MEMORY);
	assert_int_equal(rf_snapshot_new(&cfg, &cancelled), RF_OK);
	assert_int_equal(rf_snapshot_add_region(cancelled, &region), RF_OK);
	assert_int_equal(rf_snapshot_run(cancelled), RF_ERR_CANCELLED);
	assert_int_equal(rf_snapshot_run(cancelled), RF_ERR_STATE);
	rf_snapshot_delete(&cancelled);
	assert_int_equal(stat(path, &st), -1);
	*strrchr(path, '/') = 0;
	assert_int_equal(rmdir(path), 0); /* and nothing else */
	munmap(region.addr, MEMORY);
}

static void a_guest_that_gives_no_state_fails_it(void **state)
{
	struct rf_snapshot_cfg cfg = {
		.size = sizeof(cfg),
		.path = "/tmp/rf-test-snapshot-never",
		.guest = {.size = sizeof(cfg.guest),
			  .pause = no_op,
			  .resume = no_op,
			  .save_state = no_state},
		.guest_arg = &cfg,
	};
	struct rf_region region = {.size = sizeof(region),
				   .id = "ram",
				   .len = MEMORY,
				   .page_size = RF_PAGE_SIZE,
				   .memfd = -1};
	struct rf_snapshot *s;
	struct stat st;

	region.addr =
		mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(rf_snapshot_new(&cfg, &s), RF_OK);
	assert_int_equal(rf_snapshot_add_region(s, &region), RF_OK);
	assert_int_equal(rf_snapshot_run(s), RF_ERR_GUEST);
	memset(region.addr, 1, MEMORY); /* nothing is protected */
	rf_snapshot_delete(&s);
	assert_int_equal(stat(cfg.path, &st), -1);
	munmap(region.addr, MEMORY);
}

static uint64_t resident(const uint8_t *p, uint64_t len)
{
	unsigned char *in = malloc(len / RF_PAGE_SIZE);
	uint64_t n = 0;

	assert_int_equal(mincore((void *)p, len, in), 0);
	for (uint64_t i = 0; i < len / RF_PAGE_SIZE; i++)
		n += in[i] & 1;
	free(in);
	return n;
}

/* 1 GiB of which the first 4 MiB are written to all the time, and the rest holds nothing. */
static void memory_that_holds_nothing_stays_so(void **state)
{
	for (size_t m = 0; m < 2; m++) {
		struct rf_snapshot_cfg cfg = {.strategy = RF_SNAPSHOT_AUTO};
		struct rf_snapshot_stats st;
		struct fixture_guest g;

		assert_true(fixture_guest_start(&g, 1u << 30, RF_PAGE_SIZE, memories[m].file, 2,
						4u << 20));
		fixture_sink_init(&sink, &g, SINK_GOOD, 0);
		assert_int_equal(fixture_snapshot(&g, &sink, cfg, &st), RF_OK);
		for (uint64_t i = 0; i < 1024; i++)
			assert_int_equal(sink.times[i], 1);
		assert_true(st.pages_saved <= 1024 + 512);
		assert_memory_equal(sink.image, g.expected, 4u << 20);
		assert_true(resident(g.mem, g.len) <= 1024);
		fixture_sink_fini(&sink);
		fixture_guest_end(&g);
	}
}

static void bad_set_up_is_refused(void **state)
{
	struct rf_snapshot_cfg good = {
		.size = sizeof(good),
		.path = "/tmp/x",
		.guest = {.size = sizeof(good.guest),
			  .pause = no_op,
			  .resume = no_op,
			  .save_state = no_state},
	};
	struct rf_snapshot_cfg c;
	struct rf_snapshot *s = NULL;

	c = good, c.size = 1;
	assert_int_equal(rf_snapshot_new(&c, &s), RF_ERR_INVALID);
	c = good, c.path = "";
	assert_int_equal(rf_snapshot_new(&c, &s), RF_ERR_INVALID);
	c = good, c.guest.pause = NULL;
	assert_int_equal(rf_snapshot_new(&c, &s), RF_ERR_INVALID);
	c = good, c.strategy = (enum rf_snapshot_strategy)7;
	assert_int_equal(rf_snapshot_new(&c, &s), RF_ERR_INVALID);
	c = good, c.fault_threads = 17;
	assert_int_equal(rf_snapshot_new(&c, &s), RF_ERR_INVALID);
	assert_null(s);
	assert_int_equal(rf_snapshot_new(&good, &s), RF_OK);
	struct rf_region r = {.size = sizeof(r),
			      .id = "ram",
			      .addr = (void *)4096,
			      .len = 4096,
			      .page_size = 4096,
			      .memfd = -1};
	struct rf_region bad = r;

	bad.page_size = 8192;
	assert_int_equal(rf_snapshot_add_region(s, &bad), RF_ERR_INVALID);
	bad = r, bad.len = 100;
	assert_int_equal(rf_snapshot_add_region(s, &bad), RF_ERR_INVALID);
	bad = r, bad.id[0] = 0;
	assert_int_equal(rf_snapshot_add_region(s, &bad), RF_ERR_INVALID);
	assert_int_equal(rf_snapshot_add_region(s, &r), RF_OK);
	assert_int_equal(rf_snapshot_add_region(s, &r), RF_ERR_INVALID);
	rf_snapshot_delete(&s);
	rf_snapshot_delete(&s);
}

static int quiet(void **state)
{
	bool anonymous;
	int fd, rc;

	rf_log_set_level(RF_LOG_NONE);
	rc = rf_uffd_open_wp(&fd, &anonymous);
	if (rc != RF_OK || !anonymous) {
		printf("SKIP: test_snapshot: Linux 6.4 and a full-mode userfaultfd (root)\n");
		exit(77);
	}
	close(fd);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_page_is_saved_once_as_it_was),
		cmocka_unit_test(a_small_pool_falls_back_to_waiting),
		cmocka_unit_test(a_failing_sink_harms_nobody),
		cmocka_unit_test(a_dead_sink_keeps_nobody_waiting),
		cmocka_unit_test(a_cancelled_one_leaves_no_file),
		cmocka_unit_test(a_guest_that_gives_no_state_fails_it),
		cmocka_unit_test(memory_that_holds_nothing_stays_so),
		cmocka_unit_test(bad_set_up_is_refused),
	};

	return cmocka_run_group_tests(tests, quiet, NULL);
}
