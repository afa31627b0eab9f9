/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The transport contract: lanes, registered memory, posts and completions. Everything above
 * transport/ uses these functions and asks caps, never which backend it is.
 *
 *   source                                     destination
 *   rf_transport_open(rung)                    rf_transport_open(rung)
 *                                              rf_transport_listen → addr ──(control stream)──►
 *   rf_transport_connect(addr, token, kind, i) rf_transport_accept(token)   once per lane
 *   rf_mr_register(LOCAL_READ)                 rf_mr_register(REMOTE_WRITE) → rf_remote_key
 *   rf_lane_write …, rf_lane_fence      ~~~~►  rf_lane_poll → RF_OP_FENCE_SEEN
 *
 * Threads: a lane belongs to one thread at a time, which posts, polls, arms and closes it.
 * Different lanes of one transport may be used by different threads at once. Registering and
 * deregistering may be done from any thread.
 *
 * Results: see err.h. RF_AGAIN and RF_NO_RESOURCE are answers. A lane that has reported an
 * error stays dead: every later post returns the same error, and polling hands out what was
 * flushed, then that error for ever.
 */
#ifndef RF_TRANSPORT_TRANSPORT_H
#define RF_TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ramferry/err.h>

#include "common/wire.h"

struct rf_transport;
struct rf_lane;
struct rf_mr;
struct rf_mem_hub;
struct rf_topology;

enum rf_lane_kind {
	RF_LANE_BULK,	/* one-sided writes and fences, source → destination */
	RF_LANE_URGENT, /* page requests and answers: send/recv and write-with-immediate */
	RF_LANE_KINDS,
};
const char *rf_lane_kind_str(enum rf_lane_kind kind);

/* Set-up of a transport. Zero means default. Strings are copied. */
struct rf_transport_cfg {
	const char *local_host; /* address of this side the lanes use; NULL: any */
	const char *peer_host;	/* address of the other side, if known */
	uint32_t link_timeout;	/* ms after which an unanswered post fails the lane */
	unsigned max_lanes;
	bool odp; /* registered memory must not be pinned: on-demand paging */
	/* this host's, for where memory of lanes is to be; outlives the transport. NULL: anywhere
	 */
	const struct rf_topology *topology;
	struct rf_mem_hub *hub; /* backend mem: what both ends share */
};

/* What a transport can do, asked once at set-up. */
struct rf_transport_caps {
	uint32_t max_write;   /* most bytes of one write */
	uint32_t depth;	      /* writes and sends a lane may have outstanding */
	uint32_t inline_size; /* sends up to this are copied at once */
	uint32_t max_msg;     /* most bytes of a send */
	uint32_t imm_bytes;   /* bytes of remote completion data (4 or 8); 0: none */
	bool target_progress; /* the target must poll for writes to land */
	bool spin;	      /* polling without sleeping is all right */
	bool pins;	      /* registration pins memory (RLIMIT_MEMLOCK matters) */
};

/* What the writer needs to reach a registered range. key by enum rf_lane_kind. */
struct rf_remote_key {
	uint64_t base;
	uint64_t key[RF_LANE_KINDS];
};

enum rf_access {
	RF_ACCESS_LOCAL_READ,	/* source of writes and sends */
	RF_ACCESS_REMOTE_WRITE, /* target of writes; nothing else is granted */
};

/* One write. The memory must stay until it has completed; guest memory may change meanwhile
 * (a page written during its transfer is dirty and goes again). */
struct rf_write {
	const void *src;
	struct rf_mr *src_mr;		 /* covers src */
	const struct rf_remote_key *dst; /* of the range written to; read during the call */
	uint64_t dst_off;		 /* bytes from the begin of that range */
	uint32_t len;
};

enum rf_op {
	RF_OP_WRITE, /* the `count` oldest writes, of `bytes` in all, are done (source memory is
			free) */
	RF_OP_SEND,  /* `count` sends or fences are done */
	RF_OP_RECV,  /* a message came: data, len */
	RF_OP_FENCE_SEEN, /* the peer's fence came: value. All its earlier writes are visible */
	RF_OP_IMM,	  /* a write with immediate landed: value */
};

struct rf_completion {
	enum rf_op op;
	uint32_t count;
	uint64_t bytes;
	uint64_t value;
	const void *data; /* RECV: valid until the next poll of this lane */
	uint32_t len;
};

/* ---- transport ---- */

/* Rungs this host can offer, best first, by name: "verbs", "ofi:tcp", "ofi:sockets".
 * transport: "auto", "verbs", "ofi", "mem"; provider: NULL or a libfabric provider's name.
 * Cheap: asks the libraries, connects to nothing. Each rung that is left out is logged at
 * info with its reason. Returns how many were written, or RF_ERR_UNSUPPORTED if none. */
int rf_transport_rungs(const char *transport, const char *provider, char rungs[][RF_WIRE_RUNG_SIZE],
		       unsigned max);

/* Rungs there could be, best first, whether or not this host has them. Returns how many. */
int rf_transport_ladder(const char *transport, const char *provider,
			char rungs[][RF_WIRE_RUNG_SIZE], unsigned max);

/* Opens the rung `name`. RF_ERR_UNSUPPORTED (also: odp, and it pins), RF_ERR_NOT_FOUND,
 * RF_ERR_UNREACHABLE (no device for local_host); the log says why. */
int rf_transport_open(const char *name, const struct rf_transport_cfg *cfg,
		      struct rf_transport **out);
const struct rf_transport_caps *rf_transport_caps(const struct rf_transport *t);
const char *rf_transport_name(const struct rf_transport *t);	 /* "ofi" */
const char *rf_transport_provider(const struct rf_transport *t); /* "tcp", "rxe0", or "" */
/* All lanes must be closed and all memory deregistered before. NULLs *t. */
void rf_transport_close(struct rf_transport **t);

/* Destination: starts to listen on local_host; addr is what connect() needs, as bytes for the
 * control stream. */
int rf_transport_listen(struct rf_transport *t, uint8_t addr[RF_WIRE_ADDR_SIZE],
			uint32_t *addr_len);

/* Destination: takes the next lane that shows `token`; others are turned away. Who accepts
 * owns the lane. kind and index are the peer's claim: check them. RF_ERR_TIMEOUT after
 * timeout ms. cancel_fd (-1: none) readable ends the wait with RF_ERR_CANCELLED. */
int rf_transport_accept(struct rf_transport *t, const uint8_t token[RF_TOKEN_SIZE],
			uint32_t timeout, int cancel_fd, struct rf_lane **out);

/* Source: opens one lane. RF_ERR_REFUSED, _UNREACHABLE, _TIMEOUT, _PROTOCOL. */
int rf_transport_connect(struct rf_transport *t, const uint8_t *addr, uint32_t addr_len,
			 const struct rf_wire_lane *id, uint32_t timeout, int cancel_fd,
			 struct rf_lane **out);

/* ---- memory ---- */

/* Registers [addr, addr + len) with just that access. RF_ERR_MEMLOCK says in the log what limit
 * there is and what is needed. */
int rf_mr_register(struct rf_transport *t, void *addr, size_t len, enum rf_access access,
		   struct rf_mr **out);
/* REMOTE_WRITE only. */
void rf_mr_key(const struct rf_mr *mr, struct rf_remote_key *key);
/* From its return on no peer can write there any more: a late write fails at the writer and
 * changes nothing. Of REMOTE_WRITE memory it may end every lane of the transport: a provider that
 * copies in software cannot stop a write whose head has passed the key's check in another way.
 * NULLs *mr; NULL is fine. */
void rf_mr_deregister(struct rf_mr **mr);

/* ---- lanes ---- */

enum rf_lane_kind rf_lane_kind(const struct rf_lane *l);
unsigned rf_lane_index(const struct rf_lane *l);
const char *rf_lane_name(const struct rf_lane *l); /* "bulk/0", for logs */

/* Posts up to n writes in order, as one batch. Returns how many were taken (1 … n),
 * RF_NO_RESOURCE if none for now, or an error of the lane. */
int rf_lane_write(struct rf_lane *l, const struct rf_write *w, unsigned n);

/* Posts a fence behind all earlier writes: when the peer sees value, they are all visible to
 * its CPU. RF_NO_RESOURCE: poll, then again. */
int rf_lane_fence(struct rf_lane *l, uint64_t value);

/* Posts a message of at most caps.max_msg bytes; the bytes are copied before it returns. One that
 * reads as a fence (wire.h) is refused. */
int rf_lane_send(struct rf_lane *l, const void *data, uint32_t len);

/* Posts one write that shows up at the peer as RF_OP_IMM. Urgent lanes only, either end. */
int rf_lane_write_imm(struct rf_lane *l, const struct rf_write *w, uint32_t imm);

/* Takes up to n completions. Returns how many (0: none now) or the lane's error. Progresses the
 * lane where the provider needs that. Receives are pre-posted and recycled by the lane. */
int rf_lane_poll(struct rf_lane *l, struct rf_completion *c, unsigned n);

/* An fd to sleep on with poll(POLLIN), and how to go to sleep without losing a wake-up: arm;
 * RF_OK: sleep, then poll the lane; RF_AGAIN: something came, poll the lane now. */
int rf_lane_fd(const struct rf_lane *l);
int rf_lane_arm(struct rf_lane *l);

/* Bytes of writes posted and not completed. Owner thread. */
uint64_t rf_lane_inflight(const struct rf_lane *l);

/* Why the lane died, in words with lane, peer and cause; "" while it lives. */
const char *rf_lane_error(const struct rf_lane *l);

/* Drops what is posted and not completed, and closes. The peer's lane ends with
 * RF_ERR_LANE_CLOSED. NULLs *l; NULL is fine. */
void rf_lane_close(struct rf_lane **l);

#endif
