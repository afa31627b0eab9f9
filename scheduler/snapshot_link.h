/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sink that is a destination: a source (source.h) that agrees, opens lanes and hands over as in
 * a migration, but has one round only, whose pages come from the saver's buffers and the pool:
 *
 *   open     hello (snapshot), regions, lanes
 *   write    pieces ~~~► landing memory; keys are asked for ahead of them
 *   commit   zeros, fences, end of the round, device state ─► loaded (or saved), run ─► running
 *
 * A lane's writes are done in the order they were posted, so a ring of tokens a lane is enough:
 *
 *   ring   - - T - T T          T: the last piece of a write, - : a piece before it
 *          ^tail      ^head
 */
#ifndef RF_SCHEDULER_SNAPSHOT_LINK_H
#define RF_SCHEDULER_SNAPSHOT_LINK_H

#include "scheduler/snapshot_sink.h"
#include "scheduler/source.h"

#define RF_SNAP_LINK_MEMORIES 3 /* the saver's buffers, two pools */
#define RF_SNAP_LINK_UNIT \
	(2u << 20) /* of memory that is registered at once: a pool may stay empty */

struct rf_snap_memory {
	uint8_t *at;
	uint64_t len;
	struct rf_mr **mrs; /* a unit each, NULL until it is needed */
};

struct rf_snap_ring {
	void **tokens;
	uint64_t head, tail;
	uint64_t done; /* of those from tail on */
};

struct rf_snap_link {
	struct rf_source *src;
	/* fixed after open */
	int epoll; /* all there is to wait for */
	uint32_t piece, depth;
	struct rf_snap_memory memory[RF_SNAP_LINK_MEMORIES];
	unsigned nmemory;
	/* saver */
	struct rf_snap_ring rings[RF_WIRE_MAX_LANES];
	const void *state;
	size_t state_len;
	uint64_t posted; /* bytes of the write that is being posted */
	unsigned lane;	 /* by which */
	bool finished;	 /* nothing more is to be said */
	char why[256];
};

/* snapshot_link_pages.c: as the table of snapshot_sink.h says */
int rf_snap_link_write(void *self, unsigned region, uint64_t first, const void *data, uint32_t n,
		       void *token);
int rf_snap_link_absent(void *self, unsigned region, uint64_t page);
void rf_snap_link_touched(void *self, unsigned region, uint64_t page);
int rf_snap_link_submit(void *self);
int rf_snap_link_poll(void *self, void **tokens, unsigned cap);
int rf_snap_link_fd(void *self);
bool rf_snap_link_arm(void *self);

#endif
