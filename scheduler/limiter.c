/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/limiter.h"

#include <stdbool.h>
#include <stdlib.h>

#include <ramferry/err.h>

#include "common/clock.h"

int rf_limiter_new(uint64_t bytes_per_s, struct rf_limiter **out)
{
	struct rf_limiter *l = calloc(1, sizeof(*l));

	if (!l)
		return RF_ERR_NO_MEMORY;
	pthread_mutex_init(&l->lock, NULL);
	atomic_init(&l->limit, bytes_per_s);
	*out = l;
	return RF_OK;
}

/* Begins anew: time without a limit, or under the old one, is nobody's income. */
void rf_limiter_set(struct rf_limiter *l, uint64_t bytes_per_s)
{
	pthread_mutex_lock(&l->lock);
	atomic_store(&l->limit, bytes_per_s);
	l->filled_ns = 0;
	l->debt = 0;
	for (struct rf_limiter_member *m = l->members; m; m = m->next)
		m->level = 0;
	pthread_mutex_unlock(&l->lock);
}

uint64_t rf_limiter_get(const struct rf_limiter *l)
{
	return atomic_load(&l->limit);
}

void rf_limiter_delete(struct rf_limiter **lp)
{
	struct rf_limiter *l = *lp;

	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
	*lp = NULL;
}

void rf_limiter_join(struct rf_limiter *l, struct rf_limiter_member *m)
{
	*m = (struct rf_limiter_member){.limiter = l};
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	m->next = l->members;
	l->members = m;
	pthread_mutex_unlock(&l->lock);
}

void rf_limiter_leave(struct rf_limiter_member *m)
{
	struct rf_limiter *l = m->limiter;

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	for (struct rf_limiter_member **at = &l->members; *at; at = &(*at)->next) {
		if (*at == m) {
			*at = m->next;
			break;
		}
	}
	pthread_mutex_unlock(&l->lock);
	if (m->postcopy)
		atomic_fetch_sub(&l->postcopies, 1);
	m->postcopy = false;
	m->limiter = NULL;
}

void rf_limiter_begin_postcopy(struct rf_limiter_member *m)
{
	if (m->limiter && !m->postcopy)
		atomic_fetch_add(&m->limiter->postcopies, 1);
	m->postcopy = m->limiter != NULL;
}

/* A byte less than full is full: what is smaller comes of rounding. */
static bool is_full(const struct rf_limiter_member *m, double cap)
{
	return m->level >= cap - 1;
}

static unsigned count_not_full(const struct rf_limiter *l, double cap)
{
	unsigned n = 0;

	for (const struct rf_limiter_member *m = l->members; m; m = m->next)
		n += !is_full(m, cap);
	return n;
}

/* Equal parts to all that are not full, until there is nothing left or nobody in need. */
static void pour(struct rf_limiter *l, double bytes, double cap)
{
	unsigned n;

	while (bytes > 0 && (n = count_not_full(l, cap))) {
		double part = bytes / n;

		for (const struct rf_limiter_member *m = l->members; m; m = m->next)
			if (!is_full(m, cap) && cap - m->level < part)
				part = cap - m->level;
		for (struct rf_limiter_member *m = l->members; m; m = m->next)
			if (!is_full(m, cap))
				m->level += part;
		bytes -= part * n;
	}
}

static void fill(struct rf_limiter *l, uint64_t now_ns, double limit)
{
	double income, pay;

	if (!l->filled_ns)
		l->filled_ns = now_ns;
	if (now_ns <= l->filled_ns)
		return; /* another thread has read its clock a little later */
	income = limit * (double)(now_ns - l->filled_ns) / 1e9;
	l->filled_ns = now_ns;
	l->debt += (double)atomic_exchange(&l->charged, 0);
	/* A long postcopy full of faults must not keep the others waiting for ever. */
	if (l->debt > limit)
		l->debt = limit;
	pay = l->debt < income / 2 ? l->debt : income / 2;
	l->debt -= pay;
	pour(l, income - pay, limit * RF_LIMITER_CAP_NS / 1e9);
}

uint64_t rf_limiter_wait(struct rf_limiter_member *m, uint64_t now_ns)
{
	struct rf_limiter *l = m->limiter;
	double limit, ns = 0;

	if (!l)
		return 0;
	limit = (double)atomic_load(&l->limit);
	if (limit <= 0)
		return 0;
	pthread_mutex_lock(&l->lock);
	fill(l, now_ns, limit);
	if (m->level < 0)
		ns = -m->level * 1e9 / limit * count_not_full(l, limit * RF_LIMITER_CAP_NS / 1e9);
	pthread_mutex_unlock(&l->lock);
	return ns > 0 ? (uint64_t)ns + 1 : 0;
}

void rf_limiter_take(struct rf_limiter_member *m, uint64_t bytes)
{
	struct rf_limiter *l = m->limiter;

	if (!l || !atomic_load(&l->limit))
		return;
	pthread_mutex_lock(&l->lock);
	m->level -= (double)bytes;
	pthread_mutex_unlock(&l->lock);
}

void rf_limiter_charge(struct rf_limiter *l, uint64_t bytes)
{
	if (l && atomic_load_explicit(&l->limit, memory_order_relaxed))
		atomic_fetch_add_explicit(&l->charged, bytes, memory_order_relaxed);
}

void rf_limiter_open(struct rf_limiter *l, uint64_t now_ns)
{
	if (!l)
		return;
	atomic_fetch_add(&l->open, 1);
	atomic_store_explicit(&l->last_ns, now_ns, memory_order_relaxed);
}

void rf_limiter_close(struct rf_limiter *l, uint32_t n, uint64_t now_ns)
{
	if (!l || !n)
		return;
	atomic_fetch_sub(&l->open, n);
	atomic_store_explicit(&l->last_ns, now_ns, memory_order_relaxed);
}
