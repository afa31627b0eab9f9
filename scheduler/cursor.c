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

void rf_cursor_rewind(struct rf_cursor *c)
{
	c->region = 0;
	c->page = 0;
	c->claimed.count = 0;
}

void rf_cursor_abandon(struct rf_cursor *c)
{
	if (c->claimed.count)
		rf_dirty_map_unclaim(&c->regions[c->region].map, &c->claimed);
	c->claimed.count = 0;
}

/* Claims the next run within one chunk. */
static bool claim_next(struct rf_cursor *c)
{
	for (; c->region < c->nregions; c->region++, c->page = 0) {
		struct rf_dirty_map *map = &c->regions[c->region].map;

		while (c->page < map->npages) {
			uint64_t first = rf_bitmap_find_set(&map->pending, c->page, map->npages);
			uint64_t end;

			if (first == RF_BITMAP_NONE)
				break;
			end = (first / c->chunk_pages + 1) * c->chunk_pages;
			if (end > map->npages)
				end = map->npages;
			if (rf_dirty_map_claim(map, first, end, c->piece_pages, &c->claimed)) {
				c->page = c->claimed.first + c->claimed.count;
				return true;
			}
			c->page = end;
		}
	}
	return false;
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
