/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest of threads that write all over its memory, and a sink that keeps what it gets and can be
 * slow, fail or hang.
 */
#ifndef RF_TESTS_SNAPSHOT_FIXTURE_H
#define RF_TESTS_SNAPSHOT_FIXTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "scheduler/snapshot.h"

#define FIXTURE_WRITERS 4

struct fixture_guest {
	uint8_t *mem;
	uint64_t len;
	uint32_t page_size;
	int memfd; /* -1: anonymous */
	unsigned nwriters;
	uint64_t span; /* what they write to, from the beginning */

	pthread_t writers[FIXTURE_WRITERS];
	_Atomic bool stop, pause;
	_Atomic unsigned parked;
	_Atomic uint64_t written; /* pages */
	_Atomic unsigned index;

	uint8_t *expected; /* the memory when it was paused */
	unsigned resumes;
};

/* False: no such memory here (huge pages). span: 0: all. */
bool fixture_guest_start(struct fixture_guest *g, uint64_t len, uint32_t page_size, bool file,
			 unsigned nwriters, uint64_t span);
/* Waits until the guest has written some more: it is not stuck. */
void fixture_guest_goes_on(struct fixture_guest *g);
void fixture_guest_end(struct fixture_guest *g);

enum fixture_sink_mode {
	SINK_GOOD,
	SINK_SLOW,    /* one write at a time comes to its end */
	SINK_FULL,    /* refuses every other write at first */
	SINK_FAILS,   /* the write number `at` fails */
	SINK_REFUSES, /* from then on it takes no more */
	SINK_HANGS,   /* from the write number `at` on nothing comes to its end */
};

struct fixture_range {
	const uint8_t *at;
	uint64_t len;
};

struct fixture_sink {
	enum fixture_sink_mode mode;
	unsigned at;
	struct fixture_guest *guest;
	uint8_t *image;
	uint8_t *times; /* each page was given */
	bool *expected; /* pages that may come */
	struct fixture_range memory[4];
	unsigned nmemory;
	void *tokens[65536];
	uint64_t head, tail, writes;
	int event;
	bool refused, begun, committed, closed, cancelled;
};

void fixture_sink_init(struct fixture_sink *k, struct fixture_guest *g, enum fixture_sink_mode mode,
		       unsigned at);
void fixture_sink_fini(struct fixture_sink *k);

/* Takes a snapshot of g into k; fails the test if the guest was not resumed. */
int fixture_snapshot(struct fixture_guest *g, struct fixture_sink *k, struct rf_snapshot_cfg cfg,
		     struct rf_snapshot_stats *st);
/* Each page once, as it was. */
void fixture_check_image(const struct fixture_guest *g, const struct fixture_sink *k);

#endif
