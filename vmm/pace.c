/* SPDX-License-Identifier: BSD-3-Clause */
#include "vmm/pace.h"

#include <ramferry/region.h>

#include "common/clock.h"

/* Looks at the clock a second: short sleeps, few exits. */
#define LOOKS_PER_S 200

void rf_pace_done(struct rf_pace *p, uint64_t now_ns, uint64_t bytes, uint64_t bytes_per_s)
{
	double cost = bytes_per_s ? (double)bytes * (double)RF_NS_PER_SEC / (double)bytes_per_s : 0;
	uint64_t floor = now_ns > RF_PACE_BURST_NS ? now_ns - RF_PACE_BURST_NS : 0;

	if (p->due_ns < floor)
		p->due_ns = floor;
	/* A batch is at most some minutes, unless the parameters are nonsense. */
	if (cost > 3600.0 * (double)RF_NS_PER_SEC)
		cost = 3600.0 * (double)RF_NS_PER_SEC;
	p->due_ns += (uint64_t)cost;
}

void rf_pace_shift(struct rf_pace *p, uint64_t ns)
{
	if (p->due_ns)
		p->due_ns += ns;
}

uint64_t rf_pace_batch(uint64_t bytes_per_s)
{
	uint64_t pages = bytes_per_s / RF_PAGE_SIZE / LOOKS_PER_S;

	if (!bytes_per_s)
		return 0;
	return pages ? pages : 1;
}
