/* SPDX-License-Identifier: BSD-3-Clause */
/* How a write fault is answered while a snapshot is taken: numbers in, a decision out. */
#ifndef RF_SCHEDULER_SNAPSHOT_POLICY_H
#define RF_SCHEDULER_SNAPSHOT_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include <ramferry/snapshot.h>

/*
 * What auto goes by is how long pages wait until the saver takes them, requests and copies alike. A
 * hand-over to the saver and back costs some 50 us by itself, so a copy is worth its memory only
 * well above that; and it stops well below, so that it does not flutter.
 */
#define RF_SNAP_COPY_ABOVE_NS  200000u
#define RF_SNAP_QUEUE_BELOW_NS 100000u

/* Whether to copy. copying: the decision before; wait_ns: the average of late. */
bool rf_snap_should_copy(enum rf_snapshot_strategy strategy, bool copying, uint64_t wait_ns);

/* The average after one more sample; a sample weighs an eighth. */
uint64_t rf_snap_average(uint64_t average, uint64_t sample);

#endif
