/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes and durations as people write them. */
#ifndef RF_COMMON_SIZE_H
#define RF_COMMON_SIZE_H

#include <stddef.h>
#include <stdint.h>

/*
 * "4096", "64K", "512M", "4G", "1T", P, E (powers of 1024; lower case and a trailing "iB" or "B"
 * are fine; a fraction such as "1.5G" too if it gives whole bytes). RF_ERR_INVALID for anything
 * else: empty, negative, other suffix, over 2^63 - 1.
 */
int rf_size_parse(const char *text, uint64_t *bytes);

/* "500ms", "30s", "2m", "1h"; a bare number takes default_unit_ms. "1.5s" is fine if it gives
 * whole ms. RF_ERR_INVALID for anything else. */
int rf_duration_parse(const char *text, uint64_t default_unit_ms, uint64_t *ms);

/* "1.5 GiB", "4 KiB", "12 B" into buf (16 bytes are enough); returns buf. */
char *rf_size_format(uint64_t bytes, char *buf, size_t cap);

#endif
