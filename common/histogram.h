/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Latency histogram: log-linear buckets (16 to a power of two, so at most 1/16 = 6.25% off),
 * values 0 … 2^63 ns, fixed size, recording without a lock. The idea is HdrHistogram's.
 */
#ifndef RF_COMMON_HISTOGRAM_H
#define RF_COMMON_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#define RF_HIST_SUB	16
#define RF_HIST_BUCKETS (61 * RF_HIST_SUB)

struct rf_histogram {
	_Atomic uint64_t count[RF_HIST_BUCKETS];
	_Atomic uint64_t n, sum, min, max; /* exact; min is UINT64_MAX while n is 0 */
	_Atomic double sumsq;		   /* for stdev */
};

void rf_histogram_init(struct rf_histogram *h);
void rf_histogram_add(struct rf_histogram *h, uint64_t value); /* any thread */
void rf_histogram_merge(struct rf_histogram *into, const struct rf_histogram *from);

/*
 * The value below or at which p percent (0 … 100) of the samples lie: nearest rank, upper end
 * of the bucket, never over the exact maximum, never under the exact minimum. 0 if empty.
 */
uint64_t rf_histogram_percentile(const struct rf_histogram *h, double p);
double rf_histogram_mean(const struct rf_histogram *h);
double rf_histogram_stdev(const struct rf_histogram *h);

/* QEMU's postcopy-latency-dist: out[N] = samples in [2^N, 2^(N+1)) µs; out[0] has those under
 * 2 µs, the last one all above. Values are ns; within 1/16 of a border they may count beyond
 * it. */
void rf_histogram_pow2_us(const struct rf_histogram *h, uint64_t *out, unsigned n);

#endif
