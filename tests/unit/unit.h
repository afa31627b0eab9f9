/* SPDX-License-Identifier: BSD-3-Clause */
/* What every unit test includes, in the order cmocka needs it, and helpers of several of them. */
#ifndef RF_TESTS_UNIT_H
#define RF_TESTS_UNIT_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <ramferry/err.h>

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* Skips the running case, and says so in the form the summary of all tests collects. */
#define skip_case(name, enable)                             \
	do {                                                \
		printf("SKIP: %s: %s\n", (name), (enable)); \
		skip();                                     \
	} while (0)

/* Deterministic pseudo-random numbers (xorshift64*); the seed must not be 0. */
static inline uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 0x2545f4914f6cdd1dull;
}

/* Runs fn in n threads at once with args base, base + size, …, and waits for all. */
static inline void run_threads(unsigned n, void *(*fn)(void *), void *base, size_t size)
{
	pthread_t threads[16];

	assert_true(n <= COUNT_OF(threads));
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fn, (char *)base + i * size), 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

#endif
