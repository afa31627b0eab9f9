/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/release.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/extent.h"
#include "common/give_back.h"
#include "common/log.h"
#include "scheduler/source.h"

#define SLICE_PAGES 256u /* given back at once, while nothing is sent; at least a host page */
#define HOLES	    64u	 /* slices that hold nothing, in a row */
#define ASKED_NS    (20 * RF_NS_PER_MS) /* pages are asked for: one was, so lately */

int rf_source_prepare_release(struct rf_source *src)
{
	struct rf_release *rel = &src->release;

	if (!src->cfg.release_ram)
		return RF_OK;
	rel->pinned = rf_transport_caps(src->t)->pins;
	rel->maps = calloc(src->nregions, sizeof(*rel->maps));
	for (uint32_t i = 0; rel->maps && i < src->nregions; i++) {
		struct rf_src_region *r = &src->regions[i];
		uint64_t host = r->info.page_size / RF_PAGE_SIZE, unit = host;

		if (rel->pinned && src->cfg.chunk_size / RF_PAGE_SIZE > unit)
			unit = src->cfg.chunk_size / RF_PAGE_SIZE;
		if (rf_release_map_init(&rel->maps[i], rf_src_region_claims(r), r->map.npages, host,
					unit) != RF_OK)
			rf_source_end_release(src);
	}
	return rel->maps ? RF_OK
			 : rf_source_fail(src, RF_ERR_NO_MEMORY,
					  "no memory for what is to be given back");
}

void rf_source_end_release(struct rf_source *src)
{
	struct rf_release *rel = &src->release;

	for (uint32_t i = 0; rel->maps && i < src->nregions; i++)
		rf_release_map_fini(&rel->maps[i]);
	free(rel->maps);
	rel->maps = NULL;
}

void rf_source_begin_release(struct rf_source *src)
{
	src->release.running = src->release.maps;
}

int rf_source_take_landed(struct rf_source *src, const struct rf_frame *f)
{
	struct rf_release *rel = &src->release;
	struct rf_wire_array a;

	if (!rel->agreed || !rel->running)
		return rf_source_fail(src, RF_ERR_PROTOCOL,
				      "destination says what has landed where it must not");
	if (rf_wire_get_zero(f->payload, f->len, &a) != RF_OK || a.region >= src->nregions)
		return rf_source_malformed(src, f->type);
	for (uint32_t i = 0; i < a.count; i++) {
		struct rf_src_region *r = &src->regions[a.region];
		uint64_t host = r->info.page_size / RF_PAGE_SIZE;
		struct rf_wire_run run;

		rf_wire_run_at(&a, i, &run);
		/* What was not even begun to be sent cannot be there. */
		if (rf_release_map_landed(&rel->maps[a.region], run.first, run.count) != RF_OK ||
		    rf_bitmap_find_set(rf_src_region_claims(r), run.first / host,
				       (run.first + run.count) / host) != RF_BITMAP_NONE)
			return rf_source_fail(src, RF_ERR_PROTOCOL,
					      "destination says that pages have landed that it "
					      "cannot have (region %s)",
					      r->info.id);
	}
	rel->idle = false;
	return RF_OK;
}

/* ---- no write reads it any more ---- */

/* Not inline: gcc would warn of the fence under ThreadSanitizer, which does not know fences. */
__attribute__((noinline)) static void set_marks(struct rf_source *src)
{
	struct rf_release_marks *m = &src->release.marks;

	m->heads_posted = false;
	/* Who cleared a claim that was seen to be clear had counted itself before. */
	atomic_thread_fence(memory_order_acquire);
	for (unsigned i = 0; i < src->bulk.nlanes; i++)
		m->bulk[i] = src->bulk.done[i] + rf_lane_inflight(src->bulk.lanes[i]);
	for (unsigned i = 0; i < src->nurgents; i++)
		m->heads[i] = atomic_load(&src->urgents[i].begun);
}

/*
 * Every page of the run was claimed before this, so whoever reads one has begun by now: what was
 * posted before the marks, and what is posted by requests that had begun. Writes of a lane complete
 * in order.
 */
static bool marks_passed(struct rf_source *src)
{
	struct rf_release_marks *m = &src->release.marks;

	for (unsigned i = 0; i < src->bulk.nlanes; i++)
		if (src->bulk.done[i] < m->bulk[i])
			return false;
	for (unsigned i = 0; !m->heads_posted && i < src->nurgents; i++)
		if (atomic_load(&src->urgents[i].ended) < m->heads[i])
			return false;
	for (unsigned i = 0; !m->heads_posted && i < src->nurgents; i++)
		m->writes[i] = atomic_load(&src->urgents[i].posted);
	m->heads_posted = true;
	for (unsigned i = 0; i < src->nurgents; i++)
		if (atomic_load(&src->urgents[i].completed) < m->writes[i])
			return false;
	return true;
}

static void deregister_run(struct rf_source *src)
{
	struct rf_src_region *r = &src->regions[src->release.region];
	const struct rf_page_run *run = &src->release.run;
	uint64_t chunk = run->first * RF_PAGE_SIZE / src->cfg.chunk_size;
	uint64_t last = ((run->first + run->count) * RF_PAGE_SIZE - 1) / src->cfg.chunk_size;

	for (; chunk <= last; chunk++)
		rf_mr_deregister(&r->chunks[chunk].mr);
}

/* ---- giving back ---- */

/* Takes the next run of any region, in turn. */
static bool take_run(struct rf_source *src)
{
	struct rf_release *rel = &src->release;

	for (uint32_t n = 0; !rel->idle && n < src->nregions; n++) {
		if (rf_release_map_next(&rel->maps[rel->region], SLICE_PAGES, &rel->run)) {
			rel->free = !rel->pinned;
			if (rel->pinned)
				set_marks(src);
			return true;
		}
		rel->region = (rel->region + 1) % src->nregions;
	}
	rel->idle = true;
	return false;
}

/* Gives back the first slice of a run and takes it off the run. False: it held nothing. */
static bool give_slice(struct rf_source *src, uint32_t region, struct rf_page_run *run)
{
	struct rf_src_region *r = &src->regions[region];
	uint64_t host = r->info.page_size / RF_PAGE_SIZE;
	uint64_t n = host > SLICE_PAGES ? host : SLICE_PAGES, at = run->first * RF_PAGE_SIZE, bytes;
	int rc;

	if (n > run->count)
		n = run->count;
	run->first += n;
	run->count -= n;
	if (r->kept)
		return false;
	rc = rf_give_back(r->addr + at, n * RF_PAGE_SIZE, r->info.memfd, r->info.memfd_offset + at,
			  &bytes);
	atomic_fetch_add_explicit(&src->count.released, bytes, memory_order_relaxed);
	if (rc == RF_OK)
		return bytes;
	r->kept = true;
	rf_warn("source", "region %s: its memory cannot be given back, it is kept: %s (%s)",
		r->info.id, rf_err_str(rc), strerror(errno));
	return false;
}

/* One slice of a run that is free, or is now. False: there is none for now. */
static bool next_slice(struct rf_source *src, bool *gave)
{
	struct rf_release *rel = &src->release;

	if (!rel->run.count && !take_run(src))
		return false;
	if (!rel->free && !marks_passed(src))
		return false;
	if (!rel->free)
		deregister_run(src);
	rel->free = true;
	*gave = give_slice(src, rel->region, &rel->run);
	return true;
}

/* A time as long as what was done took, or longer while pages are asked for. */
static void rest_after(struct rf_source *src, uint64_t begin)
{
	uint64_t now = rf_now_ns(src->clock), took = now - begin;
	bool asked =
		atomic_load_explicit(&src->urgent.open, memory_order_relaxed) ||
		atomic_load_explicit(&src->urgent.last_ns, memory_order_relaxed) + ASKED_NS > now;

	src->release.next_ns = now + (asked ? 19 : 1) * took;
}

int rf_source_release_wait(struct rf_source *src)
{
	struct rf_release *rel = &src->release;
	uint64_t now;

	if (!rel->running || (rel->idle && !rel->run.count))
		return -1;
	now = rf_now_ns(src->clock);
	return now >= rel->next_ns ? 1 : 1 + (int)((rel->next_ns - now) / RF_NS_PER_MS);
}

bool rf_source_release_some(struct rf_source *src)
{
	bool any = false, gave = false;
	uint64_t begin;

	if (!src->release.running)
		return false;
	begin = rf_now_ns(src->clock);
	if (begin < src->release.next_ns)
		return false;
	for (unsigned n = 0; !gave && n < HOLES; n++) {
		if (!next_slice(src, &gave))
			break;
		any = true;
	}
	if (any)
		rest_after(src, begin);
	return any;
}

/* Pages of a file's hole that the run begins with. */
static uint64_t skip_hole(const struct rf_src_region *r, const struct rf_page_run *run)
{
	uint64_t host = r->info.page_size / RF_PAGE_SIZE, pages;

	if (r->info.memfd < 0)
		return 0;
	pages = rf_extent_hole_at(r->info.memfd, r->info.memfd_offset + run->first * RF_PAGE_SIZE,
				  run->count * RF_PAGE_SIZE) /
		RF_PAGE_SIZE;
	return pages / host * host;
}

void rf_source_release_rest(struct rf_source *src)
{
	uint64_t before = atomic_load(&src->count.released);

	if (!src->release.running)
		return;
	for (uint32_t i = 0; i < src->nregions; i++) {
		struct rf_page_run run = {.count = src->regions[i].map.npages};

		while (run.count) {
			uint64_t hole = skip_hole(&src->regions[i], &run);

			run.first += hole;
			run.count -= hole;
			if (run.count)
				(void)give_slice(src, i, &run);
		}
	}
	rf_info("source",
		"%.1f MiB of memory given back, %.1f of them while pages were missing there",
		(double)atomic_load(&src->count.released) / 1048576, (double)before / 1048576);
}
