/* SPDX-License-Identifier: BSD-3-Clause */
/* What both KVM trackers need: the copied slots, and switching their logging. */
#ifndef RF_SCHEDULER_TRACKER_KVM_H
#define RF_SCHEDULER_TRACKER_KVM_H

#include <stdbool.h>

#include "scheduler/tracker.h"

struct rf_kvm_slots {
	int vm_fd;
	struct rf_kvm_slot *slot;
	unsigned n;
	unsigned logging; /* slots 0 … logging - 1 have KVM_MEM_LOG_DIRTY_PAGES */
};

/* Checks and copies. RF_ERR_INVALID names the slot in the log. */
int rf_kvm_slots_init(struct rf_kvm_slots *s, const struct rf_kvm_tracker_cfg *cfg);
void rf_kvm_slots_fini(struct rf_kvm_slots *s);

/* Switches logging of all slots on, after a look at whether they lie within the regions. */
int rf_kvm_slots_start(struct rf_kvm_slots *s, const struct rf_region *regions, unsigned n);
void rf_kvm_slots_stop(struct rf_kvm_slots *s);

static inline uint64_t rf_kvm_slot_pages(const struct rf_kvm_slot *slot)
{
	return slot->len / RF_PAGE_SIZE;
}

int rf_tracker_kvm_ring_new(const struct rf_kvm_tracker_cfg *cfg, struct rf_tracker *out);

#endif
