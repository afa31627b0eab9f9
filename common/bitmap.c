/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/bitmap.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ramferry/err.h>

#define WORD_BITS 64

static uint64_t word_of(uint64_t bit)
{
	return bit / WORD_BITS;
}

static uint64_t mask_of(uint64_t bit)
{
	return 1ull << (bit % WORD_BITS);
}

/* The bits of word w that lie in [first, end); w is one of the range's words. */
static uint64_t range_mask(uint64_t w, uint64_t first, uint64_t end)
{
	uint64_t mask = ~0ull;

	if (w == word_of(first))
		mask &= ~0ull << (first % WORD_BITS);
	if (w == word_of(end - 1))
		mask &= ~0ull >> (WORD_BITS - 1 - (end - 1) % WORD_BITS);
	return mask;
}

static uint64_t load(const struct rf_bitmap *b, uint64_t w)
{
	return atomic_load_explicit(&b->words[w], memory_order_relaxed);
}

int rf_bitmap_init(struct rf_bitmap *b, uint64_t nbits)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t nwords = nbits / WORD_BITS + (nbits % WORD_BITS != 0);
	/* At least one page: mmap refuses an empty mapping. */
	uint64_t bytes = (nwords * sizeof(*b->words) + page) / page * page;
	void *p;

	memset(b, 0, sizeof(*b));
	/* NORESERVE: a bitmap of a sparse terabyte guest must not count against the commit limit.
	 */
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		 -1, 0);
	if (p == MAP_FAILED)
		return RF_ERR_NO_MEMORY;
	b->words = p;
	b->nbits = nbits;
	b->nwords = nwords;
	b->map_bytes = bytes;
	return RF_OK;
}

void rf_bitmap_fini(struct rf_bitmap *b)
{
	if (b->words)
		munmap((void *)b->words, b->map_bytes);
	memset(b, 0, sizeof(*b));
}

void rf_bitmap_set(struct rf_bitmap *b, uint64_t bit)
{
	assert(bit < b->nbits);
	atomic_fetch_or_explicit(&b->words[word_of(bit)], mask_of(bit), memory_order_release);
}

void rf_bitmap_clear(struct rf_bitmap *b, uint64_t bit)
{
	assert(bit < b->nbits);
	atomic_fetch_and_explicit(&b->words[word_of(bit)], ~mask_of(bit), memory_order_relaxed);
}

bool rf_bitmap_test(const struct rf_bitmap *b, uint64_t bit)
{
	assert(bit < b->nbits);
	return load(b, word_of(bit)) & mask_of(bit);
}

bool rf_bitmap_test_and_set(struct rf_bitmap *b, uint64_t bit)
{
	assert(bit < b->nbits);
	return atomic_fetch_or_explicit(&b->words[word_of(bit)], mask_of(bit),
					memory_order_acq_rel) &
	       mask_of(bit);
}

bool rf_bitmap_test_and_clear(struct rf_bitmap *b, uint64_t bit)
{
	assert(bit < b->nbits);
	return atomic_fetch_and_explicit(&b->words[word_of(bit)], ~mask_of(bit),
					 memory_order_acq_rel) &
	       mask_of(bit);
}

void rf_bitmap_set_range(struct rf_bitmap *b, uint64_t first, uint64_t count)
{
	assert(first <= b->nbits && count <= b->nbits - first);
	if (!count)
		return;
	for (uint64_t w = word_of(first); w <= word_of(first + count - 1); w++)
		atomic_fetch_or_explicit(&b->words[w], range_mask(w, first, first + count),
					 memory_order_release);
}

void rf_bitmap_clear_range(struct rf_bitmap *b, uint64_t first, uint64_t count)
{
	assert(first <= b->nbits && count <= b->nbits - first);
	if (!count)
		return;
	for (uint64_t w = word_of(first); w <= word_of(first + count - 1); w++) {
		uint64_t mask = range_mask(w, first, first + count);

		/* A word that is clear already is left alone: writing would populate it. */
		if (load(b, w) & mask)
			atomic_fetch_and_explicit(&b->words[w], ~mask, memory_order_relaxed);
	}
}

/* First bit of [from, end) in the words XORed with flip. */
static uint64_t find_bit(const struct rf_bitmap *b, uint64_t from, uint64_t end, uint64_t flip)
{
	assert(end <= b->nbits);
	if (from >= end)
		return RF_BITMAP_NONE;
	for (uint64_t w = word_of(from); w <= word_of(end - 1); w++) {
		uint64_t bits = (load(b, w) ^ flip) & range_mask(w, from, end);

		if (bits)
			return w * WORD_BITS + (uint64_t)__builtin_ctzll(bits);
	}
	return RF_BITMAP_NONE;
}

uint64_t rf_bitmap_find_set(const struct rf_bitmap *b, uint64_t from, uint64_t end)
{
	return find_bit(b, from, end, 0);
}

uint64_t rf_bitmap_find_clear(const struct rf_bitmap *b, uint64_t from, uint64_t end)
{
	return find_bit(b, from, end, ~0ull);
}

uint64_t rf_bitmap_count(const struct rf_bitmap *b)
{
	return rf_bitmap_count_range(b, 0, b->nbits);
}

uint64_t rf_bitmap_count_range(const struct rf_bitmap *b, uint64_t first, uint64_t count)
{
	uint64_t n = 0;

	assert(first <= b->nbits && count <= b->nbits - first);
	if (!count)
		return 0;
	for (uint64_t w = word_of(first); w <= word_of(first + count - 1); w++)
		n += (uint64_t)__builtin_popcountll(load(b, w) &
						    range_mask(w, first, first + count));
	return n;
}

uint64_t rf_bitmap_word(const struct rf_bitmap *b, uint64_t w)
{
	assert(w < b->nwords);
	return load(b, w);
}

uint64_t rf_bitmap_word_after(const struct rf_bitmap *b, uint64_t w)
{
	assert(w < b->nwords);
	return atomic_load_explicit(&b->words[w], memory_order_seq_cst);
}

void rf_bitmap_store_word(struct rf_bitmap *b, uint64_t w, uint64_t bits)
{
	assert(w < b->nwords);
	/* What is there already is not written: that would populate the word's page. */
	if (load(b, w) != bits)
		atomic_store_explicit(&b->words[w], bits, memory_order_relaxed);
}

uint64_t rf_bitmap_or_word(struct rf_bitmap *b, uint64_t w, uint64_t mask)
{
	assert(w < b->nwords);
	if (!mask)
		return 0;
	return mask & ~atomic_fetch_or_explicit(&b->words[w], mask, memory_order_acq_rel);
}

uint64_t rf_bitmap_take_word(struct rf_bitmap *b, uint64_t w, uint64_t mask)
{
	assert(w < b->nwords);
	/* Nothing to take: no write, the cache line stays shared. */
	if (!(load(b, w) & mask))
		return 0;
	return mask & atomic_fetch_and_explicit(&b->words[w], ~mask, memory_order_acq_rel);
}

uint64_t rf_bitmap_move(struct rf_bitmap *dst, struct rf_bitmap *src)
{
	uint64_t n = 0;

	assert(dst->nbits == src->nbits);
	for (uint64_t w = 0; w < src->nwords; w++) {
		uint64_t bits = load(src, w);

		if (bits) {
			bits = atomic_exchange_explicit(&src->words[w], 0, memory_order_acq_rel);
			bits |= atomic_fetch_or_explicit(&dst->words[w], bits,
							 memory_order_acq_rel);
		} else {
			bits = load(dst, w);
		}
		n += (uint64_t)__builtin_popcountll(bits);
	}
	return n;
}
