/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest moved within this process: by stopping it, and by precopy with each tracker. */
#include "tests/unit/guest_fixture.h"

#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE (2u << 20)

static const struct guest_case rows[] = {
	{"kvm, kvm-log, 1 vCPU", "kvm", "kvm-log", 1, RF_PATTERN_RANDOM, 0},
	{"kvm, kvm-log, 4 vCPUs", "kvm", "kvm-log", 4, RF_PATTERN_SEQUENTIAL, 0},
	{"kvm, kvm-ring, 1 vCPU", "kvm", "kvm-ring", 1, RF_PATTERN_RANDOM, 0},
	{"kvm, kvm-ring, 4 vCPUs", "kvm", "kvm-ring", 4, RF_PATTERN_RANDOM, 0},
	{"kvm, uffd-wp, 4 vCPUs", "kvm", "uffd-wp", 4, RF_PATTERN_RANDOM, 0},
	{"kvm, auto, 2 vCPUs, paced", "kvm", NULL, 2, RF_PATTERN_RANDOM, 64u << 20},
	{"threads, uffd-wp, 1 vCPU", "threads", "uffd-wp", 1, RF_PATTERN_RANDOM, 0},
	{"threads, uffd-wp, 4 vCPUs", "threads", "uffd-wp", 4, RF_PATTERN_SEQUENTIAL, 0},
	{"threads, manual, 1 vCPU", "threads", "manual", 1, RF_PATTERN_SEQUENTIAL, 0},
	{"threads, manual, 4 vCPUs", "threads", "manual", 4, RF_PATTERN_RANDOM, 0},
	{"threads, manual, 2 vCPUs, paced", "threads", "manual", 2, RF_PATTERN_RANDOM, 64u << 20},
};

/* Takes the paused source's state over into a new guest on m, runs it, and checks it. */
static void run_on(const struct guest_case *c, struct rf_vm *source, struct guest_memory *m)
{
	struct rf_vm_cfg cfg;
	struct rf_vm *vm = NULL;
	uint64_t passes = rf_vm_passes(source);
	void *state = NULL;
	size_t len = 0;

	fill_cfg(c, &cfg);
	cfg.memory_at = m->at;
	cfg.memfd = m->memfd;
	/* What the program does comes with its memory. */
	cfg.working_set = cfg.fill = cfg.seed = cfg.dirty_rate = 0;
	assert_int_equal(rf_vm_new(&cfg, &vm), RF_OK);
	assert_int_equal(rf_vm_passes(vm), 0);
	assert_int_equal(rf_vm_ops.save_state(source, &state, &len), RF_OK);
	assert_true(len <= 2 * rf_vm_ops.state_size(source));
	assert_int_equal(rf_vm_ops.load_state(vm, state, len), RF_OK);
	free(state);

	assert_int_equal(rf_vm_passes(vm), passes);
	assert_checked(vm);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_passes(vm, passes + 2 * c->vcpus);
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	assert_healthy(vm);
	assert_checked(vm);
	rf_vm_delete(&vm);
}

static void moved_by_stop_and_copy(void **state)
{
	const struct guest_case *c = *state;
	struct guest_memory m;
	struct rf_region r;

	need_guest(c);
	struct rf_vm *vm = new_guest(c);
	rf_vm_region(vm, &r);
	make_memory(&m, r.len);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_passes(vm, 2 * c->vcpus);
	for (unsigned i = 0; i < 3; i++) {
		sleep_ms((unsigned)(test_random() % 8));
		assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
		memcpy(m.at, r.addr, r.len);
		run_on(c, vm, &m);
		/* The source goes on as if nothing had happened. */
		assert_checked(vm);
		assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	}
	rf_vm_delete(&vm);
	drop_memory(&m);
}

/* What the program found moves with its memory. */
static void halted_guest_is_ill_on_the_destination_too(void **state)
{
	const struct guest_case *c = *state;
	struct rf_vm_cfg cfg;
	struct guest_memory m;
	struct rf_region r;
	struct rf_vm *to = NULL;
	void *buf = NULL;
	size_t len = 0;
	char desc[256] = "", found[256] = "";

	need_guest(c);
	struct rf_vm *vm = new_guest(c);
	rf_vm_region(vm, &r);
	((unsigned char *)r.addr)[RF_GUEST_LOW_BYTES] ^= 1;
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	while (rf_vm_health(vm, desc, sizeof(desc)) == RF_OK)
		sleep_ms(1);
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	assert_int_equal(rf_vm_ops.save_state(vm, &buf, &len), RF_OK);
	make_memory(&m, r.len);
	memcpy(m.at, r.addr, r.len);
	fill_cfg(c, &cfg);
	cfg.memory_at = m.at;
	cfg.memfd = m.memfd;
	assert_int_equal(rf_vm_new(&cfg, &to), RF_OK);
	assert_int_equal(rf_vm_health(to, found, sizeof(found)), RF_OK);
	assert_int_equal(rf_vm_ops.load_state(to, buf, len), RF_OK);
	assert_int_equal(rf_vm_health(to, found, sizeof(found)), RF_ERR_GUEST);
	assert_string_equal(found, desc);
	assert_int_equal(rf_vm_ops.resume(to), RF_OK);
	sleep_ms(2);
	assert_int_equal(rf_vm_ops.pause(to), RF_OK);
	assert_int_equal(rf_vm_health(to, found, sizeof(found)), RF_ERR_GUEST);
	assert_string_equal(found, desc);
	free(buf);
	rf_vm_delete(&to);
	rf_vm_delete(&vm);
	drop_memory(&m);
}

/* Without page tables, code and handlers a virtual processor is at its end. */
static void dead_guest_is_not_saved(void **state)
{
	const struct guest_case *c = *state;
	struct rf_region r;
	char desc[256] = "";
	void *buf = NULL;
	size_t len = 0;

	need_guest(c);
	struct rf_vm *vm = new_guest(c);
	rf_vm_region(vm, &r);
	memset(r.addr, 0, r.len);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	while (rf_vm_health(vm, desc, sizeof(desc)) == RF_OK)
		sleep_ms(1);
	assert_non_null(strstr(desc, "vCPU 0: "));
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	assert_int_equal(rf_vm_ops.save_state(vm, &buf, &len), RF_ERR_GUEST);
	assert_null(buf);
	rf_vm_delete(&vm);
}

/* One precopy; the guest is paused at its end. */
static void precopy(struct rf_vm *vm, const struct rf_tracker *t, const struct rf_region *r,
		    struct guest_memory *m)
{
	assert_int_equal(t->ops->start(t->self, r, 1), RF_OK);
	memcpy(m->at, r->addr, r->len);
	for (unsigned round = 0; round < 10; round++) {
		sleep_ms((unsigned)(test_random() % 4));
		harvest_and_copy(t, r, m->at);
	}
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	harvest_and_copy(t, r, m->at);
}

static void precopied_memory_is_the_same(void **state)
{
	const struct guest_case *c = *state;
	struct guest_memory m;
	struct rf_tracker t;
	struct rf_region r;

	need_guest(c);
	struct rf_vm *vm = new_guest(c);
	rf_vm_region(vm, &r);
	make_memory(&m, r.len);
	assert_int_equal(rf_vm_tracker(vm, &t), RF_OK);
	if (c->tracker)
		assert_string_equal(t.ops->name, c->tracker);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	/* As after migrations that failed: tracking starts over and is as exact. */
	for (unsigned attempt = 0; attempt < 3; attempt++) {
		precopy(vm, &t, &r, &m);
		/* Not assert_memory_equal: it prints every byte. */
		if (memcmp(m.at, r.addr, r.len))
			fail_msg("attempt %u: writes were lost", attempt);
		/* Nothing runs, so nothing is dirty any more. */
		assert_int_equal(harvest_and_copy(&t, &r, m.at), 0);
		t.ops->stop(t.self);
		t.ops->stop(t.self);
		if (attempt == 2)
			run_on(c, vm, &m);
		assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
		wait_for_passes(vm, rf_vm_passes(vm) + c->vcpus);
	}
	assert_healthy(vm);
	rf_vm_delete(&vm);
	drop_memory(&m);
}

/* Whether n huge pages are free for a moment at least. */
static bool have_huge_pages(unsigned n)
{
	int fd = memfd_create("test-huge", MFD_CLOEXEC | MFD_HUGETLB);
	size_t len = (size_t)n * HUGE_PAGE;
	void *p = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, (off_t)len))
		p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED)
		munmap(p, len);
	if (fd >= 0)
		close(fd);
	return p != MAP_FAILED;
}

static void memory_of_huge_pages_is_the_same(void **state)
{
	const struct guest_case *c = *state;
	struct rf_vm_cfg cfg;
	struct guest_memory m;
	struct rf_tracker t;
	struct rf_region r;
	struct rf_vm *vm;

	need_guest(c);
	fill_cfg(c, &cfg);
	cfg.memory = 16 * (uint64_t)HUGE_PAGE;
	cfg.page_size = HUGE_PAGE;
	if (!have_huge_pages(16))
		skip_case(c->name, "sysctl vm.nr_hugepages=16");
	assert_int_equal(rf_vm_new(&cfg, &vm), RF_OK);
	rf_vm_region(vm, &r);
	assert_int_equal(r.page_size, HUGE_PAGE);
	make_memory(&m, r.len);
	assert_int_equal(rf_vm_tracker(vm, &t), RF_OK);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	for (unsigned attempt = 0; attempt < 2; attempt++) {
		precopy(vm, &t, &r, &m);
		if (memcmp(m.at, r.addr, r.len))
			fail_msg("attempt %u: writes were lost", attempt);
		t.ops->stop(t.self);
		assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	}
	assert_healthy(vm);
	rf_vm_delete(&vm);
	drop_memory(&m);
}

/* A working set of more pages than the ring of its vCPU takes, and no harvest until the end. */
static void full_ring_loses_nothing(void **state)
{
	const struct guest_case *c = *state;
	struct rf_vm_cfg cfg;
	struct guest_memory m;
	struct rf_tracker t;
	struct rf_region r;
	struct rf_vm *vm;

	need_guest(c);
	fill_cfg(c, &cfg);
	cfg.memory = 88u << 20;
	cfg.working_set = 80u << 20;
	assert_int_equal(rf_vm_new(&cfg, &vm), RF_OK);
	rf_vm_region(vm, &r);
	make_memory(&m, r.len);
	assert_int_equal(rf_vm_tracker(vm, &t), RF_OK);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	assert_int_equal(t.ops->start(t.self, &r, 1), RF_OK);
	memcpy(m.at, r.addr, r.len);
	/* The pass after next has dirtied every page while tracked. */
	wait_for_passes(vm, rf_vm_passes(vm) + 2 * c->vcpus);
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	assert_true(harvest_and_copy(&t, &r, m.at) >= cfg.working_set / RF_PAGE_SIZE / c->vcpus);
	if (memcmp(m.at, r.addr, r.len))
		fail_msg("writes were lost");
	t.ops->stop(t.self);
	rf_vm_delete(&vm);
	drop_memory(&m);
}

int main(void)
{
	static struct guest_tests g;

	add_rows(&g, moved_by_stop_and_copy, rows, COUNT_OF(rows));
	add_rows(&g, precopied_memory_is_the_same, rows, COUNT_OF(rows));
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (rows[i].vcpus == 1 || !strcmp(rows[i].name, "kvm, uffd-wp, 4 vCPUs"))
			add_rows(&g, memory_of_huge_pages_is_the_same, &rows[i], 1);
	add_rows(&g, full_ring_loses_nothing, &rows[2], 1);
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (!strcmp(rows[i].kind, "kvm") && rows[i].vcpus == 1)
			add_rows(&g, dead_guest_is_not_saved, &rows[i], 1);
	add_rows(&g, halted_guest_is_ill_on_the_destination_too, rows, COUNT_OF(rows));
	return run_guest_tests("test_guest_move", &g);
}
