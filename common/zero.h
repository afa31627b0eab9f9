/* SPDX-License-Identifier: BSD-3-Clause */
/* Is a page all zeros? AVX2 where the CPU has it, plain C otherwise; chosen once at run time. */
#ifndef RF_COMMON_ZERO_H
#define RF_COMMON_ZERO_H

#include <stdbool.h>
#include <stddef.h>

typedef bool (*rf_zero_fn)(const void *page);

/* The fastest check of one 4 KiB page this CPU has; page is aligned to 64 bytes. */
rf_zero_fn rf_zero_select(void);

/* The two behind it, for tests and benches; rf_zero_avx2() is NULL where there is none. */
bool rf_zero_portable(const void *page);
rf_zero_fn rf_zero_avx2(void);

#endif
