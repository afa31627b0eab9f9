/* SPDX-License-Identifier: BSD-3-Clause */
/* The public side of a restore, and the eager one. */
#include "dest/restore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#define OBJ "restore"

static const char *find_fault(const struct rf_restore_cfg *c)
{
	if (c->size != sizeof(*c))
		return "size is not sizeof(struct rf_restore_cfg)";
	if (c->guest.size != sizeof(c->guest))
		return "guest.size is not sizeof(struct rf_guest_ops)";
	if (!c->guest.load_state || !c->guest.resume)
		return "guest.load_state or resume is missing";
	if (!c->path || !c->path[0])
		return "path is missing";
	return NULL;
}

int rf_restore_new(const struct rf_restore_cfg *cfg, struct rf_restore **out)
{
	const char *fault = cfg ? find_fault(cfg) : "cfg is NULL";
	struct rf_restore *r;
	int rc;

	if (fault) {
		rf_err_log(OBJ, "configuration: %s", fault);
		return RF_ERR_INVALID;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return RF_ERR_NO_MEMORY;
	r->cfg = *cfg;
	r->cfg.path = NULL; /* the file has its own copy */
	r->uffd = -1;
	r->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&r->lock, NULL);
	rf_histogram_init(&r->latency);
	rc = r->stop_fd < 0 ? RF_ERR_SYSTEM : rf_image_reader_open(cfg->path, &r->file);
	if (rc == RF_OK) {
		r->mem = calloc(r->file->img.nregions, sizeof(*r->mem));
		rc = r->mem ? RF_OK : RF_ERR_NO_MEMORY;
	}
	for (uint32_t i = 0; rc == RF_OK && i < r->file->img.nregions; i++)
		r->total += r->file->img.regions[i].len;
	if (rc != RF_OK)
		rf_restore_delete(&r);
	else
		*out = r;
	return rc;
}

int rf_restore_region(const struct rf_restore *r, unsigned index, struct rf_region *out)
{
	const struct rf_image_region *info;

	if (index >= r->file->img.nregions)
		return RF_ERR_NOT_FOUND;
	info = &r->file->img.regions[index];
	*out = (struct rf_region){
		.size = sizeof(*out),
		.len = info->len,
		.page_size = info->page_size,
		.memfd = -1,
	};
	memcpy(out->id, info->id, sizeof(out->id));
	return RF_OK;
}

void rf_restore_state(const struct rf_restore *r, const void **buf, size_t *len)
{
	*buf = r->file->state;
	*len = r->file->img.state_len;
}

static int match_region(struct rf_restore *r, uint32_t i, const struct rf_region *region)
{
	const struct rf_image_region *info = &r->file->img.regions[i];

	if (info->len != region->len || info->page_size != region->page_size) {
		rf_err_log(OBJ,
			   "region \"%s\": %llu bytes in pages of %u here, %llu in pages of "
			   "%u in the file",
			   info->id, (unsigned long long)region->len, region->page_size,
			   (unsigned long long)info->len, info->page_size);
		return RF_ERR_MISMATCH;
	}
	if (!region->addr || (uintptr_t)region->addr % region->page_size || r->mem[i].addr) {
		rf_err_log(OBJ, "region \"%s\": %s", info->id,
			   r->mem[i].addr ? "it has its memory already"
					  : "its address is not at a host page");
		return RF_ERR_INVALID;
	}
	r->mem[i].info = *region;
	r->mem[i].addr = region->addr;
	return RF_OK;
}

int rf_restore_add_region(struct rf_restore *r, const struct rf_region *region)
{
	if (atomic_load(&r->ran))
		return RF_ERR_STATE;
	if (region->size != sizeof(*region) ||
	    strnlen(region->id, sizeof(region->id)) == sizeof(region->id))
		return RF_ERR_INVALID;
	for (uint32_t i = 0; i < r->file->img.nregions; i++)
		if (!strcmp(r->file->img.regions[i].id, region->id))
			return match_region(r, i, region);
	rf_err_log(OBJ, "region \"%s\" is not in the file", region->id);
	return RF_ERR_NOT_FOUND;
}

int rf_restore_read(struct rf_restore *r, uint32_t region, uint64_t block, uint8_t *buf)
{
	const struct rf_image_region *info = &r->file->img.regions[region];
	uint64_t first = block * RF_IMAGE_BLOCK_PAGES;
	int rc = rf_image_reader_block(r->file, region, block, buf);

	if (rc == RF_OK)
		atomic_fetch_add(&r->bytes_read,
				 rf_bitmap_count_range(&r->file->present[region], first,
						       rf_image_block_pages(info, block)) *
					 RF_PAGE_SIZE);
	return rc;
}

void rf_restore_keep_error(struct rf_restore *r, int rc, const char *words)
{
	pthread_mutex_lock(&r->lock);
	if (!r->error) {
		r->error = rc;
		snprintf(r->error_desc, sizeof(r->error_desc), "%s",
			 words[0] ? words : rf_err_str(rc));
	}
	pthread_mutex_unlock(&r->lock);
}

int rf_restore_error(struct rf_restore *r)
{
	int rc;

	pthread_mutex_lock(&r->lock);
	rc = r->error;
	pthread_mutex_unlock(&r->lock);
	return rc;
}

/* Only what is present is written: the rest stays a hole. */
static void fill_block(struct rf_restore *r, uint32_t region, uint64_t block, const uint8_t *buf)
{
	const struct rf_bitmap *present = &r->file->present[region];
	uint64_t base = block * RF_IMAGE_BLOCK_PAGES, from, to = base;
	uint64_t end = base + rf_image_block_pages(&r->file->img.regions[region], block);

	while ((from = rf_bitmap_find_set(present, to, end)) != RF_BITMAP_NONE) {
		to = rf_bitmap_find_clear(present, from, end);
		to = to == RF_BITMAP_NONE ? end : to;
		memcpy(r->mem[region].addr + from * RF_PAGE_SIZE,
		       buf + (from - base) * RF_PAGE_SIZE, (to - from) * RF_PAGE_SIZE);
	}
}

static int fill_region(struct rf_restore *r, uint32_t region, uint8_t *buf)
{
	int rc = RF_OK;

	for (uint64_t b = 0; rc == RF_OK && b < r->file->img.regions[region].blocks; b++) {
		if (atomic_load(&r->cancelled))
			return RF_ERR_CANCELLED;
		if (!rf_image_reader_has(r->file, region, b))
			continue;
		rc = rf_restore_read(r, region, b, buf);
		if (rc == RF_OK)
			fill_block(r, region, b, buf);
	}
	return rc;
}

int rf_restore_start_guest(struct rf_restore *r)
{
	int rc = atomic_load(&r->cancelled) ? RF_ERR_CANCELLED : rf_restore_error(r);

	if (rc == RF_OK)
		rc = r->cfg.guest.resume(r->cfg.guest_arg);
	if (rc == RF_OK)
		atomic_store(&r->start_ns, rf_now_ns(&rf_clock_monotonic));
	return rc;
}

static int restore_eager(struct rf_restore *r)
{
	uint8_t *buf = aligned_alloc(RF_PAGE_SIZE, RF_IMAGE_BLOCK);
	int rc = buf ? RF_OK : RF_ERR_NO_MEMORY;

	for (uint32_t i = 0; rc == RF_OK && i < r->file->img.nregions; i++)
		rc = fill_region(r, i, buf);
	free(buf);
	if (rc == RF_OK)
		rc = r->cfg.guest.load_state(r->cfg.guest_arg, r->file->state,
					     r->file->img.state_len);
	return rc == RF_OK ? rf_restore_start_guest(r) : rc;
}

static int check_memory(const struct rf_restore *r)
{
	for (uint32_t i = 0; i < r->file->img.nregions; i++) {
		if (r->mem[i].addr)
			continue;
		rf_err_log(OBJ, "region \"%s\" of the file was given no memory",
			   r->file->img.regions[i].id);
		return RF_ERR_MISMATCH;
	}
	return RF_OK;
}

int rf_restore_run(struct rf_restore *r)
{
	struct rf_log_capture words;
	int rc;

	if (atomic_exchange(&r->ran, true))
		return RF_ERR_STATE;
	atomic_store(&r->begin_ns, rf_now_ns(&rf_clock_monotonic));
	atomic_store(&r->status, RF_STATE_ACTIVE);
	rf_log_capture_begin(&words);
	rc = check_memory(r);
	if (rc == RF_OK)
		rc = r->cfg.lazy ? rf_restore_lazy(r) : restore_eager(r);
	rf_log_capture_end(&words);
	if (rc != RF_OK) {
		rf_restore_keep_error(r, rc, words.text);
		pthread_mutex_lock(&r->lock);
		r->error = rc; /* what it comes to, in the words of what began it */
		pthread_mutex_unlock(&r->lock);
		rf_err_log(OBJ, "%s", r->error_desc);
	}
	atomic_store(&r->end_ns, rf_now_ns(&rf_clock_monotonic));
	atomic_store(&r->status, rc == RF_OK		  ? RF_STATE_COMPLETED
				 : rc == RF_ERR_CANCELLED ? RF_STATE_CANCELLED
							  : RF_STATE_FAILED);
	return rc;
}

void rf_restore_cancel(struct rf_restore *r)
{
	atomic_store(&r->cancelled, true);
}

void rf_restore_stats(struct rf_restore *r, struct rf_restore_stats *st)
{
	uint64_t begin = atomic_load(&r->begin_ns), end = atomic_load(&r->end_ns);
	uint64_t start = atomic_load(&r->start_ns);

	if (st->size != sizeof(*st))
		return;
	*st = (struct rf_restore_stats){
		.size = sizeof(*st),
		.status = (enum rf_state)atomic_load(&r->status),
		.total = r->total,
		.bytes_read = atomic_load(&r->bytes_read),
		.faults = atomic_load(&r->faults),
		.blocks_faulted = atomic_load(&r->blocks_faulted),
		.start_time = start ? rf_ns_to_ms(start - begin) : 0,
		.fault_latency_p50 = (double)rf_histogram_percentile(&r->latency, 50) / 1e3,
		.fault_latency_p99 = (double)rf_histogram_percentile(&r->latency, 99) / 1e3,
		.fault_latency_max = (double)atomic_load(&r->latency.max) / 1e3,
	};
	if (!end)
		end = rf_now_ns(&rf_clock_monotonic);
	st->total_time = begin ? rf_ns_to_ms(end - begin) : 0;
	pthread_mutex_lock(&r->lock);
	st->error = r->error;
	memcpy(st->error_desc, r->error_desc, sizeof(st->error_desc));
	pthread_mutex_unlock(&r->lock);
}

void rf_restore_delete(struct rf_restore **rp)
{
	struct rf_restore *r = rp ? *rp : NULL;

	if (!r)
		return;
	*rp = NULL;
	for (uint32_t i = 0; r->mem && i < r->file->img.nregions; i++) {
		rf_bitmap_fini(&r->mem[i].claimed);
		rf_bitmap_fini(&r->mem[i].placed);
	}
	free(r->mem);
	rf_image_reader_close(&r->file);
	if (r->uffd >= 0)
		close(r->uffd);
	if (r->stop_fd >= 0)
		close(r->stop_fd);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
