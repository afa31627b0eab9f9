/* SPDX-License-Identifier: BSD-3-Clause */
/* Configurations that cannot work say why, in one line; "auto" finds what can. */
#include "tests/unit/guest_fixture.h"

#include <sys/wait.h>
#include <unistd.h>

static const struct guest_case threads_row = {"threads", "threads", NULL, 2, RF_PATTERN_RANDOM, 0};
static const struct guest_case kvm_row = {"kvm", "kvm", NULL, 2, RF_PATTERN_RANDOM, 0};

static void refuse(const struct rf_vm_cfg *cfg, int err, const char *words)
{
	struct rf_vm *vm = NULL;
	struct log_watch log;

	watch_log(&log);
	int rc = rf_vm_new(cfg, &vm);
	unwatch_log();
	assert_int_equal(rc, err);
	assert_null(vm);
	assert_int_equal(log.errors, 1);
	if (!strstr(log.last, words))
		fail_msg("\"%s\" does not speak of \"%s\"", log.last, words);
}

static void vcpus_are_one_to_four(void **state)
{
	struct rf_vm_cfg cfg;

	fill_cfg(&threads_row, &cfg);
	cfg.vcpus = 0;
	refuse(&cfg, RF_ERR_INVALID, "vCPUs");
	cfg.vcpus = 5;
	refuse(&cfg, RF_ERR_INVALID, "vCPUs");
}

static void memory_has_its_limits(void **state)
{
	static const uint64_t bad[] = {0,
				       4096,
				       RF_GUEST_MIN_BYTES - RF_PAGE_SIZE,
				       RF_GUEST_MIN_BYTES + 1,
				       (16ull << 40) + RF_PAGE_SIZE,
				       UINT64_MAX};
	struct rf_vm_cfg cfg;

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		fill_cfg(&threads_row, &cfg);
		cfg.memory = bad[i];
		refuse(&cfg, RF_ERR_INVALID, "memory of");
	}
}

static void host_pages_are_of_known_sizes(void **state)
{
	static const uint32_t bad[] = {1, 2048, 8192, 4097, 4u << 20, 1u << 31};
	struct rf_vm_cfg cfg;

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		fill_cfg(&threads_row, &cfg);
		cfg.memory = 4ull << 30;
		cfg.page_size = bad[i];
		refuse(&cfg, RF_ERR_INVALID, "host pages");
	}
	fill_cfg(&threads_row, &cfg);
	cfg.page_size = 2u << 20; /* and 3 small pages of memory */
	refuse(&cfg, RF_ERR_INVALID, "whole host pages");
}

static void working_set_and_fill_must_fit(void **state)
{
	struct rf_vm_cfg cfg;

	fill_cfg(&threads_row, &cfg);
	cfg.working_set = cfg.memory;
	refuse(&cfg, RF_ERR_INVALID, "too small");
	cfg.working_set = UINT64_MAX - RF_PAGE_SIZE + 1;
	refuse(&cfg, RF_ERR_INVALID, "too small");
	fill_cfg(&threads_row, &cfg);
	cfg.fill = cfg.memory;
	refuse(&cfg, RF_ERR_INVALID, "too small");
	cfg.fill = UINT64_MAX;
	refuse(&cfg, RF_ERR_INVALID, "too small");
	fill_cfg(&threads_row, &cfg);
	cfg.working_set = RF_PAGE_SIZE; /* for two vCPUs */
	refuse(&cfg, RF_ERR_INVALID, "working set");
	cfg.working_set = 3 * RF_PAGE_SIZE + 8;
	refuse(&cfg, RF_ERR_INVALID, "working set");
}

static void names_are_checked(void **state)
{
	struct rf_vm_cfg cfg;

	fill_cfg(&threads_row, &cfg);
	cfg.kind = "qemu";
	refuse(&cfg, RF_ERR_INVALID, "qemu");
	fill_cfg(&threads_row, &cfg);
	cfg.tracker = "soft";
	refuse(&cfg, RF_ERR_INVALID, "soft");
}

static void refuse_tracker(const struct guest_case *row, const char *tracker)
{
	struct rf_vm_cfg cfg;
	struct rf_tracker t = {0};
	struct log_watch log;
	struct rf_vm *vm;

	need_guest(row);
	fill_cfg(row, &cfg);
	cfg.tracker = tracker;
	assert_int_equal(rf_vm_new(&cfg, &vm), RF_OK);
	watch_log(&log);
	assert_int_equal(rf_vm_tracker(vm, &t), RF_ERR_UNSUPPORTED);
	unwatch_log();
	assert_int_equal(log.errors, 1);
	assert_null(t.ops);
	rf_vm_delete(&vm);
}

static void threads_have_no_kvm_tracker(void **state)
{
	refuse_tracker(&threads_row, "kvm-log");
	refuse_tracker(&threads_row, "kvm-ring");
}

static void kvm_has_no_manual_tracker(void **state)
{
	refuse_tracker(&kvm_row, "manual");
}

static void smallest_guest_runs(void **state)
{
	struct rf_vm_cfg cfg;
	struct rf_vm *vm;

	fill_cfg(&threads_row, &cfg);
	cfg.kind = "auto";
	cfg.memory = RF_GUEST_MIN_BYTES;
	cfg.working_set = 2 * RF_PAGE_SIZE;
	cfg.fill = RF_GUEST_MIN_BYTES - RF_GUEST_LOW_BYTES - cfg.working_set;
	assert_int_equal(rf_vm_new(&cfg, &vm), RF_OK);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_passes(vm, 1000);
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	assert_checked(vm);
	rf_vm_delete(&vm);
}

/* Page tables of more than one GiB, and cells in the last of them. */
static void large_sparse_guest_runs(void **state)
{
	struct rf_vm_cfg cfg;
	struct rf_vm *vm;

	need_guest(&kvm_row);
	fill_cfg(&kvm_row, &cfg);
	cfg.memory = 1ull << 40;
	assert_int_equal(rf_vm_new(&cfg, &vm), RF_OK);
	assert_int_equal(rf_vm_ops.resume(vm), RF_OK);
	wait_for_passes(vm, 10);
	assert_int_equal(rf_vm_ops.pause(vm), RF_OK);
	assert_checked(vm);
	rf_vm_delete(&vm);

	cfg.memory = (2ull << 30) + (6u << 20) + RF_PAGE_SIZE;
	cfg.working_set = cfg.memory - RF_GUEST_LOW_BYTES;
	cfg.working_set -= cfg.fill = 1u << 30;
	cfg.vcpus = 4;
	assert_int_equal(rf_vm_new(&cfg, &vm), RF_OK);
	rf_vm_delete(&vm);
}

static void fill_is_incompressible_and_seeded(void **state)
{
	struct rf_vm_cfg cfg;
	struct rf_region a, b;
	struct rf_vm *va, *vb;
	uint64_t at, ones = 0;

	fill_cfg(&threads_row, &cfg);
	at = RF_GUEST_LOW_BYTES + cfg.working_set;
	assert_int_equal(rf_vm_new(&cfg, &va), RF_OK);
	cfg.seed++;
	assert_int_equal(rf_vm_new(&cfg, &vb), RF_OK);
	rf_vm_region(va, &a);
	rf_vm_region(vb, &b);
	const unsigned char *pa = (unsigned char *)a.addr + at, *pb = (unsigned char *)b.addr + at;
	for (uint64_t i = 0; i < cfg.fill; i += RF_PAGE_SIZE)
		assert_memory_not_equal(pa + i, pb + i, RF_PAGE_SIZE);
	for (uint64_t i = 0; i < cfg.fill; i += sizeof(uint64_t))
		ones += (unsigned)__builtin_popcountll(*(const uint64_t *)(pa + i));
	/* Half of the bits, within one percent. */
	assert_in_range(ones, cfg.fill * 8 * 49 / 100, cfg.fill * 8 * 51 / 100);
	/* Behind it nothing. */
	assert_true(pa[cfg.fill - 1] | pa[cfg.fill - 2] | pa[cfg.fill - 3] | pa[cfg.fill - 4]);
	for (uint64_t i = at + cfg.fill; i < a.len; i++)
		if (((unsigned char *)a.addr)[i])
			fail_msg("byte %llu is written", (unsigned long long)i);
	rf_vm_delete(&va);
	rf_vm_delete(&vb);
}

static void region_is_the_memory(void **state)
{
	struct guest_memory m;
	struct rf_vm_cfg cfg;
	struct rf_region r;
	struct log_watch log;
	struct rf_vm *vm;

	fill_cfg(&threads_row, &cfg);
	make_memory(&m, cfg.memory);
	cfg.memory_at = m.at;
	cfg.memfd = m.memfd;
	assert_int_equal(rf_vm_new(&cfg, &vm), RF_OK);
	rf_vm_region(vm, &r);
	assert_int_equal(r.size, sizeof(r));
	assert_string_equal(r.id, "ram");
	assert_ptr_equal(r.addr, m.at);
	assert_int_equal(r.len, m.len);
	assert_int_equal(r.page_size, RF_PAGE_SIZE);
	assert_int_equal(r.memfd, m.memfd);
	/* A destination must not run before it has the state. */
	watch_log(&log);
	assert_int_equal(rf_vm_ops.resume(vm), RF_ERR_STATE);
	unwatch_log();
	rf_vm_delete(&vm);
	for (uint64_t i = 0; i < m.len; i += sizeof(uint64_t))
		if (*(uint64_t *)(m.at + i))
			fail_msg("the destination wrote at %llu", (unsigned long long)i);
	drop_memory(&m);
}

/* In a child that gave its rights away: 0 if all is as it should be. */
static int try_without_rights(void)
{
	struct rf_vm_cfg cfg;
	struct log_watch log;
	struct rf_vm *vm = NULL;

	if (setgid(65534) || setuid(65534))
		return 1;
	watch_log(&log);
	fill_cfg(&kvm_row, &cfg);
	if (rf_vm_new(&cfg, &vm) != RF_ERR_PERMISSION || log.errors != 1 ||
	    !strstr(log.last, "group kvm"))
		return 2;
	cfg.kind = "auto";
	if (rf_vm_new(&cfg, &vm) || strcmp(rf_vm_kind(vm), "threads") || log.errors != 1)
		return 3;
	rf_vm_delete(&vm);
	return 0;
}

static void without_rights_auto_takes_threads(void **state)
{
	int status;
	pid_t pid;

	need_guest(&kvm_row);
	if (geteuid() != 0)
		skip_case("without_rights_auto_takes_threads", "run as root, to give rights away");
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(try_without_rights());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vcpus_are_one_to_four),
		cmocka_unit_test(memory_has_its_limits),
		cmocka_unit_test(host_pages_are_of_known_sizes),
		cmocka_unit_test(working_set_and_fill_must_fit),
		cmocka_unit_test(names_are_checked),
		cmocka_unit_test(threads_have_no_kvm_tracker),
		cmocka_unit_test(kvm_has_no_manual_tracker),
		cmocka_unit_test(smallest_guest_runs),
		cmocka_unit_test(large_sparse_guest_runs),
		cmocka_unit_test(fill_is_incompressible_and_seeded),
		cmocka_unit_test(region_is_the_memory),
		cmocka_unit_test(without_rights_auto_takes_threads),
	};

	test_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
