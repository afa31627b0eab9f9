/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asks a waiting destination which transport a migration would use, and why not a better one,
 * without a migration: the control stream, the hello with RF_HELLO_PROBE, the ladder up to the
 * first rung whose lanes are up, and good-bye. The destination goes on waiting.
 */
#ifndef RF_SCHEDULER_PROBE_H
#define RF_SCHEDULER_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "scheduler/ladder.h"

struct rf_mem_hub;

struct rf_probe_cfg {
	const char *host;
	uint16_t port;
	const char *transport;	/* NULL: "auto" */
	const char *provider;	/* NULL: any */
	unsigned bulk_lanes;	/* 0: 1 */
	uint32_t step_timeout;	/* ms for each step; 0: 10,000 */
	struct rf_mem_hub *hub; /* tests: backend mem */
};

struct rf_probe_result {
	bool reached;			  /* a ramferry destination answered */
	char peer[80];			  /* "10.9.0.2:4444" */
	char local_host[64];		  /* the address of this side that leads there */
	uint16_t minor;			  /* of the protocol the destination speaks */
	uint64_t rtt_ns;		  /* of the control stream; 0: not measured */
	struct rf_ladder ladder;	  /* the last one has RF_OK if a rung works */
	char transport[16], provider[32]; /* of the one that works */
	char why[256];			  /* why there is none, or no answer at all */
};

/* Fills *out in any case. RF_OK: a rung works; otherwise out->why says what is wrong. Logs
 * nothing above info. Takes the time of a few round trips, and a step_timeout for each step that
 * gets no answer. */
int rf_source_probe(const struct rf_probe_cfg *cfg, struct rf_probe_result *out);

#endif
