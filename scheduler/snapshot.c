/* SPDX-License-Identifier: BSD-3-Clause */
/* The public side of a snapshot: set-up and tear-down. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.h"
#include "common/wire.h"
#include "scheduler/snapshot.h"

#define OBJ "snapshot"

static const char *find_fault(const struct rf_snapshot_cfg *c)
{
	if (c->size != sizeof(*c))
		return "size is not sizeof(struct rf_snapshot_cfg)";
	if (c->guest.size != sizeof(c->guest))
		return "guest.size is not sizeof(struct rf_guest_ops)";
	if (!c->guest.pause || !c->guest.resume || !c->guest.save_state)
		return "guest.pause, resume or save_state is missing";
	if (!(c->path && c->path[0]) == !(c->host && c->host[0]))
		return "one of path and host must be given";
	if (c->host && !c->port)
		return "port is missing";
	if (c->bulk_lanes > RF_WIRE_MAX_LANES)
		return "bulk_lanes is over 16";
	if ((unsigned)c->strategy > RF_SNAPSHOT_COPY)
		return "strategy is none of auto, queue, copy";
	if (c->fault_threads > RF_SNAP_FAULT_MAX)
		return "fault_threads is over 16";
	return NULL;
}

int rf_snapshot_make(const struct rf_snapshot_cfg *cfg, const struct rf_snap_sink *sink,
		     struct rf_snapshot **out)
{
	struct rf_snapshot *s = calloc(1, sizeof(*s));

	if (!s)
		return RF_ERR_NO_MEMORY;
	s->cfg = *cfg;
	s->sink = *sink;
	s->cfg.fault_threads = cfg->fault_threads ? cfg->fault_threads : 1;
	s->cfg.pool = cfg->pool ? cfg->pool : RF_SNAP_POOL_DEFAULT;
	s->cfg.sink_timeout = cfg->sink_timeout ? cfg->sink_timeout : RF_SNAP_TIMEOUT;
	s->is_zero = rf_zero_select();
	s->uffd = s->pagemap = -1;
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rf_snap_queue_init(&s->queue);
	rf_histogram_init(&s->latency);
	pthread_mutex_init(&s->lock, NULL);
	atomic_store(&s->status, RF_STATE_NONE);
	if (s->wake_fd >= 0 && s->stop_fd >= 0 && s->done_fd >= 0) {
		*out = s;
		return RF_OK;
	}
	rf_err_log(OBJ, "eventfd: %s", strerror(errno));
	s->sink = (struct rf_snap_sink){0}; /* stays the caller's */
	rf_snapshot_delete(&s);
	return RF_ERR_SYSTEM;
}

int rf_snapshot_new(const struct rf_snapshot_cfg *cfg, struct rf_snapshot **out)
{
	const char *fault = cfg ? find_fault(cfg) : "cfg is NULL";
	struct rf_snap_sink sink;
	int rc;

	if (fault) {
		rf_err_log(OBJ, "configuration: %s", fault);
		return RF_ERR_INVALID;
	}
	rc = cfg->host ? rf_snap_link_new(cfg, &sink) : rf_snap_file_new(cfg->path, &sink);
	if (rc != RF_OK)
		return rc;
	rc = rf_snapshot_make(cfg, &sink, out);
	if (rc != RF_OK)
		sink.ops->destroy(sink.self);
	return rc;
}

static const char *find_region_fault(const struct rf_snapshot *s, const struct rf_region *r)
{
	if (r->size != sizeof(*r))
		return "size is not sizeof(struct rf_region)";
	if (!r->id[0] || strnlen(r->id, sizeof(r->id)) == sizeof(r->id))
		return "it has no proper id";
	if (r->page_size != RF_PAGE_SIZE && r->page_size != 2u << 20 && r->page_size != 1u << 30)
		return "page_size is none of 4 KiB, 2 MiB, 1 GiB";
	if (!r->addr || !r->len || r->len % r->page_size || (uintptr_t)r->addr % r->page_size)
		return "address or length is not whole host pages";
	for (unsigned i = 0; i < s->nregions; i++)
		if (!strcmp(s->regions[i].info.id, r->id))
			return "there is one of this id already";
	return s->nregions == RF_MAX_REGIONS ? "there are too many" : NULL;
}

int rf_snapshot_add_region(struct rf_snapshot *s, const struct rf_region *region)
{
	struct rf_snap_region *grown;
	const char *fault;

	if (atomic_load(&s->ran))
		return RF_ERR_STATE;
	fault = find_region_fault(s, region);
	if (fault) {
		rf_err_log(OBJ, "region \"%.40s\": %s", region->id, fault);
		return RF_ERR_INVALID;
	}
	grown = realloc(s->regions, (s->nregions + 1) * sizeof(*grown));
	if (!grown)
		return RF_ERR_NO_MEMORY;
	s->regions = grown;
	grown[s->nregions++] = (struct rf_snap_region){.info = *region, .addr = region->addr};
	s->total += region->len;
	return RF_OK;
}

void rf_snapshot_cancel(struct rf_snapshot *s)
{
	atomic_store(&s->cancelled, true);
	s->sink.ops->cancel(s->sink.self);
	rf_snap_wake_saver(s);
}

void rf_snapshot_delete(struct rf_snapshot **sp)
{
	struct rf_snapshot *s = sp ? *sp : NULL;

	if (!s)
		return;
	*sp = NULL;
	for (unsigned i = 0; i < 2; i++)
		rf_snap_pool_fini(&s->pools[i]);
	if (s->sink.ops)
		s->sink.ops->destroy(s->sink.self);
	rf_snap_queue_fini(&s->queue);
	pthread_mutex_destroy(&s->lock);
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	if (s->stop_fd >= 0)
		close(s->stop_fd);
	if (s->done_fd >= 0)
		close(s->done_fd);
	free(s->regions);
	free(s);
}
