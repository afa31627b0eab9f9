/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Postcopy on the wire: which pages are missing (control stream), page requests and their
 * answers (urgent lanes), announcements of pushed pages (bulk lanes). Same manner as wire.h:
 * pure, little-endian, every length and index checked.
 *
 *   control stream  missing … postcopy →                        ← postcopy-done
 *   urgent lane     ← request(region, page, slot)     write-with-immediate(slot) →  or zero(slot) →
 *   bulk lane       write write … announce(runs) →
 */
#ifndef RF_COMMON_WIRE_POSTCOPY_H
#define RF_COMMON_WIRE_POSTCOPY_H

#include "common/wire.h"

/*
 * MISSING: pages of [first, first + count) of a region that the destination does not have.
 * Encoded as runs or as a bitmap, whichever is smaller, so that a fragmented huge guest costs a
 * bit a page and a tidy one 16 bytes a run. Frames come in ascending order.
 */
struct rf_wire_missing {
	uint32_t region;
	uint64_t first; /* a multiple of 64 */
	uint64_t count;
	bool bitmap;
	uint32_t n; /* runs, or words */
	const uint8_t *data;
};
/* Most pages one frame covers: a bitmap of them just fits. */
#define RF_WIRE_MISSING_HEAD 32
#define RF_WIRE_MISSING_MAX  ((uint64_t)(RF_WIRE_MAX_PAYLOAD - RF_WIRE_MISSING_HEAD) / 8 * 64)

/* words: bit b of words[w] is page first + 64 * w + b; bits past count are zero. count at most
 * RF_WIRE_MISSING_MAX. Puts nothing and returns false if no bit is set. */
bool rf_wire_put_missing(struct rf_wbuf *b, uint32_t region, uint64_t first, uint64_t count,
			 const uint64_t *words);
int rf_wire_get_missing(const void *p, size_t len, struct rf_wire_missing *m);
/* Calls fn for each run in ascending order; its non-zero result ends the walk. */
int rf_wire_walk_missing(const struct rf_wire_missing *m,
			 int (*fn)(void *arg, uint64_t first, uint64_t count), void *arg);

/* Messages on lanes begin with one of these. */
enum rf_wire_lane_msg {
	RF_LANE_MSG_REQUEST = 0x51524652,  /* "RFRQ" */
	RF_LANE_MSG_ZERO = 0x455a4652,	   /* "RFZE" */
	RF_LANE_MSG_ANNOUNCE = 0x4e414652, /* "RFAN" */
};

/* A page request. Urgency and lane are independent: a page that waits is urgent wherever it
 * travels. */
struct rf_wire_request {
	uint32_t region;
	uint64_t page; /* first target page of the host page */
	uint32_t slot; /* comes back in the answer */
};
#define RF_WIRE_REQUEST_SIZE 24 /* type:u32 region:u32 page:u64 slot:u32 zero:u32 */
void rf_wire_put_request(uint8_t out[RF_WIRE_REQUEST_SIZE], const struct rf_wire_request *r);
int rf_wire_get_request(const void *p, size_t len, struct rf_wire_request *r);

/* The answer for a host page that is zero as a whole. */
#define RF_WIRE_ZERO_SIZE 8 /* type:u32 slot:u32 */
void rf_wire_put_zero_answer(uint8_t out[RF_WIRE_ZERO_SIZE], uint32_t slot);
int rf_wire_get_zero_answer(const void *p, size_t len, uint32_t *slot);

/* The answer by write-with-immediate: the slot, and whether more pieces of the page follow. */
#define RF_IMM_MORE	  (1u << 31)
#define RF_WIRE_MAX_SLOTS 4096u

/* Pushed pages: every write of theirs is in front of the announcement on the same lane. */
struct rf_wire_announce {
	uint32_t region;
	bool zero;	/* all zero: nothing was written */
	uint64_t first; /* pages; whole host pages */
	uint64_t count;
};
#define RF_WIRE_ANNOUNCE_SIZE 28 /* type:u32 region:u32 flags:u32 first:u64 count:u64 */
void rf_wire_put_announce(uint8_t out[RF_WIRE_ANNOUNCE_SIZE], const struct rf_wire_announce *a);
int rf_wire_get_announce(const void *p, size_t len, struct rf_wire_announce *a);

#endif
