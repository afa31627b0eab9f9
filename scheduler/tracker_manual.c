/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tracker of VMMs that know what they write. A mark sets bits; a harvest takes them before
 * the caller reads the pages, so a mark that follows its write is never lost.
 */
#include <pthread.h>
#include <stdlib.h>

#include <ramferry/err.h>

#include "common/log.h"
#include "scheduler/tracker.h"

#define TRACKER_NAME "manual"

struct manual_region {
	struct rf_bitmap marked;
	uint64_t npages;
	uint64_t len;
};

struct manual {
	/* Read by marks and harvests, written by start and stop: marks run in parallel. */
	pthread_rwlock_t lock;
	struct manual_region *regions; /* NULL: not started */
	unsigned nregions;
};

static void free_regions(struct manual *m)
{
	for (unsigned i = 0; i < m->nregions; i++)
		rf_bitmap_fini(&m->regions[i].marked);
	free(m->regions);
	m->regions = NULL;
	m->nregions = 0;
}

static int make_regions(struct manual *m, const struct rf_region *regions, unsigned n)
{
	m->regions = calloc(n ? n : 1, sizeof(*m->regions));
	if (!m->regions)
		return RF_ERR_NO_MEMORY;
	for (unsigned i = 0; i < n; i++) {
		struct manual_region *r = &m->regions[i];

		r->len = regions[i].len;
		r->npages = (r->len + RF_PAGE_SIZE - 1) / RF_PAGE_SIZE;
		int rc = rf_bitmap_init(&r->marked, r->npages);
		if (rc) {
			free_regions(m);
			return rc;
		}
		m->nregions = i + 1;
	}
	return RF_OK;
}

static int start_manual(void *self, const struct rf_region *regions, unsigned n)
{
	struct manual *m = self;
	int rc = RF_ERR_STATE;

	pthread_rwlock_wrlock(&m->lock);
	if (!m->regions)
		rc = make_regions(m, regions, n);
	pthread_rwlock_unlock(&m->lock);
	if (rc)
		rf_err_log(TRACKER_NAME, "start: %s", rf_err_str(rc));
	return rc;
}

static int harvest_manual(void *self, unsigned region, struct rf_dirty_sink *sink)
{
	struct manual *m = self;
	int rc = RF_ERR_STATE;

	pthread_rwlock_rdlock(&m->lock);
	if (region < m->nregions) {
		struct manual_region *r = &m->regions[region];

		for (uint64_t w = 0; w < r->marked.nwords; w++) {
			if (!rf_bitmap_word(&r->marked, w))
				continue;
			uint64_t word = rf_bitmap_take_word(&r->marked, w, UINT64_MAX);
			rf_dirty_sink_words(sink, 64 * w, &word, 1);
		}
		rc = RF_OK;
	}
	pthread_rwlock_unlock(&m->lock);
	if (rc)
		rf_err_log(TRACKER_NAME, "harvest of region %u: not started with it", region);
	return rc;
}

static void stop_manual(void *self)
{
	struct manual *m = self;

	pthread_rwlock_wrlock(&m->lock);
	free_regions(m);
	pthread_rwlock_unlock(&m->lock);
}

static void destroy_manual(void *self)
{
	struct manual *m = self;

	pthread_rwlock_destroy(&m->lock);
	free(m);
}

const struct rf_tracker_type rf_tracker_manual_type = {
	.ops = {.size = sizeof(struct rf_tracker_ops),
		.name = TRACKER_NAME,
		.start = start_manual,
		.harvest = harvest_manual,
		.stop = stop_manual},
	.destroy = destroy_manual,
};

int rf_tracker_manual_new(struct rf_tracker *out)
{
	struct manual *m = calloc(1, sizeof(*m));

	if (!m) {
		rf_err_log(TRACKER_NAME, "no memory");
		return RF_ERR_NO_MEMORY;
	}
	pthread_rwlock_init(&m->lock, NULL);
	*out = (struct rf_tracker){.ops = &rf_tracker_manual_type.ops, .self = m};
	return RF_OK;
}

int rf_tracker_manual_mark(struct rf_tracker *t, unsigned region, uint64_t offset, uint64_t len)
{
	struct manual *m;
	int rc = RF_OK;

	if (!t || t->ops != &rf_tracker_manual_type.ops)
		return RF_ERR_INVALID;
	m = t->self;
	pthread_rwlock_rdlock(&m->lock);
	if (m->regions) {
		if (region >= m->nregions || offset > m->regions[region].len ||
		    len > m->regions[region].len - offset) {
			rc = RF_ERR_INVALID;
		} else if (len) {
			uint64_t first = offset / RF_PAGE_SIZE;
			uint64_t last = (offset + len - 1) / RF_PAGE_SIZE;

			rf_bitmap_set_range(&m->regions[region].marked, first, last - first + 1);
		}
	}
	pthread_rwlock_unlock(&m->lock);
	return rc;
}
