/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file snapshot.h
 * The guest's memory and device state at one instant, in a file or at a destination, while the
 * guest runs on; and a guest made from such a file.
 *
 *   rf_snapshot_new → rf_snapshot_add_region … → rf_snapshot_run → rf_snapshot_delete
 *   rf_restore_new → rf_restore_region, rf_restore_add_region … → rf_restore_run →
 *   rf_restore_delete
 *
 * The guest stands still while its state is saved and its memory write-protected by userfaultfd.
 * Writes count that go through the mapping the region names, be they of a vCPU, a thread or the
 * kernel on its behalf; those of devices (DMA) or through other mappings are not noticed.
 */
#ifndef RAMFERRY_SNAPSHOT_H
#define RAMFERRY_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

#include <ramferry/err.h>
#include <ramferry/guest.h>
#include <ramferry/region.h>
#include <ramferry/stats.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One snapshot being taken. Opaque. */
struct rf_snapshot;

/** What happens when the guest writes to a page that is not saved yet. */
enum rf_snapshot_strategy {
	RF_SNAPSHOT_AUTO = 0, /**< as queue; as copy while the file is slow to take pages */
	RF_SNAPSHOT_QUEUE,    /**< the guest waits until its page has been taken, before all others:
				   no memory of its own */
	RF_SNAPSHOT_COPY,     /**< the page is copied into a pool and the guest goes on at once; as
				   queue while the pool is full */
};

/** Statistics of a snapshot. Times in milliseconds but for the latencies. */
struct rf_snapshot_stats {
	size_t size;		 /**< sizeof(struct rf_snapshot_stats), set by the caller */
	enum rf_state status;	 /**< setup, active, completed, failed, cancelled */
	int error;		 /**< enum rf_err of the end, RF_OK until then */
	char error_desc[256];	 /**< one line in words, empty if none */
	uint64_t total;		 /**< bytes of all regions */
	uint64_t remaining;	 /**< bytes that are not saved yet */
	uint64_t pages_saved;	 /**< pages of 4 KiB that were taken: written or found zero */
	uint64_t pages_zero;	 /**< of these, zero: they are holes of the file */
	uint64_t saved_by_fault; /**< of pages_saved, those taken because the guest wrote to them */
	uint64_t bytes_written;	 /**< of pages */
	uint64_t file_size;	 /**< holes included; 0: to a destination */
	uint64_t write_faults;	 /**< writes of the guest that had to wait */
	uint64_t copied;	 /**< of these, answered by a copy into the pool */
	uint64_t pool_size;	 /**< bytes */
	uint64_t pool_high_water; /**< most bytes of it in use at once */
	uint64_t pool_full;	  /**< times a write found the pool full, and waited as in queue */
	double pause_time;	  /**< the guest stood still */
	double protect_time;	  /**< of this, spent on write protection */
	double total_time;
	double write_fault_latency; /**< us from the fault being read to the guest going on: mean */
	double write_fault_latency_p50, write_fault_latency_p99, write_fault_latency_max;
	uint64_t write_fault_latency_dist[RF_LATENCY_BUCKETS]; /**< bucket N: [2^N, 2^(N+1)) us */
	uint64_t device_state;				       /**< bytes */
	int direct;			  /**< 1: written past the page cache */
	char transport[16], provider[32]; /**< to a destination; empty: to a file */
};

/** Set-up of a snapshot. Zero in a field means its default. Strings are copied. */
struct rf_snapshot_cfg {
	size_t size;	       /**< sizeof(struct rf_snapshot_cfg) */
	const char *path;      /**< the file. It appears when it is complete, over one of that name.
				    NULL: to the destination at host and port, whose regions must be
				    the same as for a migration. It starts a second guest from the
				    snapshot, or saves it (rf_dest_cfg.save); the guest here runs on
				    in either case */
	const char *host;      /**< name or address of the destination; NULL: to the file */
	uint16_t port;	       /**< its control port */
	const char *transport; /**< as rf_source_cfg.transport, and those that follow */
	const char *provider;
	unsigned bulk_lanes;
	uint32_t connect_timeout, link_timeout;
	enum rf_snapshot_strategy strategy;
	uint64_t pool;		   /**< bytes of the pool of copy and auto (default 64 MiB) */
	unsigned fault_threads;	   /**< 1 (default) to 16 */
	uint64_t max_bandwidth;	   /**< bytes a second written; 0: no limit. The guest's writes wait
					for it, too */
	uint32_t sink_timeout;	   /**< ms without any write coming to its end, after which the file
					or the destination counts as dead and the snapshot fails
					(default 30,000) */
	struct rf_guest_ops guest; /**< pause, resume and save_state are needed. They may write to
					guest memory, but pause and save_state must not after they
					returned */
	void *guest_arg;
	/** Called about ten times a second while the snapshot is taken, from the thread of
	    rf_snapshot_run(). Optional. */
	void (*progress)(void *arg, const struct rf_snapshot_stats *stats);
	void *progress_arg;
};

/**
 * Makes a snapshot object. Nothing is opened yet.
 * @param cfg  read during the call.
 * @param out  on success; the caller ends it with rf_snapshot_delete().
 * @return RF_ERR_INVALID (the log names the field), RF_ERR_NO_MEMORY.
 */
int rf_snapshot_new(const struct rf_snapshot_cfg *cfg, struct rf_snapshot **out);

/**
 * Adds a region, before rf_snapshot_run(). A region with a memfd must be mapped MAP_SHARED.
 * No other userfaultfd may watch it.
 * @return RF_ERR_INVALID, RF_ERR_STATE, RF_ERR_NO_MEMORY.
 */
int rf_snapshot_add_region(struct rf_snapshot *s, const struct rf_region *region);

/**
 * Takes the snapshot. Blocks until the file is complete, or the destination says that it has all
 * of it and runs the guest or has saved it; call it once. Whatever it returns, the guest runs and
 * nothing of its memory is protected any more; on any error but RF_ERR_UNKNOWN_OUTCOME nothing is
 * left of the snapshot.
 * @return RF_OK; RF_ERR_PERMISSION, RF_ERR_UNSUPPORTED (userfaultfd, io_uring), RF_ERR_NOT_FOUND
 *         (the directory), RF_ERR_SYSTEM (writing failed; disk full), RF_ERR_TIMEOUT (the file is
 *         dead), RF_ERR_CANCELLED, RF_ERR_GUEST. With a destination also what rf_source_run()
 *         returns; RF_ERR_VERSION: it knows no snapshots; RF_ERR_UNKNOWN_OUTCOME: the link was lost
 *         at the very end, and the snapshot may be there. rf_snapshot_stats() has it in words.
 */
int rf_snapshot_run(struct rf_snapshot *s);

/** Asks to stop. Any thread, also a signal handler. */
void rf_snapshot_cancel(struct rf_snapshot *s);

/** Statistics. @param stats its size field is set by the caller. Any thread. */
void rf_snapshot_stats(struct rf_snapshot *s, struct rf_snapshot_stats *stats);

/** Ends *s and sets it to NULL. NULL is fine. Not while rf_snapshot_run() runs. */
void rf_snapshot_delete(struct rf_snapshot **s);

/** One guest being made from a file. Opaque. */
struct rf_restore;

/** Statistics of a restore. Times in milliseconds but for the latencies. */
struct rf_restore_stats {
	size_t size;	      /**< sizeof(struct rf_restore_stats), set by the caller */
	enum rf_state status; /**< setup, active, completed, failed, cancelled */
	int error;
	char error_desc[256];
	uint64_t total;		 /**< bytes of all regions */
	uint64_t bytes_read;	 /**< from the file, all of them compared with their digests */
	uint64_t faults;	 /**< lazy: touches of memory that was not there yet */
	uint64_t blocks_faulted; /**< lazy: blocks of 2 MiB read because of them */
	double start_time;	 /**< until the guest ran */
	double total_time;	 /**< until all memory was there */
	double fault_latency_p50, fault_latency_p99, fault_latency_max; /**< us */
};

/** Set-up of a restore. */
struct rf_restore_cfg {
	size_t size;	  /**< sizeof(struct rf_restore_cfg) */
	const char *path; /**< the file */
	int lazy;	  /**< 1: the guest starts at once, its memory is read when it is touched,
			       the rest in the background, in the order of the guest's writes while
			       the snapshot was taken. Needs userfaultfd and regions with a memfd */
	struct rf_guest_ops guest; /**< load_state and resume are needed */
	void *guest_arg;
};

/**
 * Opens a snapshot file and checks all of it but the pages.
 * @return RF_ERR_INVALID, RF_ERR_NOT_FOUND, RF_ERR_PERMISSION, RF_ERR_NOT_RAMFERRY,
 *         RF_ERR_VERSION, RF_ERR_PROTOCOL (damaged or cut off), RF_ERR_NO_MEMORY, RF_ERR_SYSTEM;
 *         the log names the place.
 */
int rf_restore_new(const struct rf_restore_cfg *cfg, struct rf_restore **out);

/**
 * Describes region number `index` of the file: id, length and page size.
 * @return RF_ERR_NOT_FOUND if there are not so many.
 */
int rf_restore_region(const struct rf_restore *r, unsigned index, struct rf_region *out);

/** The device state in the file, valid until rf_restore_delete(). Its bytes are not to be trusted.
 */
void rf_restore_state(const struct rf_restore *r, const void **buf, size_t *len);

/**
 * Gives the memory for a region of the file: of the same id, length and page size, all zeros (as
 * a new memfd or mapping is), and not touched until the guest runs.
 * @return RF_ERR_INVALID, RF_ERR_NOT_FOUND (no such region), RF_ERR_MISMATCH, RF_ERR_STATE.
 */
int rf_restore_add_region(struct rf_restore *r, const struct rf_region *region);

/**
 * Fills the memory, loads the device state and starts the guest; call it once. Eager: the guest
 * starts when all its memory is there and compared with its digests. Lazy: it starts at once, and
 * the call returns when all its memory is there.
 * @return RF_ERR_MISMATCH (a region of the file was given no memory), RF_ERR_VERIFY (damaged; the
 *         guest has not run), RF_ERR_CANCELLED (likewise; a lazy restore cannot be cancelled once
 *         the guest runs), RF_ERR_GUEST, RF_ERR_GUEST_LOST (lazy: the file is damaged or cannot
 *         be read, and the guest runs; its threads that touch what is missing wait for good, they
 *         never run on wrong memory; end the process), RF_ERR_SYSTEM, RF_ERR_PERMISSION.
 */
int rf_restore_run(struct rf_restore *r);

/** Asks to stop, before the guest runs. Any thread, also a signal handler. */
void rf_restore_cancel(struct rf_restore *r);

/** Statistics. @param stats its size field is set by the caller. Any thread. */
void rf_restore_stats(struct rf_restore *r, struct rf_restore_stats *stats);

/** Ends *r and sets it to NULL. NULL is fine. Not while rf_restore_run() runs, and not after
 *  RF_ERR_GUEST_LOST. */
void rf_restore_delete(struct rf_restore **r);

#ifdef __cplusplus
}
#endif
#endif
