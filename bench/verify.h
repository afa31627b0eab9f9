/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * --verify: the client fills its memory with a pattern of the run, the server clears its own;
 * afterwards both compare digests of what was written, and the rest must be as it was.
 *
 *   lane 0              lane 1
 *   ┌────────┬────────┐┌────────┬────────┐
 *   │ slots  │ zeros  ││ slots  │ zeros  │   the server's memory; slots are what was written
 *   └────────┴────────┘└────────┴────────┘
 */
#ifndef RF_BENCH_VERIFY_H
#define RF_BENCH_VERIFY_H

#include "bench/session.h"

void verify_fill(struct session *s, const struct run *r);
/* posted: messages on each lane; slots: how many of them have a place of their own. */
int verify_client(struct session *s, const struct run *r, const uint64_t *posted, uint64_t slots,
		  struct row *row);
int verify_server(struct session *s);

#endif
