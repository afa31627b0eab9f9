/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two ways from a fault thread to the saver: requests for pages the guest waits for, in the order
 * they came, and a pool of pages that were copied.
 *
 *   pool   free ─take─► copying ─ready─► ready, in order ─next─► being written ─give─► free
 *
 * Threads: any; each has a lock of its own, held for a few instructions.
 */
#ifndef RF_SCHEDULER_SNAPSHOT_QUEUE_H
#define RF_SCHEDULER_SNAPSHOT_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* The host page somebody waits for. */
struct rf_snap_request {
	uint32_t region;
	uint64_t page; /* host page */
	uint64_t since_ns;
};

#define RF_SNAP_QUEUE_ROOM 1024u

struct rf_snap_queue {
	pthread_mutex_t lock;
	pthread_cond_t room;
	/* guarded by lock */
	struct rf_snap_request ring[RF_SNAP_QUEUE_ROOM];
	uint64_t head, tail; /* [head, tail) are in it */
	bool closed;
};

void rf_snap_queue_init(struct rf_snap_queue *q);
void rf_snap_queue_fini(struct rf_snap_queue *q);
/* Waits while it is full: further faults then wait in the kernel, none is dropped. False: it was
 * closed. */
bool rf_snap_queue_push(struct rf_snap_queue *q, const struct rf_snap_request *r);
bool rf_snap_queue_pop(struct rf_snap_queue *q, struct rf_snap_request *r);
void rf_snap_queue_close(struct rf_snap_queue *q);

/* A buffer of the pool or of the saver. */
struct rf_snap_buf {
	uint8_t *mem;
	struct rf_snap_pool *pool;	/* NULL: the saver's own */
	struct rf_snap_request request; /* pool: what is in it */
	unsigned writes; /* saver: on their way from it, and one while it is filled */
	struct rf_snap_buf *next;
};

struct rf_snap_pool {
	/* fixed after init */
	uint8_t *mem;
	struct rf_snap_buf *bufs;
	uint64_t nbufs;
	uint32_t page_size;

	pthread_mutex_t lock;
	/* guarded by lock; last in, first out, so that memory is touched only as it is needed */
	struct rf_snap_buf *free;
	struct rf_snap_buf *ready, **ready_end;
	uint64_t in_use, high_water, full;
};

/* bytes / page_size buffers; their memory costs nothing until it is used. RF_ERR_NO_MEMORY. */
int rf_snap_pool_init(struct rf_snap_pool *p, uint64_t bytes, uint32_t page_size);
void rf_snap_pool_fini(struct rf_snap_pool *p);		       /* also of a zeroed struct */
struct rf_snap_buf *rf_snap_pool_take(struct rf_snap_pool *p); /* NULL: full */
void rf_snap_pool_ready(struct rf_snap_buf *b);
struct rf_snap_buf *rf_snap_pool_next(struct rf_snap_pool *p); /* NULL: none is ready */
void rf_snap_pool_give(struct rf_snap_buf *b);
void rf_snap_pool_usage(struct rf_snap_pool *p, uint64_t *high_water, uint64_t *full);

#endif
