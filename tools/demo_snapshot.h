/* SPDX-License-Identifier: BSD-3-Clause */
/* ramferry demo --snapshot. */
#ifndef RF_TOOLS_DEMO_SNAPSHOT_H
#define RF_TOOLS_DEMO_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/common.h"

struct demo_snapshot {
	const struct guest_opts *guest;
	const char *log_level;
	uint64_t run_before, run_after, max_bandwidth;
	bool json;
};

/* Runs the commands 'snapshot', 'restore' and 'restore --lazy' one after the other as processes of
 * their own. The exit code. */
int demo_snapshot(const struct demo_snapshot *d);

#endif
