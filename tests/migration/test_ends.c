/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migrations that are stopped: at every step, by each side's user, by a guest that refuses, by the
 * clock. Wherever it is, the guest runs on at the source, until the word to run has been given.
 */
#include "tests/migration/move.h"

#include <limits.h>
#include <unistd.h>

static const char *transport, *provider;

/* What a hook does at which step, the nth time. */
struct spoil {
	enum mv_step at;
	unsigned nth;
	bool cancel_src, cancel_dst;
	int fail; /* what the step returns */
	unsigned wait_ms;
	unsigned count;
};

static int spoil(struct mv *m, enum mv_step s)
{
	struct spoil *p = m->cfg.hook_arg;

	if (s != p->at || ++p->count != (p->nth ? p->nth : 1))
		return RF_OK;
	if (p->cancel_src)
		rf_source_cancel(m->source);
	if (p->cancel_dst)
		rf_dest_cancel(m->dest);
	usleep(p->wait_ms * 1000);
	return p->fail;
}

static struct mv_cfg spoiled(struct spoil *p)
{
	return (struct mv_cfg){
		.name = mv_step_str(p->at),
		.transport = transport,
		.provider = provider,
		.len = MIB,
		.rounds = 3,
		.lanes = 2,
		.verify = true,
		.hook = spoil,
		.hook_arg = p,
	};
}

/* Runs it and counts the lines that say error. */
static void run(struct mv *m, const struct mv_cfg *cfg, struct mv_log *log)
{
	mv_open(m, cfg);
	mv_log_start();
	mv_run(m);
	mv_log_stop(log);
}

static void assert_lines(const struct mv *m, const struct mv_log *l, unsigned src, unsigned dst)
{
	if (l->src != src || l->dst != dst || l->other)
		fail_msg("%s: %u lines of the source, %u of the destination, %u others; last: %s",
			 m->cfg.name, l->src, l->dst, l->other, l->last);
}

/* ---- cancel ---- */

static void cancel_by_source(void **state)
{
	for (enum mv_step s = MV_DST_SETUP; s <= MV_LOAD; s++) {
		struct spoil p = {.at = s, .cancel_src = true};
		struct mv_cfg cfg = spoiled(&p);
		struct mv_log log;
		struct mv m;

		run(&m, &cfg, &log);
		mv_assert_stayed(&m, RF_ERR_CANCELLED, RF_ERR_CANCELLED);
		assert_lines(&m, &log, 0, 0);
		mv_close(&m);
	}
}

static void cancel_by_destination(void **state)
{
	for (enum mv_step s = MV_DST_ACTIVE; s <= MV_LOAD; s++) {
		struct spoil p = {.at = s, .cancel_dst = true};
		struct mv_cfg cfg = spoiled(&p);
		struct mv_log log;
		struct mv m;

		run(&m, &cfg, &log);
		mv_assert_stayed(&m, RF_ERR_PEER_FAILED, RF_ERR_CANCELLED);
		assert_non_null(strstr(m.src.stats.error_desc, "cancelled by the user"));
		assert_lines(&m, &log, 1, 0);
		mv_close(&m);
	}
}

/* Before a source came: it finds nobody, in one of the ways there are. */
static void cancel_by_destination_early(void **state)
{
	struct spoil p = {.at = MV_DST_SETUP, .cancel_dst = true};
	struct mv_cfg cfg = spoiled(&p);
	struct mv_log log;
	struct mv m;

	run(&m, &cfg, &log);
	assert_int_equal(m.dst.rc, RF_ERR_CANCELLED);
	assert_int_not_equal(m.src.rc, RF_OK);
	assert_int_not_equal(m.src.rc, RF_ERR_UNKNOWN_OUTCOME);
	assert_int_equal(m.src.pauses, 0);
	assert_int_equal(log.dst, 0);
	mv_close(&m);
}

static void too_late_to_cancel(void **state)
{
	for (unsigned side = 0; side < 3; side++) {
		struct spoil p = {.at = MV_DST_RESUME, .cancel_src = side != 1, .cancel_dst = side};
		struct mv_cfg cfg = spoiled(&p);
		struct mv_log log;
		struct mv m;

		run(&m, &cfg, &log);
		mv_assert_moved(&m);
		assert_lines(&m, &log, 0, 0);
		mv_close(&m);
	}
}

/* From another thread, at any time: what must hold is checked by mv_run. */
static void cancel_at_any_time(void **state)
{
	uint64_t seed = 0;

	for (unsigned i = 0; i < 40; i++) {
		struct mv_cfg cfg = {
			.name = "cancel at any time",
			.transport = transport,
			.provider = provider,
			.len = MIB,
			.rounds = 3,
			.verify = i % 2,
		};
		struct mv m;

		mv_open(&m, &cfg);
		if (!i) {
			seed = m.seed;
			printf("seed %#lx\n", seed);
		}
		rf_log_set_level(RF_LOG_NONE);
		mv_start(&m);
		usleep(next_random(&seed) % (i % 4 == 3 ? 40000 : 8000));
		if (next_random(&seed) % 2)
			rf_source_cancel(m.source);
		else
			rf_dest_cancel(m.dest);
		mv_join(&m);
		rf_log_set_level(RF_LOG_WARN);
		mv_check(&m);
		/* cancelling is no reason to lose a guest */
		assert_int_not_equal(m.src.rc, RF_ERR_UNKNOWN_OUTCOME);
		mv_close(&m);
	}
}

/* ---- a guest that refuses ---- */

static const struct {
	enum mv_step at;
	unsigned nth;
	int src_rc, dst_rc;
} refusals[] = {
	{MV_TRACKER_START, 1, RF_ERR_GUEST, RF_ERR_PEER_FAILED},
	{MV_HARVEST, 1, RF_ERR_GUEST, RF_ERR_PEER_FAILED},
	{MV_HARVEST, 2, RF_ERR_GUEST, RF_ERR_PEER_FAILED},
	{MV_HARVEST, 5, RF_ERR_GUEST, RF_ERR_PEER_FAILED}, /* paused: 3 rounds and one before */
	{MV_PAUSE, 1, RF_ERR_GUEST, RF_ERR_PEER_FAILED},
	{MV_SAVE, 1, RF_ERR_GUEST, RF_ERR_PEER_FAILED},
	{MV_LOAD, 1, RF_ERR_PEER_FAILED, RF_ERR_GUEST},
};

static void guest_refuses(void **state)
{
	for (size_t i = 0; i < COUNT_OF(refusals); i++) {
		struct spoil p = {.at = refusals[i].at,
				  .nth = refusals[i].nth,
				  .fail = RF_ERR_GUEST};
		struct mv_cfg cfg = spoiled(&p);
		struct mv_log log;
		struct mv m;

		run(&m, &cfg, &log);
		mv_assert_stayed(&m, refusals[i].src_rc, refusals[i].dst_rc);
		assert_lines(&m, &log, 1, 1);
		/* who could not be paused need not be resumed */
		assert_int_equal(m.src.resumes, p.at == MV_PAUSE ? 0 : m.src.pauses);
		mv_close(&m);
	}
}

/* It was told to run there and does not: it must not run here either. */
static void guest_does_not_start_there(void **state)
{
	struct spoil p = {.at = MV_DST_RESUME, .fail = RF_ERR_GUEST};
	struct mv_cfg cfg = spoiled(&p);
	struct mv_log log;
	struct mv m;

	run(&m, &cfg, &log);
	assert_int_equal(m.src.rc, RF_ERR_UNKNOWN_OUTCOME);
	assert_int_equal(m.dst.rc, RF_ERR_GUEST);
	assert_int_equal(m.src.resumes, 0);
	assert_true(m.paused);
	mv_close(&m);
}

static int refuse_save_and_resume(struct mv *m, enum mv_step s)
{
	return s == MV_SAVE || s == MV_SRC_RESUME ? RF_ERR_GUEST : RF_OK;
}

static void guest_cannot_go_on_here(void **state)
{
	struct spoil p = {.at = MV_SRC_RESUME};
	struct mv_cfg cfg = spoiled(&p);
	struct mv_log log;
	struct mv m;

	cfg.hook = refuse_save_and_resume;
	run(&m, &cfg, &log);
	assert_int_equal(m.src.rc, RF_ERR_GUEST);
	assert_int_equal(m.src.resumes, 1);
	assert_lines(&m, &log, 2, 1); /* what went wrong, and that on top of it */
	mv_close(&m);
}

static void device_state_too_large(void **state)
{
	struct spoil p = {.at = MV_NEVER};
	struct mv_cfg cfg = spoiled(&p);
	struct mv_log log;
	struct mv m;

	cfg.state_len = 256 * MIB + 1;
	run(&m, &cfg, &log);
	mv_assert_stayed(&m, RF_ERR_GUEST, RF_ERR_PEER_FAILED);
	assert_lines(&m, &log, 1, 1);
	mv_close(&m);
}

/* ---- the clock ---- */

static void out_of_time(void **state)
{
	struct spoil p = {.at = MV_NEVER};
	struct mv_cfg cfg = spoiled(&p);
	struct mv_log log;
	struct mv m;

	cfg.rounds = UINT_MAX;
	cfg.timeout = 1500; /* time for a round, on a busy machine too */
	run(&m, &cfg, &log);
	mv_assert_stayed(&m, RF_ERR_NOT_CONVERGED, RF_ERR_PEER_FAILED);
	assert_int_equal(m.src.pauses, 0);
	assert_true(m.src.stats.round >= 1);
	assert_true(m.src.stats.total_time >= 1500);
	assert_lines(&m, &log, 1, 1);
	mv_close(&m);
}

static void out_of_time_while_paused(void **state)
{
	struct spoil p = {.at = MV_SAVE, .wait_ms = 1100};
	struct mv_cfg cfg = spoiled(&p);
	struct mv_log log;
	struct mv m;

	cfg.timeout = 1000;
	run(&m, &cfg, &log);
	/* on a machine that is slow enough it has not come so far */
	mv_assert_stayed(&m, RF_ERR_NOT_CONVERGED, RF_ERR_PEER_FAILED);
	assert_int_equal(m.src.resumes, m.src.pauses);
	assert_lines(&m, &log, 1, 1);
	mv_close(&m);
}

/* ---- once only ---- */

static void run_twice(void **state)
{
	struct spoil p = {.at = MV_NEVER};
	struct mv_cfg cfg = spoiled(&p);
	struct rf_dest_region there = {.size = sizeof(there), .id = "x", .len = PAGE};
	struct rf_region here = {.size = sizeof(here), .id = "x", .len = PAGE};
	struct mv_log log;
	struct mv m;

	run(&m, &cfg, &log);
	mv_assert_moved(&m);
	assert_int_equal(rf_source_run(m.source), RF_ERR_STATE);
	assert_int_equal(rf_dest_run(m.dest), RF_ERR_STATE);
	assert_int_equal(rf_source_add_region(m.source, &here), RF_ERR_STATE);
	assert_int_equal(rf_dest_add_region(m.dest, &there, NULL), RF_ERR_STATE);
	mv_close(&m);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cancel_by_source),
		cmocka_unit_test(cancel_by_destination),
		cmocka_unit_test(cancel_by_destination_early),
		cmocka_unit_test(too_late_to_cancel),
		cmocka_unit_test(cancel_at_any_time),
		cmocka_unit_test(guest_refuses),
		cmocka_unit_test(guest_does_not_start_there),
		cmocka_unit_test(guest_cannot_go_on_here),
		cmocka_unit_test(device_state_too_large),
		cmocka_unit_test(out_of_time),
		cmocka_unit_test(out_of_time_while_paused),
		cmocka_unit_test(run_twice),
	};

	transport = argc > 1 ? "ofi" : "mem";
	provider = argc > 1 ? argv[1] : NULL;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
