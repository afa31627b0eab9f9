/* SPDX-License-Identifier: BSD-3-Clause */
/* XXH3 (64 bit) of guest memory by blocks of 2 MiB, for --verify. */
#ifndef RF_COMMON_DIGEST_H
#define RF_COMMON_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "common/bitmap.h"

#define RF_DIGEST_BLOCK (2u << 20)

uint64_t rf_digest(const void *p, size_t len);
/* Digest of what is at p with the pages whose bits are set made zero, there too: pages the guest
 * does not need, which are not moved. `first` is the bit of the first page. */
uint64_t rf_digest_but(void *p, size_t len, const struct rf_bitmap *free, uint64_t first);
/* Digest of len zero bytes, len <= RF_DIGEST_BLOCK; cheap after the first call. */
uint64_t rf_digest_zero(size_t len);

#endif
