/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/cursor.h"

#include "scheduler/region.h"

void rf_cursor_init(struct rf_cursor *c, struct rf_src_region *regions, uint32_t nregions,
		    uint64_t chunk_pages, uint64_t piece_pages)
{
	*c = (struct rf_cursor){
		.regions = regions,
		.nregions = nregions,
		.chunk_pages = chunk_pages,
		.piece_pages = piece_pages,
		.is_zero = rf_zero_select(),
	};
}

void rf_cursor_rewind(struct rf_cursor *c, bool hot_last)
{
	c->region = 0;
	c->page = 0;
	c->claimed.count = 0;
	c->hot_last = hot_last;
	c->left_out = false;
	c->last_turn = false;
}

void rf_cursor_abandon(struct rf_cursor *c)
{
	if (c->claimed.count)
		rf_dirty_map_unclaim(&c->regions[c->region].map, &c->claimed);
	c->claimed.count = 0;
}

/* The end of what may be claimed from page on: of its chunk, or where hot pages begin. */
static uint64_t find_end(const struct rf_cursor *c, const struct rf_dirty_map *map, uint64_t page)
{
	uint64_t end = (page / c->chunk_pages + 1) * c->chunk_pages;

	if (end > map->npages)
		end = map->npages;
	if (!c->hot_last)
		return end;
	if (end > page + c->piece_pages)
		end = page + c->piece_pages;
	for (uint64_t next = (page / 64 + 1) * 64; next < end; next += 64)
		if (rf_dirty_map_is_hot(map, next))
			return next;
	return end;
}

static bool claim_in(struct rf_cursor *c, struct rf_dirty_map *map)
{
	while (c->page < map->npages) {
		uint64_t first = rf_bitmap_find_set(&map->pending, c->page, map->npages), end;

		if (first == RF_BITMAP_NONE)
			break;
		if (c->hot_last && rf_dirty_map_is_hot(map, first)) {
			c->left_out = true;
			c->page = (first / 64 + 1) * 64;
			continue;
		}
		end = find_end(c, map, first);
		if (rf_dirty_map_claim(map, first, end, c->piece_pages, &c->claimed)) {
			c->page = c->claimed.first + c->claimed.count;
			return true;
		}
		c->page = end;
	}
	return false;
}

/* Claims the next run within one chunk. */
static bool claim_next(struct rf_cursor *c)
{
	for (;;) {
		for (; c->region < c->nregions; c->region++, c->page = 0) {
			if (!claim_in(c, &c->regions[c->region].map))
				continue;
			if (c->last_turn)
				c->deferred += c->claimed.count;
			return true;
		}
		if (!c->left_out)
			return false;
		rf_cursor_rewind(c, false);
		c->last_turn = true;
	}
}

bool rf_cursor_next(struct rf_cursor *c, struct rf_piece *piece)
{
	uint64_t n;

	if (c->claimed.count == 0 && !claim_next(c))
		return false;
	piece->region = c->region;
	piece->zero = rf_src_region_zeros(&c->regions[c->region], c->is_zero, c->claimed.first,
					  c->claimed.first + c->claimed.count, &n);
	piece->pages = (struct rf_page_run){.first = c->claimed.first, .count = n};
	c->claimed.first += n;
	c->claimed.count -= n;
	return true;
}
