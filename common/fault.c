/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/fault.h"

#ifdef RF_FAULTS
#include <stdatomic.h>

/* > 0: calls left until the fault; 0: disarmed or fired */
static _Atomic long left;
static _Atomic bool fired;

void rf_fault_arm(unsigned long n)
{
	atomic_store(&fired, false);
	atomic_store(&left, (long)n);
}

bool rf_fault_fired(void)
{
	return atomic_load(&fired);
}

bool rf_fault_point(void)
{
	if (atomic_load_explicit(&left, memory_order_relaxed) <= 0)
		return false;
	/* Several threads may get here with one call left: the one that takes it fails. */
	if (atomic_fetch_sub(&left, 1) != 1)
		return false;
	atomic_store(&fired, true);
	return true;
}
#endif
