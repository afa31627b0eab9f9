/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The background push with --locality follow, while an urgent sender takes pages away from it at
 * every moment there is. The push asks for the time between any two of its steps: that is where
 * requests come in.
 */
#include "tests/unit/bulk_wire.h"

#include "common/wire_postcopy.h"
#include "scheduler/source.h"

#define REGIONS	    2u
#define PAGES	    6u /* a region */
#define ALL	    (REGIONS * PAGES)
#define PIECE_PAGES 2u

/* A request for a page, counted over both regions, at the n-th look at the clock. */
struct request {
	unsigned at;
	uint64_t page;
};

struct push {
	struct rf_clock clock; /* first: the clock's functions get a pointer to it */
	struct fixture wire;
	struct rf_source src;
	struct rf_src_region regions[REGIONS];
	const struct request *requests;
	unsigned nrequests;
	unsigned looks;
	bool answered[ALL];
	unsigned announced[ALL];
};

static struct push p;

/* What an urgent sender does with a request. */
static void answer(uint64_t page)
{
	struct rf_src_region *r = &p.regions[page / PAGES];

	if (rf_bitmap_test_and_clear(&r->map.pending, page % PAGES))
		p.answered[page] = true;
	atomic_store(&p.src.urgent.last_fault, page / PAGES << 40 | page % PAGES);
}

static uint64_t look(const struct rf_clock *clock)
{
	assert_ptr_equal(clock, &p.clock);
	p.looks++;
	for (unsigned i = 0; i < p.nrequests; i++)
		if (p.requests[i].at == p.looks)
			answer(p.requests[i].page);
	return p.looks * RF_NS_PER_MS;
}

static int set_up(void **state)
{
	memset(&p, 0, sizeof(p));
	open_fixture(&p.wire, 1, 1u << 30, 4096);
	for (unsigned i = 0; i < REGIONS; i++) {
		struct rf_region info = {.size = sizeof(info), .id = "ram", .memfd = -1};

		info.addr = p.wire.from + i * PAGES * RF_PAGE_SIZE;
		info.len = PAGES * RF_PAGE_SIZE;
		info.page_size = RF_PAGE_SIZE;
		assert_int_equal(rf_src_region_init(&p.regions[i], &info), RF_OK);
		assert_int_equal(rf_src_region_make_chunks(&p.regions[i], MEM), RF_OK);
		p.regions[i].chunks[0] =
			(struct rf_src_chunk){RF_CHUNK_READY, p.wire.src_mr, p.wire.key};
		p.regions[i].chunks[0].key.base += i * PAGES * RF_PAGE_SIZE;
	}
	p.clock.now_ns = look;
	p.src.clock = &p.clock;
	p.src.regions = p.regions;
	p.src.nregions = REGIONS;
	p.src.cfg.chunk_size = MEM;
	p.src.cfg.follow_faults = 1;
	p.src.cfg.urgent_window = UINT32_MAX; /* off: nothing waits for the wire */
	p.src.bulk = p.wire.bulk;
	rf_cursor_init(&p.src.cursor, p.regions, REGIONS, MEM / RF_PAGE_SIZE, PIECE_PAGES);
	return 0;
}

static int tear_down(void **state)
{
	for (unsigned i = 0; i < REGIONS; i++) {
		p.regions[i].chunks[0].mr = NULL;
		rf_src_region_fini(&p.regions[i]);
	}
	close_fixture(&p.wire);
	return 0;
}

/* One step of the wire, and what the destination is told. */
static unsigned take(void)
{
	struct rf_wire_announce a;
	struct rf_completion c[8];
	unsigned pages = 0;
	int n;

	rf_mem_hub_step(p.wire.hub);
	assert_true(rf_bulk_poll(&p.src.bulk) >= 0);
	while ((n = rf_lane_poll(p.wire.far[0], c, COUNT_OF(c))) > 0) {
		for (int i = 0; i < n; i++) {
			assert_int_equal(rf_wire_get_announce(c[i].data, c[i].len, &a), RF_OK);
			pages += a.count;
			for (uint64_t page = a.first; page < a.first + a.count; page++)
				p.announced[a.region * PAGES + page]++;
		}
	}
	return pages;
}

static void fail_left(unsigned page)
{
	for (unsigned i = 0; i < p.nrequests; i++)
		print_error("request for page %lu at look %u\n", p.requests[i].page,
			    p.requests[i].at);
	fail_msg("page %u is left", page);
}

/* Pushes everything while these requests come; each page must get there in one of the two ways. */
static void push_all(const struct request *requests, unsigned n)
{
	unsigned pages = 0, expected = 0;

	for (unsigned i = 0; i < REGIONS; i++)
		rf_bitmap_set_range(&p.regions[i].map.pending, 0, PAGES);
	memset(p.answered, 0, sizeof(p.answered));
	memset(p.announced, 0, sizeof(p.announced));
	p.requests = requests;
	p.nrequests = n;
	p.looks = 0;
	atomic_store(&p.src.urgent.last_fault, 0);
	p.src.expect = RF_WIRE_POSTCOPY_DONE;
	assert_int_equal(rf_source_push(&p.src), RF_OK);
	for (unsigned i = 0; i < ALL; i++) {
		if (rf_bitmap_test(&p.regions[i / PAGES].map.pending, i % PAGES))
			fail_left(i);
		expected += !p.answered[i];
	}
	for (unsigned step = 0; pages < expected && step < 1000; step++)
		pages += take();
	for (unsigned i = 0; i < ALL; i++)
		assert_int_equal(p.announced[i], !p.answered[i]);
}

/* A turn that began in the middle is none: two requests at the end, one after the other, and what
 * stands before them is pushed all the same. */
static void requests_at_the_end_do_not_end_it(void **state)
{
	static const struct request twice[] = {{1, ALL - 2},  {8, ALL - 1},  {10, ALL - 2},
					       {12, ALL - 1}, {14, ALL - 2}, {16, ALL - 1}};

	push_all(twice, COUNT_OF(twice));
}

static void every_moment(void **state)
{
	struct request two[2] = {0};
	unsigned moments;

	push_all(NULL, 0);
	moments = p.looks;
	assert_true(moments >= ALL);
	for (two[0].at = 1; two[0].at <= moments; two[0].at++)
		for (two[1].at = two[0].at; two[1].at <= moments + 4; two[1].at++)
			for (two[0].page = 0; two[0].page < ALL; two[0].page++)
				for (two[1].page = 0; two[1].page < ALL; two[1].page++)
					push_all(two, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(requests_at_the_end_do_not_end_it, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(every_moment, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
