/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/dirty_map.h"

#include <stddef.h>

#include <ramferry/err.h>

int rf_dirty_map_init(struct rf_dirty_map *m, uint64_t npages)
{
	struct rf_bitmap *all[] = {&m->pending, &m->next,  &m->warm, &m->twice,
				   &m->hot,	&m->saved, &m->free};

	*m = (struct rf_dirty_map){.npages = npages};
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		if (rf_bitmap_init(all[i], npages) == RF_OK)
			continue;
		rf_dirty_map_fini(m);
		return RF_ERR_NO_MEMORY;
	}
	return RF_OK;
}

void rf_dirty_map_fini(struct rf_dirty_map *m)
{
	rf_bitmap_fini(&m->saved);
	rf_bitmap_fini(&m->hot);
	rf_bitmap_fini(&m->twice);
	rf_bitmap_fini(&m->warm);
	rf_bitmap_fini(&m->free);
	rf_bitmap_fini(&m->next);
	rf_bitmap_fini(&m->pending);
}

void rf_dirty_map_absorb(struct rf_dirty_map *m, struct rf_bitmap *found, bool in_round,
			 struct rf_dirty_found *sum)
{
	for (uint64_t w = 0; w < m->pending.nwords; w++) {
		uint64_t dirty = rf_bitmap_take_word(found, w, UINT64_MAX), pending, again;

		if (!dirty)
			continue;
		(void)rf_bitmap_take_word(&m->free, w, dirty);
		pending = rf_bitmap_word_after(&m->pending, w);
		again = dirty & rf_bitmap_word(&m->warm, w);
		rf_bitmap_or_word(&m->warm, w, dirty);
		rf_bitmap_or_word(&m->twice, w, again);
		rf_bitmap_or_word(&m->hot, w, again);
		sum->dirtied += (uint64_t)__builtin_popcountll(dirty);
		sum->again += (uint64_t)__builtin_popcountll(
			rf_bitmap_or_word(&m->next, w, dirty & ~pending));
		if (in_round)
			rf_bitmap_or_word(&m->saved, w, dirty & pending);
	}
}

uint64_t rf_dirty_map_advance(struct rf_dirty_map *m, uint64_t *avoided)
{
	for (uint64_t w = 0; w < m->saved.nwords; w++) {
		uint64_t saved = rf_bitmap_take_word(&m->saved, w, UINT64_MAX);

		rf_bitmap_store_word(&m->hot, w, rf_bitmap_take_word(&m->twice, w, UINT64_MAX));
		rf_bitmap_store_word(&m->warm, w, 0);
		/* Some were written once more after they had been sent. */
		if (saved)
			*avoided += (uint64_t)__builtin_popcountll(saved &
								   ~rf_bitmap_word(&m->next, w));
	}
	return rf_bitmap_move(&m->pending, &m->next);
}

bool rf_dirty_map_is_hot(const struct rf_dirty_map *m, uint64_t page)
{
	uint64_t pending = rf_bitmap_word(&m->pending, page / 64);
	uint64_t hot = pending & rf_bitmap_word(&m->hot, page / 64);

	return 2 * __builtin_popcountll(hot) > __builtin_popcountll(pending);
}

/* Bits [from, to) of a word, from < 64, to <= 64. */
static uint64_t word_mask(unsigned from, unsigned to)
{
	uint64_t upto = to == 64 ? UINT64_MAX : (1ull << to) - 1;

	return upto & (UINT64_MAX << from);
}

uint64_t rf_dirty_map_free(struct rf_dirty_map *m, uint64_t first, uint64_t count)
{
	uint64_t n = 0;

	rf_bitmap_clear_range(&m->next, first, count);
	for (uint64_t at = first; at < first + count;) {
		uint64_t to =
			(at / 64 + 1) * 64 < first + count ? (at / 64 + 1) * 64 : first + count;
		uint64_t mask = word_mask((unsigned)(at % 64), (unsigned)(at % 64 + (to - at)));

		/* A sender may claim at the same time: whoever takes the bit has the page. */
		n += (unsigned)__builtin_popcountll(
			rf_bitmap_take_word(&m->pending, at / 64, mask));
		at = to;
	}
	rf_bitmap_set_range(&m->free, first, count);
	return n;
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
