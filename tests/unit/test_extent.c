/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ramferry/region.h>

#include "common/extent.h"
#include "common/uffd.h"

#define PAGES 8192u /* more than are read of pagemap at once */
#define PAGE  ((uint64_t)RF_PAGE_SIZE)
#define BYTES (PAGES * PAGE)

/* Pages reported, as a map, and that the walk was in order. */
struct seen {
	uint8_t page[PAGES];
	uint64_t end, extents;
	int stop_at; /* the extent whose visit ends the walk */
};

static int see(void *arg, uint64_t offset, uint64_t len)
{
	struct seen *s = arg;

	assert_true(len > 0);
	assert_true(!s->extents || offset > s->end); /* ascending, and neighbours are one */
	assert_int_equal(offset % PAGE, 0);
	assert_int_equal(len % PAGE, 0);
	assert_true(offset + len <= BYTES);
	memset(s->page + offset / PAGE, 1, len / PAGE);
	s->end = offset + len;
	return ++s->extents == (uint64_t)s->stop_at ? 77 : 0;
}

static const unsigned touched[] = {0, 1, 2, 100, 511, 512, 1023, 1024, 1025, 4095, 5000, 8191};
#define TOUCHED_EXTENTS 7

static bool is_touched(unsigned page)
{
	for (size_t i = 0; i < COUNT_OF(touched); i++) {
		if (touched[i] == page)
			return true;
	}
	return false;
}

static void touch_some(uint8_t *mem)
{
	for (size_t i = 0; i < COUNT_OF(touched); i++)
		mem[touched[i] * PAGE + 7] = 1;
}

static void assert_touched_only(const struct seen *s)
{
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(s->page[i], is_touched(i));
	assert_int_equal(s->extents, TOUCHED_EXTENTS);
}

static int make_file(void)
{
	int fd = memfd_create("test-extent", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)BYTES), 0);
	return fd;
}

static uint8_t *map(int fd)
{
	uint8_t *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
			  fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);

	assert_true(p != MAP_FAILED);
	madvise(p, BYTES, MADV_NOHUGEPAGE); /* a huge page would make neighbours data */
	return p;
}

static blkcnt_t blocks_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_blocks;
}

static unsigned resident_of(uint8_t *mem)
{
	static unsigned char vec[PAGES];
	unsigned n = 0;

	assert_int_equal(mincore(mem, BYTES, vec), 0);
	for (unsigned i = 0; i < PAGES; i++)
		n += vec[i] & 1;
	return n;
}

static void sparse_file_reports_touched_pages_and_stays_sparse(void **state)
{
	static struct seen s;
	int fd = make_file();
	uint8_t *mem = map(fd);
	blkcnt_t blocks;

	touch_some(mem);
	blocks = blocks_of(fd);
	assert_true(blocks < (blkcnt_t)(BYTES / 512));
	memset(&s, 0, sizeof(s));
	assert_int_equal(rf_extent_walk_file(fd, 0, BYTES, see, &s), RF_OK);
	assert_touched_only(&s);
	assert_int_equal(blocks_of(fd), blocks);
	munmap(mem, BYTES);
	close(fd);
}

static void part_of_a_file_is_clipped_and_relative(void **state)
{
	static struct seen s;
	int fd = make_file();
	uint8_t *mem = map(fd);

	memset(mem, 1, 64 * PAGE);
	memset(&s, 0, sizeof(s));
	assert_int_equal(rf_extent_walk_file(fd, 10 * PAGE, 5 * PAGE, see, &s), RF_OK);
	assert_int_equal(s.extents, 1);
	assert_int_equal(s.end, 5 * PAGE);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(s.page[i], 1);
	memset(&s, 0, sizeof(s));
	assert_int_equal(rf_extent_walk_file(fd, 64 * PAGE, 5 * PAGE, see, &s), RF_OK);
	assert_int_equal(s.extents, 0);
	munmap(mem, BYTES);
	close(fd);
}

static void empty_files_and_ranges_have_no_extent(void **state)
{
	static struct seen s;
	int fd = make_file();
	uint8_t *mem = map(-1);

	memset(&s, 0, sizeof(s));
	assert_int_equal(rf_extent_walk_file(fd, 0, BYTES, see, &s), RF_OK);
	assert_int_equal(rf_extent_walk_file(fd, 0, 0, see, &s), RF_OK);
	assert_int_equal(rf_extent_walk_file(fd, BYTES, BYTES, see, &s), RF_OK); /* past its end */
	assert_int_equal(rf_extent_walk_anon(mem, BYTES, see, &s), RF_OK);
	assert_int_equal(rf_extent_walk_anon(mem, 0, see, &s), RF_OK);
	assert_int_equal(s.extents, 0);
	munmap(mem, BYTES);
	close(fd);
}

static void file_that_cannot_tell_is_unsupported(void **state)
{
	static struct seen s;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(rf_extent_walk_file(fds[0], 0, BYTES, see, &s), RF_ERR_UNSUPPORTED);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(rf_extent_walk_file(-1, 0, BYTES, see, &s), RF_ERR_SYSTEM);
	assert_int_equal(rf_extent_walk_file(-1, UINT64_MAX, 2, see, &s), RF_ERR_INVALID);
	assert_int_equal(rf_extent_walk_file(-1, 2, INT64_MAX, see, &s), RF_ERR_INVALID);
}

static void sparse_anonymous_memory_reports_touched_pages_and_stays_sparse(void **state)
{
	static struct seen s;
	uint8_t *mem = map(-1);

	touch_some(mem);
	memset(&s, 0, sizeof(s));
	assert_int_equal(rf_extent_walk_anon(mem, BYTES, see, &s), RF_OK);
	assert_touched_only(&s);
	assert_int_equal(resident_of(mem), COUNT_OF(touched));
	munmap(mem, BYTES);
}

static void memory_that_is_not_page_aligned_is_refused(void **state)
{
	static struct seen s;
	uint8_t *mem = map(-1);

	assert_int_equal(rf_extent_walk_anon(mem + 1, BYTES - PAGE, see, &s), RF_ERR_INVALID);
	assert_int_equal(rf_extent_walk_anon(mem, BYTES - 1, see, &s), RF_ERR_INVALID);
	munmap(mem, BYTES);
}

/* Protecting holes leaves marks in the page table that look like swapped pages. */
static void write_protected_holes_are_still_holes(void **state)
{
	const char *enable = "run as root on Linux 6.7 or later";
	struct rf_uffd_features f;
	static struct seen s;
	uint8_t *mem;
	int fd;

	rf_uffd_probe(&f);
	if (!f.available || !f.wp_async || geteuid() != 0)
		skip_case("test_extent write_protected_holes_are_still_holes", enable);
	mem = map(-1);
	touch_some(mem);
	assert_int_equal(rf_uffd_open_wp_async(&fd), RF_OK);
	assert_int_equal(rf_uffd_wp_register(fd, mem, BYTES), RF_OK);
	memset(&s, 0, sizeof(s));
	assert_int_equal(rf_extent_walk_anon(mem, BYTES, see, &s), RF_OK);
	assert_touched_only(&s);
	close(fd);
	munmap(mem, BYTES);
}

static int add_length(void *arg, uint64_t offset, uint64_t len)
{
	uint64_t *sums = arg;

	sums[0]++;
	sums[1] += len;
	sums[2] = offset;
	return 0;
}

static void a_terabyte_of_nothing_is_passed_over(void **state)
{
	const uint64_t len = 1ull << 40;
	uint64_t sums[3] = {0};
	uint8_t *mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(mem != MAP_FAILED);
	madvise(mem, len, MADV_NOHUGEPAGE);
	mem[7 * PAGE] = mem[8 * PAGE] = 1;
	mem[len / 2] = 1;
	mem[len - PAGE] = 1;
	assert_int_equal(rf_extent_walk_anon(mem, len, add_length, sums), RF_OK);
	assert_int_equal(sums[0], 3);
	assert_int_equal(sums[1], 4 * PAGE);
	assert_int_equal(sums[2], len - PAGE);
	munmap(mem, len);
}

static void visitor_ends_the_walk(void **state)
{
	static struct seen s;
	int fd = make_file();
	uint8_t *shared = map(fd), *anon = map(-1);

	touch_some(shared);
	touch_some(anon);
	s = (struct seen){.stop_at = 2};
	assert_int_equal(rf_extent_walk_file(fd, 0, BYTES, see, &s), 77);
	assert_int_equal(s.extents, 2);
	s = (struct seen){.stop_at = 2};
	assert_int_equal(rf_extent_walk_anon(anon, BYTES, see, &s), 77);
	assert_int_equal(s.extents, 2);
	s = (struct seen){.stop_at = TOUCHED_EXTENTS}; /* the last one ends at the range's end */
	assert_int_equal(rf_extent_walk_anon(anon, BYTES, see, &s), 77);
	munmap(shared, BYTES);
	munmap(anon, BYTES);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sparse_file_reports_touched_pages_and_stays_sparse),
		cmocka_unit_test(part_of_a_file_is_clipped_and_relative),
		cmocka_unit_test(empty_files_and_ranges_have_no_extent),
		cmocka_unit_test(file_that_cannot_tell_is_unsupported),
		cmocka_unit_test(sparse_anonymous_memory_reports_touched_pages_and_stays_sparse),
		cmocka_unit_test(memory_that_is_not_page_aligned_is_refused),
		cmocka_unit_test(write_protected_holes_are_still_holes),
		cmocka_unit_test(a_terabyte_of_nothing_is_passed_over),
		cmocka_unit_test(visitor_ends_the_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
