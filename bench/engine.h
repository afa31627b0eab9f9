/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is measured: writes from one end's memory into the other's, behind one table, so that the
 * loops are the same for ramferry's lanes (engine_lanes.c) and for a plain use of libfabric
 * (raw_ofi.c). An engine belongs to one thread.
 */
#ifndef RF_BENCH_ENGINE_H
#define RF_BENCH_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/options.h"
#include "transport/transport.h"

struct engine_cfg {
	const char *rung; /* "verbs", "ofi:tcp", "mem" */
	const char *local_host, *peer_host;
	struct rf_mem_hub *hub;
	uint32_t link_timeout; /* ms */
	bool odp;
	enum rf_lane_kind kind;
	unsigned lanes;
	bool sleeps;   /* completions are waited for, not polled */
	bool transmit; /* raw: a write is complete when it was sent, not when it has landed */
};

/* What polling saw, added up. */
struct engine_seen {
	uint64_t writes;       /* done */
	uint64_t fences, imms; /* from the peer */
	uint64_t fence, imm;   /* the last one's value */
};

struct engine {
	const struct engine_ops *ops;
	struct rf_transport_caps caps;
	char provider[32];
	/* fixed when connected */
	unsigned lanes;
	uint8_t *src;		   /* read by writes */
	struct rf_remote_key peer; /* where they go */
};

/* Functions return RF_OK or an error, which is logged. Offsets count from src, and from the begin
 * of the peer's memory. */
struct engine_ops {
	int (*open)(const struct engine_cfg *cfg, struct engine **out);
	void (*close)(struct engine *e); /* and frees */
	int (*listen)(struct engine *e, uint8_t addr[RF_WIRE_ADDR_SIZE], uint32_t *len);
	/* All lanes of the engine, any order. cancel_fd as for rf_transport_accept. */
	int (*accept)(struct engine *e, const uint8_t token[RF_TOKEN_SIZE], uint32_t timeout,
		      int cancel_fd);
	int (*connect)(struct engine *e, const uint8_t *addr, uint32_t len,
		       const uint8_t token[RF_TOKEN_SIZE], uint32_t timeout);
	/* Memory writes are read from (key NULL), or written to. Once each. */
	int (*add_memory)(struct engine *e, void *p, size_t len, struct rf_remote_key *key);

	/* How many were taken, RF_NO_RESOURCE or an error. */
	int (*write)(struct engine *e, unsigned lane, const uint64_t *off, unsigned n,
		     uint32_t len);
	/* RF_OK, RF_NO_RESOURCE or an error. */
	int (*write_imm)(struct engine *e, unsigned lane, uint64_t off, uint32_t len, uint32_t imm);
	int (*fence)(struct engine *e, unsigned lane, uint64_t value);
	/* RF_OK, RF_AGAIN if there was nothing, or an error. */
	int (*poll)(struct engine *e, unsigned lane, struct engine_seen *seen);
	int (*arm)(struct engine *e, unsigned lane); /* as rf_lane_arm */
	int (*fd)(struct engine *e, unsigned lane);
	const char *(*why)(struct engine *e, unsigned lane); /* a lane is dead */
};

extern const struct engine_ops engine_lanes, engine_raw_ofi;

/* Of engine_lanes: for who drives the lane by other means. It stays the engine's. */
struct rf_transport *engine_transport(struct engine *e);
struct rf_lane *engine_lane(struct engine *e, unsigned lane);

#endif
