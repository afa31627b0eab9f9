/* SPDX-License-Identifier: BSD-3-Clause */
/* As much of KVM's dirty tracking as the trackers use, behind a wrapped ioctl(): it holds them to
 * the rules of the API and fails on demand. For programs linked with --wrap=ioctl. */
#ifndef RF_TESTS_FAKE_KVM_H
#define RF_TESTS_FAKE_KVM_H

#include <linux/kvm.h>

#include "tests/unit/guest_fixture.h"

#define FAKE_SLOTS	4
#define FAKE_SLOT_PAGES 1000u /* at most */
#define FAKE_WORDS	((FAKE_SLOT_PAGES + 63) / 64)
#define FAKE_RINGS	2
#define FAKE_ENTRIES	64u

struct fake_slot {
	uint64_t npages;
	void *addr;
	uint64_t guest_phys;
	bool logging;
	uint64_t dirty[FAKE_WORDS];
};

struct fake_ring {
	int fd; /* stands for the vCPU */
	struct kvm_dirty_gfn *gfns;
	unsigned in, reset;
};

extern struct fake_kvm {
	int vm_fd;
	bool no_manual_protect;
	struct fake_slot slots[FAKE_SLOTS];
	struct fake_ring rings[FAKE_RINGS];
	unsigned kicks;
	unsigned set_calls, get_calls, clear_calls, reset_calls;
	uint64_t cleared_pages; /* spanned by CLEAR, dirty or not */
	/* on demand */
	unsigned fail_set; /* which SET_USER_MEMORY_REGION from now fails; 0: none */
	bool fail_get, fail_clear, fail_reset;
	unsigned reset_eintr; /* so often RESET is interrupted */
	unsigned reset_most;  /* entries a RESET gets done; 0: all */
	void (*after_get)(void);
} fake;

void fake_kvm_setup(void);
void fake_kvm_teardown(void);

/* A vCPU writes: to the log of a slot that logs, or to a ring. False: the ring is full. */
void fake_dirty(unsigned slot, uint64_t page);
bool fake_push(unsigned ring, uint32_t slot, uint64_t page);

#endif
