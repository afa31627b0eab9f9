/* SPDX-License-Identifier: BSD-3-Clause */
/* After many migrations of every kind of end, the process is as it was before. */
#include "tests/migration/move.h"

#include "tests/leaks.h"

#ifdef __SANITIZE_THREAD__
#define MANY 20 /* what is left behind is the same without it */
#else
#define MANY 100
#endif

static int spoil(struct mv *m, enum mv_step s)
{
	unsigned how = *(unsigned *)m->cfg.hook_arg;

	if (how == 1 && s == MV_SRC_PROGRESS)
		rf_source_cancel(m->source);
	if (how == 2 && s == MV_DST_DEVICE)
		rf_dest_cancel(m->dest);
	if (how == 3 && s == MV_LOAD)
		return RF_ERR_GUEST;
	if (how == 4 && s == MV_SRC_SETUP)
		rf_source_cancel(m->source);
	return RF_OK;
}

static void move_once(const char *transport, const char *provider, unsigned how)
{
	struct mv_cfg cfg = {
		.name = "one of many",
		.transport = transport,
		.provider = provider,
		.regions = 3,
		.len = 64 * PAGE,
		.lanes = 1 + how % 3,
		.rounds = 1,
		.verify = true,
		.hook = spoil,
		.hook_arg = &how,
	};
	struct mv m;

	mv_open(&m, &cfg);
	mv_run(&m);
	if (how == 0)
		mv_assert_moved(&m);
	else
		assert_int_not_equal(m.src.rc, RF_OK);
	mv_close(&m);
}

static void move_often(const char *transport, const char *provider, unsigned times)
{
	unsigned fds, threads;

	rf_log_set_level(RF_LOG_NONE);
	/* what a library keeps for the next time does not count */
	for (unsigned how = 0; how < 5; how++)
		move_once(transport, provider, how);
	fds = count_fds();
	threads = count_threads();
	for (unsigned i = 0; i < times; i++)
		move_once(transport, provider, i % 10 < 5 ? 0 : i % 10 - 5);
	assert_true(fds_settle_at(fds));
	assert_true(threads_settle_at(threads));
	rf_log_set_level(RF_LOG_WARN);
}

static void over_mem(void **state)
{
	move_often("mem", NULL, MANY);
}

static void over_tcp(void **state)
{
	move_often("ofi", "tcp", MANY);
}

static void over_sockets(void **state)
{
	/* Few: about one in 300 stalls inside that provider and is given up. */
	move_often("ofi", "sockets", 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(over_mem),
		cmocka_unit_test(over_tcp),
		cmocka_unit_test(over_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
