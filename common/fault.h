/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbered fault points: a sweep arms the first, the second, … until one run passes all of them
 * without a fault. Compiled out unless RF_FAULTS is set; then a point that is not armed costs one
 * relaxed load.
 *
 *   for (n = 1; ; n++) {
 *           rf_fault_arm(n);
 *           run();
 *           if (!rf_fault_fired())
 *                   break;          every point has been tried
 *   }
 *   rf_fault_arm(0);
 */
#ifndef RF_COMMON_FAULT_H
#define RF_COMMON_FAULT_H

#include <stdbool.h>

#ifdef RF_FAULTS
/* The n-th call of rf_fault_point() from now on returns true, once. 0 disarms. Any thread. */
void rf_fault_arm(unsigned long n);
/* True if the fault that was armed last has happened. */
bool rf_fault_fired(void);
bool rf_fault_point(void);
#else
static inline bool rf_fault_point(void)
{
	return false;
}
#endif

#endif
