/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/snapshot_policy.h"

bool rf_snap_should_copy(enum rf_snapshot_strategy strategy, bool copying, uint64_t wait_ns)
{
	if (strategy != RF_SNAPSHOT_AUTO)
		return strategy == RF_SNAPSHOT_COPY;
	return copying ? wait_ns >= RF_SNAP_QUEUE_BELOW_NS : wait_ns > RF_SNAP_COPY_ABOVE_NS;
}

uint64_t rf_snap_average(uint64_t average, uint64_t sample)
{
	return average - average / 8 + sample / 8;
}
