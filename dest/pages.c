/* SPDX-License-Identifier: BSD-3-Clause */
#include "dest/pages.h"

#include <ramferry/err.h>

#include "common/uffd_fault.h"
#include "dest/region.h"

int rf_dst_pages_init(struct rf_dst_pages *p, struct rf_dst_region *r,
		      struct rf_dst_place_counters *count)
{
	unsigned shift = (unsigned)__builtin_ctz(r->page_size);

	*p = (struct rf_dst_pages){
		.region = r,
		.npages = r->len >> shift,
		.shift = shift,
		.count = count,
	};
	if (rf_bitmap_init(&p->missing, p->npages) == RF_OK &&
	    rf_bitmap_init(&p->requested, p->npages) == RF_OK &&
	    rf_bitmap_init(&p->placed, p->npages) == RF_OK)
		return RF_OK;
	rf_dst_pages_fini(p);
	return RF_ERR_NO_MEMORY;
}

void rf_dst_pages_fini(struct rf_dst_pages *p)
{
	rf_bitmap_fini(&p->missing);
	rf_bitmap_fini(&p->requested);
	rf_bitmap_fini(&p->placed);
}

uint64_t rf_dst_pages_mark_missing(struct rf_dst_pages *p, uint64_t first, uint64_t count)
{
	unsigned down = p->shift - (unsigned)__builtin_ctz(RF_PAGE_SIZE);
	uint64_t from = first >> down, to = ((first + count - 1) >> down) + 1;
	uint64_t before = rf_bitmap_count_range(&p->missing, from, to - from);

	rf_bitmap_set_range(&p->missing, from, to - from);
	return to - from - before;
}

/* Free and never missing. A page that was missing has been written to by the guest since the hint,
 * or shares its host page with one that was: those bits are not looked at. */
static bool is_free(const struct rf_dst_pages *p, uint64_t page)
{
	uint64_t small = (uint64_t)1 << p->shift >> __builtin_ctz(RF_PAGE_SIZE);

	return rf_dst_region_is_free(p->region, page * small, small);
}

int rf_dst_pages_place_zero(struct rf_dst_pages *p, uint64_t page)
{
	uint64_t small = (uint64_t)1 << p->shift >> __builtin_ctz(RF_PAGE_SIZE);
	int rc = rf_dst_region_clear(p->region, page * small, small);

	return rc == RF_OK ? rf_dst_pages_place(p, page, 1) : rc;
}

enum rf_dst_fault_action rf_dst_pages_fault(struct rf_dst_pages *p, uint64_t page)
{
	bool asked;

	if (rf_bitmap_test(&p->placed, page))
		return RF_DST_FAULT_WAKE;
	if (!rf_bitmap_test(&p->missing, page) && is_free(p, page))
		return RF_DST_FAULT_ZERO;
	if (!rf_bitmap_test(&p->missing, page))
		return RF_DST_FAULT_PLACE;
	asked = rf_bitmap_test_and_set(&p->requested, page);
	/* pairs with the fence in land */
	atomic_thread_fence(memory_order_seq_cst);
	if (!rf_bitmap_test(&p->missing, page))
		return RF_DST_FAULT_PLACE;
	return asked ? RF_DST_FAULT_WAIT : RF_DST_FAULT_REQUEST;
}

bool rf_dst_pages_land(struct rf_dst_pages *p, uint64_t page, bool *urgent)
{
	if (!rf_bitmap_test_and_clear(&p->missing, page))
		return false;
	atomic_thread_fence(memory_order_seq_cst);
	*urgent = rf_bitmap_test(&p->requested, page);
	return true;
}

int rf_dst_pages_uffd(const struct rf_dst_pages *p, uint64_t page)
{
	return p->uffds[page / p->shard_pages];
}

/* One host page that is in no file: a touch of the landing view makes it, all zeros. */
static int make_and_place(struct rf_dst_pages *p, uint64_t page, uint64_t *existed)
{
	struct rf_dst_region *r = p->region;
	uint32_t size = r->page_size;

	(void)*(volatile const uint8_t *)(r->landing + (page << p->shift));
	return rf_uffd_continue(rf_dst_pages_uffd(p, page),
				(uintptr_t)r->guest_view + (page << p->shift), size, size, existed);
}

/* Pages [first, first + n), none placed so far, all of one shard. */
static int place_run(struct rf_dst_pages *p, uint64_t first, uint64_t n)
{
	struct rf_dst_region *r = p->region;
	uint64_t at = first << p->shift, existed = 0;
	int uffd = rf_dst_pages_uffd(p, first), rc;

	if (r->copied)
		rc = rf_uffd_copy(uffd, (uintptr_t)r->guest_view + at, r->landing + at,
				  n << p->shift, r->page_size, &existed);
	else
		rc = rf_uffd_continue(uffd, (uintptr_t)r->guest_view + at, n << p->shift,
				      r->page_size, &existed);
	for (uint64_t i = 0; rc == RF_ERR_NOT_FOUND && !r->copied && i < n; i++) {
		rc = rf_uffd_continue(uffd, (uintptr_t)r->guest_view + ((first + i) << p->shift),
				      r->page_size, r->page_size, &existed);
		if (rc == RF_ERR_NOT_FOUND)
			rc = make_and_place(p, first + i, &existed);
		if (rc == RF_OK && i + 1 < n)
			rc = RF_ERR_NOT_FOUND; /* go on one by one */
	}
	if (rc != RF_OK)
		return rc;
	rf_bitmap_set_range(&p->placed, first, n);
	atomic_fetch_add_explicit(&p->count->placed, n - (existed < n ? existed : n),
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&p->count->existed, existed, memory_order_relaxed);
	return RF_OK;
}

int rf_dst_pages_place(struct rf_dst_pages *p, uint64_t first, uint64_t n)
{
	uint64_t end = first + n;

	while (first < end) {
		uint64_t from = rf_bitmap_find_clear(&p->placed, first, end), to, shard_end;
		int rc;

		if (from == RF_BITMAP_NONE)
			return RF_OK;
		to = rf_bitmap_find_set(&p->placed, from, end);
		if (to == RF_BITMAP_NONE)
			to = end;
		if (to - from > RF_DST_PLACE_BATCH)
			to = from + RF_DST_PLACE_BATCH;
		shard_end = (from / p->shard_pages + 1) * p->shard_pages;
		if (to > shard_end)
			to = shard_end;
		rc = place_run(p, from, to - from);
		if (rc != RF_OK)
			return rc;
		first = to;
	}
	return RF_OK;
}
