/* SPDX-License-Identifier: BSD-3-Clause */
#include "dest/landed.h"

#include <stdlib.h>

#include <ramferry/err.h>

#define PORTIONS  64u
#define WORD_RUNS 33u /* most runs of a word, and one that came from the word before */

static int copy_bits(struct rf_bitmap *to, const struct rf_bitmap *from)
{
	int rc = rf_bitmap_init(to, from->nbits);

	for (uint64_t w = 0; rc == RF_OK && w < from->nwords; w++) {
		uint64_t bits = rf_bitmap_word(from, w);

		if (bits) /* words of zero cost no memory */
			rf_bitmap_store_word(to, w, bits);
	}
	return rc;
}

int rf_dst_landed_init(struct rf_dst_landed *l, struct rf_dst_postcopy *p)
{
	uint64_t left = atomic_load(&p->remaining);

	*l = (struct rf_dst_landed){.portion = left / PORTIONS ? left / PORTIONS : 1};
	l->untold = calloc(p->nregions, sizeof(*l->untold));
	if (!l->untold)
		return RF_ERR_NO_MEMORY;
	for (; l->nregions < p->nregions; l->nregions++)
		if (copy_bits(&l->untold[l->nregions], &p->pages[l->nregions].missing) != RF_OK)
			return RF_ERR_NO_MEMORY;
	atomic_store(&p->tell_at, left > l->portion ? left - l->portion : 0);
	return RF_OK;
}

void rf_dst_landed_fini(struct rf_dst_landed *l)
{
	for (uint32_t i = 0; i < l->nregions; i++)
		rf_bitmap_fini(&l->untold[i]);
	free(l->untold);
	*l = (struct rf_dst_landed){0};
}

bool rf_dst_landed_due(struct rf_dst_landed *l, struct rf_dst_postcopy *p)
{
	uint64_t left = atomic_load(&p->remaining);

	/* With the last page another message says it all. */
	if (!l->untold || !left || left > atomic_load(&p->tell_at))
		return false;
	/* Whoever lands a page after this store sees it, or we see the page when we ask again. */
	atomic_store(&p->tell_at, left > l->portion ? left - l->portion : 0);
	l->region = 0;
	l->word = 0;
	return true;
}

static void put_run(struct rf_wbuf *b, struct rf_wire_run *run)
{
	if (run->count)
		rf_wire_put_run(b, run);
	run->count = 0;
}

/* The bits of a word as runs of target pages; the last one may go on in the next word. */
static void add_word(struct rf_wbuf *b, struct rf_wire_run *run, uint64_t word, uint64_t bits,
		     unsigned down)
{
	while (bits) {
		unsigned from = (unsigned)__builtin_ctzll(bits);
		uint64_t rest = ~(bits >> from);
		unsigned n = rest ? (unsigned)__builtin_ctzll(rest) : 64;
		uint64_t first = (word * 64 + from) << down;

		if (run->count && run->first + run->count != first)
			put_run(b, run);
		if (!run->count)
			run->first = first;
		run->count += (uint64_t)n << down;
		bits &= from + n < 64 ? ~UINT64_C(0) << (from + n) : 0;
	}
}

static bool word_fits(const struct rf_wbuf *b)
{
	return (b->cap - b->len) / RF_WIRE_RUN_SIZE > WORD_RUNS;
}

bool rf_dst_landed_next(struct rf_dst_landed *l, struct rf_dst_postcopy *p, struct rf_wbuf *b)
{
	for (; l->region < l->nregions; l->region++, l->word = 0) {
		struct rf_bitmap *untold = &l->untold[l->region];
		const struct rf_dst_pages *g = &p->pages[l->region];
		unsigned down = g->shift - (unsigned)__builtin_ctz(RF_PAGE_SIZE);
		struct rf_wire_run run = {0};
		size_t head;

		rf_wire_begin_zero(b, l->region);
		head = b->len;
		for (; l->word < untold->nwords && word_fits(b); l->word++) {
			uint64_t bits = rf_bitmap_word(untold, l->word);

			bits = bits ? bits & ~rf_bitmap_word_after(&g->missing, l->word) : 0;
			if (!bits)
				continue;
			add_word(b, &run, l->word, bits, down);
			(void)rf_bitmap_take_word(untold, l->word, bits);
		}
		put_run(b, &run);
		if (b->len > head)
			return true;
		b->len = 0;
	}
	return false;
}
