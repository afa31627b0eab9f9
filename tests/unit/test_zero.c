/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include <sys/mman.h>

#include <ramferry/region.h>

#include "common/zero.h"

#define PAGE ((size_t)RF_PAGE_SIZE)

/* A page between two that must not be touched. */
static uint8_t *page;

static int make_page(void **state)
{
	uint8_t *map = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return -1;
	page = map + RF_PAGE_SIZE;
	return mprotect(page, RF_PAGE_SIZE, PROT_READ | PROT_WRITE);
}

static int drop_page(void **state)
{
	return munmap(page - RF_PAGE_SIZE, 3 * PAGE);
}

/* Every byte counts, whatever its value and wherever it stands. */
static void check_every_byte(rf_zero_fn is_zero)
{
	assert_true(is_zero(page));
	for (unsigned at = 0; at < RF_PAGE_SIZE; at++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			page[at] = (uint8_t)(1u << bit);
			if (is_zero(page))
				fail_msg("byte %u = %#x was not seen", at, page[at]);
		}
		page[at] = 0;
	}
	assert_true(is_zero(page));
	memset(page, 0xff, RF_PAGE_SIZE);
	assert_false(is_zero(page));
}

static void portable_finds_every_byte(void **state)
{
	check_every_byte(rf_zero_portable);
}

static void avx2_finds_every_byte(void **state)
{
	if (!rf_zero_avx2())
		skip_case("test_zero avx2_finds_every_byte", "a processor with AVX2");
	check_every_byte(rf_zero_avx2());
}

static void selected_finds_every_byte(void **state)
{
	check_every_byte(rf_zero_select());
	assert_ptr_equal(rf_zero_select(), rf_zero_select());
	if (rf_zero_avx2())
		assert_ptr_equal(rf_zero_select(), rf_zero_avx2());
	else
		assert_ptr_equal(rf_zero_select(), rf_zero_portable);
}

static void both_agree_on_sparse_pages(void **state)
{
	rf_zero_fn fast = rf_zero_avx2() ? rf_zero_avx2() : rf_zero_select();
	uint64_t seed = 0x5eed;

	for (unsigned i = 0; i < 20000; i++) {
		unsigned n = (unsigned)(next_random(&seed) % 3);

		memset(page, 0, RF_PAGE_SIZE);
		for (unsigned k = 0; k < n; k++)
			page[next_random(&seed) % RF_PAGE_SIZE] = (uint8_t)next_random(&seed);
		assert_int_equal(fast(page), rf_zero_portable(page));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(portable_finds_every_byte, make_page, drop_page),
		cmocka_unit_test_setup_teardown(avx2_finds_every_byte, make_page, drop_page),
		cmocka_unit_test_setup_teardown(selected_finds_every_byte, make_page, drop_page),
		cmocka_unit_test_setup_teardown(both_agree_on_sparse_pages, make_page, drop_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
