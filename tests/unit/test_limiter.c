/* SPDX-License-Identifier: BSD-3-Clause */
/* A limiter, its members and time are all here: nothing waits. */
#include "tests/unit/unit.h"

#include "common/clock.h"
#include "scheduler/limiter.h"

#define MS  RF_NS_PER_MS
#define SEC RF_NS_PER_SEC
#define MAX 8

/* A source that sends writes of one size whenever it may, between two points of time. */
struct sender {
	struct rf_limiter_member m;
	uint64_t write;		   /* bytes */
	uint64_t rate;		   /* most it can send in a second; 0: no limit */
	uint64_t from_ms, till_ms; /* 0: for ever */
	uint64_t sent;
};

struct fixture {
	struct rf_limiter *l;
	struct sender s[MAX];
	unsigned n;
	uint64_t now;
};

static void open_fixture(struct fixture *f, uint64_t limit, unsigned n, uint64_t write)
{
	*f = (struct fixture){.n = n, .now = SEC};
	assert_int_equal(rf_limiter_new(limit, &f->l), RF_OK);
	for (unsigned i = 0; i < n; i++) {
		f->s[i].write = write;
		rf_limiter_join(f->l, &f->s[i].m);
	}
}

static void close_fixture(struct fixture *f)
{
	for (unsigned i = 0; i < f->n; i++)
		rf_limiter_leave(&f->s[i].m);
	assert_null(f->l->members);
	rf_limiter_delete(&f->l);
	assert_null(f->l);
}

static void turn(struct fixture *f, struct sender *s, uint64_t ms)
{
	if (ms < s->from_ms || (s->till_ms && ms >= s->till_ms))
		return;
	while (!rf_limiter_wait(&s->m, f->now)) {
		if (s->rate && s->sent + s->write > s->rate * (ms - s->from_ms) / 1000)
			return;
		rf_limiter_take(&s->m, s->write);
		s->sent += s->write;
	}
}

/* For ms, in steps of `step` ms, which is how late everybody wakes up. */
static void run(struct fixture *f, uint64_t ms, uint64_t step)
{
	uint64_t begin = f->now;

	for (; f->now - begin < ms * MS; f->now += step * MS)
		for (unsigned i = 0; i < f->n; i++)
			turn(f, &f->s[i], (f->now - begin) / MS);
}

static uint64_t sum(const struct fixture *f)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < f->n; i++)
		n += f->s[i].sent;
	return n;
}

/* Within percent. */
static void assert_near(uint64_t value, uint64_t wanted, unsigned percent)
{
	if (value < wanted / 100 * (100 - percent) || value > wanted / 100 * (100 + percent))
		fail_msg("%llu instead of %llu", (unsigned long long)value,
			 (unsigned long long)wanted);
}

static void without_a_limit_nobody_waits(void **state)
{
	struct rf_limiter_member alone;
	struct fixture f;

	rf_limiter_join(NULL, &alone);
	assert_int_equal(rf_limiter_wait(&alone, SEC), 0);
	rf_limiter_take(&alone, 1u << 30);
	assert_int_equal(rf_limiter_wait(&alone, SEC), 0);
	rf_limiter_leave(&alone);

	open_fixture(&f, 0, 2, 4096);
	rf_limiter_take(&f.s[0].m, 1u << 30);
	rf_limiter_charge(f.l, 1u << 30);
	assert_int_equal(rf_limiter_wait(&f.s[0].m, SEC), 0);
	assert_int_equal(rf_limiter_wait(&f.s[1].m, SEC), 0);
	close_fixture(&f);
}

static void one_gets_the_limit(void **state)
{
	static const uint64_t writes[] = {4096, 65536, 1u << 20, 16u << 20};

	for (size_t i = 0; i < COUNT_OF(writes); i++) {
		struct fixture f;

		open_fixture(&f, 100u << 20, 1, writes[i]);
		run(&f, 20000, 1);
		assert_near(sum(&f), 2000u << 20, 2);
		close_fixture(&f);
	}
}

/* Whatever they write at once, and also when everybody is late. */
static void shares_are_equal(void **state)
{
	for (unsigned n = 2; n <= MAX; n++) {
		for (uint64_t late = 1; late <= 25; late += 8) {
			struct fixture f;

			open_fixture(&f, 100u << 20, n, 64u << 10);
			for (unsigned i = 0; i < n; i++)
				f.s[i].write <<= i % 5;
			run(&f, 20000, late);
			assert_near(sum(&f), 2000u << 20, 2);
			for (unsigned i = 0; i < n; i++)
				assert_near(f.s[i].sent, (2000u << 20) / n, 3);
			close_fixture(&f);
		}
	}
}

static void what_one_does_not_use_is_for_the_others(void **state)
{
	struct fixture f;

	/* 100 MiB/s: one wants 10, the others get 30 each */
	open_fixture(&f, 100u << 20, 4, 64u << 10);
	f.s[2].rate = 10u << 20;
	run(&f, 10000, 1);
	assert_near(f.s[2].sent, 100u << 20, 2);
	assert_near(sum(&f), 1000u << 20, 2);
	assert_near(f.s[0].sent, 300u << 20, 3);
	close_fixture(&f);

	/* one begins late, one ends early */
	open_fixture(&f, 100u << 20, 3, 64u << 10);
	f.s[0].from_ms = 5000;
	f.s[1].till_ms = 5000;
	run(&f, 10000, 1);
	assert_near(sum(&f), 1000u << 20, 2);
	assert_near(f.s[0].sent, 250u << 20, 3);
	assert_near(f.s[1].sent, 250u << 20, 3);
	assert_near(f.s[2].sent, 500u << 20, 3);
	close_fixture(&f);
}

static void who_was_quiet_has_no_more_saved_than_the_cap(void **state)
{
	struct fixture f;

	open_fixture(&f, 100u << 20, 2, 4096);
	f.s[0].from_ms = 9999;
	run(&f, 10000, 1);
	/* 50 ms of 100 MiB/s */
	assert_true(f.s[0].sent <= (5u << 20) + (200u << 10));
	close_fixture(&f);
}

static void a_change_counts_at_once(void **state)
{
	struct fixture f;
	uint64_t before;

	open_fixture(&f, 1u << 20, 2, 1u << 20);
	run(&f, 1000, 1);
	assert_true(rf_limiter_wait(&f.s[0].m, f.now) > 0); /* a MiB of debt */
	rf_limiter_set(f.l, 200u << 20);
	assert_int_equal(rf_limiter_get(f.l), 200u << 20);
	before = sum(&f);
	run(&f, 10000, 1);
	assert_near(sum(&f) - before, 2000u << 20, 2);

	rf_limiter_set(f.l, 0);
	rf_limiter_take(&f.s[0].m, 1u << 30);
	assert_int_equal(rf_limiter_wait(&f.s[0].m, f.now), 0);

	/* time without a limit is no income under the next one */
	f.now += 100 * SEC;
	rf_limiter_set(f.l, 10u << 20);
	before = sum(&f);
	run(&f, 10000, 1);
	assert_near(sum(&f) - before, 100u << 20, 3);
	close_fixture(&f);
}

static void what_cannot_wait_is_paid_by_all(void **state)
{
	struct fixture f;
	uint64_t before;

	open_fixture(&f, 100u << 20, 4, 64u << 10);
	run(&f, 1000, 1);
	before = sum(&f);
	for (unsigned i = 0; i < 10000; i++) { /* 20 MiB/s of answers */
		rf_limiter_charge(f.l, 20972);
		run(&f, 1, 1);
	}
	assert_near(sum(&f) - before, 800u << 20, 2);
	assert_near(f.s[0].sent, f.s[3].sent, 3);
	close_fixture(&f);
}

static void bulk_keeps_half_whatever_is_charged(void **state)
{
	struct fixture f;
	uint64_t before;

	open_fixture(&f, 100u << 20, 2, 64u << 10);
	run(&f, 1000, 1);
	before = sum(&f);
	for (unsigned i = 0; i < 1000; i++) {
		rf_limiter_charge(f.l, 1u << 30);
		run(&f, 1, 1);
	}
	assert_near(sum(&f) - before, 50u << 20, 10);
	/* and has all of it again, after two seconds for the debt of one */
	run(&f, 2000, 1);
	before = sum(&f);
	run(&f, 10000, 1);
	assert_near(sum(&f) - before, 1000u << 20, 2);
	close_fixture(&f);
}

static void the_wait_it_tells_is_the_one_that_is_needed(void **state)
{
	struct fixture f;
	uint64_t ns;

	open_fixture(&f, 100u << 20, 1, 1u << 20);
	(void)rf_limiter_wait(&f.s[0].m, f.now);
	rf_limiter_take(&f.s[0].m, 1u << 20);
	ns = rf_limiter_wait(&f.s[0].m, f.now);
	assert_near(ns, 10 * MS, 1);
	assert_true(rf_limiter_wait(&f.s[0].m, f.now + ns / 2) > 0);
	assert_int_equal(rf_limiter_wait(&f.s[0].m, f.now + ns), 0);
	/* a clock that was read before another thread's is no harm */
	assert_int_equal(rf_limiter_wait(&f.s[0].m, f.now), 0);
	close_fixture(&f);
}

static void open_requests_are_those_of_all(void **state)
{
	struct fixture f;

	open_fixture(&f, 0, 2, 4096);
	rf_limiter_open(f.l, 5);
	rf_limiter_open(f.l, 7);
	assert_int_equal(atomic_load(&f.l->open), 2);
	rf_limiter_close(f.l, 1, 9);
	assert_int_equal(atomic_load(&f.l->open), 1);
	assert_int_equal(atomic_load(&f.l->last_ns), 9);
	rf_limiter_close(f.l, 0, 11); /* nothing is no news */
	assert_int_equal(atomic_load(&f.l->last_ns), 9);
	rf_limiter_close(f.l, 1, 12);
	close_fixture(&f);
	rf_limiter_open(NULL, 1);
	rf_limiter_close(NULL, 1, 1);
	rf_limiter_charge(NULL, 1);
}

/* ---- with threads ---- */

struct racer {
	struct rf_limiter *l;
	uint64_t sent;
};

static void *race(void *arg)
{
	struct racer *r = arg;
	struct rf_limiter_member m;
	uint64_t now = SEC;

	rf_limiter_join(r->l, &m);
	/* Each has its own time; the limiter goes by the one that is ahead. */
	for (unsigned i = 0; i < 20000; i++, now += MS / 10) {
		if (!rf_limiter_wait(&m, now)) {
			rf_limiter_take(&m, 4096);
			r->sent += 4096;
		}
		rf_limiter_open(r->l, now);
		rf_limiter_charge(r->l, 1);
		rf_limiter_close(r->l, 1, now);
		if (i % 1000 == 0)
			rf_limiter_set(r->l, rf_limiter_get(r->l) ? 100u << 20 : 1);
	}
	rf_limiter_leave(&m);
	return NULL;
}

static void threads_share_it(void **state)
{
	struct racer r[4] = {0};
	struct rf_limiter *l;

	assert_int_equal(rf_limiter_new(100u << 20, &l), RF_OK);
	for (unsigned i = 0; i < COUNT_OF(r); i++)
		r[i].l = l;
	run_threads(COUNT_OF(r), race, r, sizeof(*r));
	assert_null(l->members);
	assert_int_equal(atomic_load(&l->open), 0);
	for (unsigned i = 0; i < COUNT_OF(r); i++)
		assert_true(r[i].sent > 0);
	rf_limiter_delete(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_limit_nobody_waits),
		cmocka_unit_test(one_gets_the_limit),
		cmocka_unit_test(shares_are_equal),
		cmocka_unit_test(what_one_does_not_use_is_for_the_others),
		cmocka_unit_test(who_was_quiet_has_no_more_saved_than_the_cap),
		cmocka_unit_test(a_change_counts_at_once),
		cmocka_unit_test(what_cannot_wait_is_paid_by_all),
		cmocka_unit_test(bulk_keeps_half_whatever_is_charged),
		cmocka_unit_test(the_wait_it_tells_is_the_one_that_is_needed),
		cmocka_unit_test(open_requests_are_those_of_all),
		cmocka_unit_test(threads_share_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
