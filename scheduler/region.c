/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/region.h"

#include <stdlib.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/extent.h"
#include "common/log.h"
#include "common/wire.h"

static const char *find_fault(const struct rf_region *info)
{
	if (info->size != sizeof(*info))
		return "size field is not sizeof(struct rf_region)";
	if (!info->id[0] || !memchr(info->id, 0, sizeof(info->id)))
		return "id is empty or not terminated";
	if (info->page_size != RF_PAGE_SIZE && info->page_size != 2u << 20 &&
	    info->page_size != 1u << 30)
		return "page_size is none of 4096, 2 MiB, 1 GiB";
	if (!info->addr || (uintptr_t)info->addr % RF_PAGE_SIZE)
		return "addr is NULL or not page-aligned";
	if (!info->len || info->len % info->page_size || info->len > RF_WIRE_MAX_LEN)
		return "len is zero, too large or no multiple of page_size";
	return NULL;
}

int rf_src_region_init(struct rf_src_region *r, const struct rf_region *info)
{
	const char *fault = find_fault(info);

	if (fault) {
		rf_err_log("source", "region \"%.*s\": %s", RF_REGION_ID_SIZE - 1, info->id, fault);
		return RF_ERR_INVALID;
	}
	*r = (struct rf_src_region){.info = *info, .addr = info->addr};
	if (rf_bitmap_init(&r->data, info->len / RF_PAGE_SIZE) != RF_OK)
		return RF_ERR_NO_MEMORY;
	if (rf_dirty_map_init(&r->map, info->len / RF_PAGE_SIZE) == RF_OK)
		return RF_OK;
	rf_bitmap_fini(&r->data);
	return RF_ERR_NO_MEMORY;
}

void rf_src_region_fini(struct rf_src_region *r)
{
	free(r->chunks);
	rf_bitmap_fini(&r->host_pending);
	rf_bitmap_fini(&r->data);
	rf_dirty_map_fini(&r->map);
}

int rf_src_region_make_claims(struct rf_src_region *r)
{
	uint64_t pages = r->info.page_size / RF_PAGE_SIZE, page = 0;

	if (pages == 1)
		return RF_OK;
	if (rf_bitmap_init(&r->host_pending, r->map.npages / pages) != RF_OK)
		return RF_ERR_NO_MEMORY;
	while ((page = rf_bitmap_find_set(&r->map.pending, page, r->map.npages)) !=
	       RF_BITMAP_NONE) {
		rf_bitmap_set(&r->host_pending, page / pages);
		page = (page / pages + 1) * pages;
		if (page >= r->map.npages)
			break;
	}
	return RF_OK;
}

int rf_src_region_make_chunks(struct rf_src_region *r, uint64_t chunk_size)
{
	r->nchunks = (r->info.len + chunk_size - 1) / chunk_size;
	r->chunks = calloc(r->nchunks, sizeof(*r->chunks));
	return r->chunks ? RF_OK : RF_ERR_NO_MEMORY;
}

void rf_src_region_deregister(struct rf_src_region *r)
{
	for (uint64_t i = 0; r->chunks && i < r->nchunks; i++)
		rf_mr_deregister(&r->chunks[i].mr);
}

struct data_walk {
	struct rf_dirty_map *map;
	struct rf_bitmap *data;
	uint64_t base; /* page at which the walk begins */
	uint64_t found;
};

static int mark_extent(void *arg, uint64_t offset, uint64_t len)
{
	struct data_walk *w = arg;
	uint64_t first = w->base + offset / RF_PAGE_SIZE;
	uint64_t end = w->base + (offset + len + RF_PAGE_SIZE - 1) / RF_PAGE_SIZE;

	rf_bitmap_set_range(&w->map->pending, first, end - first);
	rf_bitmap_set_range(w->data, first, end - first);
	w->found += end - first;
	return 0;
}

/* Marks what holds data of [first, end). */
static int walk_data(struct rf_src_region *r, uint64_t first, uint64_t end, struct data_walk *w)
{
	uint64_t at = first * RF_PAGE_SIZE, len = (end - first) * RF_PAGE_SIZE;

	w->base = first;
	if (r->info.memfd < 0)
		return rf_extent_walk_anon(r->addr + at, len, mark_extent, w);
	return rf_extent_walk_file(r->info.memfd, r->info.memfd_offset + at, len, mark_extent, w);
}

void rf_src_region_find_data(struct rf_src_region *r, uint64_t *holes)
{
	struct data_walk w = {.map = &r->map, .data = &r->data};
	int rc;

	rf_bitmap_clear_range(&r->map.pending, 0, r->map.npages);
	rc = walk_data(r, 0, r->map.npages, &w);
	if (rc != RF_OK) {
		/* Whoever cannot tell holes sends everything; zero pages are still announced. */
		rf_info("source", "region %s: holes cannot be told (%s), all pages are read",
			r->info.id, rf_err_str(rc));
		rf_bitmap_set_range(&r->map.pending, 0, r->map.npages);
		rf_bitmap_set_range(&r->data, 0, r->map.npages);
		w.found = r->map.npages;
	}
	*holes = r->map.npages - w.found;
}

/* Holes up to this many pages are not looked at again: they are sent, and found out to be zero
 * when their turn comes. */
#define SMALL_HOLE 512u

int rf_src_region_find_more(struct rf_src_region *r, uint64_t *holes)
{
	struct data_walk w = {.map = &r->map, .data = &r->data};
	uint64_t npages = r->map.npages, hole = 0, end;

	while (hole < npages &&
	       (hole = rf_bitmap_find_clear(&r->data, hole, npages)) != RF_BITMAP_NONE) {
		int rc = RF_OK;

		end = rf_bitmap_find_set(&r->data, hole, npages);
		if (end == RF_BITMAP_NONE)
			end = npages;
		if (end - hole <= SMALL_HOLE)
			rf_bitmap_set_range(&r->map.pending, hole, end - hole);
		else
			rc = walk_data(r, hole, end, &w);
		if (rc != RF_OK)
			return rc;
		hole = end;
	}
	*holes = npages - rf_bitmap_count(&r->map.pending);
	return RF_OK;
}

/* Pages from `page` on that are a hole now, 0 if it holds data. That a page holds data is kept,
 * a hole is not: it may be filled at any time. */
static uint64_t count_hole(struct rf_src_region *r, uint64_t page, uint64_t end)
{
	uint64_t hole;

	if (r->info.memfd < 0 || r->info.page_size > RF_PAGE_SIZE || rf_bitmap_test(&r->data, page))
		return 0;
	hole = rf_extent_hole_at(r->info.memfd, r->info.memfd_offset + page * RF_PAGE_SIZE,
				 (end - page) * RF_PAGE_SIZE) /
	       RF_PAGE_SIZE;
	if (!hole)
		rf_bitmap_set(&r->data, page);
	return hole;
}

bool rf_src_region_zeros(struct rf_src_region *r, rf_zero_fn is_zero, uint64_t first, uint64_t end,
			 uint64_t *count)
{
	uint64_t n = count_hole(r, first, end), at;
	bool zero = n || is_zero(r->addr + first * RF_PAGE_SIZE);

	for (at = first + (n ? n : 1); at < end; at += n ? n : 1) {
		n = count_hole(r, at, end);
		if ((n || is_zero(r->addr + at * RF_PAGE_SIZE)) != zero)
			break;
	}
	*count = at - first;
	return zero;
}
