/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/give_back.h"

#define PAGE  4096ull
#define HUGE  (2ull << 20)
#define PAGES 8

static int make_file(uint64_t len, unsigned flags)
{
	int fd = memfd_create("memory", MFD_CLOEXEC | flags);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	return fd;
}

static uint8_t *map(int fd, uint64_t len, int flags)
{
	uint8_t *at = mmap(NULL, len, PROT_READ | PROT_WRITE, flags | (fd < 0 ? MAP_ANONYMOUS : 0),
			   fd, 0);

	assert_true(at != MAP_FAILED);
	madvise(at, len, MADV_NOHUGEPAGE);
	return at;
}

static uint64_t bytes_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void assert_holds(const uint8_t *at, uint64_t page, int value)
{
	for (uint64_t i = 0; i < PAGE; i++)
		assert_int_equal(at[page * PAGE + i], value);
}

static void a_hole_is_made_in_a_file(void **state)
{
	int fd = make_file((PAGES + 1) * PAGE, 0);
	uint8_t *at = map(fd, (PAGES + 1) * PAGE, MAP_SHARED);
	uint64_t bytes = 1;

	memset(at, 7, (PAGES + 1) * PAGE);
	/* memory that begins in the second page of the file */
	assert_int_equal(rf_give_back(at + 3 * PAGE, 2 * PAGE, fd, 3 * PAGE, &bytes), RF_OK);
	assert_int_equal(bytes, 2 * PAGE);
	assert_int_equal(bytes_of(fd), (PAGES - 1) * PAGE);
	assert_holds(at, 2, 7);
	assert_holds(at, 3, 0);
	assert_holds(at, 4, 0);
	assert_holds(at, 5, 7);
	munmap(at, (PAGES + 1) * PAGE);
	close(fd);
}

static void holes_count_for_nothing(void **state)
{
	int fd = make_file(PAGES * PAGE, 0);
	uint8_t *at = map(fd, PAGES * PAGE, MAP_SHARED);
	uint64_t bytes = 1;

	at[2 * PAGE] = 1;
	assert_int_equal(rf_give_back(at, PAGES * PAGE, fd, 0, &bytes), RF_OK);
	assert_int_equal(bytes, PAGE);
	assert_int_equal(rf_give_back(at, PAGES * PAGE, fd, 0, &bytes), RF_OK);
	assert_int_equal(bytes, 0);
	munmap(at, PAGES * PAGE);
	close(fd);
}

static void anonymous_memory_is_dropped(void **state)
{
	static const int flags[] = {MAP_PRIVATE, MAP_SHARED};

	for (size_t i = 0; i < COUNT_OF(flags); i++) {
		uint8_t *at = map(-1, PAGES * PAGE, flags[i]);
		uint64_t bytes;

		memset(at, 7, PAGES * PAGE);
		assert_int_equal(rf_give_back(at + PAGE, 3 * PAGE, -1, 0, &bytes), RF_OK);
		assert_int_equal(bytes, 3 * PAGE);
		assert_holds(at, 0, 7);
		assert_holds(at, 1, 0);
		assert_holds(at, 3, 0);
		assert_holds(at, 4, 7);
		munmap(at, PAGES * PAGE);
	}
}

/* As of a VMM that keeps its guest in memory; an older kernel refuses, and nothing has changed. */
static void locked_memory_is_dropped_too(void **state)
{
	uint8_t *at = map(-1, PAGES * PAGE, MAP_PRIVATE);
	uint64_t bytes;
	int rc;

	memset(at, 7, PAGES * PAGE);
	assert_int_equal(mlock(at, PAGES * PAGE), 0);
	rc = rf_give_back(at, PAGE, -1, 0, &bytes);
	assert_true(rc == RF_OK || rc == RF_ERR_UNSUPPORTED);
	assert_int_equal(bytes, rc == RF_OK ? PAGE : 0);
	assert_holds(at, 0, rc == RF_OK ? 0 : 7);
	munmap(at, PAGES * PAGE);
}

static void huge_pages_go_as_a_whole(void **state)
{
	int fd = make_file(2 * HUGE, MFD_HUGETLB);
	uint8_t *at = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint64_t bytes;

	if (at == MAP_FAILED) {
		close(fd);
		skip_case("give-back/huge", "2 free huge pages: sysctl vm.nr_hugepages=32");
	}
	memset(at, 7, 2 * HUGE);
	assert_int_equal(rf_give_back(at + HUGE, HUGE, fd, HUGE, &bytes), RF_OK);
	assert_int_equal(bytes, HUGE);
	assert_int_equal(bytes_of(fd), HUGE);
	assert_int_equal(at[0], 7);
	assert_int_equal(at[HUGE], 0);
	munmap(at, 2 * HUGE);
	close(fd);
}

static void what_cannot_be_given_back_stays(void **state)
{
	int fd = make_file(PAGES * PAGE, MFD_ALLOW_SEALING), pipes[2];
	uint8_t *at;
	uint64_t bytes;

	assert_int_equal(pwrite(fd, "x", 1, 0), 1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_int_equal(rf_give_back(NULL, PAGE, fd, 0, &bytes), RF_ERR_PERMISSION);
	assert_int_equal(bytes, 0);
	assert_int_equal(bytes_of(fd), PAGE);
	close(fd);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(rf_give_back(NULL, PAGE, pipes[1], 0, &bytes), RF_ERR_UNSUPPORTED);
	close(pipes[0]);
	close(pipes[1]);
	/* no memory at all */
	at = map(-1, PAGE, MAP_PRIVATE);
	munmap(at, PAGE);
	assert_true(rf_give_back(at, PAGE, -1, 0, &bytes) < 0);
	assert_int_equal(bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hole_is_made_in_a_file),
		cmocka_unit_test(holes_count_for_nothing),
		cmocka_unit_test(anonymous_memory_is_dropped),
		cmocka_unit_test(locked_memory_is_dropped_too),
		cmocka_unit_test(huge_pages_go_as_a_whole),
		cmocka_unit_test(what_cannot_be_given_back_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
