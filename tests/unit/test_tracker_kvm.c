/* SPDX-License-Identifier: BSD-3-Clause */
/* KVM's dirty log and ring against a fake KVM: slots, edges, and what goes wrong. That nothing
 * is lost on the real one is seen in test_guest_move. */
#include "tests/unit/fake_kvm.h"

#define REGIONS 2

/*
 * region 0  | slot 0: 128 pages | slot 1: 1000 pages |
 * region 1  | slot 3: 70 pages |
 */
static const struct rf_kvm_slot slots[] = {
	{.slot = 0, .region = 0, .guest_phys = 0, .len = 128 * 4096, .addr = (void *)0x10000},
	{.slot = 1,
	 .region = 0,
	 .region_offset = 128 * 4096,
	 .guest_phys = 1ull << 32,
	 .len = 1000 * 4096,
	 .addr = (void *)0x90000},
	{.slot = 3,
	 .region = 1,
	 .guest_phys = 1ull << 33,
	 .len = 70 * 4096,
	 .addr = (void *)0x1000},
};
static const uint64_t region_pages[REGIONS] = {1128, 70};

struct fixture {
	struct rf_tracker t;
	struct rf_region regions[REGIONS];
	struct rf_bitmap found[REGIONS];
	int vcpu_fds[FAKE_RINGS];
	struct rf_kvm_tracker_cfg cfg;
};

static void count_kick(void *arg)
{
	fake.kicks++;
}

static void setup_cfg(struct fixture *f, bool ring)
{
	*f = (struct fixture){0};
	fake_kvm_setup();
	for (size_t i = 0; i < COUNT_OF(slots); i++)
		fake.slots[slots[i].slot] = (struct fake_slot){
			.npages = slots[i].len / RF_PAGE_SIZE,
			.addr = slots[i].addr,
			.guest_phys = slots[i].guest_phys,
		};
	for (unsigned i = 0; i < FAKE_RINGS; i++)
		f->vcpu_fds[i] = fake.rings[i].fd;
	f->cfg = (struct rf_kvm_tracker_cfg){
		.size = sizeof(f->cfg),
		.vm_fd = fake.vm_fd,
		.slots = slots,
		.nslots = COUNT_OF(slots),
		.use_ring = ring,
		.ring_bytes = FAKE_ENTRIES * sizeof(struct kvm_dirty_gfn),
		.vcpu_fds = f->vcpu_fds,
		.nvcpus = FAKE_RINGS,
		.kick = count_kick,
	};
	for (unsigned i = 0; i < REGIONS; i++) {
		f->regions[i] = (struct rf_region){.size = sizeof(f->regions[i]),
						   .id = "ram",
						   .len = region_pages[i] * RF_PAGE_SIZE};
		assert_int_equal(rf_bitmap_init(&f->found[i], region_pages[i]), RF_OK);
	}
}

static void setup(struct fixture *f, bool ring)
{
	setup_cfg(f, ring);
	assert_int_equal(rf_tracker_kvm_new(&f->cfg, &f->t), RF_OK);
	assert_string_equal(f->t.ops->name, ring ? "kvm-ring" : "kvm-log");
}

static void teardown(struct fixture *f)
{
	rf_tracker_delete(&f->t);
	for (size_t i = 0; i < COUNT_OF(slots); i++)
		assert_false(fake.slots[slots[i].slot].logging);
	for (unsigned i = 0; i < REGIONS; i++)
		rf_bitmap_fini(&f->found[i]);
	fake_kvm_teardown();
}

static int start(struct fixture *f)
{
	return f->t.ops->start(f->t.self, f->regions, REGIONS);
}

static int harvest(struct fixture *f, unsigned region)
{
	struct rf_dirty_sink sink = {
		.bits = &f->found[region],
		.npages = region_pages[region],
		.region = "ram",
	};

	rf_bitmap_clear_range(&f->found[region], 0, region_pages[region]);
	return f->t.ops->harvest(f->t.self, region, &sink);
}

static void expect(struct fixture *f, unsigned region, const uint64_t *pages, unsigned n)
{
	assert_int_equal(harvest(f, region), RF_OK);
	for (unsigned i = 0; i < n; i++)
		if (!rf_bitmap_test(&f->found[region], pages[i]))
			fail_msg("page %llu was lost", (unsigned long long)pages[i]);
	assert_int_equal(rf_bitmap_count(&f->found[region]), n);
}

static void log_reports_by_region_and_clears(void **state)
{
	struct fixture f;

	setup(&f, false);
	assert_int_equal(start(&f), RF_OK);
	fake_dirty(0, 0);
	fake_dirty(0, 127);
	fake_dirty(1, 0);
	fake_dirty(1, 999);
	fake_dirty(3, 69);
	expect(&f, 0, (uint64_t[]){0, 127, 128, 1127}, 4);
	expect(&f, 0, NULL, 0);
	assert_int_equal(fake.slots[3].dirty[1], 1u << 5);
	expect(&f, 1, (uint64_t[]){69}, 1);
	expect(&f, 1, NULL, 0);
	teardown(&f);
}

static void log_clears_only_what_was_dirty(void **state)
{
	struct fixture f;

	setup(&f, false);
	assert_int_equal(start(&f), RF_OK);
	assert_int_equal(harvest(&f, 0), RF_OK);
	assert_int_equal(fake.clear_calls, 0);
	/* One word, not the slot. */
	fake_dirty(1, 300);
	assert_int_equal(harvest(&f, 0), RF_OK);
	assert_int_equal(fake.clear_calls, 1);
	assert_int_equal(fake.cleared_pages, 64);
	/* The unaligned tail. */
	fake_dirty(1, 998);
	expect(&f, 0, (uint64_t[]){128 + 998}, 1);
	assert_int_equal(fake.cleared_pages, 64 + 1000 % 64);
	/* Near ones go in one call. */
	fake_dirty(1, 0);
	fake_dirty(1, 500);
	expect(&f, 0, (uint64_t[]){128, 628}, 2);
	assert_int_equal(fake.clear_calls, 3);
	expect(&f, 0, NULL, 0);
	teardown(&f);
}

static void dirty_again(void)
{
	fake.after_get = NULL;
	fake_dirty(0, 5); /* was in the log */
	fake_dirty(0, 6); /* was not */
}

static void log_keeps_what_comes_between_get_and_clear(void **state)
{
	struct fixture f;

	setup(&f, false);
	assert_int_equal(start(&f), RF_OK);
	fake_dirty(0, 5);
	fake.after_get = dirty_again;
	/* The write to 5 before CLEAR is read after it. */
	expect(&f, 0, (uint64_t[]){5}, 1);
	expect(&f, 0, (uint64_t[]){6}, 1);
	expect(&f, 0, NULL, 0);
	teardown(&f);
}

static void log_tells_of_errors(void **state)
{
	struct fixture f;
	struct log_watch log;

	setup(&f, false);
	watch_log(&log);
	assert_int_equal(harvest(&f, 0), RF_ERR_STATE);
	assert_int_equal(start(&f), RF_OK);
	assert_int_equal(start(&f), RF_ERR_STATE);
	fake_dirty(0, 1);
	fake.fail_get = true;
	assert_int_equal(harvest(&f, 0), RF_ERR_SYSTEM);
	fake.fail_get = false;
	fake.fail_clear = true;
	assert_int_equal(harvest(&f, 0), RF_ERR_SYSTEM);
	fake.fail_clear = false;
	unwatch_log();
	assert_int_equal(log.errors, 4);
	/* A harvest that failed has lost nothing. */
	expect(&f, 0, (uint64_t[]){1}, 1);
	teardown(&f);
}

static void start_is_all_or_nothing(void **state)
{
	for (unsigned ring = 0; ring < 2; ring++) {
		struct fixture f;
		struct log_watch log;

		setup(&f, ring);
		watch_log(&log);
		for (unsigned fail = 1; fail <= COUNT_OF(slots); fail++) {
			fake.fail_set = fail;
			assert_int_equal(start(&f), RF_ERR_SYSTEM);
			for (size_t i = 0; i < COUNT_OF(slots); i++)
				assert_false(fake.slots[slots[i].slot].logging);
		}
		assert_int_equal(log.errors, COUNT_OF(slots));
		/* Regions that are not those of the slots. */
		assert_int_equal(f.t.ops->start(f.t.self, f.regions, 1), RF_ERR_INVALID);
		f.regions[0].len -= RF_PAGE_SIZE;
		assert_int_equal(start(&f), RF_ERR_INVALID);
		unwatch_log();
		f.regions[0].len += RF_PAGE_SIZE;
		assert_int_equal(start(&f), RF_OK);
		teardown(&f);
	}
}

static void refuse(const struct rf_kvm_tracker_cfg *cfg, int err)
{
	struct rf_tracker t = {0};
	struct log_watch log;

	watch_log(&log);
	assert_int_equal(rf_tracker_kvm_new(cfg, &t), err);
	unwatch_log();
	assert_int_equal(log.errors, 1);
	assert_null(t.ops);
}

static void bad_configurations_are_refused(void **state)
{
	struct rf_kvm_slot one = slots[0];
	struct rf_kvm_tracker_cfg cfg;
	struct fixture f;

	setup_cfg(&f, true);
	cfg = f.cfg;
	cfg.size--;
	refuse(&cfg, RF_ERR_INVALID);
	cfg = f.cfg;
	cfg.ring_bytes = 48;
	refuse(&cfg, RF_ERR_INVALID);
	cfg.ring_bytes = 0;
	refuse(&cfg, RF_ERR_INVALID);
	cfg = f.cfg;
	cfg.nvcpus = 0;
	refuse(&cfg, RF_ERR_INVALID);
	cfg = f.cfg;
	f.vcpu_fds[1] = -1;
	refuse(&cfg, RF_ERR_UNSUPPORTED);
	f.vcpu_fds[1] = fake.rings[1].fd;
	cfg.slots = &one;
	cfg.nslots = 1;
	one.region_offset = 4096;
	refuse(&cfg, RF_ERR_INVALID);
	one.region_offset = 0;
	one.len = 4095;
	refuse(&cfg, RF_ERR_INVALID);
	one.len = 0;
	cfg.use_ring = 0;
	refuse(&cfg, RF_ERR_INVALID);
	cfg = f.cfg;
	cfg.use_ring = 0;
	fake.no_manual_protect = true;
	refuse(&cfg, RF_ERR_UNSUPPORTED);
	teardown(&f);
}

static void ring_reports_by_region_and_rearms(void **state)
{
	struct fixture f;

	setup(&f, true);
	assert_int_equal(start(&f), RF_OK);
	assert_true(fake_push(0, 0, 0));
	assert_true(fake_push(1, 1, 999));
	assert_true(fake_push(1, 3, 69));
	assert_true(fake_push(0, 0, 0));  /* twice */
	assert_true(fake_push(0, 2, 7));  /* not our slot */
	assert_true(fake_push(0, 3, 70)); /* not in the slot */
	expect(&f, 1, (uint64_t[]){69}, 1);
	assert_int_equal(fake.kicks, 1);
	for (unsigned i = 0; i < FAKE_RINGS; i++)
		assert_int_equal(fake.rings[i].in, fake.rings[i].reset);
	expect(&f, 0, (uint64_t[]){0, 1127}, 2);
	expect(&f, 0, NULL, 0);
	expect(&f, 1, NULL, 0);
	teardown(&f);
}

static void ring_wraps(void **state)
{
	struct fixture f;

	setup(&f, true);
	assert_int_equal(start(&f), RF_OK);
	for (unsigned round = 0; round < 20; round++) {
		uint64_t pages[FAKE_ENTRIES];
		unsigned n = 1 + (unsigned)(test_random() % FAKE_ENTRIES);

		for (unsigned i = 0; i < n; i++) {
			pages[i] = 128 + round * 40 + i;
			assert_true(fake_push(round % 2, 1, round * 40 + i));
		}
		expect(&f, 0, pages, n);
	}
	teardown(&f);
}

static void full_ring_is_emptied_and_reported_later(void **state)
{
	struct fixture f;

	setup(&f, true);
	assert_int_equal(start(&f), RF_OK);
	for (unsigned i = 0; i < 5 * FAKE_ENTRIES; i++) {
		if (!fake_push(0, 1, i)) {
			assert_int_equal(rf_tracker_kvm_ring_full(&f.t), RF_OK);
			assert_true(fake_push(0, 1, i));
		}
	}
	assert_int_equal(harvest(&f, 0), RF_OK);
	assert_int_equal(rf_bitmap_count(&f.found[0]), 5 * FAKE_ENTRIES);
	assert_int_equal(rf_bitmap_count_range(&f.found[0], 128, 5 * FAKE_ENTRIES),
			 5 * FAKE_ENTRIES);
	teardown(&f);
}

static void ring_reset_is_repeated(void **state)
{
	struct fixture f;
	struct log_watch log;

	setup(&f, true);
	assert_int_equal(start(&f), RF_OK);
	for (unsigned i = 0; i < 10; i++)
		assert_true(fake_push(i % 2, 0, i));
	fake.reset_eintr = 3;
	fake.reset_most = 4;
	assert_int_equal(harvest(&f, 0), RF_OK);
	assert_int_equal(rf_bitmap_count(&f.found[0]), 10);
	assert_int_equal(fake.reset_calls, 6);
	/* An error ends it; what was noted is reported by the next harvest. */
	fake.reset_most = 0;
	assert_true(fake_push(0, 0, 77));
	fake.fail_reset = true;
	watch_log(&log);
	assert_int_equal(harvest(&f, 0), RF_ERR_SYSTEM);
	unwatch_log();
	assert_int_equal(log.errors, 1);
	fake.fail_reset = false;
	expect(&f, 0, (uint64_t[]){77}, 1);
	teardown(&f);
}

static void ring_forgets_at_stop(void **state)
{
	struct fixture f;
	struct log_watch log;

	setup(&f, true);
	watch_log(&log);
	assert_int_equal(harvest(&f, 0), RF_ERR_STATE);
	assert_int_equal(start(&f), RF_OK);
	assert_int_equal(start(&f), RF_ERR_STATE);
	unwatch_log();
	assert_int_equal(log.errors, 2);
	assert_true(fake_push(0, 0, 1));
	assert_int_equal(rf_tracker_kvm_ring_full(&f.t), RF_OK);
	assert_true(fake_push(0, 0, 2));
	f.t.ops->stop(f.t.self);
	f.t.ops->stop(f.t.self);
	assert_int_equal(start(&f), RF_OK);
	expect(&f, 0, NULL, 0);
	assert_true(fake_push(0, 0, 3));
	expect(&f, 0, (uint64_t[]){3}, 1);
	teardown(&f);
}

static void only_a_ring_can_be_full(void **state)
{
	struct fixture f;
	struct rf_tracker none = {0};

	setup(&f, false);
	assert_int_equal(rf_tracker_kvm_ring_full(&f.t), RF_ERR_INVALID);
	assert_int_equal(rf_tracker_kvm_ring_full(&none), RF_ERR_INVALID);
	assert_int_equal(rf_tracker_kvm_ring_full(NULL), RF_ERR_INVALID);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(log_reports_by_region_and_clears),
		cmocka_unit_test(log_clears_only_what_was_dirty),
		cmocka_unit_test(log_keeps_what_comes_between_get_and_clear),
		cmocka_unit_test(log_tells_of_errors),
		cmocka_unit_test(start_is_all_or_nothing),
		cmocka_unit_test(bad_configurations_are_refused),
		cmocka_unit_test(ring_reports_by_region_and_rearms),
		cmocka_unit_test(ring_wraps),
		cmocka_unit_test(full_ring_is_emptied_and_reported_later),
		cmocka_unit_test(ring_reset_is_repeated),
		cmocka_unit_test(ring_forgets_at_stop),
		cmocka_unit_test(only_a_ring_can_be_full),
	};

	test_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
