/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tracker by asynchronous write protection: the kernel drops the protection of a page at
 * its first write by itself, and PAGEMAP_SCAN reports and protects again in one step. No fault
 * handler, no thread.
 *
 * Protecting a page takes an entry of a page table: 2 GiB of them for a terabyte that nobody has
 * touched. So only blocks of 2 MiB, what a page table maps, that hold something are protected and
 * scanned. A harvest looks for new ones first:
 *
 *   known     ####....#.......................##..    sticky, one bit a block
 *   look      ____^^^^_^^^^^^^^^^^^^^^^^^^^^^^__^^    data in the file, or entries in page tables
 *   scan      ####....#.......N...............##..
 *
 * The first scan of a new block reports what is not protected: what was written, and the holes
 * beside it. Whoever sends finds out that they are holes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/extent.h"
#include "common/log.h"
#include "common/uffd.h"
#include "scheduler/tracker.h"

#define TRACKER_NAME "uffd-wp"
#define TABLE_BYTES  (2ull << 20) /* what one page table maps */

struct watched {
	const struct rf_region *info;
	struct rf_bitmap known; /* blocks of page tables */
};

struct uffd_wp {
	int uffd;    /* -1: not started */
	int pagemap; /* of this process */
	struct watched *regions;
	unsigned nregions; /* those that are registered */
};

static void stop_uffd_wp(void *self)
{
	struct uffd_wp *u = self;

	for (unsigned i = 0; u->regions && i < u->nregions; i++) {
		rf_uffd_unregister(u->uffd, u->regions[i].info->addr, u->regions[i].info->len);
		rf_bitmap_fini(&u->regions[i].known);
	}
	free(u->regions);
	if (u->uffd >= 0)
		close(u->uffd);
	if (u->pagemap >= 0)
		close(u->pagemap);
	*u = (struct uffd_wp){.uffd = -1, .pagemap = -1};
}

/* ---- blocks ---- */

static uint64_t block_of(const struct watched *w, uint64_t addr)
{
	return addr / TABLE_BYTES - (uintptr_t)w->info->addr / TABLE_BYTES;
}

/* The bytes of blocks [from, to) that are the region's, as addresses. */
static void bytes_of(const struct watched *w, uint64_t from, uint64_t to, uint64_t *begin,
		     uint64_t *end)
{
	uint64_t addr = (uintptr_t)w->info->addr, base = addr / TABLE_BYTES;

	*begin = (base + from) * TABLE_BYTES;
	*end = (base + to) * TABLE_BYTES;
	if (*begin < addr)
		*begin = addr;
	if (*end > addr + w->info->len)
		*end = addr + w->info->len;
}

static void note_mapped(void *arg, uint64_t start, uint64_t end)
{
	struct watched *w = arg;
	uint64_t first = block_of(w, start);

	rf_bitmap_set_range(&w->known, first, block_of(w, end - 1) - first + 1);
}

/* Memory of a file is looked for in the file, for its page tables forget what is swapped out. */
static int look_in_file(struct watched *w, uint64_t begin, uint64_t end)
{
	const struct rf_region *r = w->info;
	uint64_t addr = (uintptr_t)r->addr;

	while (begin < end) {
		uint64_t block;

		begin += rf_extent_hole_at(r->memfd, r->memfd_offset + (begin - addr), end - begin);
		if (begin >= end)
			break;
		block = block_of(w, begin);
		rf_bitmap_set(&w->known, block);
		begin = (begin / TABLE_BYTES + 1) * TABLE_BYTES;
	}
	return RF_OK;
}

/* Marks the blocks that have come to hold something. */
static int look_for_blocks(struct uffd_wp *u, struct watched *w)
{
	uint64_t from, to = 0;
	int rc = RF_OK;

	while (rc == RF_OK &&
	       (from = rf_bitmap_find_clear(&w->known, to, w->known.nbits)) != RF_BITMAP_NONE) {
		uint64_t begin, end;

		to = rf_bitmap_find_set(&w->known, from, w->known.nbits);
		to = to == RF_BITMAP_NONE ? w->known.nbits : to;
		bytes_of(w, from, to, &begin, &end);
		rc = w->info->memfd >= 0 ? look_in_file(w, begin, end)
					 : rf_uffd_scan_mapped(u->pagemap, (void *)(uintptr_t)begin,
							       end - begin, note_mapped, w);
	}
	return rc;
}

/* Calls fn for each run of known blocks. */
static int walk_blocks(struct uffd_wp *u, struct watched *w,
		       int (*fn)(struct uffd_wp *u, void *at, uint64_t len, void *arg), void *arg)
{
	uint64_t from, to = 0;
	int rc = RF_OK;

	while (rc == RF_OK &&
	       (from = rf_bitmap_find_set(&w->known, to, w->known.nbits)) != RF_BITMAP_NONE) {
		uint64_t begin, end;

		to = rf_bitmap_find_clear(&w->known, from, w->known.nbits);
		to = to == RF_BITMAP_NONE ? w->known.nbits : to;
		bytes_of(w, from, to, &begin, &end);
		rc = fn(u, (void *)(uintptr_t)begin, end - begin, arg);
	}
	return rc;
}

/* ---- the tracker ---- */

static int protect(struct uffd_wp *u, void *at, uint64_t len, void *arg)
{
	(void)arg;
	return rf_uffd_wp_protect(u->uffd, at, len);
}

static int watch_region(struct uffd_wp *u, struct watched *w, const struct rf_region *r)
{
	uint64_t last = (uintptr_t)r->addr + r->len - 1;
	int rc;

	w->info = r;
	if (rf_bitmap_init(&w->known, block_of(w, last) + 1) != RF_OK)
		return RF_ERR_NO_MEMORY;
	rc = rf_uffd_wp_watch(u->uffd, r->addr, r->len);
	if (rc != RF_OK) {
		rf_bitmap_fini(&w->known);
		return rc;
	}
	u->nregions++;
	rc = look_for_blocks(u, w);
	return rc == RF_OK ? walk_blocks(u, w, protect, NULL) : rc;
}

static int start_uffd_wp(void *self, const struct rf_region *regions, unsigned n)
{
	struct uffd_wp *u = self;
	int rc;

	if (u->uffd >= 0) {
		rf_err_log(TRACKER_NAME, "start: it is started already");
		return RF_ERR_STATE;
	}
	u->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (u->pagemap < 0) {
		rf_err_log(TRACKER_NAME, "/proc/self/pagemap: %s", strerror(errno));
		return RF_ERR_SYSTEM;
	}
	rc = rf_uffd_open_wp_async(&u->uffd);
	if (rc) {
		u->uffd = -1;
		goto stop;
	}
	u->regions = calloc(n, sizeof(*u->regions));
	rc = u->regions ? RF_OK : RF_ERR_NO_MEMORY;
	for (unsigned i = 0; rc == RF_OK && i < n; i++)
		rc = watch_region(u, &u->regions[i], &regions[i]);
	if (rc != RF_OK)
		goto stop;
	return RF_OK;
stop:
	stop_uffd_wp(u);
	return rc;
}

struct scan {
	struct rf_dirty_sink *sink;
	uintptr_t base;
};

static void report_written(void *arg, uint64_t start, uint64_t end)
{
	struct scan *s = arg;

	rf_dirty_sink_run(s->sink, (start - s->base) / RF_PAGE_SIZE, (end - start) / RF_PAGE_SIZE);
}

static int scan_blocks(struct uffd_wp *u, void *at, uint64_t len, void *arg)
{
	return rf_uffd_scan_written(u->pagemap, at, len, report_written, arg);
}

static int harvest_uffd_wp(void *self, unsigned region, struct rf_dirty_sink *sink)
{
	struct uffd_wp *u = self;

	if (region >= u->nregions) {
		rf_err_log(TRACKER_NAME, "harvest of region %u: not started with it", region);
		return RF_ERR_STATE;
	}
	struct watched *w = &u->regions[region];
	struct scan scan = {.sink = sink, .base = (uintptr_t)w->info->addr};
	int rc = look_for_blocks(u, w);

	return rc == RF_OK ? walk_blocks(u, w, scan_blocks, &scan) : rc;
}

const struct rf_tracker_type rf_tracker_uffd_wp_type = {
	.ops = {.size = sizeof(struct rf_tracker_ops),
		.name = TRACKER_NAME,
		.start = start_uffd_wp,
		.harvest = harvest_uffd_wp,
		.stop = stop_uffd_wp},
	.destroy = free,
};

int rf_tracker_uffd_wp_new(struct rf_tracker *out)
{
	struct uffd_wp *u;
	int fd, rc;

	/* Opened and closed again: the caller hears now, not at start, that it cannot work. */
	rc = rf_uffd_open_wp_async(&fd);
	if (rc)
		return rc;
	close(fd);
	u = malloc(sizeof(*u));
	if (!u) {
		rf_err_log(TRACKER_NAME, "no memory");
		return RF_ERR_NO_MEMORY;
	}
	*u = (struct uffd_wp){.uffd = -1, .pagemap = -1};
	*out = (struct rf_tracker){.ops = &rf_tracker_uffd_wp_type.ops, .self = u};
	return RF_OK;
}
