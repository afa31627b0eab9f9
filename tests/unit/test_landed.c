/* SPDX-License-Identifier: BSD-3-Clause */
/* What the destination tells of pages that have landed. */
#include "tests/unit/unit.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "dest/landed.h"

#define REGIONS 2
#define PAGES	1000u

struct fixture {
	struct rf_dst_postcopy post;
	struct rf_dst_pages pages[REGIONS];
	struct rf_dst_landed landed;
	bool told[REGIONS][PAGES]; /* host pages */
	unsigned messages, runs;
};

/* Region 0 in pages of 4 KiB, region 1 in pages of 2 MiB; pages `from` to the last are missing. */
static void begin(struct fixture *f, uint64_t from)
{
	memset(f, 0, sizeof(*f));
	f->post.pages = f->pages;
	f->post.nregions = REGIONS;
	f->post.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (unsigned i = 0; i < REGIONS; i++) {
		f->pages[i].npages = PAGES;
		f->pages[i].shift = i ? 21 : 12;
		assert_int_equal(rf_bitmap_init(&f->pages[i].missing, PAGES), RF_OK);
		rf_bitmap_set_range(&f->pages[i].missing, from, PAGES - from);
		atomic_fetch_add(&f->post.remaining, PAGES - from);
	}
	assert_int_equal(rf_dst_landed_init(&f->landed, &f->post), RF_OK);
}

static void end(struct fixture *f)
{
	rf_dst_landed_fini(&f->landed);
	for (unsigned i = 0; i < REGIONS; i++)
		rf_bitmap_fini(&f->pages[i].missing);
	close(f->post.wake_fd);
}

static bool was_woken(struct fixture *f)
{
	uint64_t n;

	return read(f->post.wake_fd, &n, sizeof(n)) == sizeof(n);
}

static void land(struct fixture *f, unsigned region, uint64_t page)
{
	assert_true(rf_bitmap_test_and_clear(&f->pages[region].missing, page));
	rf_dst_postcopy_landed(&f->post, 1);
}

/* Takes a message apart: each page is told once, and has landed. */
static void take(struct fixture *f, const struct rf_wbuf *b)
{
	struct rf_wire_array a;

	assert_false(b->overflow);
	assert_int_equal(rf_wire_get_zero(b->data, b->len, &a), RF_OK);
	assert_true(a.region < REGIONS);
	f->messages++;
	f->runs += a.count;
	for (uint32_t i = 0; i < a.count; i++) {
		unsigned small = a.region ? 512 : 1;
		struct rf_wire_run run;

		rf_wire_run_at(&a, i, &run);
		assert_int_equal(run.first % small, 0);
		assert_int_equal(run.count % small, 0);
		for (uint64_t p = run.first / small; p < (run.first + run.count) / small; p++) {
			assert_true(p < PAGES);
			assert_false(f->told[a.region][p]);
			assert_false(rf_bitmap_test(&f->pages[a.region].missing, p));
			f->told[a.region][p] = true;
		}
	}
}

static void tell(struct fixture *f, size_t cap)
{
	static uint8_t buf[RF_WIRE_MAX_PAYLOAD];

	while (rf_dst_landed_due(&f->landed, &f->post)) {
		struct rf_wbuf b;

		rf_wbuf_init(&b, buf, cap);
		while (rf_dst_landed_next(&f->landed, &f->post, &b)) {
			take(f, &b);
			b.len = 0;
		}
	}
}

static unsigned count_told(const struct fixture *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < REGIONS; i++)
		for (unsigned p = 0; p < PAGES; p++)
			n += f->told[i][p];
	return n;
}

static void nothing_is_told_before_a_portion_has_landed(void **state)
{
	static struct fixture f;
	uint64_t portion = 2 * PAGES / 64;

	begin(&f, 0);
	assert_false(rf_dst_landed_due(&f.landed, &f.post));
	for (uint64_t p = 0; p + 1 < portion; p++)
		land(&f, 0, p);
	assert_false(was_woken(&f));
	assert_false(rf_dst_landed_due(&f.landed, &f.post));
	land(&f, 0, portion - 1);
	assert_true(was_woken(&f));
	tell(&f, RF_WIRE_MAX_PAYLOAD);
	assert_int_equal(count_told(&f), portion);
	assert_int_equal(f.runs, 1);
	/* the next portion wakes again, once */
	for (uint64_t p = 0; p < portion; p++)
		land(&f, 1, PAGES - 1 - p);
	assert_true(was_woken(&f));
	assert_false(was_woken(&f));
	tell(&f, RF_WIRE_MAX_PAYLOAD);
	assert_int_equal(count_told(&f), 2 * portion);
	assert_int_equal(f.runs, 2);
	end(&f);
}

static void every_page_is_told_once_in_any_order(void **state)
{
	/* a frame of a few words, and one that takes all */
	static const size_t caps[] = {600, 1400, RF_WIRE_MAX_PAYLOAD};
	uint64_t seed = 20260102;

	for (size_t i = 0; i < COUNT_OF(caps); i++) {
		static struct fixture f;
		unsigned landed = 0;

		begin(&f, 100);
		for (unsigned n = 0; n < 20000; n++) {
			unsigned region = (unsigned)(next_random(&seed) % REGIONS);
			uint64_t p = 100 + next_random(&seed) % (PAGES - 100);

			if (landed + 1 < 2 * (PAGES - 100) &&
			    rf_bitmap_test(&f.pages[region].missing, p)) {
				land(&f, region, p);
				landed++;
			}
			if (was_woken(&f))
				tell(&f, caps[i]);
		}
		assert_true(landed > PAGES);
		assert_true(count_told(&f) <= landed);
		assert_true(landed - count_told(&f) < 2 * PAGES / 64);
		assert_true(f.messages <= 64 * REGIONS || caps[i] < RF_WIRE_MAX_PAYLOAD);
		end(&f);
	}
}

/* Then the word that all is there says more. */
static void with_the_last_page_nothing_is_told(void **state)
{
	static struct fixture f;

	begin(&f, PAGES - 1);
	land(&f, 0, PAGES - 1);
	assert_true(was_woken(&f));
	tell(&f, RF_WIRE_MAX_PAYLOAD);
	assert_int_equal(count_told(&f), 1);
	land(&f, 1, PAGES - 1);
	assert_true(was_woken(&f));
	assert_false(rf_dst_landed_due(&f.landed, &f.post));
	end(&f);
}

static void runs_go_on_over_words(void **state)
{
	static struct fixture f;

	begin(&f, 0);
	for (uint64_t p = 60; p < 200; p++)
		land(&f, 0, p);
	tell(&f, RF_WIRE_MAX_PAYLOAD);
	assert_int_equal(count_told(&f), 140);
	assert_int_equal(f.runs, 1);
	end(&f);
}

/* A source that did not ask is told nothing. */
static void not_asked_nothing_is_told(void **state)
{
	static struct fixture f;

	begin(&f, 0);
	rf_dst_landed_fini(&f.landed);
	for (uint64_t p = 0; p < 500; p++)
		land(&f, 0, p);
	assert_false(rf_dst_landed_due(&f.landed, &f.post));
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_told_before_a_portion_has_landed),
		cmocka_unit_test(every_page_is_told_once_in_any_order),
		cmocka_unit_test(with_the_last_page_nothing_is_told),
		cmocka_unit_test(runs_go_on_over_words),
		cmocka_unit_test(not_asked_nothing_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
