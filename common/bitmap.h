/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Atomic bitmaps with 64-bit indices. Memory is allocated zeroed and lazily (mmap), so a bitmap
 * over a huge sparse region costs only the words that are touched.
 *
 * Threads: every function but new and delete may be called at the same time from any thread.
 * Single-bit and word operations are atomic each; range operations are atomic word by word.
 * Ordering: set is a release; test-and-set, test-and-clear, or, take and move are acquire and
 * release; the others are relaxed.
 */
#ifndef RF_COMMON_BITMAP_H
#define RF_COMMON_BITMAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct rf_bitmap {
	_Atomic uint64_t *words;
	uint64_t nbits;
	uint64_t nwords;
	uint64_t map_bytes; /* of the mapping behind words */
};

#define RF_BITMAP_NONE UINT64_MAX

int rf_bitmap_init(struct rf_bitmap *b, uint64_t nbits); /* RF_ERR_NO_MEMORY */
void rf_bitmap_fini(struct rf_bitmap *b);		 /* also of a zeroed struct */

void rf_bitmap_set(struct rf_bitmap *b, uint64_t bit);
void rf_bitmap_clear(struct rf_bitmap *b, uint64_t bit);
bool rf_bitmap_test(const struct rf_bitmap *b, uint64_t bit);
/* True if the bit was set before. */
bool rf_bitmap_test_and_set(struct rf_bitmap *b, uint64_t bit);
bool rf_bitmap_test_and_clear(struct rf_bitmap *b, uint64_t bit);

/* [first, first + count) must lie within the bitmap. */
void rf_bitmap_set_range(struct rf_bitmap *b, uint64_t first, uint64_t count);
void rf_bitmap_clear_range(struct rf_bitmap *b, uint64_t first, uint64_t count);

/* First set (clear) bit at or after from and below end; RF_BITMAP_NONE if there is none. */
uint64_t rf_bitmap_find_set(const struct rf_bitmap *b, uint64_t from, uint64_t end);
uint64_t rf_bitmap_find_clear(const struct rf_bitmap *b, uint64_t from, uint64_t end);

uint64_t rf_bitmap_count(const struct rf_bitmap *b);
uint64_t rf_bitmap_count_range(const struct rf_bitmap *b, uint64_t first, uint64_t count);

/* Word w whole: load, or (returning the bits that were newly set), and-not (returning those of
 * mask that had been set: this is how runs are claimed). */
uint64_t rf_bitmap_word(const struct rf_bitmap *b, uint64_t w);
uint64_t rf_bitmap_or_word(struct rf_bitmap *b, uint64_t w, uint64_t mask);
uint64_t rf_bitmap_take_word(struct rf_bitmap *b, uint64_t w, uint64_t mask);

/* The same load, not before anything its thread did earlier (seq_cst); and a plain store. */
uint64_t rf_bitmap_word_after(const struct rf_bitmap *b, uint64_t w);
void rf_bitmap_store_word(struct rf_bitmap *b, uint64_t w, uint64_t bits);

/*
 * Moves all of src into dst (dst |= src, src = 0), word by word; returns how many bits of dst
 * are set afterwards. Words of zero in src are not written. Same nbits.
 */
uint64_t rf_bitmap_move(struct rf_bitmap *dst, struct rf_bitmap *src);

#endif
