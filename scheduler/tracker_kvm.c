/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tracker by KVM's dirty log. With manual protection GET only copies the bitmap; CLEAR
 * protects again, and only the words given to it: a harvest costs the guest a fault per page
 * that was dirty, not a sweep over all its memory.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <ramferry/err.h>

#include "common/log.h"
#include "scheduler/tracker_kvm.h"

#define TRACKER_NAME "kvm-log"

/* Clean words a CLEAR may span rather than be split: a call costs more than empty words. */
#define CLEAR_GAP 64

struct kvm_log {
	struct rf_kvm_slots slots;
	bool started;
	uint64_t *words; /* one slot's log, room for the largest */
};

static int start_kvm_log(void *self, const struct rf_region *regions, unsigned n)
{
	struct kvm_log *k = self;
	int rc;

	if (k->started) {
		rf_err_log(TRACKER_NAME, "start: it is started already");
		return RF_ERR_STATE;
	}
	rc = rf_kvm_slots_start(&k->slots, regions, n);
	k->started = !rc;
	return rc;
}

/* Words [first, end) of the slot are protected again where their bits are set. */
static int clear_words(struct kvm_log *k, const struct rf_kvm_slot *slot, uint64_t first,
		       uint64_t end)
{
	uint64_t npages = rf_kvm_slot_pages(slot);
	struct kvm_clear_dirty_log clear = {
		.slot = slot->slot,
		.first_page = 64 * first,
		/* A multiple of 64, unless it reaches the slot's end. */
		.num_pages = (uint32_t)((64 * end < npages ? 64 * end : npages) - 64 * first),
		.dirty_bitmap = k->words + first,
	};

	if (!ioctl(k->slots.vm_fd, KVM_CLEAR_DIRTY_LOG, &clear))
		return RF_OK;
	rf_err_log(TRACKER_NAME, "slot %u: KVM_CLEAR_DIRTY_LOG of %u pages from %llu: %s",
		   slot->slot, clear.num_pages, (unsigned long long)clear.first_page,
		   strerror(errno));
	return RF_ERR_SYSTEM;
}

static int clear_dirty(struct kvm_log *k, const struct rf_kvm_slot *slot, uint64_t nwords)
{
	uint64_t w = 0;

	while (w < nwords) {
		uint64_t last;

		if (!k->words[w]) {
			w++;
			continue;
		}
		last = w;
		for (uint64_t i = w + 1; i < nwords && i - last <= CLEAR_GAP; i++)
			if (k->words[i])
				last = i;
		int rc = clear_words(k, slot, w, last + 1);
		if (rc)
			return rc;
		w = last + 1;
	}
	return RF_OK;
}

static int harvest_slot(struct kvm_log *k, const struct rf_kvm_slot *slot,
			struct rf_dirty_sink *sink)
{
	uint64_t nwords = (rf_kvm_slot_pages(slot) + 63) / 64;
	struct kvm_dirty_log log = {.slot = slot->slot, .dirty_bitmap = k->words};

	if (ioctl(k->slots.vm_fd, KVM_GET_DIRTY_LOG, &log)) {
		rf_err_log(TRACKER_NAME, "slot %u: KVM_GET_DIRTY_LOG: %s", slot->slot,
			   strerror(errno));
		return RF_ERR_SYSTEM;
	}
	rf_dirty_sink_words(sink, slot->region_offset / RF_PAGE_SIZE, k->words, nwords);
	/* Exactly what was reported: a page dirtied since keeps its bit for the next harvest. */
	return clear_dirty(k, slot, nwords);
}

static int harvest_kvm_log(void *self, unsigned region, struct rf_dirty_sink *sink)
{
	struct kvm_log *k = self;

	if (!k->started) {
		rf_err_log(TRACKER_NAME, "harvest of region %u: not started", region);
		return RF_ERR_STATE;
	}
	for (unsigned i = 0; i < k->slots.n; i++) {
		if (k->slots.slot[i].region != region)
			continue;
		int rc = harvest_slot(k, &k->slots.slot[i], sink);
		if (rc)
			return rc;
	}
	return RF_OK;
}

static void stop_kvm_log(void *self)
{
	struct kvm_log *k = self;

	rf_kvm_slots_stop(&k->slots);
	k->started = false;
}

static void destroy_kvm_log(void *self)
{
	struct kvm_log *k = self;

	rf_kvm_slots_fini(&k->slots);
	free(k->words);
	free(k);
}

const struct rf_tracker_type rf_tracker_kvm_log_type = {
	.ops = {.size = sizeof(struct rf_tracker_ops),
		.name = TRACKER_NAME,
		.start = start_kvm_log,
		.harvest = harvest_kvm_log,
		.stop = stop_kvm_log},
	.destroy = destroy_kvm_log,
};

static int enable_manual_protect(int vm_fd)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		/* Not INITIALLY_SET: it would report all memory once more after round one. */
		.args = {KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE},
	};

	if (ioctl(vm_fd, KVM_CHECK_EXTENSION, cap.cap) <= 0 || ioctl(vm_fd, KVM_ENABLE_CAP, &cap)) {
		rf_err_log(TRACKER_NAME,
			   "this kernel lacks KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 (Linux 5.0)");
		return RF_ERR_UNSUPPORTED;
	}
	return RF_OK;
}

static int new_kvm_log(const struct rf_kvm_tracker_cfg *cfg, struct rf_tracker *out)
{
	struct kvm_log *k;
	uint64_t largest = 0;
	int rc = enable_manual_protect(cfg->vm_fd);

	if (rc)
		return rc;
	k = calloc(1, sizeof(*k));
	if (!k) {
		rf_err_log(TRACKER_NAME, "no memory");
		return RF_ERR_NO_MEMORY;
	}
	rc = rf_kvm_slots_init(&k->slots, cfg);
	if (rc)
		goto free_tracker;
	for (unsigned i = 0; i < cfg->nslots; i++)
		if (rf_kvm_slot_pages(&cfg->slots[i]) > largest)
			largest = rf_kvm_slot_pages(&cfg->slots[i]);
	k->words = calloc(largest / 64 + 1, sizeof(*k->words));
	if (!k->words) {
		rf_err_log(TRACKER_NAME, "no memory for the log");
		rc = RF_ERR_NO_MEMORY;
		goto free_tracker;
	}
	*out = (struct rf_tracker){.ops = &rf_tracker_kvm_log_type.ops, .self = k};
	return RF_OK;
free_tracker:
	destroy_kvm_log(k);
	return rc;
}

int rf_tracker_kvm_new(const struct rf_kvm_tracker_cfg *cfg, struct rf_tracker *out)
{
	if (cfg->size != sizeof(*cfg) || cfg->vm_fd < 0 || (cfg->nslots && !cfg->slots)) {
		rf_err_log("kvm tracker", "configuration: size, vm_fd or slots is wrong");
		return RF_ERR_INVALID;
	}
	return cfg->use_ring ? rf_tracker_kvm_ring_new(cfg, out) : new_kvm_log(cfg, out);
}
