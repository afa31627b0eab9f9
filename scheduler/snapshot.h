/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of a snapshot. Each host page that held something at the pause has a bit in its region's
 * `todo`; whoever clears it (one atomic test-and-clear) copies the page and then takes its write
 * protection off, in this order, so each page is taken once and as it was:
 *
 *   todo   ..####.##########...      # protected, and still to be taken
 *                 ^cursor            the saver goes over them, 64 pages at a time
 *            ^request                the guest waits for this one: the saver takes it first
 *             ^copied                a fault thread has taken this one into the pool
 *
 * Thread    owns
 * run       the caller's of rf_snapshot_run(): calls the guest, and waits
 * saver     the sink, the cursor, buffers, everything that goes to the sink
 * fault     one or more: read the userfaultfd; requests, or copies into the pool
 */
#ifndef RF_SCHEDULER_SNAPSHOT_H
#define RF_SCHEDULER_SNAPSHOT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <ramferry/snapshot.h>

#include "common/bitmap.h"
#include "common/histogram.h"
#include "common/zero.h"
#include "scheduler/pacer.h"
#include "scheduler/snapshot_queue.h"
#include "scheduler/snapshot_sink.h"

#define RF_SNAP_PIECE	     (256u << 10) /* a buffer of the saver: 64 pages, a word of todo */
#define RF_SNAP_BUFS	     16u
#define RF_SNAP_BUFS_URGENT  4u /* of these, what the linear pass leaves to requests */
#define RF_SNAP_FAULT_MAX    16u
#define RF_SNAP_POOL_DEFAULT (64ull << 20)
#define RF_SNAP_TIMEOUT	     30000u

struct rf_snap_region {
	/* fixed when the guest has been paused */
	struct rf_region info;
	uint8_t *addr;
	uint64_t unit;		/* bytes that are protected or not as a whole */
	struct rf_bitmap units; /* that hold something */
	bool registered;
	struct rf_snap_pool *pool; /* for its page size; NULL: too large to be copied */

	struct rf_bitmap todo; /* one bit a host page; any thread clears */
};

/* Counters anybody may read. */
struct rf_snap_counters {
	_Atomic uint64_t left, saved, zero, by_fault, written, faults, copied;
	_Atomic uint64_t pause_ns, protect_ns, begin_ns, end_ns, state_len, file_size;
};

struct rf_snapshot {
	/* fixed after new, regions after the begin of run */
	struct rf_snapshot_cfg cfg;
	struct rf_snap_region *regions;
	unsigned nregions;
	struct rf_region *infos; /* of them, as the sink is told; while it is open */
	uint64_t total;
	struct rf_snap_sink sink;
	struct rf_snap_pool pools[2]; /* of 4 KiB, of 2 MiB */
	int uffd, pagemap;
	bool anonymous; /* such memory can be watched */
	int wake_fd;	/* for the saver: requests, copies, a cancel */
	int stop_fd;	/* for the fault threads: end */
	int done_fd;	/* for run: the saver has ended */
	rf_zero_fn is_zero;

	struct rf_snap_queue queue;
	struct rf_snap_counters count;
	struct rf_histogram latency; /* of write faults */
	_Atomic uint64_t wait_ns;    /* policy: average */
	_Atomic bool copying;
	_Atomic bool ran, cancelled;
	_Atomic bool prepared; /* sink and pools are there */
	_Atomic int fault_rc;  /* why a fault thread ended */
	_Atomic int status;    /* enum rf_state; written by run */

	/* run thread */
	pthread_t fault_threads[RF_SNAP_FAULT_MAX];
	unsigned nfault_threads;
	void *state; /* of the device */
	size_t state_len;

	/* saver; run before and after it */
	uint8_t *buf_mem;
	struct rf_snap_buf bufs[RF_SNAP_BUFS];
	struct rf_snap_buf *free_bufs;
	unsigned nfree;
	unsigned inflight; /* writes */
	bool refused;	   /* the sink has no room for the next one */
	uint64_t last_done_ns;
	struct rf_pacer pacer;
	unsigned cursor_region;
	uint64_t cursor; /* host page */

	pthread_mutex_t lock;
	/* guarded by lock */
	int error;
	char error_desc[256];
};

/* snapshot.c: with a sink of the caller's, for tests */
int rf_snapshot_make(const struct rf_snapshot_cfg *cfg, const struct rf_snap_sink *sink,
		     struct rf_snapshot **out);

/* snapshot_protect.c */
int rf_snap_watch(struct rf_snapshot *s);      /* registers all, looks what holds something */
int rf_snap_protect(struct rf_snapshot *s);    /* guest paused: looks again, protects */
void rf_snap_unprotect(struct rf_snapshot *s); /* everything, and wakes who waits */

/* snapshot_fault.c */
int rf_snap_fault_start(struct rf_snapshot *s);
void rf_snap_fault_stop(struct rf_snapshot *s);
void rf_snap_wake_saver(struct rf_snapshot *s);
/* One fault at addr; what the fault threads do. */
void rf_snap_fault(struct rf_snapshot *s, uint64_t addr, uint64_t now);
/* The guest goes on with the page: protection off. RF_ERR_SYSTEM. */
int rf_snap_release(struct rf_snapshot *s, unsigned region, uint64_t host_page, uint64_t n);

/* snapshot_save.c: body of the saver */
int rf_snap_save(struct rf_snapshot *s);
int rf_snap_save_init(struct rf_snapshot *s); /* RF_ERR_NO_MEMORY */

static inline uint64_t rf_snap_host_pages(const struct rf_snap_region *r)
{
	return r->info.len / r->info.page_size;
}

#endif
