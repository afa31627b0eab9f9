/* SPDX-License-Identifier: BSD-3-Clause */
/* XXH3 (64 bit) of guest memory by blocks of 2 MiB, for --verify. */
#ifndef RF_COMMON_DIGEST_H
#define RF_COMMON_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define RF_DIGEST_BLOCK (2u << 20)

uint64_t rf_digest(const void *p, size_t len);
/* Digest of len zero bytes, len <= RF_DIGEST_BLOCK; cheap after the first call. */
uint64_t rf_digest_zero(size_t len);

#endif
