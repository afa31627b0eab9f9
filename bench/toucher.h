/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that do what a guest does to memory that is not there: touch host pages, each once and
 * in random order, and take the time from the touch to its return. Each page is written to, too.
 */
#ifndef RF_BENCH_TOUCHER_H
#define RF_BENCH_TOUCHER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/histogram.h"

#define TOUCHER_MAX 64

struct toucher {
	/* fixed when started */
	uint8_t *view;
	uint64_t npages; /* host pages */
	uint32_t page_size;
	unsigned nthreads;
	uint64_t gap;  /* us between two touches of a thread */
	uint64_t warm; /* touches before they count, a quarter of all at most */
	/* Optional: asked before each touch; false: no more. Any of the threads. */
	bool (*go_on)(void *arg);
	void (*ended)(void *arg); /* optional: by the last of the threads */
	void *arg;
	struct rf_histogram *h; /* ns */
	uint64_t *order;
	pthread_t thread[TOUCHER_MAX];
	/* the threads */
	_Atomic uint64_t next;
	_Atomic unsigned running;
	_Atomic uint64_t wrong; /* pages with other contents than they should have */
};

/* Starts the threads; 0, or -1 after a line on stderr. */
int toucher_start(struct toucher *t);
/* Waits until they have touched what they may, and counts pages that lost what was written there:
 * when no more pages come. */
void toucher_join(struct toucher *t);
/* Touches so far, of all threads; more may have begun. */
uint64_t toucher_touched(const struct toucher *t);

#endif
