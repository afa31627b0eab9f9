/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Client and server of one measurement, from the TCP connection to the last row.
 *
 *   client (client.c)                     server (server.c)
 *   PARAMS (options, rung) ─────────────► opens the transport, registers memory
 *        ◄─────────────────────────────── OFFER (address, token, key, limits)
 *   KEYS ───────────────────────────────► accepts the lanes
 *   connects the lanes ~~~~~~~~~~~~~~~~~►
 *        ◄─────────────────────────────── UP
 *   for each size: RUN ─────────────────► makes its memory ready
 *        ◄─────────────────────────────── GO
 *   measures ~~~~~~~~~~~~~~~~~~~~~~~~~~~► answers or watches
 *        ◄─────────────────────────────── DONE (CPU time)
 *   CHECK, DIGESTS if --verify; ROW ────► prints it
 *   RUN of size 0 ──────────────────────► ends
 */
#ifndef RF_BENCH_SESSION_H
#define RF_BENCH_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/engine.h"
#include "bench/msg.h"
#include "bench/options.h"
#include "bench/peer.h"
#include "bench/report.h"

struct session;

/* One size, as the client tells the server. */
struct run {
	uint64_t number;  /* 1, 2, … */
	unsigned variant; /* index into the kind's variants */
	unsigned turn;	  /* 0, 1, …: variants are measured in turns */
	bool last;	  /* the row is complete */
	uint64_t size;
	uint64_t iters;	   /* per lane, with the turns before; 0: until the time is up */
	uint64_t duration; /* ms */
};

/* What one program is. Functions return 0, or -1 after a line on stderr. */
struct bench_kind {
	const char *name, *title, *purpose;
	const struct rf_opt *table;
	const struct column *columns;
	enum rf_lane_kind lane_kind;
	bool both_ways;	       /* the server writes too */
	bool own_memory;       /* the loops make and register what they measure */
	const uint64_t *sizes; /* of -a, ends with 0; NULL: the powers of 2 */
	/* What each size is measured as; NULL: one thing without a name. */
	const char *const *variants;
	bool (*wants)(const struct bench_params *p, unsigned variant); /* NULL: all */
	/* What is wrong with the options; NULL: nothing, or no such function. */
	const char *(*refuses)(const struct bench_opts *o);
	int (*client)(struct session *s, const struct run *r, struct row *row);
	int (*server)(struct session *s, const struct run *r);
};

struct session {
	const struct bench_kind *kind;
	struct bench_opts opts; /* the server has the client's `want` in it */
	struct rf_mem_hub *hub; /* transport mem: shared by both sides */
	bool server, quiet;
	struct peer peer;
	char rung[RF_WIRE_RUNG_SIZE];
	struct engine *engine;
	bool sleeps;		    /* else it polls */
	uint64_t depth;		    /* what was asked for, within the limit of both sides */
	uint64_t max_write;	    /* of both sides */
	uint64_t lane_bytes, bytes; /* of memory, per lane and in all */
	uint8_t *src, *dst;	    /* NULL where not needed */
	uint64_t idle;		    /* times there was nothing to do */
	double baseline[4];	    /* for the client's loops: of this size, so far */
	void *kept;		    /* for the server's: between turns; freed at the end */
	struct report report;
};

/* The client of the server at s->peer, or the other way round; closes all. 0, or -1. */
int session_client(struct session *s);
int session_server(struct session *s);

/* ---- for the loops ---- */

/* Nothing to do at the moment: sleeps until a lane may have something, the peer says something
 * on the TCP connection, or a tenth of a second went by; or does not, if this side polls. 1: the
 * peer says something; 0: go on; -1. */
int session_idle(struct session *s);
/* The peer says something while only lanes should be busy: what it was. Returns -1. */
int session_interrupted(struct session *s);
/* A lane failed with err: says so. Returns -1. */
int session_lane_failed(struct session *s, unsigned lane, int err);
/* What the session's engine was opened with: for one more of its kind. */
struct engine_cfg session_engine_cfg(const struct session *s);
/* Writes posted with one call. */
uint64_t session_post_list(const struct session *s);
/* CPU time of this side so far, ns: of the process, or of the thread if both sides are threads. */
uint64_t session_cpu(const struct session *s);

/* ---- for client.c and server.c ---- */

int session_open(struct session *s);
int session_add_memory(struct session *s, uint8_t **p, struct rf_remote_key *key);
void session_put_key(struct msg *m, const struct rf_remote_key *key);
void session_get_key(struct msg *m, struct rf_remote_key *key);
int session_nonsense(void); /* says that a message was wrong. Returns -1 */
/* The last thing of each side: tells the peer if this one gave up, and frees. Returns rc. */
int session_finish(struct session *s, int rc);

#endif
