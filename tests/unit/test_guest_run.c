/* SPDX-License-Identifier: BSD-3-Clause */
/* Guests that run, stop, and find what is wrong in their memory. */
#include "tests/unit/guest_fixture.h"

#include "tests/leaks.h"
#include "vmm/program.h"

static const struct guest_case rows[] = {
	{"kvm, 1 vCPU, random", "kvm", NULL, 1, RF_PATTERN_RANDOM, 0},
	{"kvm, 1 vCPU, sequential", "kvm", NULL, 1, RF_PATTERN_SEQUENTIAL, 0},
	{"kvm, 3 vCPUs, random", "kvm", NULL, 3, RF_PATTERN_RANDOM, 0},
	{"kvm, 4 vCPUs, sequential", "kvm", NULL, 4, RF_PATTERN_SEQUENTIAL, 0},
	{"kvm, 2 vCPUs, paced", "kvm", NULL, 2, RF_PATTERN_RANDOM, 64u << 20},
	{"threads, 1 vCPU, random", "threads", NULL, 1, RF_PATTERN_RANDOM, 0},
	{"threads, 1 vCPU, sequential", "threads", NULL, 1, RF_PATTERN_SEQUENTIAL, 0},
	{"threads, 3 vCPUs, random", "threads", NULL, 3, RF_PATTERN_RANDOM, 0},
	{"threads, 4 vCPUs, sequential", "threads", NULL, 4, RF_PATTERN_SEQUENTIAL, 0},
	{"threads, 2 vCPUs, paced", "threads", NULL, 2, RF_PATTERN_RANDOM, 64u << 20},
};

static void runs_and_is_consistent_at_every_pause(void **state)
{
	const struct guest_case *c = *state;
	uint64_t passes = 0;

	need_guest(c);
	struct rf_vm *vm = new_guest(c);
	assert_int_equal(rf_vm_passes(vm), 0);
	assert_checked(vm);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
		sleep_ms((unsigned)(test_random() % 8));
		assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
		assert_healthy(vm);
		assert_checked(vm);
		assert_true(rf_vm_passes(vm) >= passes);
		passes = rf_vm_passes(vm);
	}
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_passes(vm, passes + 3 * c->vcpus);
	rf_vm_delete(&vm);
	assert_null(vm);
	rf_vm_delete(&vm);
}

static void stands_still_while_paused(void **state)
{
	const struct guest_case *c = *state;
	struct guest_memory copy;
	struct rf_region r;

	need_guest(c);
	struct rf_vm *vm = new_guest(c);
	rf_vm_region(vm, &r);
	make_memory(&copy, r.len);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_passes(vm, 2 * c->vcpus);
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	memcpy(copy.at, r.addr, r.len);
	sleep_ms(20);
	assert_memory_equal(copy.at, r.addr, r.len);
	rf_vm_delete(&vm);
	drop_memory(&copy);
}

static void what_needs_another_state_is_refused(void **state)
{
	const struct guest_case *c = *state;
	struct log_watch log;
	void *buf = NULL;
	size_t len = 0;
	char desc[64];

	need_guest(c);
	struct rf_vm *vm = new_guest(c);
	watch_log(&log);
	assert_int_equal(rf_vm_ops.pause(vm), RF_ERR_STATE);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	assert_int_equal(rf_vm_ops.resume(vm), RF_ERR_STATE);
	assert_int_equal(rf_vm_ops.save_state(vm, &buf, &len), RF_ERR_STATE);
	assert_int_equal(rf_vm_ops.load_state(vm, "", 0), RF_ERR_STATE);
	assert_int_equal(rf_vm_check(vm, desc, sizeof(desc)), RF_ERR_STATE);
	assert_int_equal(rf_vm_ops.throttle(vm, 100), RF_ERR_INVALID);
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	/* It has run: another guest's state would not fit its memory. */
	assert_int_equal(rf_vm_ops.load_state(vm, "", 0), RF_ERR_STATE);
	unwatch_log();
	assert_int_equal(log.errors, 7);
	assert_null(buf);
	rf_vm_delete(&vm);
}

static uint64_t random_cell(const struct rf_vm_cfg *cfg)
{
	uint64_t cells = cfg->working_set / RF_PROGRAM_CELL_STRIDE;

	return RF_GUEST_LOW_BYTES + test_random() % cells * RF_PROGRAM_CELL_STRIDE;
}

static void wait_for_illness(const struct rf_vm *vm, char *desc, size_t cap)
{
	uint64_t end = now_ms() + 60000;

	while (rf_vm_health(vm, desc, cap) == RF_OK) {
		if (now_ms() > end)
			fail_msg("the program did not find the wrong cell in 60 s");
		sleep_ms(1);
	}
}

static void corrupted_cell_is_found_inside_and_outside(void **state)
{
	const struct guest_case *c = *state;
	struct rf_vm_cfg cfg;
	struct rf_region r;
	char desc[256] = "", where[32];

	need_guest(c);
	fill_cfg(c, &cfg);
	struct rf_vm *vm = new_guest(c);
	rf_vm_region(vm, &r);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_passes(vm, 2 * c->vcpus);
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	assert_checked(vm);

	uint64_t at = random_cell(&cfg);
	uint64_t *cell = (uint64_t *)((unsigned char *)r.addr + at);
	*cell ^= UINT64_C(1) << test_random() % 64;
	uint64_t wrong = *cell;
	snprintf(where, sizeof(where), "0x%llx ", (unsigned long long)at);
	assert_int_equal(rf_vm_check(vm, desc, sizeof(desc)), RF_ERR_GUEST);
	assert_non_null(strstr(desc, where));

	/* The vCPU that owns it stops at it; the guest can be paused and looked at all the same. */
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_illness(vm, desc, sizeof(desc));
	assert_non_null(strstr(desc, where));
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	assert_true(*cell == wrong);
	assert_int_equal(rf_vm_check(vm, desc, sizeof(desc)), RF_ERR_GUEST);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	assert_int_equal(rf_vm_health(vm, desc, sizeof(desc)), RF_ERR_GUEST);
	rf_vm_delete(&vm);
}

static void wait_for_change(const uint64_t *cell)
{
	uint64_t end = now_ms() + 60000, before = __atomic_load_n(cell, __ATOMIC_RELAXED);

	while (__atomic_load_n(cell, __ATOMIC_RELAXED) == before) {
		if (now_ms() > end)
			fail_msg("a cell was not written in 60 s");
		sleep_ms(1);
	}
}

/* The values of the last pass but one: what a lost page of a migration looks like. */
static void stale_page_is_found(void **state)
{
	const struct guest_case *c = *state;
	struct rf_vm_cfg cfg;
	struct rf_region r;
	char desc[256];
	unsigned char old[RF_PAGE_SIZE];

	need_guest(c);
	fill_cfg(c, &cfg);
	struct rf_vm *vm = new_guest(c);
	rf_vm_region(vm, &r);
	uint64_t at = random_cell(&cfg) & ~(uint64_t)(RF_PAGE_SIZE - 1);
	unsigned char *page = (unsigned char *)r.addr + at;
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_passes(vm, 2 * c->vcpus);
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	memcpy(old, page, sizeof(old));
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_change((uint64_t *)page);
	wait_for_change((uint64_t *)page);
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	assert_checked(vm);
	memcpy(page, old, sizeof(old));
	assert_int_equal(rf_vm_check(vm, desc, sizeof(desc)), RF_ERR_GUEST);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_illness(vm, desc, sizeof(desc));
	rf_vm_delete(&vm);
}

static void damaged_parameters_stop_the_guest(void **state)
{
	const struct guest_case *c = *state;
	struct rf_region r;
	struct log_watch log;
	char desc[256];

	need_guest(c);
	struct rf_vm *vm = new_guest(c);
	rf_vm_region(vm, &r);
	struct rf_guest_params *p = (void *)((unsigned char *)r.addr + RF_PROGRAM_PARAMS);
	p->pages = UINT64_MAX / RF_PAGE_SIZE;
	assert_int_equal(rf_vm_check(vm, desc, sizeof(desc)), RF_ERR_GUEST);
	assert_int_equal(rf_vm_passes(vm), 0);
	watch_log(&log);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_illness(vm, desc, sizeof(desc));
	rf_vm_delete(&vm);
	unwatch_log();
}

static void leaves_nothing_behind(void **state)
{
	const struct guest_case *c = *state;

	need_guest(c);
	unsigned fds = count_fds(), threads = count_threads();
	for (unsigned i = 0; i < 5; i++) {
		struct rf_vm *vm = new_guest(c);
		struct rf_tracker t;

		if (i % 2)
			assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
		if (i % 3 == 1)
			assert_int_equal(rf_vm_ops.throttle(vm, 50), RF_OK);
		if (!strcmp(c->kind, "kvm"))
			assert_int_equal(rf_vm_tracker(vm, &t), RF_OK);
		rf_vm_delete(&vm);
	}
	assert_true(fds_settle_at(fds));
	assert_true(threads_settle_at(threads));
}

int main(void)
{
	static struct guest_tests g;

	add_rows(&g, runs_and_is_consistent_at_every_pause, rows, COUNT_OF(rows));
	add_rows(&g, stands_still_while_paused, rows, COUNT_OF(rows));
	add_rows(&g, what_needs_another_state_is_refused, rows, COUNT_OF(rows));
	add_rows(&g, corrupted_cell_is_found_inside_and_outside, rows, COUNT_OF(rows));
	add_rows(&g, stale_page_is_found, rows, COUNT_OF(rows));
	add_rows(&g, damaged_parameters_stop_the_guest, &rows[4], 1);
	add_rows(&g, damaged_parameters_stop_the_guest, &rows[9], 1);
	add_rows(&g, leaves_nothing_behind, rows, COUNT_OF(rows));
	return run_guest_tests("test_guest_run", &g);
}
