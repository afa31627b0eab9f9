/* SPDX-License-Identifier: BSD-3-Clause */
/* Write tracking with the kernel's real userfaultfd. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ramferry/region.h>

#include "common/uffd.h"

#define PAGES 2048u
#define HUGE  (2u << 20)

/* Memory under test and what a scan of it reported. */
struct fixture {
	uint8_t *mem;
	uint64_t len;
	uint32_t page_size;
	int memfd, uffd, pagemap;
	uint8_t written[PAGES]; /* times reported */
	uint64_t outside;	/* reports beyond the range */
};

static void note(void *arg, uint64_t start, uint64_t end)
{
	struct fixture *f = arg;

	for (uint64_t a = start; a < end; a += f->page_size) {
		uint64_t page = (a - (uintptr_t)f->mem) / f->page_size;

		if (a < (uintptr_t)f->mem || a >= (uintptr_t)f->mem + f->len)
			f->outside++;
		else
			f->written[page]++;
	}
}

static void open_fixture(struct fixture *f, int memfd, uint32_t page_size, unsigned pages)
{
	int flags = memfd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;

	memset(f, 0, sizeof(*f));
	f->memfd = memfd;
	f->page_size = page_size;
	f->len = (uint64_t)pages * page_size;
	if (memfd >= 0)
		assert_int_equal(ftruncate(memfd, (off_t)f->len), 0);
	f->mem = mmap(NULL, f->len, PROT_READ | PROT_WRITE, flags, memfd, 0);
	assert_true(f->mem != MAP_FAILED);
	if (page_size == RF_PAGE_SIZE)
		madvise(f->mem, f->len, MADV_NOHUGEPAGE);
	f->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	assert_true(f->pagemap >= 0);
	assert_int_equal(rf_uffd_open_wp_async(&f->uffd), RF_OK);
}

static void close_fixture(struct fixture *f)
{
	close(f->uffd);
	close(f->pagemap);
	munmap(f->mem, f->len);
	if (f->memfd >= 0)
		close(f->memfd);
}

static void scan(struct fixture *f)
{
	memset(f->written, 0, sizeof(f->written));
	f->outside = 0;
	assert_int_equal(rf_uffd_scan_written(f->pagemap, f->mem, f->len, note, f), RF_OK);
	assert_int_equal(f->outside, 0);
}

/* Writes every step-th page; exactly those are reported once, and then no more. */
static void check_step(struct fixture *f, unsigned step)
{
	unsigned pages = (unsigned)(f->len / f->page_size);

	for (unsigned i = 0; i < pages; i += step)
		f->mem[(uint64_t)i * f->page_size + step] ^= 1;
	scan(f);
	for (unsigned i = 0; i < pages; i++)
		assert_int_equal(f->written[i], i % step == 0);
	scan(f);
	for (unsigned i = 0; i < pages; i++)
		assert_int_equal(f->written[i], 0);
}

static void check_tracking(struct fixture *f)
{
	unsigned pages = (unsigned)(f->len / f->page_size);
	volatile uint8_t sum = 0;

	/* Half of the pages exist before, the others are protected as holes. */
	for (unsigned i = 0; i < pages / 2; i++)
		f->mem[(uint64_t)i * f->page_size] = 1;
	assert_int_equal(rf_uffd_wp_register(f->uffd, f->mem, f->len), RF_OK);
	scan(f);
	for (unsigned i = 0; i < pages; i++)
		assert_int_equal(f->written[i], 0);
	for (unsigned i = 0; i < pages; i++) /* reading is not writing */
		sum = (uint8_t)(sum + f->mem[(uint64_t)i * f->page_size]);
	scan(f);
	for (unsigned i = 0; i < pages; i++)
		assert_int_equal(f->written[i], 0);
	check_step(f, 1);
	check_step(f, 2); /* more runs than one call of the kernel returns */
	check_step(f, 7);
	check_step(f, 1);
	assert_int_equal(rf_uffd_unregister(f->uffd, f->mem, f->len), RF_OK);
}

static void anonymous_memory_reports_exactly_the_written_pages(void **state)
{
	static struct fixture f;

	open_fixture(&f, -1, RF_PAGE_SIZE, PAGES);
	check_tracking(&f);
	close_fixture(&f);
}

static void memfd_reports_exactly_the_written_pages(void **state)
{
	static struct fixture f;

	open_fixture(&f, memfd_create("test-uffd", MFD_CLOEXEC), RF_PAGE_SIZE, PAGES);
	check_tracking(&f);
	close_fixture(&f);
}

static void hugetlb_reports_exactly_the_written_pages(void **state)
{
	int fd = memfd_create("test-uffd", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	static struct fixture f;

	/* fallocate finds out without SIGBUS whether four huge pages are free. */
	if (fd < 0 || fallocate(fd, 0, 0, 4ull * HUGE)) {
		if (fd >= 0)
			close(fd);
		skip_case("test_uffd hugetlb_reports_exactly_the_written_pages",
			  "echo 8 > /proc/sys/vm/nr_hugepages");
	}
	open_fixture(&f, fd, HUGE, 4);
	check_tracking(&f);
	close_fixture(&f);
}

static void part_of_a_range_is_scanned_alone(void **state)
{
	static struct fixture f;

	open_fixture(&f, -1, RF_PAGE_SIZE, 64);
	assert_int_equal(rf_uffd_wp_register(f.uffd, f.mem, f.len), RF_OK);
	memset(f.mem, 1, f.len);
	assert_int_equal(rf_uffd_scan_written(f.pagemap, f.mem + 16ull * RF_PAGE_SIZE,
					      8ull * RF_PAGE_SIZE, note, &f),
			 RF_OK);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(f.written[i], i >= 16 && i < 24);
	scan(&f);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(f.written[i], i < 16 || i >= 24);
	close_fixture(&f);
}

static void range_that_is_not_registered_is_an_error(void **state)
{
	static struct fixture f;

	open_fixture(&f, -1, RF_PAGE_SIZE, 64);
	memset(f.mem, 1, f.len);
	assert_int_equal(rf_uffd_scan_written(f.pagemap, f.mem, f.len, note, &f), RF_ERR_SYSTEM);
	assert_int_equal(rf_uffd_wp_register(f.uffd, f.mem + 1, f.len), RF_ERR_SYSTEM);
	close_fixture(&f);
}

/* What a process without rights is told; in a child, which gives them up. */
static int open_as_nobody(void)
{
	struct rf_uffd_features f;
	int fd;

	if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		return 1;
	rf_uffd_probe(&f);
	if (f.available)
		return 77; /* it is granted to everybody here */
	if (f.open_errno != EPERM)
		return 2;
	return rf_uffd_open_wp_async(&fd) == RF_ERR_PERMISSION ? 0 : 3;
}

static void without_rights_it_is_a_permission_error(void **state)
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip_case("test_uffd without_rights_it_is_a_permission_error", "run as root");
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(open_as_nobody());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip_case("test_uffd without_rights_it_is_a_permission_error",
			  "sysctl vm.unprivileged_userfaultfd=0");
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A writer counts up in random pages; a copy that follows the scans ends up equal. */
struct writer {
	uint8_t *mem;
	_Atomic int stop;
};

static void *write_pages(void *arg)
{
	struct writer *w = arg;
	uint64_t seed = 11;

	for (uint32_t n = 1; !atomic_load(&w->stop); n++) {
		uint64_t r = next_random(&seed);

		*(volatile uint32_t *)(w->mem + r % PAGES * RF_PAGE_SIZE + (r >> 40 & 0xffc)) = n;
	}
	return NULL;
}

static void copy_written(struct fixture *f, uint8_t *copy)
{
	scan(f);
	for (unsigned i = 0; i < PAGES; i++) {
		if (f->written[i])
			memcpy(copy + (uint64_t)i * RF_PAGE_SIZE,
			       f->mem + (uint64_t)i * RF_PAGE_SIZE, RF_PAGE_SIZE);
	}
}

static void write_during_a_scan_is_never_lost(void **state)
{
	uint8_t *copy = calloc(PAGES, RF_PAGE_SIZE);
	static struct fixture f;
	struct writer w = {0};
	pthread_t thread;

	open_fixture(&f, memfd_create("test-uffd", MFD_CLOEXEC), RF_PAGE_SIZE, PAGES);
	assert_int_equal(rf_uffd_wp_register(f.uffd, f.mem, f.len), RF_OK);
	w.mem = f.mem;
	assert_int_equal(pthread_create(&thread, NULL, write_pages, &w), 0);
	for (int round = 0; round < 50; round++)
		copy_written(&f, copy);
	atomic_store(&w.stop, 1);
	pthread_join(thread, NULL);
	copy_written(&f, copy);
	assert_memory_equal(copy, f.mem, f.len);
	close_fixture(&f);
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anonymous_memory_reports_exactly_the_written_pages),
		cmocka_unit_test(memfd_reports_exactly_the_written_pages),
		cmocka_unit_test(hugetlb_reports_exactly_the_written_pages),
		cmocka_unit_test(part_of_a_range_is_scanned_alone),
		cmocka_unit_test(range_that_is_not_registered_is_an_error),
		cmocka_unit_test(without_rights_it_is_a_permission_error),
		cmocka_unit_test(write_during_a_scan_is_never_lost),
	};
	struct rf_uffd_features f;

	rf_uffd_probe(&f);
	if (!f.available) {
		printf("SKIP: test_uffd: run as root or sysctl vm.unprivileged_userfaultfd=1 "
		       "(userfaultfd: %s)\n",
		       strerror(f.open_errno));
		return 77;
	}
	if (!f.wp_async || !f.wp_unpopulated || !f.wp_shmem_hugetlb || !f.pagemap_scan) {
		printf("SKIP: test_uffd: needs Linux 6.7 for asynchronous write protection\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
