/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/hints.h"

#include <ramferry/err.h>

#include "common/log.h"

void rf_hints_init(struct rf_hints *h)
{
	pthread_mutex_init(&h->lock, NULL);
}

void rf_hints_fini(struct rf_hints *h)
{
	pthread_mutex_destroy(&h->lock);
}

void rf_hints_open(struct rf_hints *h, struct rf_src_region *regions, uint32_t nregions)
{
	pthread_mutex_lock(&h->lock);
	h->regions = regions;
	h->nregions = nregions;
	h->open = true;
	pthread_mutex_unlock(&h->lock);
}

void rf_hints_close(struct rf_hints *h)
{
	pthread_mutex_lock(&h->lock);
	h->open = false;
	pthread_mutex_unlock(&h->lock);
}

static void advance_epoch(struct rf_hints *h)
{
	pthread_mutex_lock(&h->lock);
	h->epoch++;
	pthread_mutex_unlock(&h->lock);
}

void rf_hints_begin_harvest(struct rf_hints *h)
{
	advance_epoch(h);
}

void rf_hints_end_harvest(struct rf_hints *h)
{
	advance_epoch(h);
}

static bool takes_hints(const struct rf_hints *h)
{
	return h->open && !(h->epoch & 1);
}

uint64_t rf_hints_epoch(struct rf_hints *h)
{
	uint64_t epoch;

	pthread_mutex_lock(&h->lock);
	epoch = takes_hints(h) ? h->epoch : 0;
	pthread_mutex_unlock(&h->lock);
	return epoch;
}

static int fail_outside(uint32_t region, uint64_t start, uint64_t len)
{
	static struct rf_log_limit limit;

	rf_log_limited(&limit, RF_LOG_WARN, "source",
		       "hint of free pages outside of all regions, or no pages: region %u, %llu "
		       "bytes at %llu",
		       region, (unsigned long long)len, (unsigned long long)start);
	return RF_ERR_INVALID;
}

int rf_hints_free(struct rf_hints *h, uint32_t region, uint64_t start, uint64_t len, uint64_t epoch,
		  uint64_t *avoided)
{
	int rc = RF_OK;

	*avoided = 0;
	pthread_mutex_lock(&h->lock);
	if (!h->open) {
		rc = RF_ERR_STATE;
	} else if (!takes_hints(h) || epoch != h->epoch) {
		rc = RF_AGAIN;
	} else if (region >= h->nregions || start >= h->regions[region].info.len ||
		   len > h->regions[region].info.len - start || !len || start % RF_PAGE_SIZE ||
		   len % RF_PAGE_SIZE) {
		rc = RF_ERR_INVALID;
	} else {
		*avoided = rf_dirty_map_free(&h->regions[region].map, start / RF_PAGE_SIZE,
					     len / RF_PAGE_SIZE);
	}
	pthread_mutex_unlock(&h->lock);
	if (rc == RF_ERR_INVALID)
		return fail_outside(region, start, len);
	atomic_fetch_add_explicit(rc == RF_OK ? &h->taken : &h->stale, 1, memory_order_relaxed);
	if (rc != RF_OK)
		return rc;
	atomic_fetch_add_explicit(&h->pages, len / RF_PAGE_SIZE, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->avoided, *avoided, memory_order_relaxed);
	return RF_OK;
}
