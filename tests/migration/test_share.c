/* SPDX-License-Identifier: BSD-3-Clause */
/* Migrations of one process that share a limiter. */
#include "tests/migration/move.h"

#include <unistd.h>

#include "common/clock.h"
#include "scheduler/limiter.h"
#include "transport/transport.h"

#define N 4u
#ifdef __SANITIZE_THREAD__ /* slower by far: what is sent a second must not be bound by the \
			      machine */
#define LIMIT (4 * MIB)
#define LEN   (4 * MIB)
#else
#define LIMIT (40 * MIB)
#define LEN   (24 * MIB)
#endif
#define ATTEMPTS 5 /* of which one must find the machine with time for us */

/* What all of them had sent at a point of time. */
struct sample {
	uint64_t ns, sent[N], left[N];
	bool all_active;
};

static void take_sample(struct mv *m, struct sample *s)
{
	s->all_active = true;
	s->ns = rf_now_ns(&rf_clock_monotonic);
	for (unsigned i = 0; i < N; i++) {
		struct rf_stats st = {.size = sizeof(st)};

		rf_source_stats(m[i].source, &st);
		s->sent[i] = st.ram.transferred;
		s->left[i] = st.ram.remaining;
		s->all_active = s->all_active && st.status == RF_STATE_ACTIVE && st.round == 1 &&
				st.ram.remaining > 0;
	}
}

/* From when all of them are in their first round until one of them is not. */
static bool watch_first_rounds(struct mv *m, struct sample *first, struct sample *last)
{
	struct sample s;

	*first = *last = (struct sample){0};
	for (unsigned t = 0; t < 60000; t++) {
		take_sample(m, &s);
		if (s.all_active && !first->ns)
			*first = s;
		if (s.all_active)
			*last = s;
		else if (first->ns)
			return true;
		usleep(1000);
	}
	return false;
}

/* Within a tenth of the mean, whoever was slow; never more than the limit. True if the limit was
 * reached too, which takes a machine that has time for all of them. */
static bool shares_are_right(const struct sample *a, const struct sample *b)
{
	double seconds = (double)(b->ns - a->ns) / 1e9, sum = 0, mean;
	bool reached;

	for (unsigned i = 0; i < N; i++)
		sum += (double)(b->sent[i] - a->sent[i]);
	mean = sum / N;
	reached = seconds > 1 && sum > 0.95 * (double)LIMIT * seconds;
	printf("%.2f s: %.1f MiB/s of %.1f:", seconds, sum / seconds / 1048576,
	       (double)LIMIT / 1048576);
	for (unsigned i = 0; i < N; i++) {
		double share = (double)(b->sent[i] - a->sent[i]) / mean;

		printf(" %.3f", share);
		reached = reached && share > 0.9 && share < 1.1;
	}
	printf("\n");
	/* each may have saved what the cap allows */
	assert_true(sum <= 1.05 * (double)LIMIT * (seconds + N * RF_LIMITER_CAP_NS / 1e9));
	return reached;
}

static bool move_four(struct rf_limiter *l)
{
	struct mv *m = calloc(N, sizeof(*m));
	struct sample first, last;
	bool right;

	assert_non_null(m);
	for (unsigned i = 0; i < N; i++) {
		struct mv_cfg cfg = {
			.name = "one of four",
			.transport = "ofi",
			.provider = "tcp",
			.len = LEN,
			.content = MV_DATA,
			.piece_size = 64u << 10,
			.limiter = l,
			.verify = true,
		};

		mv_open(&m[i], &cfg);
	}
	for (unsigned i = 0; i < N; i++)
		mv_start(&m[i]);
	assert_true(watch_first_rounds(m, &first, &last));
	right = shares_are_right(&first, &last);
	rf_limiter_set(l, 0); /* the rest in a hurry */
	for (unsigned i = 0; i < N; i++) {
		mv_join(&m[i]);
		mv_check(&m[i]);
		mv_assert_moved(&m[i]);
		mv_close(&m[i]);
	}
	free(m);
	return right;
}

static void four_get_a_quarter_each_and_the_limit_together(void **state)
{
	bool right = false;

	for (int i = 0; i < ATTEMPTS && !right; i++) {
		struct rf_limiter *l;

		assert_int_equal(rf_limiter_new(LIMIT, &l), RF_OK);
		right = move_four(l);
		assert_null(l->members);
		rf_limiter_delete(&l);
	}
	assert_true(right);
}

/* ---- a page request at another migration ---- */

struct crowd {
	struct rf_limiter *l;
	_Atomic uint64_t writes, longest; /* before the first fence */
	_Atomic bool fenced;
};

static enum rf_mem_fate look(void *arg, const struct rf_mem_op_info *op)
{
	struct crowd *c = arg;

	if (op->op == RF_OP_FENCE_SEEN)
		atomic_store(&c->fenced, true);
	if (op->op != RF_OP_WRITE || atomic_load(&c->fenced))
		return RF_MEM_DELIVER;
	atomic_fetch_add(&c->writes, 1);
	if (op->len > atomic_load(&c->longest))
		atomic_store(&c->longest, op->len);
	return RF_MEM_DELIVER;
}

static void run_beside(struct crowd *c, bool request_is_open)
{
	struct mv_cfg cfg = {
		.name = "beside a request",
		.len = 4 * MIB,
		.content = MV_DATA,
		.lanes = 2,
		.verify = true,
		.limiter = c->l,
		.hub = {.scripted = true, .script = look, .arg = c},
	};
	struct rf_limiter_member other = {0};
	struct mv *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	rf_limiter_join(c->l, &other);
	if (request_is_open) {
		rf_limiter_begin_postcopy(&other);
		rf_limiter_open(c->l, rf_now_ns(&rf_clock_monotonic));
	}
	mv_open(m, &cfg);
	mv_run(m);
	mv_assert_moved(m);
	mv_close(m);
	if (request_is_open)
		rf_limiter_close(c->l, 1, rf_now_ns(&rf_clock_monotonic));
	rf_limiter_leave(&other);
	free(m);
}

/* It goes on, in writes of which two fit into the window for urgent answers, at least. */
static void bulk_makes_room_for_requests_of_others(void **state)
{
	struct crowd quiet = {0}, busy = {0};

	assert_int_equal(rf_limiter_new(0, &quiet.l), RF_OK);
	busy.l = quiet.l;
	run_beside(&quiet, false);
	assert_int_equal(quiet.longest, MIB);
	run_beside(&busy, true);
	assert_true(busy.longest <= (64u << 10) / 2);
	/* the last ones of a lane may come behind the fence of the other */
	assert_true(busy.writes > 4 * MIB / busy.longest / 2);
	rf_limiter_delete(&busy.l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(four_get_a_quarter_each_and_the_limit_together),
		cmocka_unit_test(bulk_makes_room_for_requests_of_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
