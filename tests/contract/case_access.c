/* SPDX-License-Identifier: BSD-3-Clause */
/* What a peer may not do: write outside of what is registered, or after it is not any more. */
#include <stdatomic.h>
#include <unistd.h>

#include "tests/contract/contract.h"

#define PIECE (512u << 10)
#define LEN   (16 * PIECE)

struct access {
	struct ct_env env;
	struct ct_link k;
	struct ct_lane l;
	struct ct_area from, to;
	struct rf_mr *from_mr, *to_mr;
	struct rf_remote_key key;
	uint64_t sum; /* of `to` */
};

static void open_access(struct access *a, const struct ct_env *env)
{
	a->env = *env;
	if (ct_is(env, "ofi:shm"))
		a->env.link_timeout = 2000;
	ct_link_open(&a->env, &a->k);
	ct_area_new(&a->from, LEN);
	ct_area_new(&a->to, LEN);
	ct_area_fill(&a->from, 11);
	ct_area_fill(&a->to, 12);
	a->sum = ct_sum(a->to.mem, LEN);
	assert_int_equal(rf_mr_register(a->k.src, a->from.mem, LEN, RF_ACCESS_LOCAL_READ,
					&a->from_mr),
			 RF_OK);
	assert_int_equal(rf_mr_register(a->k.dst, a->to.mem, LEN, RF_ACCESS_REMOTE_WRITE,
					&a->to_mr),
			 RF_OK);
	rf_mr_key(a->to_mr, &a->key);
	ct_lane_open(&a->k, RF_LANE_BULK, 0, &a->l);
}

static void close_access(struct access *a)
{
	ct_lane_close(&a->l);
	rf_mr_deregister(&a->from_mr);
	rf_mr_deregister(&a->to_mr);
	ct_link_close(&a->k);
	ct_area_free(&a->from);
	ct_area_free(&a->to);
}

/* How a backend may tell the writer. One that knows says so; a stream that just ends, or a peer
 * that never answers (shm), is what the others have. */
static void assert_refused(const struct ct_env *env, int err)
{
	bool ok = err == RF_ERR_REMOTE_ACCESS;

	if (!strncmp(env->rung, "ofi:", 4))
		ok = ok || err == RF_ERR_LANE_CLOSED;
	if (ct_is(env, "ofi:shm"))
		ok = ok || err == RF_ERR_LANE_TIMEOUT;
	if (!ok)
		assert_int_equal(err, RF_ERR_REMOTE_ACCESS);
}

/* One write that must be refused: no completion, the lane ends, nothing changes. */
static void expect_refused(struct access *a, const struct rf_remote_key *key, uint64_t off,
			   uint32_t len)
{
	const struct rf_write w = {a->from.mem, a->from_mr, key, off, len};
	int rc = ct_write(&a->l, &w);

	if (rc != 1)
		assert_refused(&a->env, rc);
	assert_true(ct_until(&a->l, ct_src_dead, 0));
	assert_int_equal(a->l.at_src.writes, 0);
	assert_refused(&a->env, a->l.at_src.err);
	assert_true(rf_lane_error(a->l.src)[0] != '\0');
	assert_int_equal(ct_sum(a->to.mem, LEN), a->sum);
	assert_true(ct_area_guards_intact(&a->to));
}

/* A refused write stays at the head of libfabric's shm queue for ever, so that lane's goodbyes are
 * not seen, and with both ends in one process the second to close uses freed memory. */
static void skip_if_shm(const struct ct_env *env, const char *name)
{
	if (ct_is(env, "ofi:shm"))
		skip_case(name, "libfabric's shm crashes with both ends in one process");
}

/* The refused, one lane each: none of them outlives its error. */
static void expect_all_refused(void **state, const char *name, const uint64_t (*tries)[2],
			       unsigned n, int64_t shift)
{
	struct access a;

	skip_if_shm(*state, name);
	for (unsigned i = 0; i < n; i++) {
		struct rf_remote_key key;

		open_access(&a, *state);
		key = a.key;
		key.base += (uint64_t)shift;
		expect_refused(&a, &key, tries[i][0], (uint32_t)tries[i][1]);
		close_access(&a);
	}
}

void ct_past_the_end(void **state)
{
	static const uint64_t tries[][2] = {
		{LEN - PIECE + 1, PIECE}, {LEN, 1},	{LEN - 4096, 8192},
		{1ull << 40, 4096},	  {LEN - 1, 2},
	};

	expect_all_refused(state, "past_the_end", tries, COUNT_OF(tries), 0);
}

void ct_before_the_begin(void **state)
{
	static const uint64_t tries[][2] = {{0, 4096}, {0, 1}, {4095, 2}, {0, PIECE}};
	struct access a;
	bool has_base;

	open_access(&a, *state);
	has_base = a.key.base >= 4096;
	close_access(&a);
	/* Where ranges begin at 0 there is nothing before them but numbers that wrap. */
	if (!has_base)
		skip_case("before_the_begin", "ranges of this provider begin at address 0");
	expect_all_refused(state, "before_the_begin", tries, COUNT_OF(tries), -4096);
}

/* A key that is gone, that of the other kind of lane, and one that never was. */
void ct_revoked_key(void **state)
{
	struct rf_remote_key key;
	struct access a;

	skip_if_shm(*state, "revoked_key");
	open_access(&a, *state);
	rf_mr_deregister(&a.to_mr);
	expect_refused(&a, &a.key, 0, 4096);
	close_access(&a);

	open_access(&a, *state);
	key = a.key;
	key.key[RF_LANE_BULK] ^= 0x5a5a;
	expect_refused(&a, &key, 0, 4096);
	close_access(&a);

	open_access(&a, *state);
	key = a.key;
	rf_mr_deregister(&a.to_mr);
	assert_int_equal(rf_mr_register(a.k.dst, a.to.mem, LEN, RF_ACCESS_REMOTE_WRITE, &a.to_mr),
			 RF_OK);
	rf_mr_key(a.to_mr, &a.key);
	/* Deregistering may end a lane, so the old key is shown on a new one too. */
	ct_lane_close(&a.l);
	ct_lane_open(&a.k, RF_LANE_BULK, 1, &a.l);
	expect_refused(&a, &key, 0, 4096);
	close_access(&a);
}

/* ---- a stream that runs into a deregistration ---- */

struct stream {
	struct access *a;
	struct ct_seen seen;
	_Atomic bool stop;
	_Atomic uint64_t posted;
};

static void *write_on(void *arg)
{
	struct stream *s = arg;
	uint64_t i = 0;

	while (!s->seen.err && !atomic_load(&s->stop)) {
		const struct rf_write w = {s->a->from.mem + i % 16 * PIECE, s->a->from_mr,
					   &s->a->key, i % 16 * PIECE, PIECE};
		int rc = rf_lane_write(s->a->l.src, &w, 1);

		if (rc == 1) {
			i++;
			atomic_store(&s->posted, i);
		} else if (rc != RF_NO_RESOURCE) {
			s->seen.err = rc;
		}
		if (!ct_poll(s->a->l.src, &s->seen) && rc == RF_NO_RESOURCE)
			ct_sleep(s->a->l.src, 5);
	}
	return NULL;
}

struct target {
	struct rf_lane *lane;
	struct ct_seen seen;
	_Atomic bool stop;
};

static void *poll_on(void *arg)
{
	struct target *t = arg;

	while (!atomic_load(&t->stop)) {
		if (!ct_poll(t->lane, &t->seen))
			ct_sleep(t->lane, 5);
	}
	return NULL;
}

/* From the return of deregister on not one byte changes, whatever is under way. */
static void cut_stream(const struct ct_env *env, uint64_t after)
{
	struct stream s = {0};
	struct target t = {0};
	pthread_t threads[2];
	struct access a;
	uint64_t sum, end = rf_now_ns(&rf_clock_monotonic) + CT_TIMEOUT * RF_NS_PER_MS;

	open_access(&a, env);
	s.a = &a;
	t.lane = a.l.dst;
	assert_int_equal(pthread_create(&threads[0], NULL, write_on, &s), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, poll_on, &t), 0);
	while (atomic_load(&s.posted) < after && rf_now_ns(&rf_clock_monotonic) < end)
		usleep(50);
	rf_mr_deregister(&a.to_mr);
	/* other bytes than those on their way, or a late write would not show */
	ct_area_fill(&a.to, 99);
	sum = ct_sum(a.to.mem, LEN);
	/* The writer learns of it, long after whatever it had posted would have landed. */
	pthread_join(threads[0], NULL);
	atomic_store(&t.stop, true);
	pthread_join(threads[1], NULL);
	assert_int_equal(ct_sum(a.to.mem, LEN), sum);
	assert_true(ct_area_guards_intact(&a.to));
	assert_true(s.posted >= after);
	assert_refused(env, s.seen.err);
	close_access(&a);
}

/* One write that is too big to pass at once, cut in the middle: nothing of the rest lands. */
void ct_write_cut_short(void **state)
{
	const struct ct_env *env = *state;
	struct rf_mr *from_mr;
	struct ct_area from;
	struct access a;
	uint64_t sum;
	uint32_t len;

	open_access(&a, env);
	len = rf_transport_caps(a.k.src)->max_write;
	rf_mr_deregister(&a.to_mr);
	ct_lane_close(&a.l);
	ct_area_free(&a.to);
	ct_area_new(&a.to, len);
	ct_area_new(&from, len);
	ct_area_fill(&from, 5);
	assert_int_equal(rf_mr_register(a.k.src, from.mem, len, RF_ACCESS_LOCAL_READ, &from_mr),
			 RF_OK);
	assert_int_equal(rf_mr_register(a.k.dst, a.to.mem, len, RF_ACCESS_REMOTE_WRITE, &a.to_mr),
			 RF_OK);
	rf_mr_key(a.to_mr, &a.key);
	ct_lane_open(&a.k, RF_LANE_BULK, 0, &a.l);
	const struct rf_write w = {from.mem, from_mr, &a.key, 0, len};

	assert_int_equal(rf_lane_write(a.l.src, &w, 1), 1);
	for (unsigned i = 0; i < 1000 && !a.to.mem[0]; i++) {
		ct_poll(a.l.src, &a.l.at_src);
		ct_poll(a.l.dst, &a.l.at_dst);
	}
	rf_mr_deregister(&a.to_mr);
	ct_area_fill(&a.to, 6);
	sum = ct_sum(a.to.mem, len);
	/* It may have been through already; then the next one is refused. */
	ct_write(&a.l, &w);
	assert_true(ct_until(&a.l, ct_src_dead, 0));
	assert_int_equal(ct_sum(a.to.mem, len), sum);
	assert_true(ct_area_guards_intact(&a.to));
	rf_mr_deregister(&from_mr);
	ct_area_free(&from);
	close_access(&a);
}

void ct_late_writes(void **state)
{
	for (uint64_t i = 0; i < 6; i++)
		cut_stream(*state, 5 + 11 * i);
}

/* Registering more while lanes run harms none of them. */
void ct_other_registration(void **state)
{
	struct stream s = {0};
	struct target t = {0};
	pthread_t threads[2];
	struct rf_mr *more[40];
	struct ct_area extra;
	struct access a;

	open_access(&a, *state);
	ct_area_new(&extra, COUNT_OF(more) * 4096);
	s.a = &a;
	t.lane = a.l.dst;
	assert_int_equal(pthread_create(&threads[0], NULL, write_on, &s), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, poll_on, &t), 0);
	for (unsigned i = 0; i < COUNT_OF(more); i++) {
		uint64_t was = atomic_load(&s.posted);

		assert_int_equal(rf_mr_register(a.k.dst, extra.mem + i * 4096ull, 4096,
						RF_ACCESS_REMOTE_WRITE, &more[i]),
				 RF_OK);
		while (atomic_load(&s.posted) < was + 3 && !s.seen.err)
			usleep(50);
	}
	atomic_store(&s.stop, true);
	pthread_join(threads[0], NULL);
	atomic_store(&t.stop, true);
	pthread_join(threads[1], NULL);
	assert_int_equal(s.seen.err, RF_OK);
	assert_int_equal(t.seen.err, RF_OK);
	for (unsigned i = 0; i < COUNT_OF(more); i++)
		rf_mr_deregister(&more[i]);
	ct_area_free(&extra);
	close_access(&a);
}
