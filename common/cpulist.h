/* SPDX-License-Identifier: BSD-3-Clause */
/* Lists of CPUs as people and the kernel write them: "2,4-7". */
#ifndef RF_COMMON_CPULIST_H
#define RF_COMMON_CPULIST_H

#include <sched.h>
#include <stddef.h>

/*
 * Numbers and ranges between commas, each below CPU_SETSIZE; doubles are fine, blanks are not.
 * RF_ERR_INVALID for anything else (empty too); *set then is unchanged.
 */
int rf_cpulist_parse(const char *text, cpu_set_t *set);

/* The shortest list of a set into buf, cut with "…" if it does not fit; returns buf. */
char *rf_cpulist_format(const cpu_set_t *set, char *buf, size_t cap);

#endif
