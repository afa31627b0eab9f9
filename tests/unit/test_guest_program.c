/* SPDX-License-Identifier: BSD-3-Clause */
/* The order of a pass and the values of cells. */
#include "tests/unit/guest_fixture.h"

#include "vmm/program.h"

static struct rf_guest_params params_of(uint64_t pages, unsigned vcpus, bool sequential)
{
	return (struct rf_guest_params){
		.magic = RF_PROGRAM_MAGIC,
		.vcpus = vcpus,
		.pages = pages,
		.seed = test_seed(),
		.sequential = sequential,
	};
}

/* Walks a pass and sees that each page of the share comes once. */
static void walk_pass(const struct rf_guest_params *p, unsigned vcpu, uint64_t pass)
{
	struct rf_program_order o, sought;
	unsigned char *seen;
	uint64_t visited = 0;

	rf_program_order_init(&o, p, vcpu);
	sought = o;
	assert_true(o.pages >= 1 && o.period >= o.pages && o.period < 2 * o.pages + 1);
	seen = calloc(1, o.pages);
	rf_program_order_seek(&o, p, pass, 0);
	for (uint64_t step = 0; step < o.period; step++, rf_program_order_next(&o)) {
		uint64_t page = rf_program_order_page(&o);

		rf_program_order_seek(&sought, p, pass, step);
		assert_true(rf_program_order_page(&sought) == page);
		if (page >= o.pages)
			continue;
		assert_false(seen[page]);
		if (p->sequential)
			assert_true(page == visited);
		seen[page] = 1;
		visited++;
	}
	assert_true(visited == o.pages);
	free(seen);
}

static void every_pass_visits_every_page_once(void **state)
{
	static const uint64_t sizes[] = {4, 5, 7, 8, 9, 31, 64, 1000, 4096, 4097, 10007};

	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		for (unsigned vcpus = 1; vcpus <= 4; vcpus++)
			for (unsigned sequential = 0; sequential < 2; sequential++) {
				struct rf_guest_params p = params_of(sizes[i], vcpus, sequential);

				for (unsigned v = 0; v < vcpus; v++)
					for (uint64_t pass = 0; pass < 3; pass++)
						walk_pass(&p, v, pass);
			}
}

static void shares_cover_the_working_set(void **state)
{
	for (uint64_t pages = 4; pages < 200; pages++)
		for (unsigned vcpus = 1; vcpus <= 4; vcpus++) {
			struct rf_guest_params p = params_of(pages, vcpus, false);

			p.hot = (pages * 7 + vcpus * 13) % 100; /* even shares and others */
			assert_true(rf_program_share(&p, 0) == 0);
			assert_true(rf_program_share(&p, vcpus) == pages);
			for (unsigned v = 0; v < vcpus; v++)
				assert_true(rf_program_share(&p, v + 1) > rf_program_share(&p, v));
		}
}

/* Far from ascending: neighbours in time are seldom neighbours in memory. */
static void random_order_looks_random(void **state)
{
	struct rf_guest_params p = params_of(4096, 1, false);
	struct rf_program_order o;
	uint64_t last = 0, near = 0, same = 0, first[2][16] = {0};

	for (uint64_t pass = 0; pass < 2; pass++) {
		rf_program_order_init(&o, &p, 0);
		rf_program_order_seek(&o, &p, pass, 0);
		for (unsigned i = 0; i < o.period; i++, rf_program_order_next(&o)) {
			uint64_t page = rf_program_order_page(&o);

			near += page - last + 8 < 16;
			last = page;
			if (i < 16)
				first[pass][i] = page;
		}
	}
	assert_true(near < 2 * 4096 / 20);
	for (unsigned i = 0; i < 16; i++)
		same += first[0][i] == first[1][i];
	assert_true(same < 16);
}

static void values_tell_passes_and_places_apart(void **state)
{
	uint64_t seed = test_seed(), at = RF_PROGRAM_WORKING_SET;

	assert_true(rf_program_value_before(seed, at, 0) == 0);
	for (uint64_t pass = 0; pass < 1000; pass++) {
		uint64_t v = rf_program_value(seed, at, pass);

		assert_true(rf_program_value_before(seed, at, pass + 1) == v);
		assert_true(v != rf_program_value(seed, at, pass + 1));
		assert_true(v != rf_program_value(seed, at, pass + 2));
		assert_true(v != rf_program_value(seed, at + RF_PROGRAM_CELL_STRIDE, pass));
		assert_true(v != rf_program_value(seed, at + RF_PROGRAM_PAGE, pass));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pass_visits_every_page_once),
		cmocka_unit_test(shares_cover_the_working_set),
		cmocka_unit_test(random_order_looks_random),
		cmocka_unit_test(values_tell_passes_and_places_apart),
	};

	test_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
