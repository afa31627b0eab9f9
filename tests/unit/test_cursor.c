/* SPDX-License-Identifier: BSD-3-Clause */
/* The cursor against a model that is too simple to be wrong. */
#include "tests/unit/unit.h"

#include <sys/mman.h>
#include <sys/random.h>

#include "scheduler/cursor.h"
#include "scheduler/region.h"

#define MAX_REGIONS 5u
#define MAX_PAGES   700u

/* What the model knows of a region. */
struct model {
	uint64_t npages;
	bool pending[MAX_PAGES];
	bool zero[MAX_PAGES];
};

struct fixture {
	struct rf_src_region regions[MAX_REGIONS];
	struct model model[MAX_REGIONS];
	uint32_t n;
	uint64_t chunk_pages, piece_pages;
	struct rf_cursor cursor;
};

static void add_region(struct fixture *f, uint64_t npages)
{
	struct rf_src_region *r = &f->regions[f->n];

	assert_true(f->n < MAX_REGIONS && npages <= MAX_PAGES);
	*r = (struct rf_src_region){
		.info = {.len = npages * RF_PAGE_SIZE, .page_size = RF_PAGE_SIZE, .memfd = -1}};
	r->addr =
		mmap(NULL, r->info.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(r->addr != MAP_FAILED);
	assert_int_equal(rf_dirty_map_init(&r->map, npages), RF_OK);
	memset(&f->model[f->n], 0, sizeof(f->model[0]));
	f->model[f->n].npages = npages;
	for (uint64_t p = 0; p < npages; p++)
		f->model[f->n].zero[p] = true;
	f->n++;
}

static void set_page(struct fixture *f, uint32_t region, uint64_t page, bool pending, bool zero)
{
	struct model *m = &f->model[region];
	uint8_t *at = f->regions[region].addr + page * RF_PAGE_SIZE;

	m->pending[page] = pending;
	m->zero[page] = zero;
	memset(at, 0, RF_PAGE_SIZE);
	at[(page * 37) % RF_PAGE_SIZE] = zero ? 0 : 1;
	if (pending)
		rf_bitmap_set(&f->regions[region].map.pending, page);
}

static void begin(struct fixture *f, uint64_t chunk_pages, uint64_t piece_pages)
{
	f->chunk_pages = chunk_pages;
	f->piece_pages = piece_pages;
	rf_cursor_init(&f->cursor, f->regions, f->n, chunk_pages, piece_pages);
	rf_cursor_rewind(&f->cursor, false);
}

static void end(struct fixture *f)
{
	for (uint32_t i = 0; i < f->n; i++) {
		assert_int_equal(rf_bitmap_count(&f->regions[i].map.pending), 0);
		rf_dirty_map_fini(&f->regions[i].map);
		munmap(f->regions[i].addr, f->regions[i].info.len);
	}
	f->n = 0;
}

/*
 * The pieces the description promises: from the first pending page the unbroken run of pending
 * ones, at most piece_pages of them and within the chunk, cut where data and zeros meet.
 */
static void expect_run(struct fixture *f, uint32_t region, uint64_t first, uint64_t count)
{
	const struct model *m = &f->model[region];

	for (uint64_t p = first; p < first + count;) {
		struct rf_piece piece = {0};
		uint64_t n = 1;

		while (p + n < first + count && m->zero[p + n] == m->zero[p])
			n++;
		assert_true(rf_cursor_next(&f->cursor, &piece));
		if (piece.region != region || piece.pages.first != p || piece.pages.count != n ||
		    piece.zero != m->zero[p])
			fail_msg("region %u: %s %lu+%lu instead of %u: %s %lu+%lu", piece.region,
				 piece.zero ? "zeros" : "data", piece.pages.first,
				 piece.pages.count, region, m->zero[p] ? "zeros" : "data", p, n);
		p += n;
	}
}

static void expect_all(struct fixture *f)
{
	struct rf_piece piece;

	for (uint32_t i = 0; i < f->n; i++) {
		struct model *m = &f->model[i];

		for (uint64_t p = 0; p < m->npages;) {
			uint64_t chunk_end = (p / f->chunk_pages + 1) * f->chunk_pages, n = 0;

			while (p + n < m->npages && p + n < chunk_end && n < f->piece_pages &&
			       m->pending[p + n])
				n++;
			if (n)
				expect_run(f, i, p, n);
			p += n ? n : 1;
		}
		memset(m->pending, 0, sizeof(m->pending));
	}
	assert_false(rf_cursor_next(&f->cursor, &piece));
	assert_false(rf_cursor_next(&f->cursor, &piece));
}

static void nothing_pending(void **state)
{
	static struct fixture f;

	add_region(&f, 100);
	add_region(&f, 1);
	begin(&f, 64, 16);
	expect_all(&f);
	end(&f);
}

static void pieces_end_at_chunks_and_at_their_size(void **state)
{
	static struct fixture f;

	add_region(&f, 200);
	for (uint64_t p = 0; p < 200; p++)
		set_page(&f, 0, p, true, false);
	begin(&f, 48, 20); /* chunks at 48, 96, …; pieces of 20, 20, 8 */
	expect_all(&f);
	end(&f);
}

static void data_and_zeros_part(void **state)
{
	static struct fixture f;

	add_region(&f, 64);
	for (uint64_t p = 0; p < 64; p++)
		set_page(&f, 0, p, true, p % 5 < 2);
	begin(&f, 64, 64);
	expect_all(&f);
	end(&f);
}

static void regions_in_order(void **state)
{
	static struct fixture f;

	for (unsigned i = 0; i < MAX_REGIONS; i++) {
		add_region(&f, 1 + i * 70);
		set_page(&f, i, i * 70ul, true, i % 2); /* the last page of each */
	}
	begin(&f, 256, 256);
	expect_all(&f);
	end(&f);
}

static void a_round_after_a_round(void **state)
{
	static struct fixture f;

	add_region(&f, 300);
	begin(&f, 64, 8);
	for (unsigned round = 0; round < 5; round++) {
		for (uint64_t p = round; p < 300; p += 1 + round)
			set_page(&f, 0, p, true, (p + round) % 3 == 0);
		rf_cursor_rewind(&f.cursor, false);
		expect_all(&f);
	}
	end(&f);
}

/* A page that becomes pending behind the cursor belongs to the next round, one before it to this.
 */
static void pages_that_become_pending_meanwhile(void **state)
{
	static struct fixture f;
	struct rf_piece piece;

	add_region(&f, 100);
	set_page(&f, 0, 50, true, false);
	begin(&f, 100, 100);
	assert_true(rf_cursor_next(&f.cursor, &piece));
	assert_int_equal(piece.pages.first, 50);
	set_page(&f, 0, 10, true, false);
	set_page(&f, 0, 60, true, false);
	assert_true(rf_cursor_next(&f.cursor, &piece));
	assert_int_equal(piece.pages.first, 60);
	assert_false(rf_cursor_next(&f.cursor, &piece));
	rf_cursor_rewind(&f.cursor, false);
	assert_true(rf_cursor_next(&f.cursor, &piece));
	assert_int_equal(piece.pages.first, 10);
	end(&f);
}

static uint64_t pick(uint64_t *seed, uint64_t n)
{
	return next_random(seed) % n;
}

static void random_bitmaps(void **state)
{
	const char *given = getenv("RF_SEED");
	static struct fixture f;
	uint64_t seed = 0;

	if (given)
		seed = strtoull(given, NULL, 0);
	while (!seed)
		assert_int_equal(getrandom(&seed, sizeof(seed), 0), sizeof(seed));
	printf("RF_SEED=%#lx\n", seed);
	for (unsigned i = 0; i < 150; i++) {
		/* from almost none to almost all, in runs from short to long */
		uint64_t density = pick(&seed, 101), zeros = pick(&seed, 101);
		uint64_t stay = pick(&seed, 100);
		uint32_t n = 1 + (uint32_t)pick(&seed, MAX_REGIONS);

		for (uint32_t r = 0; r < n; r++) {
			bool pending = false, zero = false;

			add_region(&f, 1 + pick(&seed, MAX_PAGES));
			for (uint64_t p = 0; p < f.model[r].npages; p++) {
				if (pick(&seed, 100) >= stay) {
					pending = pick(&seed, 100) < density;
					zero = pick(&seed, 100) < zeros;
				}
				set_page(&f, r, p, pending, zero);
			}
		}
		begin(&f, 1 + pick(&seed, 256), 1 + pick(&seed, 64));
		expect_all(&f);
		end(&f);
	}
}

/* Makes pages hot: as if two harvests had found them. */
static void heat(struct fixture *f, uint32_t region, uint64_t first, uint64_t count)
{
	rf_bitmap_set_range(&f->regions[region].map.hot, first, count);
}

static void expect_piece(struct fixture *f, uint32_t region, uint64_t first, uint64_t count)
{
	struct rf_piece piece;

	assert_true(rf_cursor_next(&f->cursor, &piece));
	if (piece.region != region || piece.pages.first != first || piece.pages.count != count)
		fail_msg("region %u: %lu + %lu instead of region %u: %lu + %lu", piece.region,
			 piece.pages.first, piece.pages.count, region, first, count);
}

static void hot_words_come_last(void **state)
{
	static struct fixture f;
	struct rf_piece piece;

	add_region(&f, 256);
	add_region(&f, 64);
	for (uint64_t p = 0; p < 256; p++)
		set_page(&f, 0, p, true, false);
	for (uint64_t p = 0; p < 64; p++)
		set_page(&f, 1, p, true, false);
	heat(&f, 0, 64, 64);  /* a word of them */
	heat(&f, 0, 128, 30); /* less than half */
	begin(&f, 256, 256);
	rf_cursor_rewind(&f.cursor, true);
	expect_piece(&f, 0, 0, 64);
	expect_piece(&f, 0, 128, 128);
	expect_piece(&f, 1, 0, 64);
	assert_int_equal(f.cursor.deferred, 0);
	expect_piece(&f, 0, 64, 64);
	assert_false(rf_cursor_next(&f.cursor, &piece));
	assert_int_equal(f.cursor.deferred, 64);
	end(&f);
}

static void where_all_is_hot_nothing_is_lost(void **state)
{
	static struct fixture f;
	struct rf_piece piece;

	add_region(&f, 200);
	for (uint64_t p = 0; p < 200; p++)
		set_page(&f, 0, p, true, false);
	heat(&f, 0, 0, 200);
	begin(&f, 256, 256);
	rf_cursor_rewind(&f.cursor, true);
	expect_piece(&f, 0, 0, 200);
	assert_false(rf_cursor_next(&f.cursor, &piece));
	end(&f);
}

/* They cool down while the cursor is under way, or get hot: each page comes once all the same. */
static void hot_pages_may_change_meanwhile(void **state)
{
	static struct fixture f;
	struct rf_piece piece;

	add_region(&f, 256);
	for (uint64_t p = 0; p < 256; p++)
		set_page(&f, 0, p, true, false);
	heat(&f, 0, 0, 64);
	begin(&f, 256, 64);
	rf_cursor_rewind(&f.cursor, true);
	expect_piece(&f, 0, 64, 64);
	rf_bitmap_clear_range(&f.regions[0].map.hot, 0, 64);
	heat(&f, 0, 128, 64);
	expect_piece(&f, 0, 192, 64);
	expect_piece(&f, 0, 0, 64);
	expect_piece(&f, 0, 128, 64);
	assert_false(rf_cursor_next(&f.cursor, &piece));
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_pending),
		cmocka_unit_test(pieces_end_at_chunks_and_at_their_size),
		cmocka_unit_test(data_and_zeros_part),
		cmocka_unit_test(regions_in_order),
		cmocka_unit_test(a_round_after_a_round),
		cmocka_unit_test(pages_that_become_pending_meanwhile),
		cmocka_unit_test(random_bitmaps),
		cmocka_unit_test(hot_words_come_last),
		cmocka_unit_test(where_all_is_hot_nothing_is_lost),
		cmocka_unit_test(hot_pages_may_change_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
