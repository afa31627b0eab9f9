/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/digest.h"

#include <string.h>

#include <ramferry/region.h>

#include <assert.h>
#include <stdatomic.h>
#include <xxhash.h>

/* Lengths whose digest of zeros is kept: whole blocks, and the last block of some regions. */
#define CACHED 8

struct cached {
	_Atomic int state; /* moves up only */
	size_t len;	   /* valid when READY */
	uint64_t digest;
};
enum { EMPTY, FILLING, READY };

/* Never written, so it costs no memory: reads see the kernel's zero page. Not const, which would
 * put 2 MiB of zeros into the program's file. */
static uint8_t zeros[RF_DIGEST_BLOCK];
static struct cached cache[CACHED];

uint64_t rf_digest(const void *p, size_t len)
{
	return XXH3_64bits(p, len);
}

uint64_t rf_digest_zero(size_t len)
{
	struct cached *empty = NULL;
	int expected = EMPTY;
	uint64_t digest;

	assert(len <= RF_DIGEST_BLOCK);
	for (size_t i = 0; i < CACHED && !empty; i++) {
		int state = atomic_load_explicit(&cache[i].state, memory_order_acquire);

		if (state == READY && cache[i].len == len)
			return cache[i].digest;
		if (state == EMPTY)
			empty = &cache[i];
	}
	digest = rf_digest(zeros, len);
	/* Two threads may keep the same length twice; that only wastes a place. */
	if (empty && atomic_compare_exchange_strong(&empty->state, &expected, FILLING)) {
		empty->len = len;
		empty->digest = digest;
		atomic_store_explicit(&empty->state, READY, memory_order_release);
	}
	return digest;
}

uint64_t rf_digest_but(void *p, size_t len, const struct rf_bitmap *free, uint64_t first)
{
	uint64_t end = first + len / RF_PAGE_SIZE;

	for (uint64_t page = first; (page = rf_bitmap_find_set(free, page, end)) != RF_BITMAP_NONE;
	     page++)
		memset((uint8_t *)p + (page - first) * RF_PAGE_SIZE, 0, RF_PAGE_SIZE);
	return rf_digest(p, len);
}
