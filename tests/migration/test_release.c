/* SPDX-License-Identifier: BSD-3-Clause */
/* release-ram: what the source gives back, and when. */
#include "tests/migration/move.h"

#include <unistd.h>

#include "common/extent.h"
#include "transport/transport.h"

#define PATIENCE 30000 /* ms */

/* ---- at the end ---- */

/* Bytes the source held when it was paused. */
static int note_held(struct mv *m, enum mv_step s)
{
	if (s == MV_SAVE)
		*(uint64_t *)m->cfg.hook_arg = mv_bytes_here(m);
	return RF_OK;
}

static const struct mv_cfg ends[] = {
	{.name = "file"},
	{.name = "file, holes and zeros", .content = MV_MIXED},
	{.name = "one file for all regions", .memory = MV_ONE_MEMFD, .regions = 3},
	{.name = "anonymous memory", .memory = MV_ANONYMOUS},
	{.name = "anonymous memory, holes and zeros", .memory = MV_ANONYMOUS, .content = MV_MIXED},
	{.name = "pages of 2 MiB", .huge = true, .len = 8 * MIB},
	{.name = "pages of 4 KiB and of 2 MiB", .mixed = true, .regions = 2},
	{.name = "never touched", .content = MV_EMPTY},
	{.name = "very many regions",
	 .memory = MV_ONE_MEMFD,
	 .regions = MV_REGIONS,
	 .len = 4 * PAGE},
	{.name = "four lanes", .lanes = 4, .piece_size = 64 << 10},
	{.name = "pinned", .hub = {.pins = true}},
	{.name = "pinned, small chunks", .hub = {.pins = true}, .chunk_size = MIB, .len = 19 * MIB},
	{.name = "pinned, pages of 2 MiB, smaller chunks",
	 .hub = {.pins = true},
	 .chunk_size = MIB,
	 .huge = true,
	 .len = 8 * MIB},
	{.name = "tcp", .transport = "ofi", .provider = "tcp"},
	{.name = "tcp, pages of 2 MiB",
	 .transport = "ofi",
	 .provider = "tcp",
	 .huge = true,
	 .len = 8 * MIB},
	{.name = "sockets", .transport = "ofi", .provider = "sockets"},
};

static void give_all_back(const struct mv_cfg *row, enum rf_mode mode)
{
	struct mv_cfg cfg = *row;
	uint64_t held = 0;
	struct mv m;

	cfg.content = cfg.content ? cfg.content : MV_DATA;
	cfg.mode = mode;
	cfg.rounds = mode == RF_MODE_HYBRID ? 2 : 0;
	cfg.postcopy_after = 1;
	cfg.release_ram = true;
	cfg.hook = note_held;
	cfg.hook_arg = &held;
	mv_need(&cfg);
	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_moved(&m);
	assert_true(m.src.stats.postcopy.active);
	if (mv_bytes_here(&m))
		fail_msg("%s: %lu bytes are kept", cfg.name, mv_bytes_here(&m));
	if (m.src.stats.ram.released < held)
		fail_msg("%s: %lu bytes given back of %lu", cfg.name, m.src.stats.ram.released,
			 held);
	mv_close(&m);
}

static void in_the_end_all_is_given_back(void **state)
{
	give_all_back(*state, RF_MODE_POSTCOPY);
	give_all_back(*state, RF_MODE_HYBRID);
}

/* ---- nothing ---- */

static void what_ends_in_precopy_gives_nothing_back(void **state)
{
	uint64_t held = 0;
	struct mv_cfg cfg = {
		.name = "hybrid that ends in precopy",
		.mode = RF_MODE_HYBRID,
		.content = MV_DATA,
		.release_ram = true,
		.verify = true,
		.hook = note_held,
		.hook_arg = &held,
	};
	struct mv m;

	mv_need(&cfg);
	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_moved(&m);
	assert_false(m.src.stats.postcopy.active);
	assert_int_equal(m.src.stats.ram.released, 0);
	assert_int_equal(held, cfg.regions ? cfg.regions * cfg.len : 4 * MIB);
	assert_int_equal(mv_bytes_here(&m), held);
	assert_memory_equal(m.regions[0].addr, m.regions[0].before, m.regions[0].len);
	mv_close(&m);
}

static int fail_to_load(struct mv *m, enum mv_step s)
{
	return s == MV_LOAD ? RF_ERR_GUEST : RF_OK;
}

/* Pages have been sent by then, and all keys are there: but the guest goes on here. */
static void a_guest_that_stays_keeps_its_memory(void **state)
{
	struct mv_cfg cfg = {
		.name = "the device state cannot be loaded",
		.mode = RF_MODE_POSTCOPY,
		.content = MV_DATA,
		.release_ram = true,
		.hook = fail_to_load,
	};
	struct mv m;

	mv_need(&cfg);
	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_stayed(&m, RF_ERR_PEER_FAILED, RF_ERR_GUEST);
	assert_int_equal(m.src.stats.ram.released, 0);
	assert_memory_equal(m.regions[0].addr, m.regions[0].before, m.regions[0].len);
	mv_close(&m);
}

static void precopy_is_refused(void **state)
{
	static const struct rf_tracker_ops tracker = {.size = sizeof(tracker)};
	struct rf_source_cfg cfg = {
		.size = sizeof(cfg),
		.host = "127.0.0.1",
		.release_ram = 1,
		.guest = mv_src_ops,
		.tracker = {.ops = &tracker},
	};
	struct rf_source *src = NULL;

	rf_log_set_level(RF_LOG_NONE);
	assert_int_equal(rf_source_new(&cfg, &src), RF_ERR_INVALID);
	cfg.mode = RF_MODE_POSTCOPY;
	assert_int_equal(rf_source_new(&cfg, &src), RF_OK);
	rf_log_set_level(RF_LOG_WARN);
	rf_source_delete(&src);
}

/* ---- not before it is acknowledged ---- */

/* Bulk lanes whose writes and announcements arrive. */
static _Atomic bool arrives[2];

static enum rf_mem_fate hold_lanes(void *arg, const struct rf_mem_op_info *op)
{
	bool pushed =
		op->lane_kind == RF_LANE_BULK && op->from_source && op->op != RF_OP_FENCE_SEEN;

	return pushed && !atomic_load(&arrives[op->lane_index]) ? RF_MEM_HOLD : RF_MEM_DELIVER;
}

/* Precopy is not held up; the push is. */
static int hold_from_pause(struct mv *m, enum mv_step s)
{
	if (s == MV_PAUSE)
		for (unsigned i = 0; i < 2; i++)
			atomic_store(&arrives[i], false);
	return RF_OK;
}

static struct rf_stats stats_here(struct mv *m)
{
	struct rf_stats st = {.size = sizeof(st)};

	rf_source_stats(m->source, &st);
	return st;
}

static uint64_t lacking_there(struct mv *m)
{
	struct rf_stats st = {.size = sizeof(st)};

	rf_dest_stats(m->dest, &st);
	return st.ram.remaining;
}

/* A page that is gone here is there; a hole is gone. */
static void assert_no_page_is_nowhere(struct mv *m)
{
	const struct mv_region *r = &m->regions[0];

	for (uint64_t at = 0; at < r->len; at += PAGE)
		if (rf_extent_hole_at(r->memfd, at, PAGE) &&
		    rf_extent_hole_at(r->there.memfd, at, PAGE))
			fail_msg("%s: page %lu is neither here nor there", m->cfg.name, at / PAGE);
}

/*
 * Until there is no more here than what is lacking there and `more`; at no time less, but for one
 * run that is told in the moment before it is counted.
 */
static void await_given_back(struct mv *m, uint64_t more, uint64_t run)
{
	for (unsigned ms = 0; ms < PATIENCE; ms++) {
		uint64_t here = mv_bytes_here(m), lacking = lacking_there(m);

		/* In this order: what is lacking only gets less. */
		if (here + run < lacking)
			fail_msg("%s: %lu bytes are here, %lu are lacking there", m->cfg.name, here,
				 lacking);
		if (here <= lacking + more)
			return;
		usleep(1000);
	}
	fail_msg("%s: %lu bytes are kept though %lu are lacking there", m->cfg.name,
		 mv_bytes_here(m), lacking_there(m));
}

static void await_all_posted(struct mv *m)
{
	for (unsigned ms = 0; ms < PATIENCE; ms++) {
		struct rf_stats st = stats_here(m);

		if (st.status == RF_STATE_POSTCOPY_ACTIVE && !st.ram.remaining)
			return;
		usleep(1000);
	}
	fail_msg("%s: not all is posted", m->cfg.name);
}

static const struct mv_cfg held[] = {
	{.name = "held, file", .mode = RF_MODE_POSTCOPY},
	{.name = "held, anonymous memory", .mode = RF_MODE_POSTCOPY, .memory = MV_ANONYMOUS},
	{.name = "held, pages of 2 MiB", .mode = RF_MODE_POSTCOPY, .huge = true, .len = 16 * MIB},
	{.name = "held, hybrid", .mode = RF_MODE_HYBRID, .rounds = 2, .postcopy_after = 1},
};

/*
 * All is posted, half on either lane, and nothing arrives: nothing of that is given back. Then what
 * is on one lane arrives: that is given back, and what is on the other is not. Then that, too.
 */
static void no_page_goes_before_it_has_landed(void **state)
{
	struct mv_cfg cfg = *(const struct mv_cfg *)*state;
	uint64_t run = cfg.huge ? HUGE_PAGE : cfg.rounds ? PAGE : 16 * PAGE, lacking;
	struct mv m;

	for (unsigned lane = 0; lane < 2; lane++)
		atomic_store(&arrives[lane], true);
	cfg.content = MV_DATA;
	cfg.lanes = 2;
	cfg.piece_size = cfg.huge ? 0 : 64 << 10;
	cfg.release_ram = true;
	cfg.no_window = true;
	cfg.hub = (struct rf_mem_hub_cfg){.scripted = true, .script = hold_lanes, .depth = 1024};
	cfg.hook = hold_from_pause;
	mv_need(&cfg);
	mv_open(&m, &cfg);
	mv_start(&m);
	await_all_posted(&m);
	lacking = lacking_there(&m);
	assert_true(lacking > 0);
	await_given_back(&m, 0, 0);
	assert_int_equal(lacking_there(&m), lacking);

	atomic_store(&arrives[0], true);
	for (unsigned ms = 0; ms < PATIENCE && lacking_there(&m) > lacking / 4 * 3; ms++)
		usleep(1000);
	/* it is told in portions of a 64th */
	await_given_back(&m, cfg.huge ? 0 : lacking / 64, run);
	assert_true(lacking_there(&m) > 0);
	if (cfg.mode == RF_MODE_POSTCOPY && cfg.memory == MV_MEMFD && !cfg.huge)
		assert_no_page_is_nowhere(&m);
	assert_int_equal(stats_here(&m).status, RF_STATE_POSTCOPY_ACTIVE);
	assert_true(stats_here(&m).ram.released > 0);

	atomic_store(&arrives[1], true);
	mv_join(&m);
	mv_check(&m);
	mv_assert_moved(&m);
	assert_int_equal(mv_bytes_here(&m), 0);
	mv_close(&m);
}

/* A test a row, so that one that cannot be run here is skipped by itself. */
static size_t add_rows(struct CMUnitTest *tests, const struct mv_cfg *rows, size_t n,
		       CMUnitTestFunction fn)
{
	for (size_t i = 0; i < n; i++)
		tests[i] = (struct CMUnitTest){.name = rows[i].name,
					       .test_func = fn,
					       .initial_state = (void *)(uintptr_t)&rows[i]};
	return n;
}

int main(void)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(what_ends_in_precopy_gives_nothing_back),
		cmocka_unit_test(a_guest_that_stays_keeps_its_memory),
		cmocka_unit_test(precopy_is_refused),
	};
	struct CMUnitTest tests[COUNT_OF(ends) + COUNT_OF(held) + COUNT_OF(others)];
	size_t n = COUNT_OF(others);

	memcpy(tests, others, sizeof(others));
	n += add_rows(tests + n, ends, COUNT_OF(ends), in_the_end_all_is_given_back);
	n += add_rows(tests + n, held, COUNT_OF(held), no_page_goes_before_it_has_landed);
	return _cmocka_run_group_tests("release", tests, n, NULL, NULL);
}
