/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/histogram.h"

#include <math.h>
#include <string.h>

#define SUB_BITS 4 /* log2 of RF_HIST_SUB */

_Static_assert(1 << SUB_BITS == RF_HIST_SUB, "RF_HIST_SUB is a power of two");

/*
 * Values under 16 have a bucket each. From there on every power of two 2^e is cut into 16
 * buckets of width 2^(e - 4); block b of 16 buckets is e = b + 3.
 */
static unsigned bucket_of(uint64_t value)
{
	unsigned e;

	if (value < RF_HIST_SUB)
		return (unsigned)value;
	e = 63 - (unsigned)__builtin_clzll(value);
	return (e - SUB_BITS + 1) * RF_HIST_SUB +
	       (unsigned)((value >> (e - SUB_BITS)) & (RF_HIST_SUB - 1));
}

static uint64_t bucket_low(unsigned b)
{
	unsigned block = b / RF_HIST_SUB;

	if (!block)
		return b;
	return (uint64_t)(RF_HIST_SUB + b % RF_HIST_SUB) << (block - 1);
}

static uint64_t bucket_width(unsigned b)
{
	unsigned block = b / RF_HIST_SUB;

	return block ? 1ull << (block - 1) : 1;
}

static uint64_t load(const _Atomic uint64_t *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

static void lower_to(_Atomic uint64_t *p, uint64_t value)
{
	uint64_t old = load(p);

	while (value < old && !atomic_compare_exchange_weak(p, &old, value))
		;
}

static void raise_to(_Atomic uint64_t *p, uint64_t value)
{
	uint64_t old = load(p);

	while (value > old && !atomic_compare_exchange_weak(p, &old, value))
		;
}

static void add_double(_Atomic double *p, double value)
{
	double old = atomic_load_explicit(p, memory_order_relaxed);

	while (!atomic_compare_exchange_weak(p, &old, old + value))
		;
}

void rf_histogram_init(struct rf_histogram *h)
{
	memset(h, 0, sizeof(*h));
	atomic_init(&h->min, UINT64_MAX);
}

void rf_histogram_add(struct rf_histogram *h, uint64_t value)
{
	atomic_fetch_add_explicit(&h->count[bucket_of(value)], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->n, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum, value, memory_order_relaxed);
	lower_to(&h->min, value);
	raise_to(&h->max, value);
	add_double(&h->sumsq, (double)value * (double)value);
}

void rf_histogram_merge(struct rf_histogram *into, const struct rf_histogram *from)
{
	for (unsigned b = 0; b < RF_HIST_BUCKETS; b++) {
		uint64_t n = load(&from->count[b]);

		if (n)
			atomic_fetch_add_explicit(&into->count[b], n, memory_order_relaxed);
	}
	atomic_fetch_add_explicit(&into->n, load(&from->n), memory_order_relaxed);
	atomic_fetch_add_explicit(&into->sum, load(&from->sum), memory_order_relaxed);
	lower_to(&into->min, load(&from->min));
	raise_to(&into->max, load(&from->max));
	add_double(&into->sumsq, atomic_load_explicit(&from->sumsq, memory_order_relaxed));
}

/* Nearest rank, 1 … n. */
static uint64_t rank_of(double p, uint64_t n)
{
	double exact = p * (double)n / 100;
	uint64_t rank;

	if (!(p > 0))
		return 1;
	/* 99.9 is not exact in binary: what is over a whole number by rounding only is not more. */
	rank = (uint64_t)ceil(exact - exact * 1e-12);
	if (rank < 1)
		rank = 1;
	return rank > n ? n : rank;
}

uint64_t rf_histogram_percentile(const struct rf_histogram *h, double p)
{
	uint64_t min = load(&h->min), max = load(&h->max), total = 0, seen = 0, rank, value;
	unsigned b;

	/* Not h->n, which a thread that adds right now may have raised before or after. */
	for (b = 0; b < RF_HIST_BUCKETS; b++)
		total += load(&h->count[b]);
	if (!total)
		return 0;
	rank = rank_of(p, total);
	for (b = 0; b < RF_HIST_BUCKETS - 1; b++) {
		seen += load(&h->count[b]);
		if (seen >= rank)
			break;
	}
	value = bucket_low(b) + bucket_width(b) - 1;
	if (value > max)
		value = max;
	return value < min ? min : value;
}

double rf_histogram_mean(const struct rf_histogram *h)
{
	uint64_t n = load(&h->n);

	return n ? (double)load(&h->sum) / (double)n : 0;
}

double rf_histogram_stdev(const struct rf_histogram *h)
{
	double mean = rf_histogram_mean(h), variance;
	uint64_t n = load(&h->n);

	if (n < 2)
		return 0;
	variance = atomic_load_explicit(&h->sumsq, memory_order_relaxed) / (double)n - mean * mean;
	return variance > 0 ? sqrt(variance) : 0; /* equal samples may come out under 0 */
}

void rf_histogram_pow2_us(const struct rf_histogram *h, uint64_t *out, unsigned n)
{
	if (!n)
		return;
	memset(out, 0, n * sizeof(*out));
	for (unsigned b = 0; b < RF_HIST_BUCKETS; b++) {
		/* A bucket that lies across a border counts where its middle is. */
		uint64_t us = (bucket_low(b) + bucket_width(b) / 2) / 1000;
		unsigned i = us ? 63 - (unsigned)__builtin_clzll(us) : 0;

		out[i < n ? i : n - 1] += load(&h->count[b]);
	}
}
