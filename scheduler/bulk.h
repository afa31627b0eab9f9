/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bulk lanes of the source: writes are collected into a batch and posted, as one, on the
 * lane with the least in flight.
 *
 *   rf_bulk_add ─► batch (one doorbell) ─► lane 0 ▒▒▒▒▒░░░ window
 *                                      └─► lane 1 ▒▒░░░░░░
 *
 * The window (bytes in flight a lane) keeps enough on the wire to fill it and little enough
 * that stopping is quick. Owner: the scheduler thread.
 */
#ifndef RF_SCHEDULER_BULK_H
#define RF_SCHEDULER_BULK_H

#include <stdbool.h>
#include <stdint.h>

#include "transport/transport.h"

#define RF_BULK_BATCH  16
#define RF_BULK_WINDOW (8u << 20) /* bytes in flight a lane; 1 MiB x 8 fills what we measured */

struct rf_bulk {
	struct rf_lane *lanes[RF_WIRE_MAX_LANES];
	unsigned nlanes;
	bool spin; /* polling again at once may pay */
	uint64_t window;
	struct rf_write batch[RF_BULK_BATCH];
	unsigned nbatch;
	uint64_t batch_bytes;
	uint64_t fence;			  /* value of the fence being posted */
	unsigned fenced;		  /* lanes that have it */
	uint64_t completed;		  /* bytes, ever */
	uint64_t done[RF_WIRE_MAX_LANES]; /* the same, by lane */
};

void rf_bulk_init(struct rf_bulk *b, uint64_t window);

/* True if the batch can take another write of len bytes; otherwise post it first. */
bool rf_bulk_has_room(const struct rf_bulk *b, uint32_t len);
void rf_bulk_add(struct rf_bulk *b, const struct rf_write *w);

/* Posts the batch. RF_OK: it is empty now. RF_NO_RESOURCE: wait for completions, then again. Or
 * the error of a lane. */
int rf_bulk_post(struct rf_bulk *b);

/* The lane with the least in flight. */
struct rf_lane *rf_bulk_idlest(const struct rf_bulk *b);

/* Posts a fence of this value on every lane (the batch must be empty); as rf_bulk_post(). Call
 * again with the same value until it says RF_OK. */
int rf_bulk_fence(struct rf_bulk *b, uint64_t value);

/* Takes completions of all lanes. Returns how many there were, or the error of a lane. */
int rf_bulk_poll(struct rf_bulk *b);

uint64_t rf_bulk_inflight(const struct rf_bulk *b);

/* The lane that died, or NULL. */
const struct rf_lane *rf_bulk_dead_lane(const struct rf_bulk *b);

void rf_bulk_close(struct rf_bulk *b);

#endif
