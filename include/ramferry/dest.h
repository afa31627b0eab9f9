/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file dest.h
 * The destination side of a migration: the host the guest goes to.
 *
 *   rf_dest_new → rf_dest_add_region … → rf_dest_run → (the guest runs) → rf_dest_delete
 */
#ifndef RAMFERRY_DEST_H
#define RAMFERRY_DEST_H

#include <stddef.h>
#include <stdint.h>

#include <ramferry/err.h>
#include <ramferry/guest.h>
#include <ramferry/region.h>
#include <ramferry/stats.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One incoming migration. Opaque. */
struct rf_dest;

/** Set-up of a destination. Zero in a field means its default. Strings are copied. */
struct rf_dest_cfg {
	size_t size;		  /**< sizeof(struct rf_dest_cfg) */
	const char *host;	  /**< local address to listen on (default "127.0.0.1") */
	uint16_t port;		  /**< control port; 0: any free one, see rf_dest_port() */
	const char *transport;	  /**< "auto" (default: offer all that works), "verbs", "ofi" */
	const char *provider;	  /**< libfabric provider to offer; NULL: all that work */
	unsigned max_lanes;	  /**< most bulk lanes a source may ask for (default 16) */
	uint32_t accept_timeout;  /**< ms to wait for a source; 0: no limit */
	uint32_t connect_timeout; /**< ms for a source to agree (default 10,000) */
	uint32_t link_timeout; /**< ms of silence after which the peer is dead (default 10,000) */
	int odp;	       /**< as rf_source_cfg.odp, of this side's device */
	const char *poll_mode; /**< "adaptive" (default), "busy" or "event": how the threads that
				    serve lanes wait */
	const char *poll_cpus; /**< CPUs for them, such as "2,4-7"; NULL: next to the NIC */
	struct rf_guest_ops guest; /**< load_state and resume are needed, but for save */
	void *guest_arg;
	const char *save; /**< takes a snapshot (rf_snapshot_run()) and writes it to this file
			       instead of starting a guest; the file appears when it is complete,
			       over one of that name. NULL: takes guests and snapshots, and starts
			       a guest from either */
	/** As rf_source_cfg.progress. Optional. */
	void (*progress)(void *arg, const struct rf_stats *stats);
	void *progress_arg;
};

/** What a guest's memory is, and how pages get into it. */
enum rf_placement {
	RF_PLACEMENT_CONTINUE, /**< a memfd the transport writes to as well: pages are only mapped
				*/
	RF_PLACEMENT_COPY,     /**< private anonymous memory: pages are copied from such a memfd,
				    in postcopy one by one (UFFDIO_COPY), in precopy all at
				    switch-over, while the guest stands still. For guests whose
				    memory cannot be shared; takes twice the memory until
				    rf_dest_run() returns */
};

/** A region the destination is ready to take; id, len and page size must be the source's. */
struct rf_dest_region {
	size_t size; /**< sizeof(struct rf_dest_region) */
	char id[RF_REGION_ID_SIZE];
	uint64_t len;		     /**< bytes */
	uint32_t page_size;	     /**< host page: 4096, 2 MiB or 1 GiB */
	enum rf_placement placement; /**< default RF_PLACEMENT_CONTINUE */
};

/** Where a region's memory is on the destination. */
struct rf_dest_memory {
	size_t size;	  /**< sizeof(struct rf_dest_memory), set by the caller */
	void *guest_view; /**< the mapping the guest runs on */
	int memfd;	  /**< the file behind it; -1 with RF_PLACEMENT_COPY */
};

/**
 * Makes a destination and listens on its control port.
 * @param out  on success; the caller ends it with rf_dest_delete().
 * @return RF_ERR_INVALID, RF_ERR_BUSY (port in use), RF_ERR_UNREACHABLE (no such local
 *         address), RF_ERR_NO_MEMORY, RF_ERR_SYSTEM.
 */
int rf_dest_new(const struct rf_dest_cfg *cfg, struct rf_dest **out);

/** The control port, in host byte order. */
uint16_t rf_dest_port(const struct rf_dest *dst);

/**
 * Declares a region and makes its memory: a memfd mapped twice, the landing view (written by
 * the transport) and the guest view (for the VMM), or as its placement says. Sparse: nothing is
 * populated. Each region keeps a file descriptor of its own, so that it can be handed over alone:
 * with many regions the limit of open files (RLIMIT_NOFILE) must allow for them.
 * @param mem  optional, on success where the memory is. It belongs to the destination until
 *             rf_dest_delete() unless rf_dest_release_memory() hands it over.
 * @return RF_ERR_INVALID, RF_ERR_STATE after rf_dest_run(), RF_ERR_NO_MEMORY, RF_ERR_SYSTEM
 *         (e.g. no more file descriptors).
 */
int rf_dest_add_region(struct rf_dest *dst, const struct rf_dest_region *region,
		       struct rf_dest_memory *mem);

/**
 * Waits for a source, takes the guest and resumes it. Blocks until the guest runs here or the
 * migration failed; call it once. A peer that is not a ramferry source is turned away with
 * one line in the log, and the wait goes on.
 * In postcopy it returns when the last page is here, while the guest has been running.
 * @return RF_OK: the guest runs here, and nowhere else but where its snapshot was taken; or its
 *         snapshot is in the file. RF_ERR_GUEST_LOST: it ran here in
 *         postcopy and lacks pages for good. Any other error: it does not run here.
 * Threads: one; others may call cancel and stats meanwhile.
 */
int rf_dest_run(struct rf_dest *dst);

/**
 * As rf_source_cancel(). Once the device state is loaded it does nothing: the source may already
 * have given the guest up.
 */
void rf_dest_cancel(struct rf_dest *dst);

/** As rf_source_stats(). */
void rf_dest_stats(struct rf_dest *dst, struct rf_stats *stats);

/**
 * Hands a region's guest view and memfd over to the caller, who unmaps and closes them; the
 * destination keeps nothing of it. After rf_dest_run() only.
 * @param index  order of rf_dest_add_region().
 */
int rf_dest_release_memory(struct rf_dest *dst, unsigned index, struct rf_dest_memory *mem);

/**
 * Ends *dst, frees memory that was not released, sets *dst to NULL. NULL is fine. After
 * RF_ERR_GUEST_LOST the memory stays mapped until the process ends, because threads of the
 * guest may wait in it for pages that will never come: end the process.
 */
void rf_dest_delete(struct rf_dest **dst);

#ifdef __cplusplus
}
#endif
#endif
