/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Free page hints: pages the guest says are free are taken out of what is to be sent.
 *
 *   guest   reads epoch e ─ frees p ─────────────── writes p again
 *   VMM                        └─ hint(p, e) …
 *   source  ─|harvest|──────────── epoch e ───────────────────|harvest|── epoch e + 2
 *
 * A hint speaks of a moment after its epoch was read. It may come late, when p is in use again:
 *
 *   in the same epoch   the write is in the next harvest, for tracking was armed when the epoch
 *                       began: p becomes pending then and is no longer free
 *   in a later one      the write may have been harvested already, nobody would tell of it
 *                       again: the hint is refused
 *   during a harvest    refused: what is found and what is hinted would overtake each other
 *
 * So the epoch advances twice a harvest, and is odd while it lasts. A hint looks at the epoch and
 * changes the bitmaps under one lock, which a harvest takes only to advance the epoch.
 * tests/unit/hint_model.c walks through the interleavings.
 */
#ifndef RF_SCHEDULER_HINTS_H
#define RF_SCHEDULER_HINTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "scheduler/region.h"

struct rf_hints {
	/* fixed while open */
	struct rf_src_region *regions;
	uint32_t nregions;
	pthread_mutex_t lock; /* taken with no other held */
	/* guarded by lock */
	bool open;
	uint64_t epoch; /* odd: a harvest is under way */
	/* any thread */
	_Atomic uint64_t taken, stale; /* hints */
	_Atomic uint64_t pages;	       /* named by those that were taken */
	_Atomic uint64_t avoided;      /* of these, pages that would have been sent otherwise */
	_Atomic uint64_t told;	       /* pages the destination was told of */
};

void rf_hints_init(struct rf_hints *h);
void rf_hints_fini(struct rf_hints *h);

/* From here on hints are taken; all regions have been harvested once. */
void rf_hints_open(struct rf_hints *h, struct rf_src_region *regions, uint32_t nregions);
/* The guest is paused, or stays here: no hint changes a bitmap any more. */
void rf_hints_close(struct rf_hints *h);

/* Around every harvest, whoever makes it, until what was found is in the maps. */
void rf_hints_begin_harvest(struct rf_hints *h);
void rf_hints_end_harvest(struct rf_hints *h);

/* 0 while no hint would be taken. */
uint64_t rf_hints_epoch(struct rf_hints *h);

/* As rf_source_hint_free(); *avoided: pages that need not be sent in this round. */
int rf_hints_free(struct rf_hints *h, uint32_t region, uint64_t start, uint64_t len, uint64_t epoch,
		  uint64_t *avoided);

#endif
