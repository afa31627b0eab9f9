/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What of a region is protected: units of 2 MiB, what one page table maps, that hold something.
 * They are looked for while the guest still runs, so that in the pause only the rest, holes mostly,
 * must be looked at again. What is a hole then reads as zero in the snapshot whatever the guest
 * writes to it later: it is neither protected nor read.
 */
#include <ramferry/err.h>

#include "common/extent.h"
#include "common/log.h"
#include "common/uffd.h"
#include "common/uffd_wp.h"
#include "scheduler/snapshot.h"

#define TABLE_BYTES (2ull << 20)

static void mark_unit(struct rf_snap_region *r, uint64_t unit)
{
	uint64_t per_unit = r->unit / r->info.page_size, first = unit * per_unit;
	uint64_t all = rf_snap_host_pages(r);

	if (rf_bitmap_test_and_set(&r->units, unit))
		return;
	rf_bitmap_set_range(&r->todo, first, all - first < per_unit ? all - first : per_unit);
}

static void mark_all(struct rf_snap_region *r)
{
	for (uint64_t i = 0; i < r->units.nbits; i++)
		mark_unit(r, i);
}

static void mark_mapped(void *arg, uint64_t start, uint64_t end)
{
	struct rf_snap_region *r = arg;
	uint64_t base = (uintptr_t)r->addr;

	for (uint64_t u = (start - base) / r->unit; u <= (end - 1 - base) / r->unit; u++)
		mark_unit(r, u);
}

/* Bytes of the units [from, to) that are the region's. */
static uint64_t bytes_of(const struct rf_snap_region *r, uint64_t from, uint64_t to)
{
	uint64_t end = to * r->unit < r->info.len ? to * r->unit : r->info.len;

	return end - from * r->unit;
}

static void look_in_file(struct rf_snap_region *r, uint64_t from, uint64_t to)
{
	uint64_t at = from * r->unit, end = at + bytes_of(r, from, to);

	while (at < end) {
		at += rf_extent_hole_at(r->info.memfd, r->info.memfd_offset + at, end - at);
		if (at >= end)
			break;
		mark_unit(r, at / r->unit);
		at = (at / r->unit + 1) * r->unit;
	}
}

/* Looks at the units that held nothing so far. */
static int look(struct rf_snapshot *s, struct rf_snap_region *r)
{
	uint64_t from, to = 0;
	int rc = RF_OK;

	/* Files of huge pages do not tell their holes. */
	if (r->info.page_size > RF_PAGE_SIZE) {
		mark_all(r);
		return RF_OK;
	}
	while (rc == RF_OK &&
	       (from = rf_bitmap_find_clear(&r->units, to, r->units.nbits)) != RF_BITMAP_NONE) {
		to = rf_bitmap_find_set(&r->units, from, r->units.nbits);
		to = to == RF_BITMAP_NONE ? r->units.nbits : to;
		if (r->info.memfd >= 0)
			look_in_file(r, from, to);
		else
			rc = rf_uffd_scan_mapped(s->pagemap, r->addr + from * r->unit,
						 bytes_of(r, from, to), mark_mapped, r);
	}
	if (rc != RF_ERR_UNSUPPORTED)
		return rc;
	mark_all(r);
	return RF_OK;
}

int rf_snap_watch(struct rf_snapshot *s)
{
	int rc = RF_OK;

	for (unsigned i = 0; rc == RF_OK && i < s->nregions; i++) {
		struct rf_snap_region *r = &s->regions[i];

		r->unit = r->info.page_size > TABLE_BYTES ? r->info.page_size : TABLE_BYTES;
		if (rf_bitmap_init(&r->units, (r->info.len + r->unit - 1) / r->unit) != RF_OK ||
		    rf_bitmap_init(&r->todo, rf_snap_host_pages(r)) != RF_OK)
			return RF_ERR_NO_MEMORY;
		if (r->info.memfd < 0 && !s->anonymous) {
			rf_err_log(
				"snapshot",
				"region \"%s\": writes to anonymous memory are noticed from Linux "
				"6.4 on; give it a memfd",
				r->info.id);
			return RF_ERR_UNSUPPORTED;
		}
		rc = rf_uffd_wp_watch(s->uffd, r->addr, r->info.len);
		r->registered = rc == RF_OK;
		if (rc == RF_OK)
			rc = look(s, r);
	}
	return rc;
}

static int protect_region(struct rf_snapshot *s, struct rf_snap_region *r)
{
	uint64_t from, to = 0;
	int rc = RF_OK;

	while (rc == RF_OK &&
	       (from = rf_bitmap_find_set(&r->units, to, r->units.nbits)) != RF_BITMAP_NONE) {
		to = rf_bitmap_find_clear(&r->units, from, r->units.nbits);
		to = to == RF_BITMAP_NONE ? r->units.nbits : to;
		rc = rf_uffd_wp_protect(s->uffd, r->addr + from * r->unit, bytes_of(r, from, to));
	}
	return rc;
}

int rf_snap_protect(struct rf_snapshot *s)
{
	uint64_t left = 0;
	int rc = RF_OK;

	for (unsigned i = 0; rc == RF_OK && i < s->nregions; i++) {
		struct rf_snap_region *r = &s->regions[i];

		rc = look(s, r);
		if (rc == RF_OK)
			rc = protect_region(s, r);
		left += rf_bitmap_count(&r->todo) * (r->info.page_size / RF_PAGE_SIZE);
	}
	atomic_store(&s->count.left, left);
	return rc;
}

void rf_snap_unprotect(struct rf_snapshot *s)
{
	for (unsigned i = 0; i < s->nregions; i++) {
		struct rf_snap_region *r = &s->regions[i];

		if (r->registered)
			(void)rf_uffd_unregister(s->uffd, r->addr, r->info.len);
		r->registered = false;
	}
}
