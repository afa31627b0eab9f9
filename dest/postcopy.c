/* SPDX-License-Identifier: BSD-3-Clause */
#include "dest/postcopy.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/extent.h"
#include "common/log.h"
#include "common/uffd_fault.h"

int rf_dst_postcopy_init(struct rf_dst_postcopy *p, struct rf_dst_region **regions,
			 uint32_t nregions, int wake_fd)
{
	*p = (struct rf_dst_postcopy){.regions = regions, .wake_fd = wake_fd};
	pthread_mutex_init(&p->lock, NULL);
	p->pages = calloc(nregions, sizeof(*p->pages));
	if (!p->pages)
		return RF_ERR_NO_MEMORY;
	for (; p->nregions < nregions; p->nregions++)
		if (rf_dst_pages_init(&p->pages[p->nregions], regions[p->nregions], &p->count) !=
		    RF_OK)
			return RF_ERR_NO_MEMORY;
	return RF_OK;
}

void rf_dst_postcopy_fini(struct rf_dst_postcopy *p)
{
	if (!p->pages)
		return;
	for (uint32_t i = 0; i < p->nregions; i++)
		rf_dst_pages_fini(&p->pages[i]);
	for (unsigned i = 0; i < p->nfaults; i++) {
		rf_dst_fault_fini(&p->faults[i]);
		/* Closing it would let waiting guest threads run on memory that is not there. */
		if (!p->armed)
			close(p->uffds[i]);
	}
	free(p->pages);
	free(p->faults);
	free(p->nudged);
	free(p->uffds);
	pthread_mutex_destroy(&p->lock);
	*p = (struct rf_dst_postcopy){0};
}

int rf_dst_postcopy_fail(struct rf_dst_postcopy *p, int err, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&p->lock);
	if (!atomic_load(&p->error)) {
		va_start(ap, fmt);
		vsnprintf(p->error_desc, sizeof(p->error_desc), fmt, ap);
		va_end(ap);
		atomic_store(&p->error, err);
	}
	pthread_mutex_unlock(&p->lock);
	eventfd_write(p->wake_fd, 1);
	return err;
}

struct missing_walk {
	struct rf_dst_pages *pages;
	uint64_t limit; /* target pages of the region */
	uint64_t added;
};

static int note_missing(void *arg, uint64_t first, uint64_t count)
{
	struct missing_walk *w = arg;

	if (first >= w->limit || count > w->limit - first)
		return RF_ERR_PROTOCOL;
	if (w->pages->region->free.nbits) /* what is missing is not free */
		rf_bitmap_clear_range(&w->pages->region->free, first, count);
	w->added += rf_dst_pages_mark_missing(w->pages, first, count);
	return 0;
}

int rf_dst_postcopy_missing(struct rf_dst_postcopy *p, const struct rf_wire_missing *m)
{
	struct missing_walk w = {0};
	int rc;

	if (m->region >= p->nregions)
		return RF_ERR_PROTOCOL;
	w.pages = &p->pages[m->region];
	w.limit = p->regions[m->region]->len / RF_PAGE_SIZE;
	rc = rf_wire_walk_missing(m, note_missing, &w);
	p->total += w.added;
	atomic_fetch_add(&p->remaining, w.added);
	return rc;
}

/* ---- arming ---- */

/*
 * Shards: fault thread s serves the s-th part of every region, in whole host pages, so that
 * each userfaultfd has one reader.
 */
static int arm_region(struct rf_dst_postcopy *p, struct rf_dst_pages *pages)
{
	struct rf_dst_region *r = pages->region;
	uint64_t step;

	pages->uffds = p->uffds;
	pages->shard_pages = (pages->npages + p->nfaults - 1) / p->nfaults;
	step = pages->shard_pages;
	for (unsigned s = 0; s * step < pages->npages; s++) {
		uint64_t first = s * step;
		uint64_t n = pages->npages - first < step ? pages->npages - first : step;
		int rc = rf_uffd_arm(p->uffds[s], r->guest_view + (first << pages->shift),
				     n << pages->shift, !r->copied);

		if (rc != RF_OK)
			return rc;
	}
	return RF_OK;
}

static int open_uffds(struct rf_dst_postcopy *p, unsigned n)
{
	p->uffds = calloc(n, sizeof(*p->uffds));
	p->nudged = calloc(n, sizeof(*p->nudged));
	p->faults = calloc(n, sizeof(*p->faults));
	if (!p->uffds || !p->nudged || !p->faults)
		return RF_ERR_NO_MEMORY;
	for (; p->nfaults < n; p->nfaults++) {
		int rc = rf_uffd_open_faults(&p->uffds[p->nfaults]);

		if (rc != RF_OK)
			return rc;
	}
	return RF_OK;
}

int rf_dst_postcopy_arm(struct rf_dst_postcopy *p, struct rf_lane **lanes, unsigned n)
{
	int rc = open_uffds(p, n);

	for (uint32_t i = 0; rc == RF_OK && i < p->nregions; i++)
		rc = arm_region(p, &p->pages[i]);
	for (unsigned i = 0; rc == RF_OK && i < n; i++) {
		rc = rf_dst_fault_start(&p->faults[i], p, i, p->uffds[i], lanes[i]);
		if (rc == RF_OK)
			lanes[i] = NULL;
	}
	p->armed = rc == RF_OK;
	return rc;
}

static int settle_extent(void *arg, uint64_t offset, uint64_t len)
{
	struct rf_dst_pages *g = arg;
	uint64_t first = offset >> g->shift, end = (offset + len - 1) >> g->shift;

	return rf_dst_pages_place(g, first, end - first + 1);
}

int rf_dst_postcopy_settle(struct rf_dst_postcopy *p)
{
	int rc = RF_OK;

	for (uint32_t i = 0; rc == RF_OK && i < p->nregions; i++) {
		struct rf_dst_region *r = p->regions[i];

		if (!r->copied)
			continue;
		rc = rf_extent_walk_file(r->memfd, 0, r->len, settle_extent, &p->pages[i]);
		if (rc == RF_ERR_UNSUPPORTED)
			rc = settle_extent(&p->pages[i], 0, r->len);
	}
	return rc;
}

int rf_dst_postcopy_finish(struct rf_dst_postcopy *p)
{
	int rc = RF_OK;

	for (unsigned i = 0; i < p->nfaults; i++)
		if (p->faults[i].poller)
			rf_dst_fault_stop(&p->faults[i]);
	if (!p->armed || !rf_dst_postcopy_done(p))
		return RF_OK;
	/* What is not mapped is in the file, or nowhere and zero: from here on a touch finds it by
	 * itself. */
	for (uint32_t i = 0; rc == RF_OK && i < p->nregions; i++) {
		struct rf_dst_pages *g = &p->pages[i];

		for (unsigned s = 0; rc == RF_OK && s * g->shard_pages < g->npages; s++) {
			uint64_t first = s * g->shard_pages, n = g->npages - first;

			if (n > g->shard_pages)
				n = g->shard_pages;
			rc = rf_uffd_disarm(p->uffds[s],
					    g->region->guest_view + (first << g->shift),
					    n << g->shift);
		}
	}
	p->armed = rc != RF_OK;
	return rc;
}

/* ---- running ---- */

struct rf_dst_pages *rf_dst_postcopy_find(struct rf_dst_postcopy *p, uint64_t addr,
					  uint32_t *region, uint64_t *page)
{
	for (uint32_t i = 0; i < p->nregions; i++) {
		uint64_t base = (uintptr_t)p->regions[i]->guest_view;

		if (addr < base || addr - base >= p->regions[i]->len)
			continue;
		*region = i;
		*page = (addr - base) >> p->pages[i].shift;
		return &p->pages[i];
	}
	return NULL;
}

void rf_dst_postcopy_landed(struct rf_dst_postcopy *p, uint64_t n)
{
	uint64_t before = atomic_fetch_sub(&p->remaining, n), left = before - n;
	uint64_t at = atomic_load(&p->tell_at);

	/* One thread sees it go past that number. */
	if (!left || (before > at && left <= at))
		eventfd_write(p->wake_fd, 1);
}

/* Pages somebody waits for come first, each at once; the rest in batches. */
static int land_run(struct rf_dst_postcopy *p, struct rf_dst_pages *g, uint64_t first, uint64_t n)
{
	bool nudge = false;
	int rc;

	for (uint64_t i = first; i < first + n; i++) {
		bool urgent;

		if (!rf_dst_pages_land(g, i, &urgent))
			return rf_dst_postcopy_fail(p, RF_ERR_PROTOCOL,
						    "source sent a page twice (region %s, page "
						    "%llu)",
						    g->region->id, (unsigned long long)i);
		if (!urgent)
			continue;
		rc = rf_dst_pages_place(g, i, 1);
		if (rc != RF_OK)
			return rf_dst_postcopy_fail(p, rc, "a page cannot be placed");
		nudge = true;
	}
	rc = rf_dst_pages_place(g, first, n);
	if (rc != RF_OK)
		return rf_dst_postcopy_fail(p, rc, "a page cannot be placed");
	for (unsigned i = 0; nudge && i < p->nfaults; i++)
		rf_dst_fault_nudge(&p->faults[i]);
	rf_dst_postcopy_landed(p, n);
	return RF_OK;
}

int rf_dst_postcopy_announced(struct rf_dst_postcopy *p, const void *data, uint32_t len)
{
	struct rf_wire_announce a;
	struct rf_dst_pages *g;
	uint64_t small, pages;
	int rc;

	if (rf_wire_get_announce(data, len, &a) != RF_OK || a.region >= p->nregions)
		return rf_dst_postcopy_fail(p, RF_ERR_PROTOCOL,
					    "source sent a malformed announcement");
	g = &p->pages[a.region];
	small = (uint64_t)1 << g->shift >> __builtin_ctz(RF_PAGE_SIZE);
	pages = g->npages * small;
	if (a.first >= pages || a.count > pages - a.first || a.first % small || a.count % small)
		return rf_dst_postcopy_fail(p, RF_ERR_PROTOCOL,
					    "source announced pages past region %s", g->region->id);
	if (a.zero) {
		/* Only of missing pages: what is placed is the guest's. */
		for (uint64_t i = a.first / small; i < (a.first + a.count) / small; i++)
			if (!rf_bitmap_test(&g->missing, i))
				return rf_dst_postcopy_fail(p, RF_ERR_PROTOCOL,
							    "source cleared a page it had sent");
		rc = rf_dst_region_clear(g->region, a.first, a.count);
		if (rc != RF_OK)
			return rf_dst_postcopy_fail(p, rc, "pages cannot be cleared");
	}
	return land_run(p, g, a.first / small, a.count / small);
}
