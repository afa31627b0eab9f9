/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tracker by asynchronous write protection: the kernel drops the protection of a page at
 * its first write by itself, and PAGEMAP_SCAN reports and protects again in one step. No fault
 * handler, no thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/log.h"
#include "common/uffd.h"
#include "scheduler/tracker.h"

#define TRACKER_NAME "uffd-wp"

struct uffd_wp {
	int uffd;    /* -1: not started */
	int pagemap; /* of this process */
	const struct rf_region *regions;
	unsigned nregions; /* those that are registered */
};

static void stop_uffd_wp(void *self)
{
	struct uffd_wp *u = self;

	for (unsigned i = 0; i < u->nregions; i++)
		rf_uffd_unregister(u->uffd, u->regions[i].addr, u->regions[i].len);
	if (u->uffd >= 0)
		close(u->uffd);
	if (u->pagemap >= 0)
		close(u->pagemap);
	*u = (struct uffd_wp){.uffd = -1, .pagemap = -1};
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
	u->regions = regions;
	for (unsigned i = 0; i < n; i++) {
		rc = rf_uffd_wp_register(u->uffd, regions[i].addr, regions[i].len);
		if (rc)
			goto stop;
		u->nregions = i + 1;
	}
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

static int harvest_uffd_wp(void *self, unsigned region, struct rf_dirty_sink *sink)
{
	struct uffd_wp *u = self;

	if (region >= u->nregions) {
		rf_err_log(TRACKER_NAME, "harvest of region %u: not started with it", region);
		return RF_ERR_STATE;
	}
	const struct rf_region *r = &u->regions[region];
	struct scan scan = {.sink = sink, .base = (uintptr_t)r->addr};

	return rf_uffd_scan_written(u->pagemap, r->addr, r->len, report_written, &scan);
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
