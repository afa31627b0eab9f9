/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * release-ram: in postcopy the source gives its memory back to the host as the destination says
 * that pages have landed there. From the word that the guest runs there this side's memory is good
 * for nothing but sending, so what needs no sending is not needed at all.
 *
 *   release_map.h  which pages ─► run, in slices ─► given back
 *                                  │ where registration pins memory: first every write that may
 *                                  ▼ read it has completed, then its chunks are deregistered
 *
 * Owner: the scheduler thread, which does it a slice at a time when it has nothing to send, and
 * after each item it has sent; for half of its time at most, and for a twentieth while pages are
 * asked for, since on a small host it is the processor that answers have to wait for. What is left
 * goes when the link has been taken down.
 */
#ifndef RF_SCHEDULER_RELEASE_H
#define RF_SCHEDULER_RELEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "scheduler/release_map.h"
#include "transport/transport.h"

struct rf_source;
struct rf_frame;

/* What had been posted at a moment, by lane. */
struct rf_release_marks {
	uint64_t bulk[RF_WIRE_MAX_LANES];   /* bytes */
	uint64_t heads[RF_WIRE_MAX_LANES];  /* of urgent lanes: requests begun */
	uint64_t writes[RF_WIRE_MAX_LANES]; /* and writes; taken when those are posted */
	bool heads_posted;
};

struct rf_release {
	bool agreed;		     /* the destination says what has landed */
	bool pinned;		     /* by registration */
	bool running;		     /* the guest runs there */
	bool idle;		     /* nothing to take when it was last looked */
	uint64_t next_ns;	     /* not before */
	struct rf_release_map *maps; /* by region; NULL: off */
	/* being given back */
	uint32_t region;
	struct rf_page_run run;
	bool free; /* nothing reads it any more */
	struct rf_release_marks marks;
};

/* What is missing there is held from now on: before page requests are served. */
int rf_source_prepare_release(struct rf_source *src);
/* The guest runs there. */
void rf_source_begin_release(struct rf_source *src);
/* LANDED: these need not be kept. */
int rf_source_take_landed(struct rf_source *src, const struct rf_frame *f);
/* Gives back a slice. False: there is nothing to do for now. */
bool rf_source_release_some(struct rf_source *src);
/* ms until the next slice may be given back; -1: there is none. */
int rf_source_release_wait(struct rf_source *src);
/* All has landed and the link is down: gives back all that is left. */
void rf_source_release_rest(struct rf_source *src);
void rf_source_end_release(struct rf_source *src);

#endif
