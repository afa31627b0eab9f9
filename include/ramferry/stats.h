/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file stats.h
 * State and statistics of a migration, by QEMU's names (qapi/migration.json), so that users
 * know what they read. Underscores here are hyphens in JSON.
 */
#ifndef RAMFERRY_STATS_H
#define RAMFERRY_STATS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** State of a migration, on either side. */
enum rf_state {
	RF_STATE_NONE,
	RF_STATE_SETUP,
	RF_STATE_ACTIVE,
	RF_STATE_PRE_SWITCHOVER,
	RF_STATE_DEVICE,
	RF_STATE_POSTCOPY_ACTIVE,
	RF_STATE_POSTCOPY_PAUSED,
	RF_STATE_POSTCOPY_RECOVER,
	RF_STATE_COMPLETED,
	RF_STATE_FAILED,
	RF_STATE_CANCELLING,
	RF_STATE_CANCELLED,
	RF_STATE_COUNT,
};

/** QEMU's name of a state, e.g. "postcopy-active". Never NULL. */
const char *rf_state_str(enum rf_state state);

/** Statistics of RAM. Bytes, pages and counts since the start of the migration. */
struct rf_ram_stats {
	uint64_t total;			  /**< bytes of all regions */
	uint64_t transferred;		  /**< bytes put on the wire, headers of our own included */
	uint64_t remaining;		  /**< bytes still to send */
	uint64_t duplicate;		  /**< zero pages announced */
	uint64_t normal;		  /**< pages sent as data */
	uint64_t normal_bytes;		  /**< normal * page-size */
	uint64_t dirty_sync_count;	  /**< harvests of the tracker */
	uint64_t dirty_pages_rate;	  /**< pages a second, smoothed over a second or so */
	double mbps;			  /**< megabits a second, last round */
	uint64_t page_size;		  /**< bytes of a target page */
	uint64_t precopy_bytes;		  /**< bytes sent while the guest ran on the source */
	uint64_t downtime_bytes;	  /**< bytes sent while the guest stood still */
	uint64_t skipped;		  /**< pages never sent because they are holes */
	uint64_t redundant_pages_avoided; /**< pages not sent again, because background sync saw
						that their last write had been sent */
	uint64_t hot_pages_deferred;	  /**< pages sent last in their round */
	uint64_t background_sync_count;	  /**< harvests in the middle of rounds */
	uint64_t resident;		  /**< bytes of the regions in memory (destination) */
	uint64_t released; /**< bytes given back to the host by release_ram (source) */
};

/** Buckets of postcopy_latency_dist, as QEMU's. */
#define RF_LATENCY_BUCKETS 24

/** Guest threads whose waiting is told apart. */
#define RF_MAX_BLOCKED 16

/**
 * Statistics of postcopy. The source knows how requests were served, the destination how long
 * they took; the other fields are zero. Times in microseconds: from the fault being read to the
 * page being placed.
 */
struct rf_postcopy_stats {
	int active;	       /**< 1: the migration went over to postcopy */
	uint64_t requests;     /**< page requests */
	uint64_t bytes;	       /**< sent as answers (source) */
	uint64_t pushed_bytes; /**< sent without a request (source) */
	uint64_t duplicates;   /**< requests for pages that were on their way */
	uint64_t boosted;      /**< requests for the page that was half sent */
	uint64_t zero_answers;
	uint64_t window_changes; /**< of the bulk window (source) */
	uint64_t faults;	 /**< (destination) */
	uint64_t local_faults;	 /**< answered without the source */
	uint64_t existed;	 /**< pages found in place (EEXIST) */
	double latency;		 /**< mean, requested pages */
	double latency_p50, latency_p99, latency_max;
	double part_request, part_wire, part_place; /**< means: to the request, to its answer, to
							 the page in place */
	uint64_t latency_dist[RF_LATENCY_BUCKETS];  /**< bucket N: [2^N, 2^(N+1)) us */
	struct {
		uint32_t thread; /**< kernel id */
		uint64_t faults;
		double blocked_ms; /**< it stood still */
	} blocked[RF_MAX_BLOCKED];
	unsigned nblocked;
};

/** Statistics of free page hints. The destination fills the last four. */
struct rf_hint_stats {
	uint64_t hints;	  /**< taken */
	uint64_t stale;	  /**< refused: their epoch was over, or none was open */
	uint64_t pages;	  /**< named by those that were taken */
	uint64_t avoided; /**< of these, pages that would have been sent in their round */
	uint64_t told; /**< pages free at switch-over, as told to the destination; on both sides */
	uint64_t faults; /**< in postcopy, on free pages: answered with zeros, here */
	double latency;	 /**< us from reading such a fault to the page in place: mean, */
	double latency_p50, latency_max; /**< median, most */
};

/** Statistics of a migration. Times in milliseconds. */
struct rf_stats {
	size_t size; /**< sizeof(struct rf_stats), set by the caller */
	enum rf_state status;
	int error;	      /**< enum rf_err of the end, RF_OK until then */
	char error_desc[256]; /**< one line in words, empty if none */
	char transport[16];   /**< "verbs", "ofi", "mem"; empty until chosen */
	char provider[32];    /**< libfabric provider or RDMA device; empty if none */
	char tracker[32];     /**< name of the tracker (source) */
	unsigned lanes;	      /**< bulk lanes in use */
	uint64_t round;	      /**< precopy round under way, from 1 */
	double total_time;
	double setup_time;
	double downtime;	  /**< pause to the destination's word that the guest runs */
	double expected_downtime; /**< the estimate the last decision was made with */
	double downtime_error;	  /**< downtime less verify_time less expected_downtime, at the
					end (source) */
	uint64_t not_converging;  /**< round in which that was found; 0: never */
	double verify_time;	  /**< part of downtime spent on comparing digests */
	double poll_cpu_time;	  /**< ms of CPU the threads that serve lanes took, at the end */
	uint64_t poll_wakeups;	  /**< times they were woken, at the end */
	int verified;		  /**< 1: digests of all memory were compared and equal */
	uint64_t device_state;	  /**< bytes */
	unsigned cpu_throttle_percentage; /**< share of time vCPUs stand still
					       (source); the last one at the end */
	uint64_t max_bandwidth;		  /**< limits in force (source): bytes a second, 0: none */
	uint64_t max_postcopy_bandwidth;
	uint32_t downtime_limit; /**< ms */
	struct rf_ram_stats ram;
	struct rf_postcopy_stats postcopy; /**< all zero without postcopy */
	struct rf_hint_stats free_hints;   /**< all zero without free_hints */
};

#ifdef __cplusplus
}
#endif
#endif
