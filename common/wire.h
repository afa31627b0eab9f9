/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What source and destination say to each other on the control stream, as pure encode and
 * decode functions: no I/O, no allocation, no state. Everything is little-endian and packed.
 *
 *   stream   = preamble frame frame …        (each direction)
 *   preamble = "RAMFERRY" major:u16 minor:u16 reserved:u32
 *   frame    = type:u32 len:u32 payload[len]
 *
 * docs/wire.md has the layout of every payload and who may send it when. A decoder checks
 * every length, count and index it can check without knowing the migration; it returns RF_OK
 * or RF_ERR_PROTOCOL and then has written nothing the caller may use. Decoded messages point
 * into the payload: they live as long as it does.
 */
#ifndef RF_COMMON_WIRE_H
#define RF_COMMON_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ramferry/region.h>

#define RF_WIRE_MAGIC "RAMFERRY"
#define RF_WIRE_MAJOR 1
/* 1: RF_HELLO_PROBE; 2: RF_HELLO_FREE_HINTS; 3: RF_HELLO_LANDED; 4: RF_HELLO_SNAPSHOT */
#define RF_WIRE_MINOR	      5
#define RF_WIRE_PREAMBLE_SIZE 16
#define RF_WIRE_FRAME_HEADER  8
#define RF_WIRE_MAX_PAYLOAD   (1u << 20)

#define RF_SESSION_SIZE	  16 /* bytes of a session id, random */
#define RF_TOKEN_SIZE	  16 /* bytes of the token that binds lanes to a session, random */
#define RF_WIRE_MAX_RUNGS 8
#define RF_WIRE_RUNG_SIZE 32  /* name of a rung with its NUL, e.g. "ofi:tcp" */
#define RF_WIRE_ADDR_SIZE 256 /* most bytes of a backend's address */
#define RF_WIRE_TEXT_SIZE 256 /* an error text with its NUL */
#define RF_WIRE_MAX_STATE (256u << 20)
#define RF_WIRE_MAX_LANES 16
#define RF_WIRE_MAX_LEN	  (1ull << 47) /* bytes of a region */

enum rf_wire_type {
	RF_WIRE_HELLO = 1,     /* S→D */
	RF_WIRE_HELLO_ACK,     /* D→S */
	RF_WIRE_REGIONS,       /* S→D, repeated until all are told */
	RF_WIRE_REGIONS_ACK,   /* D→S */
	RF_WIRE_RUNG,	       /* S→D */
	RF_WIRE_RUNG_OFFER,    /* D→S */
	RF_WIRE_RUNG_FAIL,     /* S→D: could not connect, another RUNG follows */
	RF_WIRE_LANES_UP,      /* D→S */
	RF_WIRE_KEY_REQ,       /* S→D */
	RF_WIRE_KEY,	       /* D→S */
	RF_WIRE_ZERO,	       /* S→D */
	RF_WIRE_ROUND_END,     /* S→D */
	RF_WIRE_ROUND_ACK,     /* D→S */
	RF_WIRE_DIGEST,	       /* S→D */
	RF_WIRE_DIGEST_END,    /* S→D */
	RF_WIRE_DIGEST_RESULT, /* D→S */
	RF_WIRE_STATE,	       /* S→D */
	RF_WIRE_STATE_LOADED,  /* D→S */
	RF_WIRE_RUN,	       /* S→D */
	RF_WIRE_RUNNING,       /* D→S */
	RF_WIRE_PING,	       /* both, handled by the control stream itself */
	RF_WIRE_PONG,	       /* both, likewise */
	RF_WIRE_ERROR,	       /* both, last frame of a stream */
	RF_WIRE_CANCEL,	       /* S→D, last frame of a stream */
	RF_WIRE_MISSING,       /* S→D, wire_postcopy.h */
	RF_WIRE_POSTCOPY,      /* S→D: all missing pages are told, postcopy follows */
	RF_WIRE_POSTCOPY_DONE, /* D→S: every page is in place */
	RF_WIRE_FREE,	       /* S→D, wire_postcopy.h */
	RF_WIRE_LANDED,	       /* D→S */
	RF_WIRE_TRIAL, /* S→D, to peers from 1.5 on: as long as device state, means nothing */
	RF_WIRE_TRIAL_SEEN, /* D→S */
	RF_WIRE_TYPE_COUNT,
};

/* "hello", "round-end", …; "unknown" for other numbers. */
const char *rf_wire_type_str(uint32_t type);

struct rf_wire_hello {
	uint8_t session[RF_SESSION_SIZE];
	uint32_t flags;	  /* RF_HELLO_… */
	uint32_t regions; /* 0 in a probe, and only there */
	uint64_t chunk_size;
	uint16_t bulk_lanes;
	uint16_t urgent_lanes;
	uint32_t link_timeout; /* ms: the sender gives the peer up after this silence */
};
#define RF_HELLO_VERIFY	    (1u << 0)
#define RF_HELLO_PIN_ALL    (1u << 1)
#define RF_HELLO_PROBE	    (1u << 2) /* only tries the ladder; to peers from 1.1 on */
#define RF_HELLO_POSTCOPY   (1u << 3) /* the source may go over to postcopy */
#define RF_HELLO_FREE_HINTS (1u << 4) /* FREE may come; to peers from 1.2 on */
#define RF_HELLO_LANDED	    (1u << 5) /* LANDED is asked for; to peers from 1.3 on */
#define RF_HELLO_SNAPSHOT   (1u << 6) /* the guest stays where it is, too; from 1.4 on */
#define RF_HELLO_FLAGS                                                             \
	(RF_HELLO_VERIFY | RF_HELLO_PIN_ALL | RF_HELLO_PROBE | RF_HELLO_POSTCOPY | \
	 RF_HELLO_FREE_HINTS | RF_HELLO_LANDED | RF_HELLO_SNAPSHOT)
/* A snapshot is none of these. */
#define RF_HELLO_NO_SNAPSHOT                                                          \
	(RF_HELLO_VERIFY | RF_HELLO_PROBE | RF_HELLO_POSTCOPY | RF_HELLO_FREE_HINTS | \
	 RF_HELLO_LANDED)

struct rf_wire_hello_ack {
	uint16_t max_lanes;
	uint32_t link_timeout; /* ms */
	uint32_t nrungs;
	char rungs[RF_WIRE_MAX_RUNGS][RF_WIRE_RUNG_SIZE]; /* best first */
};

struct rf_wire_region {
	char id[RF_REGION_ID_SIZE];
	uint64_t len;
	uint32_t page_size;
};

struct rf_wire_rung {
	char name[RF_WIRE_RUNG_SIZE];
	uint16_t bulk_lanes;
	uint16_t urgent_lanes;
};

struct rf_wire_rung_offer {
	uint8_t token[RF_TOKEN_SIZE];
	uint32_t addr_len;
	uint8_t addr[RF_WIRE_ADDR_SIZE];
};

/* ERROR, and the refusing forms of RUNG_OFFER, LANES_UP: err is RF_OK in the good ones. */
struct rf_wire_status {
	int32_t err; /* enum rf_err */
	char text[RF_WIRE_TEXT_SIZE];
};

struct rf_wire_chunk {
	uint32_t region;
	uint32_t chunk;
};

struct rf_wire_key {
	uint32_t region;
	uint32_t chunk;
	uint64_t base;	 /* remote address of the chunk's first byte */
	uint64_t key[2]; /* by lane kind: bulk, urgent */
};

struct rf_wire_run {
	uint64_t first; /* page */
	uint64_t count;
};

struct rf_wire_digest_result {
	bool equal;
	uint32_t region; /* the first difference, if not equal */
	uint64_t block;
};

/*
 * A payload that holds an array: what stands before it, the number of entries, and a cursor.
 * Entries are read one by one with the _at functions, which cannot fail after decoding.
 */
struct rf_wire_array {
	uint32_t region; /* ZERO, DIGEST */
	uint64_t first;	 /* REGIONS: index of the first; DIGEST: first block */
	uint32_t count;
	const uint8_t *entries; /* packed */
};

/* A payload of STATE. */
struct rf_wire_state {
	uint64_t total; /* bytes of the whole device state */
	uint64_t offset;
	uint32_t len;
	const uint8_t *data;
};

/*
 * A buffer that payloads are built in. Putting past its end sets overflow and changes nothing;
 * callers size it by RF_WIRE_MAX_PAYLOAD or by the _SIZE constants and assert.
 */
struct rf_wbuf {
	uint8_t *data;
	size_t cap;
	size_t len;
	bool overflow;
};

static inline void rf_wbuf_init(struct rf_wbuf *b, void *data, size_t cap)
{
	b->data = data;
	b->cap = cap;
	b->len = 0;
	b->overflow = false;
}

#define RF_WIRE_RUN_SIZE    16 /* bytes of an entry of ZERO */
#define RF_WIRE_KEY_SIZE    32
#define RF_WIRE_CHUNK_SIZE  8
#define RF_WIRE_DIGEST_SIZE 8

/* preamble and frame header */
void rf_wire_put_preamble(uint8_t out[RF_WIRE_PREAMBLE_SIZE], uint16_t major, uint16_t minor);
/* RF_ERR_NOT_RAMFERRY, or RF_ERR_VERSION (then *major, *minor say which one it is). */
int rf_wire_get_preamble(const uint8_t in[RF_WIRE_PREAMBLE_SIZE], uint16_t *major, uint16_t *minor);
void rf_wire_put_header(uint8_t out[RF_WIRE_FRAME_HEADER], uint32_t type, uint32_t len);
/* RF_ERR_PROTOCOL for an unknown type or a length over RF_WIRE_MAX_PAYLOAD. */
int rf_wire_get_header(const uint8_t in[RF_WIRE_FRAME_HEADER], uint32_t *type, uint32_t *len);

void rf_wire_put_hello(struct rf_wbuf *b, const struct rf_wire_hello *m);
int rf_wire_get_hello(const void *p, size_t len, struct rf_wire_hello *m);
void rf_wire_put_hello_ack(struct rf_wbuf *b, const struct rf_wire_hello_ack *m);
int rf_wire_get_hello_ack(const void *p, size_t len, struct rf_wire_hello_ack *m);

/* REGIONS: begin in an empty buffer, add until RF_NO_RESOURCE or done; the frame then is
 * complete. One without a region is refused. */
void rf_wire_begin_regions(struct rf_wbuf *b, uint32_t first);
int rf_wire_add_region(struct rf_wbuf *b, const struct rf_wire_region *r);
/* Calls fn for each entry in order; its non-zero result ends the walk and is returned. The
 * whole payload is checked before the first call. */
int rf_wire_get_regions(const void *p, size_t len,
			int (*fn)(void *arg, uint32_t index, const struct rf_wire_region *r),
			void *arg);

void rf_wire_put_rung(struct rf_wbuf *b, const struct rf_wire_rung *m);
int rf_wire_get_rung(const void *p, size_t len, struct rf_wire_rung *m);
/* RUNG_OFFER: status, then the offer if status->err is RF_OK (offer may be NULL otherwise). */
void rf_wire_put_rung_offer(struct rf_wbuf *b, const struct rf_wire_status *st,
			    const struct rf_wire_rung_offer *m);
int rf_wire_get_rung_offer(const void *p, size_t len, struct rf_wire_status *st,
			   struct rf_wire_rung_offer *m);
/* LANES_UP, RUNG_FAIL and ERROR */
void rf_wire_put_status(struct rf_wbuf *b, const struct rf_wire_status *st);
int rf_wire_get_status(const void *p, size_t len, struct rf_wire_status *st);

/* KEY_REQ and KEY are plain arrays of entries; the count follows from the length, as in ZERO and
 * DIGEST. An array without entries is refused. */
void rf_wire_put_chunk(struct rf_wbuf *b, const struct rf_wire_chunk *c);
int rf_wire_get_key_req(const void *p, size_t len, struct rf_wire_array *m);
void rf_wire_chunk_at(const struct rf_wire_array *m, uint32_t i, struct rf_wire_chunk *c);
void rf_wire_put_key(struct rf_wbuf *b, const struct rf_wire_key *k);
int rf_wire_get_keys(const void *p, size_t len, struct rf_wire_array *m);
void rf_wire_key_at(const struct rf_wire_array *m, uint32_t i, struct rf_wire_key *k);

/* ZERO and LANDED: region, then runs. A run has count > 0 and first + count does not wrap. */
void rf_wire_begin_zero(struct rf_wbuf *b, uint32_t region);
void rf_wire_put_run(struct rf_wbuf *b, const struct rf_wire_run *r);
int rf_wire_get_zero(const void *p, size_t len, struct rf_wire_array *m);
void rf_wire_run_at(const struct rf_wire_array *m, uint32_t i, struct rf_wire_run *r);

/* ROUND_END: round and whether it is the last one (the guest is paused). */
void rf_wire_put_round_end(struct rf_wbuf *b, uint64_t round, bool last);
int rf_wire_get_round_end(const void *p, size_t len, uint64_t *round, bool *last);
/* ROUND_ACK, PING, PONG: one number. */
void rf_wire_put_u64(struct rf_wbuf *b, uint64_t v);
int rf_wire_get_u64(const void *p, size_t len, uint64_t *v);
/* REGIONS_ACK, DIGEST_END, STATE_LOADED, RUN, RUNNING, CANCEL have no payload. */
int rf_wire_get_empty(const void *p, size_t len);
/* Whatever it is, but something; zeros when we send it. */
void rf_wire_put_trial(struct rf_wbuf *b, uint32_t bytes);
int rf_wire_get_trial(const void *p, size_t len);

/* DIGEST: region, first block, then 64-bit digests. */
void rf_wire_begin_digest(struct rf_wbuf *b, uint32_t region, uint64_t first);
int rf_wire_get_digest(const void *p, size_t len, struct rf_wire_array *m);
uint64_t rf_wire_digest_at(const struct rf_wire_array *m, uint32_t i);
void rf_wire_put_digest_result(struct rf_wbuf *b, const struct rf_wire_digest_result *m);
int rf_wire_get_digest_result(const void *p, size_t len, struct rf_wire_digest_result *m);

/* STATE: total, offset, bytes. Without bytes only if total is 0. */
void rf_wire_put_state(struct rf_wbuf *b, uint64_t total, uint64_t offset, const void *data,
		       uint32_t len);
int rf_wire_get_state(const void *p, size_t len, struct rf_wire_state *m);

/*
 * Data a connecting lane carries (libfabric connection data, rdma_cm private data, the first
 * message of a connectionless provider). At most 56 bytes are left of rdma_cm's private data.
 */
struct rf_wire_lane {
	uint8_t token[RF_TOKEN_SIZE];
	uint8_t kind; /* enum rf_lane_kind */
	uint16_t index;
};
#define RF_WIRE_LANE_SIZE 24 /* magic:u32 token[16] kind:u8 zero:u8 index:u16 */
void rf_wire_put_lane(uint8_t out[RF_WIRE_LANE_SIZE], const struct rf_wire_lane *l);
/* What follows the first RF_WIRE_LANE_SIZE bytes is ignored: rdma_cm pads. */
int rf_wire_get_lane(const void *p, size_t len, struct rf_wire_lane *l);

/* A fence as it travels on a message lane: magic:u32 zero:u32 value:u64 */
#define RF_WIRE_FENCE_SIZE 16
void rf_wire_put_fence(uint8_t out[RF_WIRE_FENCE_SIZE], uint64_t value);
int rf_wire_get_fence(const void *p, size_t len, uint64_t *value);

#endif
