/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/dirty_map.h"

#include <ramferry/err.h>

int rf_dirty_map_init(struct rf_dirty_map *m, uint64_t npages)
{
	*m = (struct rf_dirty_map){.npages = npages};
	if (rf_bitmap_init(&m->pending, npages) != RF_OK)
		return RF_ERR_NO_MEMORY;
	if (rf_bitmap_init(&m->next, npages) != RF_OK)
		goto free_pending;
	return RF_OK;

free_pending:
	rf_bitmap_fini(&m->pending);
	return RF_ERR_NO_MEMORY;
}

void rf_dirty_map_fini(struct rf_dirty_map *m)
{
	rf_bitmap_fini(&m->next);
	rf_bitmap_fini(&m->pending);
}

uint64_t rf_dirty_map_advance(struct rf_dirty_map *m)
{
	return rf_bitmap_move(&m->pending, &m->next);
}

/* Bits [from, to) of a word, from < 64, to <= 64. */
static uint64_t word_mask(unsigned from, unsigned to)
{
	uint64_t upto = to == 64 ? UINT64_MAX : (1ull << to) - 1;

	return upto & (UINT64_MAX << from);
}

/*
 * Claims the unbroken run of pending bits that begins at bit `at` of word w and ends before
 * bit `to`. Returns its length. Bits another sender took meanwhile break the run; what was won
 * behind such a break is given back.
 */
static unsigned claim_in_word(struct rf_bitmap *b, uint64_t w, unsigned at, unsigned to)
{
	uint64_t set = rf_bitmap_word(b, w) & word_mask(at, to);
	uint64_t gaps = ~set & word_mask(at, to);
	unsigned end = gaps ? (unsigned)__builtin_ctzll(gaps) : to;
	uint64_t want, won, lost;

	if (end == at)
		return 0;
	want = word_mask(at, end);
	won = rf_bitmap_take_word(b, w, want);
	lost = want & ~won;
	if (!lost)
		return end - at;
	end = (unsigned)__builtin_ctzll(lost);
	if (won >> end)
		rf_bitmap_or_word(b, w, won & (UINT64_MAX << end));
	return end - at;
}

bool rf_dirty_map_claim(struct rf_dirty_map *m, uint64_t from, uint64_t end, uint64_t max,
			struct rf_page_run *run)
{
	for (;;) {
		uint64_t first = rf_bitmap_find_set(&m->pending, from, end);
		uint64_t stop, at;

		if (first == RF_BITMAP_NONE)
			return false;
		stop = end - first > max ? first + max : end;
		for (at = first; at < stop;) {
			uint64_t word_end = (at / 64 + 1) * 64;
			uint64_t to = word_end < stop ? word_end : stop;
			unsigned bit = (unsigned)(at % 64);

			at += claim_in_word(&m->pending, at / 64, bit, bit + (unsigned)(to - at));
			if (at < to)
				break;
		}
		if (at > first) {
			*run = (struct rf_page_run){.first = first, .count = at - first};
			return true;
		}
		from = first + 1; /* another sender took it */
	}
}

void rf_dirty_map_unclaim(struct rf_dirty_map *m, const struct rf_page_run *run)
{
	rf_bitmap_set_range(&m->pending, run->first, run->count);
}
