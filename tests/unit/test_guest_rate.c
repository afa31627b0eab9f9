/* SPDX-License-Identifier: BSD-3-Clause */
/* Dirty rate and throttle. Machines are noisy: ratios with wide bounds. */
#include "tests/unit/guest_fixture.h"

#include "vmm/duty.h"
#include "vmm/pace.h"

#define MS 1000000ull

static const struct guest_case paced_rows[] = {
	{"kvm, 1 vCPU", "kvm", NULL, 1, RF_PATTERN_RANDOM, 40u << 20},
	{"kvm, 3 vCPUs", "kvm", NULL, 3, RF_PATTERN_SEQUENTIAL, 40u << 20},
	{"threads, 1 vCPU", "threads", NULL, 1, RF_PATTERN_RANDOM, 40u << 20},
	{"threads, 3 vCPUs", "threads", NULL, 3, RF_PATTERN_SEQUENTIAL, 40u << 20},
};
static const struct guest_case fast_rows[] = {
	{"kvm, 1 vCPU", "kvm", NULL, 1, RF_PATTERN_RANDOM, 0},
	{"threads, 2 vCPUs", "threads", NULL, 2, RF_PATTERN_RANDOM, 0},
};

/* Bytes of pages dirtied a second over ms, by passes of a small working set. */
static double measure(struct rf_vm *vm, const struct rf_vm_cfg *cfg, unsigned ms)
{
	uint64_t begin = now_ms(), passes = rf_vm_passes(vm);

	sleep_ms(ms);
	passes = rf_vm_passes(vm) - passes;
	double share = (double)cfg->working_set / cfg->vcpus;
	return (double)passes * share * 1000 / (double)(now_ms() - begin);
}

static struct rf_vm *new_small_guest(const struct guest_case *c, struct rf_vm_cfg *cfg)
{
	struct rf_vm *vm;

	need_guest(c);
	fill_cfg(c, cfg);
	cfg->working_set = 64 * RF_PAGE_SIZE * c->vcpus;
	assert_int_equal(rf_vm_new(cfg, &vm), RF_OK);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_passes(vm, c->vcpus);
	return vm;
}

static void dirty_rate_is_kept(void **state)
{
	const struct guest_case *c = *state;
	struct rf_vm_cfg cfg;
	struct rf_vm *vm = new_small_guest(c, &cfg);
	double rate = 0, want = (double)cfg.dirty_rate;

	for (unsigned attempt = 0; attempt < 5 && (rate < want / 2 || rate > want * 1.5); attempt++)
		rate = measure(vm, &cfg, 300);
	rf_vm_delete(&vm);
	if (rate < want / 2 || rate > want * 1.5)
		fail_msg("%.1f MB/s instead of %.1f", rate / 1e6, want / 1e6);
}

/*
 * Speed at each percentage, relative to the first one's, against the most it may be. In turns,
 * so that other load weighs on all alike; and again if a machine too busy to wake anybody in
 * time still spoils it.
 */
static void expect_throttled(const struct guest_case *c, const unsigned *percent,
			     const double *most, unsigned n)
{
	struct rf_vm_cfg cfg;
	struct rf_vm *vm = new_small_guest(c, &cfg);
	double speed[4];
	bool good = false;

	for (unsigned attempt = 0; !good && attempt < 5; attempt++) {
		memset(speed, 0, sizeof(speed));
		for (unsigned i = 0; i < 3 * n; i++) {
			assert_int_equal(rf_vm_ops.throttle(vm, percent[i % n]), RF_OK);
			sleep_ms(20);
			speed[i % n] += measure(vm, &cfg, 100);
		}
		good = true;
		for (unsigned i = 1; i < n; i++)
			good = good && speed[i] < speed[0] * most[i];
	}
	/* It can be paused and checked while it is held. */
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	assert_checked(vm);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	rf_vm_delete(&vm);
	for (unsigned i = 1; !good && i < n; i++)
		print_error("%u percent: %.2f of full speed\n", percent[i], speed[i] / speed[0]);
	assert_true(good);
}

/* Also for a guest that does not use all its time. */
static void throttle_slows_a_paced_guest(void **state)
{
	expect_throttled(*state, (const unsigned[]){0, 75, 99}, (const double[]){1, 0.6, 0.15}, 3);
}

static void throttle_slows_and_lets_go(void **state)
{
	expect_throttled(*state, (const unsigned[]){0, 60, 99}, (const double[]){1, 0.7, 0.3}, 3);
}

/* One batch would take seconds: pause and end must not wait for it. */
static void slow_guest_pauses_at_once(void **state)
{
	struct guest_case c = *(const struct guest_case *)*state;
	struct rf_vm_cfg cfg;
	struct rf_vm *vm;
	uint64_t begin;

	need_guest(&c);
	c.dirty_rate = 100; /* a page in 40 s a vCPU */
	fill_cfg(&c, &cfg);
	assert_int_equal(rf_vm_new(&cfg, &vm), RF_OK);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	sleep_ms(20);
	begin = now_ms();
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	assert_checked(vm);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	sleep_ms(20);
	rf_vm_delete(&vm);
	assert_true(now_ms() - begin < 5000);
}

static void batches_keep_exits_few(void **state)
{
	assert_int_equal(rf_pace_batch(0), 0);
	assert_int_equal(rf_pace_batch(1), 1);
	assert_int_equal(rf_pace_batch(200 * 4096), 1);
	assert_int_equal(rf_pace_batch(1ull << 30), (1u << 30) / 4096 / 200);
}

static void pace_adds_up(void **state)
{
	struct rf_pace p = {0};
	uint64_t now = 1000 * MS;

	/* 1 MB at 100 MB/s is 10 ms, counted from the burst it may catch up. */
	rf_pace_done(&p, now, 1000000, 100000000);
	assert_int_equal(p.due_ns, now - RF_PACE_BURST_NS + 10 * MS);
	rf_pace_done(&p, now, 4000000, 100000000);
	assert_int_equal(p.due_ns, now - RF_PACE_BURST_NS + 50 * MS);
	/* Throttled for 7 ms. */
	rf_pace_shift(&p, 7 * MS);
	assert_int_equal(p.due_ns, now - RF_PACE_BURST_NS + 57 * MS);
	/* Paused for long: nothing of that time is caught up but the burst. */
	now += 60000 * MS;
	rf_pace_done(&p, now, 1000000, 100000000);
	assert_int_equal(p.due_ns, now - RF_PACE_BURST_NS + 10 * MS);
	/* Nonsense does not wrap. */
	rf_pace_done(&p, now, UINT64_MAX, 1);
	assert_true(p.due_ns > now && p.due_ns < now + 3601000 * MS);
	struct rf_pace q = {0};
	rf_pace_done(&q, now, 1, 0);
	assert_true(q.due_ns <= now);
}

/* The share a vCPU runs when ticks and wake-ups come late by up to `late`; the longest stop it is
 * told to make. */
static double run_share(unsigned percent, uint64_t late, uint64_t *longest)
{
	uint64_t seed = 42, ran = 0, stood = 0;
	struct rf_duty d = {0};

	*longest = 0;
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t slice = rf_duty_slice(percent), stop;

		slice += late ? next_random(&seed) % late : 0;
		stop = rf_duty_stop(&d, slice, percent);
		if (stop > *longest)
			*longest = stop;
		if (stop && late)
			stop += next_random(&seed) % late;
		rf_duty_stopped(&d, stop);
		ran += slice;
		stood += stop;
	}
	return (double)ran / (double)(ran + stood);
}

static void no_stop_is_longer_than_a_period(void **state)
{
	for (unsigned percent = 1; percent <= 99; percent++) {
		uint64_t longest;
		double share = run_share(percent, 0, &longest), want = (100 - percent) / 100.0;

		assert_true(longest <= RF_DUTY_PERIOD_NS);
		if (share < want * 0.99 || share > want * 1.01)
			fail_msg("%u percent: runs %.4f of the time", percent, share);
	}
}

/* Of ticks that come late by up to 50 us at most half of the time is its slice's. */
static void late_ticks_do_not_change_the_share(void **state)
{
	for (unsigned percent = 1; percent <= 95; percent++) {
		uint64_t longest;
		double share = run_share(percent, 50000, &longest), want = (100 - percent) / 100.0;

		assert_true(longest <= RF_DUTY_PERIOD_NS);
		if (share < want * 0.98 || share > want * 1.02)
			fail_msg("%u percent: runs %.4f of the time", percent, share);
	}
}

/* One slice of 30 ms at 90 percent owes 270 ms: paid in stops of 10 ms, with slices in between. */
static void a_long_slice_is_paid_bit_by_bit(void **state)
{
	struct rf_duty d = {0};
	unsigned stops = 0;
	uint64_t stop = rf_duty_stop(&d, 30 * MS, 90);

	while (stop == RF_DUTY_PERIOD_NS && stops < 1000) {
		rf_duty_stopped(&d, stop);
		stop = rf_duty_stop(&d, MS / 10, 90);
		stops++;
	}
	assert_true(stops > 27 && stops < 35);
	/* nobody stands still for hours for what a sleeping laptop owes */
	(void)rf_duty_stop(&d, 3600000 * MS, 99);
	assert_int_equal(d.owed_ns, RF_DUTY_MAX_OWED_NS);
	rf_duty_stopped(&d, 3600000 * MS);
	assert_int_equal(d.owed_ns, -RF_DUTY_PERIOD_NS);
}

int main(void)
{
	static struct guest_tests g;
	static const struct guest_case pure = {"pure", "threads", NULL, 1, RF_PATTERN_RANDOM, 0};

	add_rows(&g, batches_keep_exits_few, &pure, 1);
	add_rows(&g, pace_adds_up, &pure, 1);
	add_rows(&g, no_stop_is_longer_than_a_period, &pure, 1);
	add_rows(&g, late_ticks_do_not_change_the_share, &pure, 1);
	add_rows(&g, a_long_slice_is_paid_bit_by_bit, &pure, 1);
	add_rows(&g, dirty_rate_is_kept, paced_rows, COUNT_OF(paced_rows));
	add_rows(&g, throttle_slows_a_paced_guest, paced_rows, COUNT_OF(paced_rows));
	add_rows(&g, slow_guest_pauses_at_once, paced_rows, COUNT_OF(paced_rows));
	add_rows(&g, throttle_slows_and_lets_go, fast_rows, COUNT_OF(fast_rows));
	return run_guest_tests("test_guest_rate", &g);
}
