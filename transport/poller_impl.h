/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside the poller: poller.c (life, lanes), poller_loop.c (its thread). */
#ifndef RF_TRANSPORT_POLLER_IMPL_H
#define RF_TRANSPORT_POLLER_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "transport/ops.h"
#include "transport/poller.h"

struct rf_poller {
	/* fixed after new */
	struct rf_poller_cfg cfg;
	char name[32];
	int wake_fd; /* eventfd */
	uint64_t start_ns;

	/* any thread */
	_Atomic bool stop;
	_Atomic bool wanted;   /* rf_poller_wake() was called */
	_Atomic bool sleeping; /* about to sleep, or asleep: a wake has to write wake_fd */
	_Atomic int mode, cpu;
	_Atomic pid_t tid; /* of its thread */
	/* written by the poller's thread */
	_Atomic uint64_t passes, completions, batches, sleeps, wakeups, timeouts, rescues;
	_Atomic uint64_t cpu_ns; /* at its end */

	pthread_t thread;

	/* poller's thread */
	struct rf_lane *lanes[RF_POLLER_MAX_LANES]; /* NULL: removed in this pass */
	unsigned nlanes;
	bool timed_out; /* the last sleep */
	uint64_t news_ns;
	struct rf_completion batch[RF_POLLER_BATCH];
};

void *rf_poller_run(void *poller); /* thread function */
bool rf_poller_on_thread(const struct rf_poller *p);
uint64_t rf_poller_clock_ns(clockid_t clock);

#endif
