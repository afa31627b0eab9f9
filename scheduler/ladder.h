/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ladder of a source: which transports were tried, best first, and why each but the last did
 * not work. Written by the scheduler thread while it connects.
 */
#ifndef RF_SCHEDULER_LADDER_H
#define RF_SCHEDULER_LADDER_H

#include "common/wire.h"

struct rf_ladder_rung {
	char name[RF_WIRE_RUNG_SIZE];
	int err;       /* RF_OK: this one is in use */
	char why[320]; /* why not, one line */
};

struct rf_ladder {
	unsigned n;
	struct rf_ladder_rung rung[RF_WIRE_MAX_RUNGS];
};

struct rf_source;

/* Tries rungs until the lanes of one are up. RF_ERR_UNSUPPORTED if none works. */
int rf_source_climb(struct rf_source *src, const struct rf_wire_hello_ack *ack);
void rf_source_close_lanes(struct rf_source *src);

#endif
