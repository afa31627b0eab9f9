/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Backend mem: both ends in one process. Deterministic: nothing moves by itself in scripted
 * mode, everything at once in immediate mode. The fixture of the unit tests and the floor of
 * the benches.
 *
 * Immediate mode behaves as a network does: connect waits for accept, which needs another thread.
 * In scripted mode connect returns at once and accept picks it up, so that one thread can play both
 * sides; a lane that is turned away then ends with RF_ERR_LANE_CLOSED.
 *
 * A hub joins the two ends. In scripted mode every post becomes an operation on its lane's wire;
 * rf_mem_hub_step() carries one out, in the order the script says.
 */
#ifndef RF_TRANSPORT_MEM_H
#define RF_TRANSPORT_MEM_H

#include <stdbool.h>
#include <stdint.h>

struct rf_mem_hub;

/* What happens to an operation: decided by the script when it is taken off the wire. */
enum rf_mem_fate {
	RF_MEM_DELIVER, /* carried out and completed */
	RF_MEM_HOLD,	/* stays at the head of its lane for now */
	/* these kill the lane: RF_ERR_LANE_CLOSED at the other end, and at the poster's … */
	RF_MEM_FAIL,	 /* RF_ERR_LANE; not carried out */
	RF_MEM_LOSE_ACK, /* RF_ERR_LANE_TIMEOUT; carried out */
	RF_MEM_CUT,	 /* RF_ERR_LANE; of a write the first half is carried out */
};

struct rf_mem_op_info {
	unsigned lane_kind, lane_index;
	bool from_source; /* by the connecting end */
	int op;		  /* enum rf_op: WRITE, SEND, IMM; FENCE_SEEN for a fence */
	uint32_t len;
	uint64_t value; /* fence or immediate */
	uint64_t seq;	/* 1, 2, … on its lane and direction */
};
typedef enum rf_mem_fate (*rf_mem_script)(void *arg, const struct rf_mem_op_info *op);

struct rf_mem_hub_cfg {
	bool scripted;	      /* false: every post is carried out within the call */
	uint32_t depth;	      /* of a lane (default 64) */
	uint32_t max_write;   /* default 1 MiB */
	bool pins;	      /* says that registration pins memory */
	rf_mem_script script; /* scripted mode; NULL: deliver all */
	void *arg;
};

int rf_mem_hub_new(const struct rf_mem_hub_cfg *cfg, struct rf_mem_hub **out);
/* Scripted mode: looks at the head of every lane once, in order of (kind, index, direction);
 * returns how many operations left the wire. Any thread. */
unsigned rf_mem_hub_step(struct rf_mem_hub *hub);
/* One operation of one lane and direction; false if it was held or there was none. */
bool rf_mem_hub_step_lane(struct rf_mem_hub *hub, unsigned kind, unsigned index, bool from_source);
unsigned rf_mem_hub_pending(struct rf_mem_hub *hub);
void rf_mem_hub_delete(struct rf_mem_hub **hub); /* both transports closed before */

#endif
