/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A peer by hand: a raw socket that speaks the protocol frame by frame, as well or as badly as a
 * test wants, and lanes of transport mem. Used in the test's own thread, against a real source or
 * destination that runs in another.
 */
#ifndef RF_TESTS_MIGRATION_PEER_H
#define RF_TESTS_MIGRATION_PEER_H

#include "tests/migration/move.h"

#include "common/wire.h"
#include "transport/transport.h"

#define PEER_PATIENCE 20000 /* ms; who is silent for so long hangs */

struct peer {
	int fd, listener; /* -1: none */
	bool mute;	  /* heartbeats are not answered either */
	uint16_t minor;	  /* of the protocol; 0: ours */
	/* the frame that came last */
	uint32_t type, len;
	uint8_t *in;
	/* the payload being built */
	uint8_t *out;
	struct rf_wbuf b;
	/* lanes */
	struct rf_transport *t;
	struct rf_lane *lanes[RF_WIRE_MAX_LANES];
	unsigned nlanes;
	uint8_t token[RF_TOKEN_SIZE];
	/* a destination's memory: all regions in one piece */
	uint8_t *memory;
	struct rf_mr *mr;
	struct rf_remote_key key;
};

void peer_open(struct peer *p, struct rf_mem_hub *hub);
void peer_close(struct peer *p);
/* Closes the connection, so that the other side sees its end. */
void peer_hang_up(struct peer *p);

/* A connection on which nothing has been said. */
int peer_raw(uint16_t port);
/* As a source: connects and greets. As a destination: takes one and greets. */
void peer_connect(struct peer *p, uint16_t port);
/* A listening socket, for p->listener. */
int peer_socket(uint16_t *port);
void peer_accept(struct peer *p);

void peer_bytes(struct peer *p, const void *data, size_t len);
void peer_send(struct peer *p, uint32_t type, const void *payload, uint32_t len);
/* Sends what has been put into p->b, and empties it. */
void peer_put(struct peer *p, uint32_t type);
/* The next frame but heartbeats. False at the end of the stream; fails if none comes. */
bool peer_recv(struct peer *p);
/* The next frame, whatever it is; heartbeats are not answered. */
bool peer_recv_any(struct peer *p);
/* The next frame must be this one. */
void peer_expect(struct peer *p, uint32_t type);
/* Reads until the other side has closed or said ERROR; true for ERROR. */
bool peer_drain(struct peer *p);

/* ---- a proper source, up to a point ---- */

enum peer_stage {
	PEER_GREETED,
	PEER_HELLO,    /* hello-ack came */
	PEER_REGIONS,  /* regions-ack came */
	PEER_OFFER,    /* rung-offer came */
	PEER_PRECOPY,  /* lanes are up */
	PEER_PAUSED,   /* the last round is acknowledged */
	PEER_COMPARED, /* digests, if asked for */
	PEER_LOADED,   /* state-loaded came */
	PEER_STAGES,
};
const char *peer_stage_str(enum peer_stage s);

struct peer_plan {
	uint32_t flags; /* RF_HELLO_… */
	unsigned lanes;
	uint32_t regions;
	uint64_t len; /* of each */
};

void peer_hello(struct peer *p, const struct peer_plan *plan);
void peer_regions(struct peer *p, const struct peer_plan *plan);
void peer_rung(struct peer *p, const struct peer_plan *plan);
/* Opens a lane; its result. */
int peer_lane(struct peer *p, unsigned kind, unsigned index);
void peer_fence(struct peer *p, uint64_t value);
void peer_round(struct peer *p, uint64_t round, bool last);
void peer_digests(struct peer *p, const struct peer_plan *plan);
void peer_state(struct peer *p, uint64_t total, uint64_t offset, uint32_t len);
/* All of it up to this stage, from the connected socket on. */
void peer_go(struct peer *p, const struct peer_plan *plan, enum peer_stage to);

/* ---- a proper destination ---- */

/* Answers the frame that came last as a destination should. */
void peer_answer(struct peer *p, const struct peer_plan *plan);
/* Parts of that. */
void peer_offer(struct peer *p);
/* Accepts them and says so, or that it did not work. */
void peer_take_lanes(struct peer *p, const struct peer_plan *plan, int err);
void peer_key(struct peer *p, const struct peer_plan *plan, uint32_t region, uint32_t chunk);

#endif
