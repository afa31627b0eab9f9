/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bare path of a page fault: the same lane, poller, messages and userfaultfd calls as a
 * postcopy, and nothing else. No bitmaps, no claims, no queue, no other lane.
 *
 *   server (destination)                       client (source)
 *   touch ─ fault ─ poller reads it
 *          request(page) ~~~~~~~~~~~~~~~~~~~~► poller
 *          UFFDIO_CONTINUE ◄~~~~~~~~~~~~~~~~~~ write-with-immediate(page)
 *   the touch returns
 */
#ifndef RF_BENCH_FLOOR_H
#define RF_BENCH_FLOOR_H

#include "bench/session.h"
#include "common/histogram.h"

int floor_server(struct session *s, const struct run *r, struct rf_histogram *h);
int floor_client(struct session *s, const struct run *r);

#endif
