/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The built-in guests: small machines that check their own memory while they run, so that a
 * move can be proven right from inside. Two kinds run the same program (guest_program.c):
 * `kvm` on real vCPUs, `threads` on host threads where there is no /dev/kvm.
 *
 *   0            2 MiB                        2 MiB + working set    end
 *   | low memory | cells, walked pass by pass | filled or untouched |
 *
 * Low memory: parameters, a control page per vCPU, code, stacks, page tables (program.h).
 *
 * A kvm guest takes signal SIGRTMIN + 6 for its vCPU threads: the process must not use it.
 *
 * One region, "ram". On the source the guest makes its own memory (a memfd); on the destination
 * it is given the guest view.
 */
#ifndef RF_VMM_GUEST_H
#define RF_VMM_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ramferry/guest.h>
#include <ramferry/region.h>
#include <ramferry/source.h>
#include <ramferry/tracker.h>

#define RF_GUEST_MAX_VCPUS 4
#define RF_GUEST_LOW_BYTES (2u << 20) /* first byte of the working set */
#define RF_GUEST_MIN_BYTES (8u << 20)
#define RF_GUEST_MAX_BYTES (16ull << 40)

struct rf_vm;

enum rf_guest_pattern { RF_PATTERN_RANDOM, RF_PATTERN_SEQUENTIAL };

struct rf_vm_cfg {
	const char *kind;      /* "auto": kvm if it works, else threads */
	uint64_t memory;       /* bytes, whole host pages */
	uint32_t page_size;    /* host page: 4096 (also 0), 2 MiB or 1 GiB (hugetlb) */
	unsigned vcpus;	       /* 1 … 4 */
	uint64_t working_set;  /* bytes walked, of all vCPUs together */
	uint64_t dirty_rate;   /* bytes of pages dirtied a second, all vCPUs; 0: full speed */
	uint64_t balloon;      /* bytes behind it that are taken and given back all the time; whole
				  blocks of 64 KiB, at least two a vCPU; 0: none */
	unsigned free_percent; /* of the balloon, free at a time: 1 … 99 */
	uint64_t fill;	       /* bytes of incompressible data put behind these */
	unsigned hot; /* percent of the working set that vCPU 0 walks, as fast as each other
			 vCPU its share of the rest; 0 (or one vCPU): shares are even */
	uint64_t seed;
	enum rf_guest_pattern pattern;
	const char *tracker; /* "auto", "kvm-log", "kvm-ring", "uffd-wp", "soft-dirty", "manual" */
	void *memory_at;     /* destination: the guest view; NULL: make a memfd */
	int memfd;	     /* destination: the file behind it */
};

/*
 * What a saved device state says of its machine, for who wants to make the guest it fits: kind,
 * vcpus and memory of *cfg are set. RF_ERR_PROTOCOL, RF_ERR_NOT_FOUND (no guest of ours).
 */
int rf_vm_state_machine(const void *state, size_t len, struct rf_vm_cfg *cfg);

/* Makes the guest, paused. RF_ERR_PERMISSION (/dev/kvm), RF_ERR_UNSUPPORTED, RF_ERR_INVALID,
 * each with one line in the log that says what to do. On the source memory is set up to boot;
 * on the destination nothing is touched. */
int rf_vm_new(const struct rf_vm_cfg *cfg, struct rf_vm **out);
const char *rf_vm_kind(const struct rf_vm *vm); /* "kvm" or "threads" */
void rf_vm_region(const struct rf_vm *vm, struct rf_region *out);
/* The tracker that fits this guest; owned by the vm. RF_ERR_UNSUPPORTED in words. */
int rf_vm_tracker(struct rf_vm *vm, struct rf_tracker *out);
/*
 * Free page hints go to this source (NULL: to nobody, which also waits until none is under way).
 * Not to be deleted before.
 */
void rf_vm_set_hint_source(struct rf_vm *vm, struct rf_source *src);
/* How often the guest was told that hints are over. */
unsigned rf_vm_hint_dones(const struct rf_vm *vm);
/* pause, resume, save_state, load_state, state_size, throttle; arg is vm. */
extern const struct rf_guest_ops rf_vm_ops;

/* Passes the program has made, each vCPU's over its share of the working set, added up; goes on
 * counting across a move. Reads guest memory: where that may fault (postcopy) it waits. */
uint64_t rf_vm_passes(const struct rf_vm *vm);

/* The same in pages the program has written, to within a few. */
uint64_t rf_vm_pages_written(const struct rf_vm *vm);

/* RF_OK while the program has found no wrong word and no vCPU died; otherwise RF_ERR_GUEST and
 * in desc where and what. Any thread. */
int rf_vm_health(const struct rf_vm *vm, char *desc, size_t cap);

/* Paused guest: checks every cell of the working set from outside against the program's
 * position. RF_ERR_GUEST and desc for the first wrong one. */
int rf_vm_check(const struct rf_vm *vm, char *desc, size_t cap);

/* Stops and frees. Memory that was given stays the caller's. */
void rf_vm_delete(struct rf_vm **vmp);

#endif
