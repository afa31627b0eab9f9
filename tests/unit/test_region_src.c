/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions of the source: what may be one, and that looking for data makes none. */
#include "tests/unit/unit.h"

#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ramferry/log.h>

#include "scheduler/region.h"

#define PAGES 1024u
#define PAGE  ((size_t)RF_PAGE_SIZE)
#define LEN   (PAGES * (uint64_t)RF_PAGE_SIZE)

struct fixture {
	int memfd;
	uint8_t *map;
	struct rf_region info;
	struct rf_src_region r;
};

static void open_fixture(struct fixture *f, bool anonymous)
{
	memset(f, 0, sizeof(*f));
	f->memfd = anonymous ? -1 : memfd_create("test", MFD_CLOEXEC);
	if (!anonymous)
		assert_int_equal(ftruncate(f->memfd, LEN), 0);
	f->map = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
		      anonymous ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, f->memfd, 0);
	assert_true(f->map != MAP_FAILED);
	madvise(f->map, LEN, MADV_NOHUGEPAGE);
	f->info = (struct rf_region){
		.size = sizeof(f->info),
		.id = "ram",
		.addr = f->map,
		.len = LEN,
		.page_size = RF_PAGE_SIZE,
		.memfd = f->memfd,
	};
}

static void close_fixture(struct fixture *f)
{
	munmap(f->map, LEN);
	if (f->memfd >= 0)
		close(f->memfd);
}

static uint64_t blocks(const struct fixture *f)
{
	struct stat st;

	assert_int_equal(fstat(f->memfd, &st), 0);
	return (uint64_t)st.st_blocks;
}

/* ---- what may be a region ---- */

static void not_terminated(struct rf_region *i)
{
	memset(i->id, 'x', sizeof(i->id));
}

static void longest_id(struct rf_region *i)
{
	memset(i->id, 'x', sizeof(i->id) - 1);
}

static const struct {
	const char *what;
	struct rf_region change; /* fields that are not 0 replace the good ones */
	void (*more)(struct rf_region *i);
	bool fine;
} infos[] = {
	{"a good one", .fine = true},
	{"size of something else", .change = {.size = 8}},
	{"an id without an end", .more = not_terminated},
	{"an id of 255 bytes", .more = longest_id, .fine = true},
	{"an address within a page", .change = {.addr = (void *)(uintptr_t)0x1008}},
	{"an odd page size", .change = {.page_size = 8192}},
	{"a page size of 1", .change = {.page_size = 1}},
	{"a length that is no number of pages", .change = {.len = 4097}},
	{"a length that is no number of huge pages",
	 .change = {.page_size = 2u << 20, .len = 3u << 20}},
	{"huge pages", .change = {.page_size = 2u << 20, .len = 4u << 20}, .fine = true},
	{"gigantic pages", .change = {.page_size = 1u << 30, .len = 1ull << 30}, .fine = true},
	{"more than there is", .change = {.len = (1ull << 47) + 4096}},
};

static void infos_are_checked(void **state)
{
	struct fixture f;

	open_fixture(&f, false);
	rf_log_set_level(RF_LOG_NONE);
	for (size_t i = 0; i < COUNT_OF(infos); i++) {
		const struct rf_region *c = &infos[i].change;
		struct rf_region info = f.info;
		int rc;

		info.size = c->size ? c->size : info.size;
		info.addr = c->addr ? c->addr : info.addr;
		info.page_size = c->page_size ? c->page_size : info.page_size;
		info.len = c->len ? c->len : info.len;
		if (infos[i].more)
			infos[i].more(&info);
		rc = rf_src_region_init(&f.r, &info);
		if (rc != (infos[i].fine ? RF_OK : RF_ERR_INVALID))
			fail_msg("%s: %s", infos[i].what, rf_err_str(rc));
		if (rc == RF_OK)
			rf_src_region_fini(&f.r);
	}
	rf_log_set_level(RF_LOG_WARN);
	close_fixture(&f);
}

static void what_must_be_there_is_missed(void **state)
{
	struct fixture f;
	struct rf_region info;

	open_fixture(&f, false);
	rf_log_set_level(RF_LOG_NONE);
	info = f.info;
	info.id[0] = 0;
	assert_int_equal(rf_src_region_init(&f.r, &info), RF_ERR_INVALID);
	info = f.info;
	info.addr = NULL;
	assert_int_equal(rf_src_region_init(&f.r, &info), RF_ERR_INVALID);
	info = f.info;
	info.len = 0;
	assert_int_equal(rf_src_region_init(&f.r, &info), RF_ERR_INVALID);
	info = f.info;
	info.page_size = 0;
	assert_int_equal(rf_src_region_init(&f.r, &info), RF_ERR_INVALID);
	rf_log_set_level(RF_LOG_WARN);
	close_fixture(&f);
}

/* ---- data and holes ---- */

static const uint64_t touched[] = {0, 1, 63, 64, 500, 501, 502, PAGES - 1};

static void touch_some(struct fixture *f)
{
	for (size_t i = 0; i < COUNT_OF(touched); i++)
		f->map[touched[i] * RF_PAGE_SIZE + 100] = (uint8_t)(i & 1); /* zeros count too */
}

static void assert_found(struct fixture *f, uint64_t from)
{
	uint64_t holes = 0, n = 0;

	rf_src_region_find_data(&f->r, &holes);
	for (size_t i = 0; i < COUNT_OF(touched); i++) {
		if (touched[i] < from)
			continue;
		if (!rf_bitmap_test(&f->r.map.pending, touched[i] - from))
			fail_msg("page %lu was not found", touched[i] - from);
		n++;
	}
	assert_int_equal(rf_bitmap_count(&f->r.map.pending), n);
	assert_int_equal(holes, f->r.map.npages - n);
}

static void holes_of_a_file_are_left_alone(void **state)
{
	struct fixture f;
	uint64_t before;

	open_fixture(&f, false);
	touch_some(&f);
	before = blocks(&f);
	assert_int_equal(before, COUNT_OF(touched) * (RF_PAGE_SIZE / 512));
	assert_int_equal(rf_src_region_init(&f.r, &f.info), RF_OK);
	assert_found(&f, 0);
	/* what an earlier search found does not stay */
	rf_bitmap_set(&f.r.map.pending, 10);
	assert_found(&f, 0);
	assert_int_equal(blocks(&f), before);
	rf_src_region_fini(&f.r);
	close_fixture(&f);
}

static void a_region_may_begin_within_its_file(void **state)
{
	struct fixture f;

	open_fixture(&f, false);
	touch_some(&f);
	f.info.addr = f.map + 64 * PAGE;
	f.info.memfd_offset = 64ull * RF_PAGE_SIZE;
	f.info.len = LEN - f.info.memfd_offset;
	assert_int_equal(rf_src_region_init(&f.r, &f.info), RF_OK);
	assert_found(&f, 64);
	rf_src_region_fini(&f.r);
	close_fixture(&f);
}

static void holes_of_anonymous_memory_are_left_alone(void **state)
{
	unsigned char in_core[PAGES];
	struct fixture f;
	uint64_t present = 0;

	open_fixture(&f, true);
	touch_some(&f);
	assert_int_equal(rf_src_region_init(&f.r, &f.info), RF_OK);
	assert_found(&f, 0);
	assert_int_equal(mincore(f.map, LEN, in_core), 0);
	for (unsigned i = 0; i < PAGES; i++)
		present += in_core[i] & 1;
	assert_int_equal(present, COUNT_OF(touched));
	rf_src_region_fini(&f.r);
	close_fixture(&f);
}

static void a_file_that_cannot_tell_is_all_data(void **state)
{
	struct fixture f;
	uint64_t holes = 1;
	int p[2];

	open_fixture(&f, false);
	assert_int_equal(pipe(p), 0);
	f.info.memfd = p[0];
	assert_int_equal(rf_src_region_init(&f.r, &f.info), RF_OK);
	rf_src_region_find_data(&f.r, &holes);
	assert_int_equal(rf_bitmap_count(&f.r.map.pending), PAGES);
	assert_int_equal(holes, 0);
	rf_src_region_fini(&f.r);
	close(p[0]);
	close(p[1]);
	close_fixture(&f);
}

/* What comes into being after the search is found by looking at holes again; small ones count as
 * data without a look. */
static void holes_that_are_filled_later_are_found(void **state)
{
	for (int anonymous = 0; anonymous < 2; anonymous++) {
		for (int much = 0; much < 2; much++) {
			uint64_t before = much ? PAGES - 200 : 3, holes = 0, pending;
			struct fixture f;

			open_fixture(&f, anonymous);
			for (uint64_t i = 100; i < 100 + before; i++)
				f.map[i * PAGE] = 1;
			assert_int_equal(rf_src_region_init(&f.r, &f.info), RF_OK);
			rf_src_region_find_data(&f.r, &holes);
			assert_int_equal(holes, PAGES - before);
			f.map[0] = f.map[50 * PAGE] = f.map[(PAGES - 1) * PAGE] = 1;
			assert_int_equal(rf_src_region_find_more(&f.r, &holes), RF_OK);
			/* the hole in front is small, the one behind is not if there is little data
			 */
			pending = much ? PAGES : 100 + before + 1;
			assert_int_equal(rf_bitmap_count(&f.r.map.pending), pending);
			assert_int_equal(holes, PAGES - pending);
			assert_true(rf_bitmap_test(&f.r.map.pending, 0));
			assert_true(rf_bitmap_test(&f.r.map.pending, 50));
			assert_true(rf_bitmap_test(&f.r.map.pending, PAGES - 1));
			rf_src_region_fini(&f.r);
			close_fixture(&f);
		}
	}
}

static void an_empty_file_has_nothing(void **state)
{
	struct fixture f;
	uint64_t holes = 0;

	open_fixture(&f, false);
	assert_int_equal(rf_src_region_init(&f.r, &f.info), RF_OK);
	rf_src_region_find_data(&f.r, &holes);
	assert_int_equal(rf_bitmap_count(&f.r.map.pending), 0);
	assert_int_equal(holes, PAGES);
	assert_int_equal(blocks(&f), 0);
	rf_src_region_fini(&f.r);
	close_fixture(&f);
}

/* Pages that are claimed may be holes: a tracker may report more than was written. */
static void claimed_holes_are_zero_and_stay_holes(void **state)
{
	rf_zero_fn is_zero = rf_zero_select();
	struct fixture f;
	uint64_t n, was;

	open_fixture(&f, false);
	f.map[10 * PAGE] = 1;
	f.map[11 * PAGE] = 0; /* there, and zero */
	f.map[300 * PAGE] = 1;
	assert_int_equal(rf_src_region_init(&f.r, &f.info), RF_OK);
	was = blocks(&f);
	assert_true(rf_src_region_zeros(&f.r, is_zero, 0, PAGES, &n));
	assert_int_equal(n, 10);
	assert_false(rf_src_region_zeros(&f.r, is_zero, 10, PAGES, &n));
	assert_int_equal(n, 1);
	assert_true(rf_src_region_zeros(&f.r, is_zero, 11, PAGES, &n));
	assert_int_equal(n, 289);
	assert_true(rf_src_region_zeros(&f.r, is_zero, 11, 100, &n));
	assert_int_equal(n, 89);
	assert_true(rf_src_region_zeros(&f.r, is_zero, 301, PAGES, &n));
	assert_int_equal(n, PAGES - 301);
	assert_int_equal(blocks(&f), was);
	/* A hole is looked at anew: it may be one no more. */
	f.map[500 * PAGE] = 1;
	assert_false(rf_src_region_zeros(&f.r, is_zero, 500, PAGES, &n));
	rf_src_region_fini(&f.r);
	close_fixture(&f);
}

static void chunks_cover_the_region(void **state)
{
	static const struct {
		uint64_t chunk, n;
	} rows[] = {{1u << 20, 4}, {2u << 20, 2}, {4u << 20, 1}, {8u << 20, 1}};
	struct fixture f;

	open_fixture(&f, false);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_int_equal(rf_src_region_init(&f.r, &f.info), RF_OK);
		assert_int_equal(rf_src_region_make_chunks(&f.r, rows[i].chunk), RF_OK);
		assert_int_equal(f.r.nchunks, rows[i].n);
		assert_int_equal(f.r.chunks[f.r.nchunks - 1].state, RF_CHUNK_NONE);
		rf_src_region_deregister(&f.r); /* nothing is */
		rf_src_region_fini(&f.r);
	}
	close_fixture(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(infos_are_checked),
		cmocka_unit_test(what_must_be_there_is_missed),
		cmocka_unit_test(holes_of_a_file_are_left_alone),
		cmocka_unit_test(a_region_may_begin_within_its_file),
		cmocka_unit_test(holes_of_anonymous_memory_are_left_alone),
		cmocka_unit_test(a_file_that_cannot_tell_is_all_data),
		cmocka_unit_test(holes_that_are_filled_later_are_found),
		cmocka_unit_test(an_empty_file_has_nothing),
		cmocka_unit_test(claimed_holes_are_zero_and_stay_holes),
		cmocka_unit_test(chunks_cover_the_region),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
