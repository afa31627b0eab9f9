/* SPDX-License-Identifier: BSD-3-Clause */
/* Options of the benches, in perftest's letters, and what both sides must agree on. */
#ifndef RF_BENCH_OPTIONS_H
#define RF_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/msg.h"
#include "common/opts.h"

#define BENCH_MAX_LANES 16
#define BENCH_MAX_DEPTH 4096
#define BENCH_MAX_LIST	64
#define BENCH_ADDR_SIZE 64
#define BENCH_MAX_SIZE	(1u << 23) /* of -a, as in perftest */
#define EXIT_USAGE	2

/* The client's count; a server that was told otherwise refuses it. */
struct bench_params {
	uint64_t size;	   /* bytes of a message */
	uint64_t iters;	   /* messages per lane, or round trips */
	uint64_t duration; /* ms; not 0: instead of iters */
	uint64_t lanes;
	uint64_t depth;	    /* writes outstanding per lane */
	uint64_t post_list; /* writes posted at once */
	uint64_t memory;    /* bytes per lane written one after the other */
	/* rf_urgent_lat */
	uint64_t fault_threads, urgent_lanes;
	uint64_t urgent_window; /* bytes of bulk beside open requests; 0: none */
	uint64_t bulk;		/* bytes pushed meanwhile */
	uint64_t gap;		/* us between two faults of a thread */
	uint64_t turns;
	bool all;
	bool raw;
	bool verify;
	bool floor, window_off;
};

struct bench_opts {
	const char *host; /* NULL: server */
	uint64_t port;
	const char *device, *gid_index, *local, *transport, *provider;
	uint64_t ib_port, link_timeout;
	bool self, event, odp;
	const char *raw_completion, *poll_mode;
	uint64_t bulk_lanes; /* rf_urgent_lat: the client's */
	struct bench_params want;
	bool json, help;
	const char *log_level;
	char address[BENCH_ADDR_SIZE]; /* where local points if --device gave it */
};

/* clang-format off */
#define LINK_ROWS \
	RF_OPT_GROUP("Connection"), \
	RF_OPT_UINT(struct bench_opts, port, "port", 'p', "N", "18515", \
		"TCP port on which the two sides find each other", .min = 1, .max = 65535), \
	RF_OPT_STRING(struct bench_opts, device, "device", 'd', "NAME", NULL, \
		"RDMA device (transport verbs) or libfabric provider (transport ofi)"), \
	RF_OPT_UINT(struct bench_opts, ib_port, "ib-port", 'i', "N", "1", \
		"port of the RDMA device; without one it means nothing", .min = 1, .max = 255), \
	RF_OPT_STRING(struct bench_opts, gid_index, "gid-index", 'x', "N", NULL, \
		"GID of the RDMA device whose address to use; rdma_cm picks the GID by address"), \
	RF_OPT_STRING(struct bench_opts, local, "local", 0, "ADDR", NULL, \
		"own address of the lanes; default: the one the TCP connection has"), \
	RF_OPT_CHOICE(struct bench_opts, transport, "transport", 0, "auto|verbs|ofi|mem", "auto", \
		"auto: the best there is; mem: both sides are threads of this process"), \
	RF_OPT_STRING(struct bench_opts, provider, "provider", 0, "NAME", NULL, \
		"libfabric provider, e.g. tcp, sockets; default: the first that works"), \
	RF_OPT_DURATION(struct bench_opts, link_timeout, "link-timeout", 0, "TIME", "10s", \
		"silence after which a lane is dead; also sets the ack timeout of RDMA", 1000, \
		.min = 100, .max = 3600000), \
	RF_OPT_BOOL(struct bench_opts, odp, "odp", 0, "no", \
		"RDMA pins nothing, its device pages on demand; refused where it cannot"), \
	RF_OPT_BOOL(struct bench_opts, self, "self", 0, "no", \
		"start the server too, on this host; HOST is its address then")

#define SIZE_ROWS(size_def, iters_def, iters_doc) \
	RF_OPT_GROUP("Measurement (the client's count; a server told otherwise refuses)"), \
	RF_OPT_SIZE(struct bench_opts, want.size, "size", 's', "SIZE", size_def, \
		"bytes of a message", .min = 1, .max = 1u << 30), \
	RF_OPT_BOOL(struct bench_opts, want.all, "all", 'a', "no", \
		"all sizes from 2 to 2^23, by powers of 2"), \
	RF_OPT_UINT(struct bench_opts, want.iters, "iters", 'n', "N", iters_def, iters_doc, \
		.min = 1, .max = 1ull << 40), \
	RF_OPT_DURATION(struct bench_opts, want.duration, "duration", 'D', "TIME", "0", \
		"run for this time instead (a bare number: s)", 1000, .max = 86400000)

#define RAW_ROWS \
	RF_OPT_BOOL(struct bench_opts, want.raw, "raw", 0, "no", \
		"measure a plain loop over libfabric instead, for comparison"), \
	RF_OPT_CHOICE(struct bench_opts, raw_completion, "raw-completion", 0, \
		"delivery|transmit", "delivery", \
		"with --raw: a write is complete when it has landed, or when it was sent"), \
	RF_OPT_BOOL(struct bench_opts, event, "event", 'e', "no", \
		"sleep until completions come instead of polling for them")

#define OUTPUT_ROWS \
	RF_OPT_GROUP("Output"), \
	RF_OPT_BOOL(struct bench_opts, json, "json", 0, "no", \
		"one JSON object on stdout instead of the table"), \
	RF_OPT_CHOICE(struct bench_opts, log_level, "log-level", 0, \
		"none|error|warn|info|debug|trace", "warn", "how much is told on stderr"), \
	RF_OPT_BOOL(struct bench_opts, help, "help", 'h', "no", "print this help")
/* clang-format on */

/* Parses and checks; --help is done here. -1: go on, otherwise the exit code. */
int options_parse(const struct rf_opt *table, const char *prog, const char *purpose, int argc,
		  char **argv, struct bench_opts *o);

/* Rows within bench_params, in the order of the table. */
void options_put(const struct rf_opt *table, const struct bench_params *p, struct msg *m);
void options_get(const struct rf_opt *table, struct bench_params *p, struct msg *m);

/* The name of an option that was given to this side and that the peer has differently; NULL if
 * there is none. Both values as text. */
const char *options_conflict(const struct rf_opt *table, const struct bench_params *mine,
			     const struct bench_params *theirs, char texts[2][32]);

#endif
