/* SPDX-License-Identifier: BSD-3-Clause */
/* Results as a table in perftest's columns, or as one JSON object. */
#ifndef RF_BENCH_REPORT_H
#define RF_BENCH_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/msg.h"

#define REPORT_MAX_COLUMNS 16

struct bench_kind;
struct session;
struct json_object;

/* Behind #bytes and #iterations; the last one's title is NULL. */
struct column {
	const char *title; /* of the table */
	const char *key;   /* in JSON */
	int decimals;
};

struct row {
	unsigned variant; /* index into the kind's variants */
	uint64_t bytes, iters;
	double value[REPORT_MAX_COLUMNS]; /* not a number: there is none */
	bool verified;			  /* what arrived was compared with what was sent */
};

struct report {
	const struct column *columns;
	const char *const *variants; /* of the kind */
	unsigned nvariants;
	bool quiet, json;
	struct json_object *object, *rows; /* json */
};

void report_init(struct report *r, const struct bench_kind *kind, bool json, bool quiet);
void report_begin(struct report *r, const struct session *s); /* title, set-up, names of columns */
void report_row(struct report *r, const struct row *row);
void report_end(struct report *r, bool complete);

/* A row on its way to the other side, which prints it too. */
void report_put(const struct report *r, const struct row *row, struct msg *m);
int report_get(const struct report *r, struct row *row, struct msg *m); /* 0, or -1 */

#endif
