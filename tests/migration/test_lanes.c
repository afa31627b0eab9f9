/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lanes that die: a script ends one of them at the nth operation, for every n and in each of the
 * ways there are. The migration fails, or succeeds with every byte in place; the guest never gets
 * lost. Several at a time, for each waits a while for its peer's last words.
 */
#include "tests/migration/move.h"

#define AT_ONCE 12u

struct sweep {
	struct mv m;
	enum rf_mem_fate fate;
	uint64_t at; /* operation, counted over all lanes */
	_Atomic uint64_t ops;
};

static enum rf_mem_fate script(void *arg, const struct rf_mem_op_info *op)
{
	struct sweep *s = arg;

	return atomic_fetch_add(&s->ops, 1) + 1 == s->at ? s->fate : RF_MEM_DELIVER;
}

static void begin(struct sweep *s, enum rf_mem_fate fate, uint64_t at)
{
	struct mv_cfg cfg = {
		.name = "a lane dies",
		.len = 40 * PAGE,
		.content = MV_DATA,
		.regions = 2,
		.lanes = 3,
		.piece_size = 4 * RF_PAGE_SIZE,
		.rounds = 1,
		.verify = true,
		.hub = {.scripted = true, .script = script, .arg = s},
	};

	memset(s, 0, sizeof(*s));
	s->fate = fate;
	s->at = at;
	mv_open(&s->m, &cfg);
	mv_start(&s->m);
}

static void end(struct sweep *s)
{
	struct mv *m = &s->m;
	int rc;

	mv_join(m);
	mv_check(m);
	rc = m->src.rc;
	/* What was not carried out cannot have been acknowledged. */
	if (s->fate != RF_MEM_LOSE_ACK && rc == RF_OK && s->ops >= s->at)
		fail_msg("operation %lu was lost, and nobody noticed", s->at);
	if (rc != RF_OK && rc != RF_ERR_LANE && rc != RF_ERR_LANE_TIMEOUT &&
	    rc != RF_ERR_LANE_CLOSED && rc != RF_ERR_PEER_FAILED)
		fail_msg("operation %lu: source: %s", s->at, rf_err_str(rc));
	if (rc != RF_OK && m->dst.rc != RF_ERR_LANE_CLOSED && m->dst.rc != RF_ERR_PEER_FAILED)
		fail_msg("operation %lu: destination: %s", s->at, rf_err_str(m->dst.rc));
	if (rc == RF_OK)
		mv_assert_moved(m);
	mv_close(m);
}

/* How many operations a migration without faults is. */
static uint64_t count_operations(void)
{
	struct sweep *s = calloc(1, sizeof(*s));
	uint64_t ops;

	assert_non_null(s);
	begin(s, RF_MEM_DELIVER, 0);
	mv_join(&s->m);
	mv_check(&s->m);
	mv_assert_moved(&s->m);
	mv_close(&s->m);
	ops = s->ops;
	free(s);
	return ops;
}

static void sweep(enum rf_mem_fate fate)
{
	uint64_t total = count_operations();
	struct sweep *s = calloc(AT_ONCE, sizeof(*s));

	assert_non_null(s);
	assert_true(total > 20 && total < 200);
	rf_log_set_level(RF_LOG_NONE);
	for (uint64_t at = 1; at <= total; at += AT_ONCE) {
		unsigned n = total - at + 1 < AT_ONCE ? (unsigned)(total - at + 1) : AT_ONCE;

		for (unsigned i = 0; i < n; i++)
			begin(&s[i], fate, at + i);
		for (unsigned i = 0; i < n; i++)
			end(&s[i]);
	}
	rf_log_set_level(RF_LOG_WARN);
	free(s);
}

static void an_operation_fails(void **state)
{
	sweep(RF_MEM_FAIL);
}

static void a_write_is_cut(void **state)
{
	sweep(RF_MEM_CUT);
}

static void an_acknowledgement_is_lost(void **state)
{
	sweep(RF_MEM_LOSE_ACK);
}

/* ---- a slow wire is no fault ---- */

/* Half of what comes is held for a while, and so lanes get ahead of each other. */
static enum rf_mem_fate dawdle(void *arg, const struct rf_mem_op_info *op)
{
	struct sweep *s = arg;
	uint64_t n = atomic_fetch_add(&s->ops, 1);

	return (n * 0x9e3779b97f4a7c15ull >> 60) < 8 ? RF_MEM_HOLD : RF_MEM_DELIVER;
}

static void lanes_out_of_step(void **state)
{
	struct sweep *s = calloc(1, sizeof(*s));
	struct mv_cfg cfg = {
		.name = "lanes out of step",
		.lanes = 5,
		.piece_size = RF_PAGE_SIZE,
		.rounds = 4,
		.verify = true,
		.hub = {.scripted = true, .depth = 8, .script = dawdle, .arg = s},
	};

	assert_non_null(s);
	mv_open(&s->m, &cfg);
	mv_run(&s->m);
	mv_assert_moved(&s->m);
	mv_close(&s->m);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_operation_fails),
		cmocka_unit_test(a_write_is_cut),
		cmocka_unit_test(an_acknowledgement_is_lost),
		cmocka_unit_test(lanes_out_of_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
