/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions of the destination: one file, two views, and holes that stay holes. */
#include "tests/unit/unit.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ramferry/log.h>

#include "dest/region.h"
#include "transport/mem/mem.h"

#define PAGES 1024u
#define PAGE  ((size_t)RF_PAGE_SIZE)
#define LEN   (PAGES * (uint64_t)RF_PAGE_SIZE)
#define CHUNK (1u << 20)

static struct rf_dest_region spec_of(const char *id, uint64_t len, uint32_t page_size)
{
	struct rf_dest_region s = {.size = sizeof(s), .len = len, .page_size = page_size};

	snprintf(s.id, sizeof(s.id), "%s", id);
	return s;
}

static void make(struct rf_dst_region *r)
{
	struct rf_dest_region s = spec_of("ram", LEN, RF_PAGE_SIZE);

	assert_int_equal(rf_dst_region_init(r, &s), RF_OK);
}

/* Pages the file holds. */
static uint64_t pages_held(const struct rf_dst_region *r)
{
	struct stat st;

	assert_int_equal(fstat(r->memfd, &st), 0);
	return (uint64_t)st.st_blocks / (RF_PAGE_SIZE / 512);
}

static void specs_are_checked(void **state)
{
	struct rf_dest_region bad[] = {
		spec_of("", LEN, RF_PAGE_SIZE),
		spec_of("ram", 0, RF_PAGE_SIZE),
		spec_of("ram", LEN + 1, RF_PAGE_SIZE),
		spec_of("ram", LEN, 0),
		spec_of("ram", LEN, 8192),
		spec_of("ram", 3u << 20, 2u << 20),
		spec_of("ram", (1ull << 47) + RF_PAGE_SIZE, RF_PAGE_SIZE),
		spec_of("ram", LEN, RF_PAGE_SIZE),
		spec_of("ram", LEN, RF_PAGE_SIZE),
		spec_of("ram", LEN, RF_PAGE_SIZE),
	};
	struct rf_dst_region r;

	bad[COUNT_OF(bad) - 1].size = 1;
	bad[COUNT_OF(bad) - 3].placement = (enum rf_placement)2;
	memset(bad[COUNT_OF(bad) - 2].id, 'x', RF_REGION_ID_SIZE);
	rf_log_set_level(RF_LOG_NONE);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (rf_dst_region_init(&r, &bad[i]) != RF_ERR_INVALID)
			fail_msg("row %zu was taken", i);
	rf_log_set_level(RF_LOG_WARN);
}

static void a_new_region_is_empty_and_seen_twice(void **state)
{
	struct rf_dst_region r;

	make(&r);
	assert_int_equal(pages_held(&r), 0);
	assert_ptr_not_equal(r.landing, r.guest_view);
	r.landing[5 * PAGE] = 42;
	assert_int_equal(r.guest_view[5 * PAGE], 42);
	assert_int_equal(pages_held(&r), 1);
	assert_int_equal(rf_dst_region_resident(&r), PAGE);
	rf_dst_region_fini(&r);
	rf_dst_region_fini(&r); /* harmless */
}

static void a_huge_sparse_region_costs_nothing(void **state)
{
	struct rf_dest_region s = spec_of("ram", 1ull << 42, RF_PAGE_SIZE);
	struct rf_dst_region r;

	assert_int_equal(rf_dst_region_init(&r, &s), RF_OK);
	assert_int_equal(pages_held(&r), 0);
	assert_int_equal(rf_dst_region_clear(&r, 0, s.len / RF_PAGE_SIZE), RF_OK);
	assert_int_equal(pages_held(&r), 0);
	rf_dst_region_fini(&r);
}

static void keep_line(void *arg, enum rf_log_level level, const char *line)
{
	snprintf(arg, 256, "%s", line);
}

static void no_descriptor_left_is_said(void **state)
{
	struct rf_dest_region s = spec_of("ram", LEN, RF_PAGE_SIZE);
	struct rlimit old, none;
	struct rf_dst_region r;
	char line[256] = "";
	int rc;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){.rlim_cur = 3, .rlim_max = old.rlim_max};
	rf_log_set_sink(keep_line, line);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	rc = rf_dst_region_init(&r, &s);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	rf_log_set_sink(NULL, NULL);
	assert_int_equal(rc, RF_ERR_SYSTEM);
	assert_non_null(strstr(line, "raise ulimit -n"));
}

static void clearing_fills_no_hole(void **state)
{
	struct rf_dst_region r;

	make(&r);
	assert_int_equal(rf_dst_region_clear(&r, 0, PAGES), RF_OK);
	assert_int_equal(rf_dst_region_clear(&r, PAGES - 1, 1), RF_OK);
	assert_int_equal(pages_held(&r), 0);
	for (unsigned p = 0; p < PAGES; p += 100)
		memset(r.landing + p * PAGE, 0xee, RF_PAGE_SIZE);
	assert_int_equal(pages_held(&r), 11);
	assert_int_equal(rf_dst_region_clear(&r, 50, 501), RF_OK);
	assert_int_equal(pages_held(&r), 11); /* nor punches one */
	for (unsigned p = 0; p < PAGES; p += 100) {
		uint8_t want = p >= 50 && p < 551 ? 0 : 0xee;

		for (unsigned i = 0; i < RF_PAGE_SIZE; i += 7)
			assert_int_equal(r.guest_view[p * PAGE + i], want);
	}
	rf_dst_region_fini(&r);
}

static void clearing_keeps_to_its_pages(void **state)
{
	struct rf_dst_region r;

	make(&r);
	for (unsigned first = 0; first < 8; first++) {
		for (unsigned count = 1; first + count <= 8; count++) {
			memset(r.landing, 0x55, 8 * PAGE);
			assert_int_equal(rf_dst_region_clear(&r, first, count), RF_OK);
			for (unsigned b = 0; b < 8 * PAGE; b += 64) {
				unsigned p = b / RF_PAGE_SIZE;
				bool in = p >= first && p < first + count;

				assert_int_equal(r.guest_view[b], in ? 0 : 0x55);
			}
		}
	}
	rf_dst_region_fini(&r);
}

static void keys_by_chunk(void **state)
{
	struct rf_transport_cfg cfg = {.max_lanes = 1};
	struct rf_remote_key key[4], again;
	struct rf_transport *t;
	struct rf_dst_region r;

	assert_int_equal(rf_mem_hub_new(NULL, &cfg.hub), RF_OK);
	assert_int_equal(rf_transport_open("mem", &cfg, &t), RF_OK);
	make(&r);
	assert_int_equal(rf_dst_region_make_chunks(&r, CHUNK), RF_OK);
	assert_int_equal(r.nchunks, 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_null(r.chunks[i]); /* on demand, not before */
		assert_int_equal(rf_dst_region_key(&r, t, i, &key[i]), RF_OK);
		assert_non_null(r.chunks[i]);
		for (unsigned k = 0; k < i; k++)
			assert_int_not_equal(key[k].key[RF_LANE_BULK], key[i].key[RF_LANE_BULK]);
	}
	/* asked again, the same answer */
	assert_int_equal(rf_dst_region_key(&r, t, 2, &again), RF_OK);
	assert_memory_equal(&again, &key[2], sizeof(again));
	assert_int_equal(pages_held(&r), 0);
	rf_dst_region_deregister(&r);
	for (unsigned i = 0; i < 4; i++)
		assert_null(r.chunks[i]);
	rf_dst_region_fini(&r);
	rf_transport_close(&t);
	rf_mem_hub_delete(&cfg.hub);
}

/* Its own memory, which gets what is there and no more. */
static void a_copied_region_is_private(void **state)
{
	struct rf_dest_region s = spec_of("ram", LEN, RF_PAGE_SIZE);
	unsigned char there[PAGES];
	unsigned held = 0;
	struct rf_dst_region r;

	s.placement = RF_PLACEMENT_COPY;
	assert_int_equal(rf_dst_region_init(&r, &s), RF_OK);
	r.landing[3 * PAGE + 1] = 7;
	r.landing[700 * PAGE] = 9;
	assert_int_equal(rf_dst_region_copy_all(&r), RF_OK);
	assert_int_equal(mincore(r.guest_view, LEN, there), 0);
	for (unsigned i = 0; i < PAGES; i++)
		held += there[i] & 1;
	assert_int_equal(held, 2);
	assert_int_equal(r.guest_view[3 * PAGE + 1], 7);
	assert_int_equal(r.guest_view[700 * PAGE], 9);
	/* the guest's writes are its own */
	r.guest_view[3 * PAGE + 1] = 8;
	assert_int_equal(r.landing[3 * PAGE + 1], 7);
	rf_dst_region_drop_landing(&r);
	assert_null(r.landing);
	assert_int_equal(pages_held(&r), 0);
	assert_int_equal(r.guest_view[3 * PAGE + 1], 8);
	rf_dst_region_fini(&r);
}

static void huge_pages(void **state)
{
	struct rf_dest_region s = spec_of("ram", 4u << 20, 2u << 20);
	struct rf_dst_region r;
	unsigned long free_pages = 0;
	FILE *f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "r");

	if (f && fscanf(f, "%lu", &free_pages) != 1)
		free_pages = 0;
	if (f)
		fclose(f);
	if (free_pages < 2)
		skip_case("test_region_dst huge_pages", "sysctl vm.nr_hugepages=8");
	assert_int_equal(rf_dst_region_init(&r, &s), RF_OK);
	r.landing[(2u << 20) + 1] = 7;
	assert_int_equal(r.guest_view[(2u << 20) + 1], 7);
	assert_int_equal(rf_dst_region_clear(&r, 512, 512), RF_OK);
	assert_int_equal(r.guest_view[(2u << 20) + 1], 0);
	rf_dst_region_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(specs_are_checked),
		cmocka_unit_test(a_new_region_is_empty_and_seen_twice),
		cmocka_unit_test(a_huge_sparse_region_costs_nothing),
		cmocka_unit_test(no_descriptor_left_is_said),
		cmocka_unit_test(clearing_fills_no_hole),
		cmocka_unit_test(clearing_keeps_to_its_pages),
		cmocka_unit_test(keys_by_chunk),
		cmocka_unit_test(a_copied_region_is_private),
		cmocka_unit_test(huge_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
