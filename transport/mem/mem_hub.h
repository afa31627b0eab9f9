/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of transport/mem/.
 *
 * A pair is a lane with both its ends. What end i posts is a ring of operations:
 *
 *        oldest                                              newest
 *          │ done, not polled by end i │ on the wire to end 1-i │  free … depth
 *          ▲ tail                      ▲ tail + done            ▲ tail + count
 *
 * Taking the operation at the head of the wire means carrying it out (memory, or the other end's
 * inbox) and counting it done. An inbox holds what the other end has been sent:
 *
 *          │ handed out by the last poll │ not polled yet │  free … depth
 *          ▲ in_tail                     ▲ + handed       ▲ + in_count
 *
 * Lock order: hub.step, hub.lock, pair.lock, hub.mr_lock.
 */
#ifndef RF_TRANSPORT_MEM_HUB_H
#define RF_TRANSPORT_MEM_HUB_H

#include <pthread.h>

#include "transport/mem/mem.h"
#include "transport/ops.h"

#define RF_MEM_MAX_MSG 4096u
#define RF_MEM_BUCKETS 1024u

struct rf_mem_op {
	enum rf_op op; /* WRITE, IMM, SEND; FENCE_SEEN for a fence */
	uint32_t len;
	uint64_t value;
	uint64_t seq;
	const uint8_t *src; /* WRITE, IMM */
	uint64_t addr, key; /* WRITE, IMM: where to */
	uint8_t *msg;	    /* SEND: RF_MEM_MAX_MSG bytes, the slot's own */
};

struct rf_mem_end {
	struct rf_mem *t; /* NULL until accepted */
	struct rf_mem_op *ring;
	uint64_t tail;
	uint32_t done, count;
	uint64_t seq; /* of the last post */
	struct rf_mem_op *inbox;
	uint64_t in_tail;
	uint32_t handed, in_count;
	int fd;	    /* eventfd */
	bool armed; /* the owner may sleep on fd */
	bool closed;
	int error; /* RF_OK while it lives */
	char why[96];
};

enum rf_mem_pair_state {
	RF_MEM_ASKED, /* waits for accept */
	RF_MEM_JOINED,
	RF_MEM_TURNED_AWAY,
	RF_MEM_GIVEN_UP, /* the connecting side waits no more */
};

struct rf_mem_pair {
	/* fixed */
	struct rf_mem_hub *hub;
	struct rf_wire_lane id;
	/* guarded by hub.lock */
	struct rf_mem_pair *next, *next_asked;
	unsigned refs; /* lanes, and the listener's queue */
	enum rf_mem_pair_state state;
	/* guarded by lock */
	pthread_mutex_t lock;
	struct rf_mem_end end[2]; /* 0: the connecting one */
};

struct rf_mem_mr {
	struct rf_mr base;
	struct rf_mem_mr *next[RF_LANE_KINDS]; /* in its buckets; guarded by hub.mr_lock */
};

struct rf_mem {
	struct rf_transport base;
	struct rf_mem_hub *hub;
	/* guarded by hub.lock */
	struct rf_mem *next_listener;
	uint64_t listen_id; /* 0: does not listen */
	struct rf_mem_pair *asked;
	int fd; /* eventfd: asked is not empty */
};

struct rf_mem_lane {
	struct rf_lane base;
	struct rf_mem_pair *pair;
	unsigned side; /* which end is ours */
};

struct rf_mem_hub {
	struct rf_mem_hub_cfg cfg;
	pthread_mutex_t step; /* one step at a time */
	pthread_mutex_t lock; /* listeners, pairs */
	struct rf_mem *listeners;
	struct rf_mem_pair *pairs; /* by kind, index, age */
	uint64_t last_id;
	pthread_rwlock_t mr_lock;
	struct rf_mem_mr *buckets[RF_LANE_KINDS][RF_MEM_BUCKETS];
	uint64_t last_key;
};

/* mem_pair.c: lock of the pair held unless said otherwise */
int rf_mem_pair_new(struct rf_mem_hub *hub, const struct rf_wire_lane *id,
		    struct rf_mem_pair **out);
void rf_mem_pair_free(struct rf_mem_pair *p);
/* The operation at the head of the wire from end `from`; NULL if there is none. */
struct rf_mem_op *rf_mem_pair_head(struct rf_mem_pair *p, unsigned from);
/* Does to it what fate says; false if it stays (held, or the inbox is full). */
bool rf_mem_pair_take(struct rf_mem_pair *p, unsigned from, enum rf_mem_fate fate);
/* Immediate mode: takes all that can be taken. */
void rf_mem_pair_pump(struct rf_mem_pair *p, unsigned from);
void rf_mem_pair_kill(struct rf_mem_pair *p, unsigned side, int err, const char *why);
void rf_mem_pair_wake(struct rf_mem_end *e);

/* mem_lane.c */
int rf_mem_lane_write(struct rf_lane *l, const struct rf_write *w, unsigned n);
int rf_mem_lane_fence(struct rf_lane *l, uint64_t value);
int rf_mem_lane_send(struct rf_lane *l, const void *data, uint32_t len);
int rf_mem_lane_write_imm(struct rf_lane *l, const struct rf_write *w, uint32_t imm);
int rf_mem_lane_poll(struct rf_lane *l, struct rf_completion *c, unsigned n);
int rf_mem_lane_arm(struct rf_lane *l);

/* mem_hub.c: hub.lock held */
void rf_mem_hub_add(struct rf_mem_hub *hub, struct rf_mem_pair *p);
void rf_mem_hub_put(struct rf_mem_hub *hub, struct rf_mem_pair *p);
/* mem_hub.c: registrations */
void rf_mem_hub_add_mr(struct rf_mem_hub *hub, struct rf_mem_mr *m);
void rf_mem_hub_remove_mr(struct rf_mem_hub *hub, struct rf_mem_mr *m);
/* Ends every lane of mr's transport that has a write on the wire which reads it, as a device would.
 */
void rf_mem_hub_stop_reads(struct rf_mem_hub *hub, const struct rf_mr *mr);
/* Copies into t's memory if the key and the range are right. */
int rf_mem_hub_write(struct rf_mem_hub *hub, const struct rf_mem *t, unsigned kind,
		     const struct rf_mem_op *op, uint32_t len);

#endif
