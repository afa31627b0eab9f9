/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole migration in this process: a source and a destination in a thread each, and between them
 * a guest that is nothing but memory, a thread that writes to it, and counters of what was asked
 * of it.
 *
 *   mv_open → (change what is to be changed) → mv_run → look at it → mv_close
 *
 * Whatever happens to a migration, mv_run checks what must hold of every one: at most one side
 * runs the guest, the source's guest runs unless the destination's may, memory is equal where the
 * destination's guest begins.
 */
#ifndef RF_TESTS_MIGRATION_MOVE_H
#define RF_TESTS_MIGRATION_MOVE_H

#include "tests/unit/unit.h"

#include <stdatomic.h>

#include <ramferry/ramferry.h>

#include "transport/mem/mem.h"

#define PAGE	      ((uint64_t)RF_PAGE_SIZE)
#define MIB	      ((uint64_t)1 << 20)
#define HUGE_PAGE     (2 * MIB)
#define MV_NO_STATE   SIZE_MAX
#define MV_MUCH_STATE (64 * MIB) /* from here on all zeros */

/* A guest of very many regions. The sanitizers' shadow of so many small things takes its time. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define MV_REGIONS 200u
#else
#define MV_REGIONS 1000u
#endif

/* Moments of a migration, in the order they come. A hook sees each and may spoil it. */
enum mv_step {
	MV_NEVER,
	MV_DST_SETUP,	  /* destination: state setup */
	MV_SRC_SETUP,	  /* source: state setup */
	MV_DST_ACTIVE,	  /* destination: lanes are up */
	MV_SRC_ACTIVE,	  /* source: likewise */
	MV_TRACKER_START, /* the tracker is started */
	MV_HARVEST,	  /* region 0 is harvested, also while the guest is paused */
	MV_SRC_PROGRESS,  /* source: progress in state active, e.g. after a round */
	MV_PAUSE,
	MV_SRC_DEVICE, /* source: state device */
	MV_DST_DEVICE, /* destination: the last round has come */
	MV_SAVE,
	MV_LOAD,
	MV_DST_RESUME, /* the word to run has come */
	MV_SRC_RESUME, /* source: goes on there */
	MV_HINT_START, /* hints of free pages are taken */
	MV_STEPS,
};
const char *mv_step_str(enum mv_step s);

enum mv_tracker { MV_MANUAL, MV_UFFD_WP };

/* How the guest's memory is made. */
enum mv_memory {
	MV_MEMFD,     /* a file for each region */
	MV_ONE_MEMFD, /* one file for all */
	MV_ANONYMOUS,
};

/* What begins as what: pages of each region, repeated. */
enum mv_content {
	MV_MIXED,   /* data, zeros and holes */
	MV_DATA,    /* all data */
	MV_SPARSE,  /* a page in 64 */
	MV_CORNERS, /* a few pages far apart */
	MV_EMPTY,   /* never touched */
	MV_ZEROS,   /* touched and zero */
};

struct mv;
/* RF_OK, or what the step is to return. From the thread that takes the step. */
typedef int (*mv_hook)(struct mv *m, enum mv_step s);

/* Which ends are run; the test plays the other. */
enum mv_who { MV_BOTH, MV_SRC_ALONE, MV_DST_ALONE };

struct mv_cfg {
	const char *name;
	const char *transport, *provider; /* default: mem */
	enum rf_mode mode;
	const char *host; /* default: 127.0.0.1 */
	unsigned regions; /* default: 1 */
	uint64_t len;	  /* of each; default: 4 MiB */
	bool mixed;	  /* every other region in pages of 2 MiB */
	bool huge;	  /* all of them */
	enum mv_memory memory;
	enum mv_content content;
	enum mv_tracker tracker;
	bool writer;	 /* a thread writes while the guest runs */
	unsigned rounds; /* the script dirties pages before as many harvests, and so makes rounds */
	unsigned lanes;
	uint64_t chunk_size;
	uint32_t piece_size;
	bool pin_all, verify;
	bool free_hints;
	bool release_ram; /* what the guest held when it was paused is kept, to compare */
	unsigned postcopy_after;
	uint32_t timeout, link_timeout;
	bool no_window; /* the push does not wait for what is on its way */
	uint64_t max_bandwidth;
	struct rf_limiter *limiter;
	bool hot_in_order, auto_converge;
	bool hook_writes; /* to the guest's memory */
	unsigned calm_at; /* throttle, percent, from which on the script dirties nothing */
	enum rf_timeout_action timeout_action;
	uint32_t sync_interval; /* default: off, so that the script counts harvests */
	bool throttle;		/* the guest has that function */
	bool throttle_fails;
	uint64_t state_told; /* device state as told while it runs; default: more than any limit */
	bool never_fits;     /* the estimate never lets it switch over while something is left */
	size_t state_len;    /* device state; default: 1000 */
	mv_hook hook;
	void *hook_arg;
	struct rf_mem_hub_cfg hub; /* scripted: a thread makes the steps */
	enum mv_who who;
	uint16_t port; /* of another destination than ours */
	uint32_t connect_timeout;
};

struct mv_region {
	uint8_t *addr;
	uint64_t len;
	uint32_t page_size;
	int memfd;
	uint64_t memfd_offset;
	struct rf_dest_memory there;
	uint8_t *before;     /* release_ram: what it held when it was paused */
	_Atomic bool *freed; /* by page: the guest does not need it */
};

/* What was asked of the guest on one side, and how its run ended. */
struct mv_side {
	unsigned pauses, resumes, saves, loads;
	unsigned hint_starts, hint_dones;
	unsigned throttles;    /* calls of throttle */
	unsigned throttle;     /* percent, last told */
	unsigned max_throttle; /* percent, ever told */
	pthread_t throttled_by;
	int rc;
	struct rf_stats stats;
	_Atomic bool done;
};

struct mv {
	struct mv_cfg cfg;
	struct mv_region *regions;
	struct rf_source *source;
	struct rf_dest *dest;
	struct rf_mem_hub *hub;
	struct mv_side src, dst;
	_Atomic unsigned harvests; /* of region 0 */
	bool differs;		   /* memory, when the destination's guest began */
	uint64_t seed;
	uint64_t epoch; /* hints began with it */
	/* the guest */
	pthread_mutex_t cpu; /* held by who writes or pauses */
	bool paused;	     /* guarded by cpu */
	_Atomic bool stop;
	struct rf_tracker tracker; /* wraps inner */
	struct rf_tracker inner;
	_Atomic uint64_t writes;
	/* threads */
	pthread_t src_thread, dst_thread, writer_thread, step_thread;
	_Atomic bool stop_steps;
};

/* Makes both ends and the guest; fails the test if it cannot. */
void mv_open(struct mv *m, const struct mv_cfg *cfg);
/* Runs both ends to their end and checks what must hold of every migration. A destination that no
 * source came to is cancelled. */
void mv_run(struct mv *m);
void mv_close(struct mv *m);

/* The parts of mv_run: for tests that do something meanwhile. */
void mv_start(struct mv *m);
void mv_join(struct mv *m);
void mv_check(struct mv *m);

/* The migration succeeded, and its statistics add up. */
void mv_assert_moved(struct mv *m);
/* It failed with these results; the guest runs on the source. */
void mv_assert_stayed(struct mv *m, int src_rc, int dst_rc);

/* Skips the running case if the kernel lacks what the tracker needs. */
void mv_need(const struct mv_cfg *cfg);

/* move_guest.c: what mv_open and mv_run use */
void mv_make_guest(struct mv *m);
void mv_free_guest(struct mv *m);
void mv_start_writer(struct mv *m);
void mv_stop_writer(struct mv *m);
int mv_take_step(struct mv *m, enum mv_step s);
/* Frees pages as the guest would: from here on it may find anything old in them. Returns the hint's
 * result. */
int mv_guest_free(struct mv *m, unsigned region, uint64_t first, uint64_t count, uint64_t epoch);
/* Writes to a page as the guest would: data, or zeros. */
void mv_guest_write(struct mv *m, unsigned region, uint64_t page, bool zero);
bool mv_memory_equal(struct mv *m);
/* Pages the destination's files hold. */
uint64_t mv_pages_there(const struct mv *m);
/* Bytes the source's memory has in it. */
uint64_t mv_bytes_here(const struct mv *m);
/* The guest's device state. */
uint8_t mv_state_byte(uint64_t i);
extern const struct rf_guest_ops mv_src_ops, mv_dst_ops;

/* The hub of transport mem, for sides made by hand; either may be NULL. */
void mv_set_hubs(struct rf_source *src, struct rf_dest *dst, struct rf_mem_hub *hub);

/* ---- log ---- */

/* Errors logged since mv_log_start, by which side they name. */
struct mv_log {
	unsigned src, dst, other;
	char last[512];
};
void mv_log_start(void);
void mv_log_stop(struct mv_log *out);

#endif
