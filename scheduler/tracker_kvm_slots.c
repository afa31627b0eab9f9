/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <ramferry/err.h>

#include "common/log.h"
#include "scheduler/tracker_kvm.h"

#define TRACKER_NAME "kvm tracker"

/* Slots must begin on a word of the bitmaps: the log is read and cleared by words. */
#define SLOT_ALIGN (64ull * RF_PAGE_SIZE)

static bool slot_valid(const struct rf_kvm_slot *s)
{
	return s->len && s->len % RF_PAGE_SIZE == 0 && s->addr &&
	       s->region_offset % SLOT_ALIGN == 0 && s->region_offset + s->len > s->region_offset;
}

int rf_kvm_slots_init(struct rf_kvm_slots *s, const struct rf_kvm_tracker_cfg *cfg)
{
	*s = (struct rf_kvm_slots){.vm_fd = cfg->vm_fd, .n = cfg->nslots};
	for (unsigned i = 0; i < cfg->nslots; i++) {
		if (slot_valid(&cfg->slots[i]))
			continue;
		rf_err_log(TRACKER_NAME, "slot %u: length or offset is out of range",
			   cfg->slots[i].slot);
		return RF_ERR_INVALID;
	}
	s->slot = calloc(s->n ? s->n : 1, sizeof(*s->slot));
	if (!s->slot) {
		rf_err_log(TRACKER_NAME, "no memory");
		return RF_ERR_NO_MEMORY;
	}
	if (s->n)
		memcpy(s->slot, cfg->slots, s->n * sizeof(*s->slot));
	return RF_OK;
}

void rf_kvm_slots_fini(struct rf_kvm_slots *s)
{
	free(s->slot);
	s->slot = NULL;
}

static int set_logging(const struct rf_kvm_slots *s, unsigned i, bool on)
{
	struct kvm_userspace_memory_region r = {
		.slot = s->slot[i].slot,
		.flags = on ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.guest_phys_addr = s->slot[i].guest_phys,
		.memory_size = s->slot[i].len,
		.userspace_addr = (uintptr_t)s->slot[i].addr,
	};

	if (!ioctl(s->vm_fd, KVM_SET_USER_MEMORY_REGION, &r))
		return RF_OK;
	rf_err_log(TRACKER_NAME, "slot %u: KVM_SET_USER_MEMORY_REGION (logging %s): %s", r.slot,
		   on ? "on" : "off", strerror(errno));
	return RF_ERR_SYSTEM;
}

int rf_kvm_slots_start(struct rf_kvm_slots *s, const struct rf_region *regions, unsigned n)
{
	for (unsigned i = 0; i < s->n; i++) {
		const struct rf_kvm_slot *slot = &s->slot[i];

		if (slot->region >= n ||
		    slot->region_offset + slot->len > regions[slot->region].len) {
			rf_err_log(TRACKER_NAME, "slot %u is not within region %u", slot->slot,
				   slot->region);
			return RF_ERR_INVALID;
		}
	}
	for (s->logging = 0; s->logging < s->n; s->logging++) {
		int rc = set_logging(s, s->logging, true);

		if (rc) {
			rf_kvm_slots_stop(s);
			return rc;
		}
	}
	return RF_OK;
}

void rf_kvm_slots_stop(struct rf_kvm_slots *s)
{
	while (s->logging)
		set_logging(s, --s->logging, false);
}
