/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file source.h
 * The source side of a migration: the host the guest leaves.
 *
 *   rf_source_new → rf_source_add_region … → rf_source_run → rf_source_delete
 */
#ifndef RAMFERRY_SOURCE_H
#define RAMFERRY_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include <ramferry/err.h>
#include <ramferry/guest.h>
#include <ramferry/limiter.h>
#include <ramferry/region.h>
#include <ramferry/stats.h>
#include <ramferry/tracker.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One outgoing migration. Opaque. */
struct rf_source;

/** How a guest moves. */
enum rf_mode {
	RF_MODE_PRECOPY = 0, /**< the guest runs here until all its memory is there */
	RF_MODE_POSTCOPY,    /**< the guest runs there at once, its memory follows */
	RF_MODE_HYBRID,	     /**< precopy, then postcopy: on command, after postcopy_after
				  rounds, or when precopy does not get anywhere */
};

/** What is done when the time for the whole migration is over. */
enum rf_timeout_action {
	RF_TIMEOUT_CANCEL = 0, /**< RF_ERR_NOT_CONVERGED; the guest runs on here */
	RF_TIMEOUT_POSTCOPY,   /**< goes over to postcopy; with RF_MODE_HYBRID */
	RF_TIMEOUT_SWITCH,     /**< switches over, whatever the downtime will be */
};

/** sync_interval: harvests only between rounds. */
#define RF_SYNC_OFF UINT32_MAX

/** urgent_window: no bulk at all while a page request is open. */
#define RF_URGENT_WINDOW_STOP 1u

/**
 * Set-up of a source. Zero in a field means its default. Strings are copied.
 */
struct rf_source_cfg {
	size_t size;		  /**< sizeof(struct rf_source_cfg) */
	const char *host;	  /**< destination: name, IPv4 or IPv6 address */
	uint16_t port;		  /**< its control port */
	const char *transport;	  /**< "auto" (default), "verbs", "ofi" */
	const char *provider;	  /**< libfabric provider, e.g. "tcp"; NULL: the first that works */
	unsigned bulk_lanes;	  /**< 1 (default) to 16 */
	uint64_t chunk_size;	  /**< bytes of a registration, power of two, 1 MiB to 1 GiB
				       (default 64 MiB) */
	uint32_t piece_size;	  /**< most bytes of one write, 4 KiB to 16 MiB (default 1 MiB) */
	int pin_all;		  /**< 1: register all memory of both sides at set-up */
	int odp;		  /**< 1: RDMA does not pin memory, the device faults pages in;
				       verbs does not work where it does not offer that */
	int verify;		  /**< 1: compare digests of all memory at switch-over */
	uint32_t downtime_limit;  /**< ms the guest may stand still (default 300) */
	uint32_t timeout;	  /**< ms for the whole migration; 0: no limit */
	uint32_t connect_timeout; /**< ms to connect and agree (default 10,000) */
	uint32_t link_timeout;	 /**< ms of silence after which the peer is dead (default 10,000) */
	enum rf_mode mode;	 /**< default RF_MODE_PRECOPY */
	unsigned urgent_lanes;	 /**< not in precopy: 1 (default) to 16 */
	uint32_t urgent_window;	 /**< bytes of bulk in flight while page requests are open
				      (default 64 KiB), or RF_URGENT_WINDOW_STOP */
	int follow_faults;	 /**< 1: the push goes on behind the last requested page;
				      0: where it was */
	unsigned postcopy_after; /**< hybrid: rounds of precopy, then postcopy; 0: as needed */
	uint64_t max_postcopy_bandwidth; /**< bytes a second of the push (0: no limit); answers
					      are never limited */
	uint64_t max_bandwidth; /**< bytes a second of precopy while the guest runs (0: no limit);
				     the last round, for which it stands still, is not limited */
	uint64_t avail_switchover_bandwidth;   /**< bytes a second to reckon with for the time the
						    guest stands still; 0: as measured */
	enum rf_timeout_action timeout_action; /**< default RF_TIMEOUT_CANCEL */
	int auto_converge; /**< 1: the guest is throttled while of what is sent more than half is
				soon dirty again; needs guest.throttle */
	unsigned cpu_throttle_initial;	 /**< percent to begin with (default 20) */
	unsigned cpu_throttle_increment; /**< percent more each time (default 10) */
	unsigned max_cpu_throttle;	 /**< percent at most (default and limit 99) */
	int cpu_throttle_tailslow;	 /**< 1: smaller steps when few are needed */
	uint32_t sync_interval; /**< ms between harvests in a round; 0 (default): an eighth of the
				     round, from 100 ms to 5 s, and never over a twentieth of the
				     time; RF_SYNC_OFF */
	int hot_in_order;	/**< 1: pages found dirty in two harvests of a round are sent where
				     they stand; 0: last in their round */
	const char *poll_mode;	/**< "adaptive" (default), "busy" or "event": how the threads that
				     serve lanes wait */
	const char *poll_cpus;	/**< CPUs for them, such as "2,4-7"; NULL: next to the NIC */
	struct rf_limiter *limiter; /**< bandwidth shared with other sources, besides the limits
					 above; the caller deletes it after them. Optional */
	int free_hints;		    /**< 1: the guest will tell of free pages
					 (rf_source_hint_free()); RF_MODE_POSTCOPY then needs
					 the tracker as well */
	uint32_t hint_wait;	    /**< RF_MODE_POSTCOPY: ms the guest has for its hints before
					 it is paused (default 100) */
	int release_ram;	    /**< 1: in postcopy the memory of the regions is given back to
					 the host as pages arrive at the destination, and all of it
					 at the end; see below. Not in RF_MODE_PRECOPY */
	struct rf_guest_ops guest;  /**< pause, resume and save_state are needed */
	void *guest_arg;
	struct rf_tracker tracker; /**< needed; the caller keeps and deletes it */
	/** Called after every round and change of state from the thread of rf_source_run();
	    may call rf_source_cancel(). Optional. */
	void (*progress)(void *arg, const struct rf_stats *stats);
	void *progress_arg;
};

/*
 * release_ram: what ramferry does with the VMM's memory.
 *
 * Nothing before the destination has said that the guest runs there. From then on the source never
 * resumes the guest, whatever happens, so its memory is good for nothing but sending what is
 * missing there. Given back are pages that the destination has in full: at once those it had when
 * the guest was paused, the others as it says so; at the end everything. A migration that ends in
 * precopy, also one of RF_MODE_HYBRID, gives nothing back.
 *
 * Of a region with a file a hole is made (fallocate), which empties the file for everybody who has
 * it open or mapped: not for files that are to be kept. Other regions are dropped by madvise. The
 * mappings stay and read as zero. Memory that is pinned, by the transport or by others, is free
 * only when the last one lets go of it: registrations of the transport are taken back first, so
 * over RDMA whole chunks are given back (chunk_size). Others that pin it, such as VFIO or
 * vhost, are the VMM's to end. A region whose memory cannot be given back is kept, with a warning.
 *
 * Do not use the guest's memory on this side afterwards, e.g. to compare it.
 */

/**
 * Makes a source. Does not connect.
 * @param cfg  read during the call.
 * @param out  the source, on success; the caller ends it with rf_source_delete().
 * @return RF_ERR_INVALID (the log names the field), RF_ERR_NO_MEMORY, RF_ERR_SYSTEM.
 */
int rf_source_new(const struct rf_source_cfg *cfg, struct rf_source **out);

/**
 * Adds a region, before rf_source_run(). The order gives the index trackers see.
 *
 * Memory that is plugged into the guest once the migration has begun is not carried: the call is
 * refused, and the VMM must either take the memory out again before the guest is paused, or
 * cancel and begin anew.
 * @return RF_ERR_INVALID (address, length, page size, id empty or used twice, too many),
 *         RF_ERR_STATE from the begin of rf_source_run() on (then also from other threads),
 *         RF_ERR_NO_MEMORY.
 */
int rf_source_add_region(struct rf_source *src, const struct rf_region *region);

/**
 * Moves the guest. Blocks until it is over; call it once.
 *
 * On RF_OK the guest runs on the destination and stays paused here. On every other result but
 * RF_ERR_UNKNOWN_OUTCOME it runs here as if nothing had happened. On RF_ERR_UNKNOWN_OUTCOME
 * it stays paused here for good, for it may be running there.
 * @return RF_OK or any error of err.h; rf_source_stats() has it in words.
 * Threads: one; others may call cancel, stats and state meanwhile.
 */
int rf_source_run(struct rf_source *src);

/**
 * Asks to go over to postcopy, also in the middle of a round. Only with RF_MODE_HYBRID; nothing
 * happens otherwise, or when the switch-over has begun. Any thread, also a signal handler.
 */
void rf_source_start_postcopy(struct rf_source *src);

/**
 * Changes a limit of the migration, also while it runs: the same fields of struct rf_source_cfg
 * set it for the beginning. Takes effect with the next write, at the latest after 100 ms.
 * @param bytes_per_s  0: no limit.
 * Any thread, also a signal handler.
 */
void rf_source_set_max_bandwidth(struct rf_source *src, uint64_t bytes_per_s);
void rf_source_set_max_postcopy_bandwidth(struct rf_source *src, uint64_t bytes_per_s);

/**
 * The same for the time the guest may stand still; counts for the next decision.
 * @param ms  0: the default (300).
 */
void rf_source_set_downtime_limit(struct rf_source *src, uint32_t ms);

/**
 * Slows the guest down while it runs on the source, from now until it has moved or this is
 * called again. The guest's throttle function is called from the thread of rf_source_run().
 * @param percent  0 (full speed) to 99: the share of time its vCPUs stand still.
 * @return RF_ERR_INVALID over 99, RF_ERR_UNSUPPORTED if the guest has no throttle function.
 * Any thread, also a signal handler.
 */
int rf_source_set_throttle(struct rf_source *src, unsigned percent);

/**
 * Number of the present epoch: what the next hints of free pages are told with. An epoch ends
 * whenever the tracker is asked what the guest has written.
 * @return 0 while no hint would be taken: without free_hints, before the memory has been looked at
 *         for the first time, while the tracker is asked, once the guest is paused. Any thread.
 */
uint64_t rf_source_hint_epoch(struct rf_source *src);

/**
 * The guest does not need what bytes [start, start + len) of a region hold: they need not be
 * moved. On the destination such a page reads as zero, or as it once was. The guest may write to
 * it at any time and without a word; then it is moved again.
 * @param region  index in the order of rf_source_add_region().
 * @param start   a multiple of RF_PAGE_SIZE, as is len.
 * @param epoch   what rf_source_hint_epoch() gave before the guest said that the pages are free.
 * @return RF_AGAIN: the epoch is over, the guest may have taken the pages back unseen; ask for the
 *         epoch and the guest for its pages again. RF_ERR_STATE: no hints are taken any more, or
 *         not yet. RF_ERR_INVALID: outside of the region, not whole pages.
 * Any thread, also at the same time.
 */
int rf_source_hint_free(struct rf_source *src, unsigned region, uint64_t start, uint64_t len,
			uint64_t epoch);

/**
 * Asks to stop. Takes effect at the next step, before the destination has been told to run;
 * after that it does nothing. Any thread, also a signal handler.
 */
void rf_source_cancel(struct rf_source *src);

/**
 * Snapshot of the statistics.
 * @param stats  its size field is set by the caller. Any thread.
 */
void rf_source_stats(struct rf_source *src, struct rf_stats *stats);

/** Ends *src and sets it to NULL. NULL is fine. Not while rf_source_run() runs. */
void rf_source_delete(struct rf_source **src);

#ifdef __cplusplus
}
#endif
#endif
