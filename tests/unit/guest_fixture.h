/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of guests and of trackers on guests share. */
#ifndef RF_TESTS_GUEST_FIXTURE_H
#define RF_TESTS_GUEST_FIXTURE_H

#include "tests/unit/unit.h"

#include "scheduler/tracker.h"
#include "vmm/guest.h"

/* A way of running a guest: a row of a test table. */
struct guest_case {
	const char *name;
	const char *kind;
	const char *tracker;
	unsigned vcpus;
	enum rf_guest_pattern pattern;
	uint64_t dirty_rate;
};

/* Runs functions over rows: the list of a program's tests, made at run time. */
struct guest_tests {
	struct CMUnitTest tests[128];
	char names[128][128];
	size_t n;
};
void add_tests(struct guest_tests *g, const char *fn_name, CMUnitTestFunction fn,
	       const struct guest_case *rows, size_t nrows);
#define add_rows(g, fn, rows, n) add_tests((g), #fn, (fn), (rows), (n))
int run_guest_tests(const char *name, struct guest_tests *g);

/* RF_SEED, or a random one; printed once a program, so that a failure can be run again. */
uint64_t test_seed(void);
/* From that seed; not for several threads. */
uint64_t test_random(void);

/* Skips the case, by name, if the machine cannot run the row's guest or tracker. */
void need_guest(const struct guest_case *c);

/* 32 MiB and 3 pages, half of it working set, 1 MiB fill; changed by the caller before new. */
void fill_cfg(const struct guest_case *c, struct rf_vm_cfg *cfg);
struct rf_vm *new_guest(const struct guest_case *c);

/* Waits until passes >= target; fails after 60 s or when the guest is not healthy. */
void wait_for_passes(const struct rf_vm *vm, uint64_t target);
void sleep_ms(unsigned ms);
uint64_t now_ms(void);

/* Fails with the guest's own words. */
void assert_healthy(const struct rf_vm *vm);
void assert_checked(const struct rf_vm *vm);

/* Memory for a destination guest: a memfd and its mapping. */
struct guest_memory {
	uint64_t len;
	int memfd;
	unsigned char *at;
};
void make_memory(struct guest_memory *m, uint64_t len);
void drop_memory(struct guest_memory *m);

/* Harvests region 0 of a running tracker and copies what it found from `from` to `to`; returns
 * the number of pages. */
uint64_t harvest_and_copy(const struct rf_tracker *t, const struct rf_region *r, unsigned char *to);

/* Counts log messages of a level, and keeps the last of them. */
struct log_watch {
	unsigned errors, warnings;
	char last[512];
};
void watch_log(struct log_watch *w);
void unwatch_log(void);

#endif
