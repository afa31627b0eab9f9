/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page faults of real migrations by postcopy, one after the other until there are enough: two
 * regions, of which the first is pushed while the guest touches the second.
 *
 *   server (destination)                        client (source)
 *   NEXT: port, pages ────────────────────────► memory of that size
 *   rf_dest_run ◄~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~ rf_source_run, mode postcopy
 *     the guest is resumed: touches pages
 *   NEXT: port 0, when there are enough ──────► over
 */
#ifndef RF_BENCH_MOVING_H
#define RF_BENCH_MOVING_H

#include "bench/session.h"
#include "common/histogram.h"

#define MOVING_WARM_UP	16	   /* first touches of a migration, which do not count */
#define MOVING_PATIENCE 100000	   /* ms to set a migration up; the source fills its memory first */
#define MOVING_PIECE	(1u << 20) /* as rf_source_cfg.piece_size has it */

/* What is pushed meanwhile. */
enum moving_bulk {
	MOVING_IDLE,  /* nothing */
	MOVING_PUSH,  /* all the link can carry, within the window of the options */
	MOVING_FLOOD, /* the same with the window switched off */
};

/* What a row needs beside the histogram, added up. */
struct moving_seen {
	double request, wire, place; /* us, parts as struct rf_postcopy_stats has them */
	uint64_t requests;	     /* those parts are of */
	uint64_t pages, ns;	     /* pushed beside the faults, in which time */
};

int moving_server(struct session *s, const struct run *r, enum moving_bulk bulk,
		  struct rf_histogram *h, struct moving_seen *seen);
int moving_client(struct session *s, const struct run *r, enum moving_bulk bulk);

/* Bytes of the region that is touched, if `want` faults are to count. */
uint64_t moving_region_len(const struct session *s, const struct run *r, uint64_t want);
/* What rf_source_cfg and rf_dest_cfg call the rung. */
void moving_rung(const struct session *s, char transport[RF_WIRE_RUNG_SIZE], const char **provider);

#endif
