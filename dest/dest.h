/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of a destination. rf_dest_run() is the session thread; it owns everything but what is
 * marked otherwise.
 *
 *   handshake.c  accept, agree; probes
 *   rung.c       open a transport, take lanes
 *   serve.c      frames of a running migration, by phase
 *   landing.c    keys, zero runs, rounds
 *   verify.c     digests
 *   takeover.c   device state, the word to run
 *   save.c       a snapshot into a file, instead
 *   postcopy.c   missing pages; fault.c a fault thread; pages.c which page is where
 *   arrival.c    postcopy as the session sees it; landed.c what the source need not keep
 *   report.c     statistics, errors in words
 */
#ifndef RF_DEST_DEST_H
#define RF_DEST_DEST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <ramferry/dest.h>

#include "common/clock.h"
#include "common/first_error.h"
#include "common/state.h"
#include "common/wire.h"
#include "dest/landed.h"
#include "dest/lanes.h"
#include "dest/postcopy.h"
#include "dest/region.h"
#include "transport/ctrl.h"
#include "transport/transport.h"

/* ms from the source's end of a round to the fences of all its lanes. */
#define RF_DEST_FENCE_TIMEOUT 60000u
/* ms without any write coming to its end after which the file of a snapshot counts as dead. */
#define RF_DEST_FILE_TIMEOUT 30000u
/* ms from our word that the state is loaded to the source's word to run. */
#define RF_DEST_WORD_TIMEOUT 60000u

/* What has happened, and so which frames are legal (serve.c has the table). */
enum rf_dst_phase {
	RF_DST_PRECOPY,	 /* rounds */
	RF_DST_PAUSED,	 /* the last round is acknowledged: digests, device state */
	RF_DST_LOADED,	 /* the device state is loaded: the word to run */
	RF_DST_POSTCOPY, /* the guest runs, pages are missing */
	RF_DST_RUNNING,	 /* over */
};

/* Who is connected. What goes wrong with the first two is not the end of the migration. */
enum rf_dst_visitor {
	RF_DST_STRANGER, /* has not said hello */
	RF_DST_PROBER,	 /* only wants to know what would work */
	RF_DST_SOURCE,
};

struct rf_dest {
	/* fixed after new and add_region */
	struct rf_dest_cfg cfg;
	char *host, *transport, *provider, *poll_mode, *poll_cpus, *save;
	struct rf_dst_region *regions; /* in the order they were declared */
	uint32_t nregions;
	const struct rf_clock *clock;
	struct rf_mem_hub *hub; /* tests: backend mem */
	bool once;		/* tests: strangers end the run */
	struct rf_ctrl_listener *listener;
	uint16_t port;

	/* any thread */
	int cancel_fd;
	_Atomic bool cancelled;
	struct rf_state_cell state;
	_Atomic uint64_t round, zero_pages, device_state, free_told;
	_Atomic int verified;
	_Atomic double total_ms, setup_ms, poll_ms;
	_Atomic uint64_t poll_wakeups;

	/* lock */
	pthread_mutex_t lock;
	struct rf_first_error failure;
	char transport_name[16], provider_name[32];
	struct rf_postcopy_stats post_stats;
	struct rf_hint_stats hint_stats;

	/* session thread */
	bool ran;
	bool peer_told; /* the source knows that it failed */
	enum rf_dst_visitor visitor;
	uint64_t probe_until_ns;
	uint64_t start_ns;
	struct rf_ctrl *ctrl;
	struct rf_transport *t;
	struct rf_poll_plan plan;
	struct rf_dst_lanes lanes;
	struct rf_lane *urgent[RF_WIRE_MAX_LANES]; /* until postcopy takes them */
	unsigned nurgent;
	struct rf_wire_hello hello;
	bool rung_offered;		  /* and no word yet that it failed */
	struct rf_dst_region **by_source; /* regions in the source's order */
	enum rf_dst_phase phase;
	uint64_t round_ending; /* its fences are awaited; 0: none */
	bool round_last;
	uint64_t fence_deadline_ns;
	uint8_t *reply; /* a payload being built */
	/* postcopy */
	struct rf_dst_postcopy post;
	bool postcopy; /* armed */
	struct rf_dst_landed landed;
	/* digests */
	uint8_t *copy;
	uint32_t digest_region; /* next digest to come */
	uint64_t digest_block;
	bool digests_done;
	struct rf_wire_digest_result difference;
	bool differs;
	/* device state */
	uint8_t *device;
	uint64_t device_len, device_total;
	uint64_t word_deadline_ns;    /* for the word to run */
	struct rf_image_writer *file; /* cfg.save */
};

/* handshake.c: RF_OK: lanes are up. */
int rf_dest_connect(struct rf_dest *d);
void rf_dest_disconnect(struct rf_dest *d);
/* ms to wait for the next step of who wants to agree. */
uint32_t rf_dest_patience(const struct rf_dest *d);

/* rung.c: rungs until the lanes of one are up. */
int rf_dest_serve_rungs(struct rf_dest *d, const struct rf_wire_hello_ack *ack);
void rf_dest_close_lanes(struct rf_dest *d);

/* serve.c: until the guest runs or something failed. */
int rf_dest_serve(struct rf_dest *d);
/* Next frame within timeout ms (-1: none), which the caller frees; ERROR and CANCEL frames,
 * cancelling and a dead stream come back as errors. */
int rf_dest_recv(struct rf_dest *d, int timeout, struct rf_frame *f);
/* Cancelled? */
int rf_dest_check(struct rf_dest *d);
/* Sends a frame; what the source said last, or the stream's error in words, if it fails. */
int rf_dest_send(struct rf_dest *d, uint32_t type, const void *payload, uint32_t len);

/* Handlers of serve.c's table: one frame each. */
int rf_dest_take_key_req(struct rf_dest *d, const struct rf_frame *f);
int rf_dest_take_zero(struct rf_dest *d, const struct rf_frame *f);
int rf_dest_take_round_end(struct rf_dest *d, const struct rf_frame *f);
int rf_dest_take_trial(struct rf_dest *d, const struct rf_frame *f);
int rf_dest_take_digest(struct rf_dest *d, const struct rf_frame *f);
int rf_dest_take_digest_end(struct rf_dest *d, const struct rf_frame *f);
int rf_dest_take_state(struct rf_dest *d, const struct rf_frame *f);
int rf_dest_take_run(struct rf_dest *d, const struct rf_frame *f);
int rf_dest_take_free(struct rf_dest *d, const struct rf_frame *f);
int rf_dest_take_missing(struct rf_dest *d, const struct rf_frame *f);
int rf_dest_take_postcopy(struct rf_dest *d, const struct rf_frame *f);
/* arrival.c: is the last page here, or did something break? */
int rf_dest_check_postcopy(struct rf_dest *d);
/* Acknowledges the round once all lanes are fenced. */
int rf_dest_try_ack(struct rf_dest *d);

/* save.c: the file, which is there from the start so that what is wrong with it shows at once. */
int rf_dest_save_open(struct rf_dest *d);
/* All that has landed and the device state, durable; all but its name. */
int rf_dest_save_write(struct rf_dest *d);
int rf_dest_save_commit(struct rf_dest *d); /* gives it its name */
void rf_dest_save_close(struct rf_dest *d);

/* report.c */
/* Keeps the first error and its words, and logs it. Returns that one. */
int rf_dest_fail(struct rf_dest *d, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int rf_dest_malformed(struct rf_dest *d, uint32_t type);
/* Forgets the error: it was that of a visitor. */
void rf_dest_forgive(struct rf_dest *d);
/* dest.c: tells the source why, if it is still there. */
void rf_dest_say_goodbye(struct rf_dest *d, int err);
void rf_dest_set_state(struct rf_dest *d, enum rf_state to);
void rf_dest_keep_postcopy_stats(struct rf_dest *d);
void rf_dest_keep_poll_stats(struct rf_dest *d);

/* tests: the hub that transport "mem" connects through; before run. */
void rf_dest_set_hub(struct rf_dest *d, struct rf_mem_hub *hub);
/* tests: a stranger that is turned away ends the run with its error, instead of the wait going
 * on; before run. */
void rf_dest_set_once(struct rf_dest *d);

#endif
