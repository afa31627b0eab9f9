/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/pacer.h"

uint64_t rf_pacer_wait(struct rf_pacer *p, uint64_t now_ns, uint64_t limit)
{
	double burst = (double)limit * RF_PACER_BURST_NS / 1e9;

	if (!limit) {
		*p = (struct rf_pacer){0}; /* a limit set later begins without a debt */
		return 0;
	}
	if (p->last_ns && now_ns > p->last_ns)
		p->level += (double)limit * (double)(now_ns - p->last_ns) / 1e9;
	if (p->level > burst)
		p->level = burst;
	p->last_ns = now_ns;
	/* Rounded up: whoever sleeps that long need not come back for a nanosecond. */
	return p->level < 0 ? (uint64_t)(-p->level * 1e9 / (double)limit) + 1 : 0;
}

void rf_pacer_take(struct rf_pacer *p, uint64_t bytes)
{
	p->level -= (double)bytes;
}
