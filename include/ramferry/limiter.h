/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file limiter.h
 * One bandwidth for several migrations of a process.
 *
 * Each source that is given the same limiter gets an equal share of it; what one does not use is
 * for the others. What cannot wait, the answers to page requests and the last round, is never
 * held back by it: it is sent at once and taken off what all of them may send afterwards.
 *
 * Sources that share a limiter also make room for each other's page requests: while one is open,
 * each of them keeps as little bulk in flight as its urgent_window says. A limiter without a
 * limit is good for that alone.
 */
#ifndef RAMFERRY_LIMITER_H
#define RAMFERRY_LIMITER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Opaque. */
struct rf_limiter;

/**
 * Makes a limiter.
 * @param bytes_per_s  0: no limit.
 * @param out  on success; the caller deletes it after the sources that have it.
 * @return RF_ERR_NO_MEMORY.
 */
int rf_limiter_new(uint64_t bytes_per_s, struct rf_limiter **out);

/**
 * Changes the limit; takes effect at the latest after 100 ms.
 * @param bytes_per_s  0: no limit. Any thread.
 */
void rf_limiter_set(struct rf_limiter *l, uint64_t bytes_per_s);

/** The limit in bytes a second, 0: none. Any thread. */
uint64_t rf_limiter_get(const struct rf_limiter *l);

/** Ends *l and sets it to NULL. NULL is fine. */
void rf_limiter_delete(struct rf_limiter **l);

#ifdef __cplusplus
}
#endif
#endif
