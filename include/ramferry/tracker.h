/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file tracker.h
 * How the source learns which pages the guest wrote.
 *
 * A tracker is a table of functions and an object. Built-in ones: KVM dirty log or dirty ring,
 * asynchronous userfaultfd write protection with PAGEMAP_SCAN, and a manual one.
 */
#ifndef RAMFERRY_TRACKER_H
#define RAMFERRY_TRACKER_H

#include <stddef.h>
#include <stdint.h>

#include <ramferry/region.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Takes what a harvest finds. Opaque; given to harvest, valid during that call. */
struct rf_dirty_sink;

/**
 * Reports pages first … first + count - 1 of the region being harvested as written.
 * Pages outside the region are ignored and logged. Only from within harvest.
 */
void rf_dirty_sink_run(struct rf_dirty_sink *sink, uint64_t first, uint64_t count);

/**
 * Reports a bitmap: bit b of words[w] is page first + 64 * w + b.
 * @param first a multiple of 64. Bits past the region's end are ignored.
 */
void rf_dirty_sink_words(struct rf_dirty_sink *sink, uint64_t first, const uint64_t *words,
			 uint64_t nwords);

/**
 * A tracker. start, harvest and stop are called one at a time (a lock of the migration sees
 * to it), not always from the same thread.
 */
struct rf_tracker_ops {
	size_t size;	  /**< sizeof(struct rf_tracker_ops) */
	const char *name; /**< for logs and statistics, e.g. "kvm-log" */

	/**
	 * Begins to track. From its return on every guest write is seen by a later harvest.
	 * @param regions valid until stop.
	 */
	int (*start)(void *self, const struct rf_region *regions, unsigned n);

	/**
	 * Reports to sink, and re-arms, all pages of a region written since start or since the
	 * last harvest of that region. Re-arming comes before the caller reads the pages; a write
	 * during the call is reported now or next time, never lost. Reporting a clean page is
	 * allowed, losing a dirty one is not.
	 */
	int (*harvest)(void *self, unsigned region, struct rf_dirty_sink *sink);

	/** Ends tracking; harmless without start. */
	void (*stop)(void *self);
};

/** A built-in tracker: the table and the object to call it with. */
struct rf_tracker {
	const struct rf_tracker_ops *ops;
	void *self;
};

/**
 * Tracker by userfaultfd WP_ASYNC and PAGEMAP_SCAN (Linux 6.7) on memory of this process.
 * It sees writes through the mapping given as the region's addr, and no others.
 * @param out  set on success; ended by rf_tracker_delete().
 * @return RF_ERR_UNSUPPORTED (kernel too old), RF_ERR_PERMISSION (no userfaultfd).
 */
int rf_tracker_uffd_wp_new(struct rf_tracker *out);

/** Set-up of the soft-dirty tracker. */
struct rf_soft_dirty_cfg {
	size_t size;		  /**< sizeof(struct rf_soft_dirty_cfg) */
	int pid;		  /**< process whose memory it is; 0: this one */
	const uint64_t *addrs;	  /**< where the regions are in that process, in order of
				       rf_source_add_region(); NULL: the regions' addr. Copied */
	unsigned naddrs;	  /**< entries of addrs, at least one a region */
	int (*freeze)(void *arg); /**< returns when nobody writes to the regions any more; NULL:
				       SIGSTOP with a pid, nothing without one (then only
				       writes of the calling thread are safe) */
	void (*thaw)(void *arg);  /**< ends that; needed with freeze */
	void *arg;
};

/**
 * Tracker by soft-dirty bits (/proc/PID/clear_refs and pagemap), for kernels before 6.7. Every
 * harvest makes the writers stand still for as long as it takes to read the bits of all regions
 * (about 10 ms a GiB). Use at most one in a process: the bits are the process's.
 * @return RF_ERR_UNSUPPORTED (CONFIG_MEM_SOFT_DIRTY is not set), RF_ERR_INVALID,
 *         RF_ERR_NO_MEMORY.
 */
int rf_tracker_soft_dirty_new(const struct rf_soft_dirty_cfg *cfg, struct rf_tracker *out);

/**
 * Tracker for VMMs that know themselves what was written: rf_tracker_manual_mark().
 */
int rf_tracker_manual_new(struct rf_tracker *out);

/**
 * Marks bytes [offset, offset + len) of a region as written.
 * @param region index in the order of rf_source_add_region().
 * @return RF_ERR_INVALID if out of range; RF_OK also while the tracker is not started (no
 *         effect). Any thread, also at the same time.
 */
int rf_tracker_manual_mark(struct rf_tracker *t, unsigned region, uint64_t offset, uint64_t len);

/** One KVM memory slot. */
struct rf_kvm_slot {
	uint32_t slot;		/**< KVM's slot number */
	uint32_t region;	/**< index of the region it belongs to */
	uint64_t region_offset; /**< where in the region the slot begins, a multiple of 256 KiB */
	uint64_t guest_phys;	/**< guest-physical address of its begin */
	uint64_t len;		/**< bytes */
	void *addr;		/**< userspace address KVM was given */
};

/** Set-up of the KVM tracker. */
struct rf_kvm_tracker_cfg {
	size_t size;			 /**< sizeof(struct rf_kvm_tracker_cfg) */
	int vm_fd;			 /**< the VM; stays the caller's */
	const struct rf_kvm_slot *slots; /**< copied */
	unsigned nslots;
	int use_ring;	     /**< 1: dirty ring; KVM_CAP_DIRTY_LOG_RING was enabled by the caller
				  before it made vCPUs */
	uint32_t ring_bytes; /**< size given to that capability */
	const int *vcpu_fds; /**< with use_ring: the vCPUs, copied */
	unsigned nvcpus;
	/** with use_ring, optional: makes every vCPU leave KVM_RUN once, so that its ring is
	    complete (called by harvest). */
	void (*kick)(void *arg);
	void *kick_arg;
};

/**
 * Tracker by KVM's dirty log with manual clear (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 is enabled
 * here) or dirty ring. start sets KVM_MEM_LOG_DIRTY_PAGES on the slots, stop takes it off.
 * Writes of the VMM itself through its own mapping are not in KVM's log.
 * @return RF_ERR_UNSUPPORTED if KVM lacks the capability.
 */
int rf_tracker_kvm_new(const struct rf_kvm_tracker_cfg *cfg, struct rf_tracker *out);

/**
 * With the ring: empties it from the vCPU thread after KVM_EXIT_DIRTY_RING_FULL. Any thread.
 */
int rf_tracker_kvm_ring_full(struct rf_tracker *t);

/** Ends a built-in tracker and clears *t. NULL and an empty *t are fine. */
void rf_tracker_delete(struct rf_tracker *t);

#ifdef __cplusplus
}
#endif
#endif
