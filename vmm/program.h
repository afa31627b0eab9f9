/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the guest program and the VMM agree on: where things are in guest memory, the order in
 * which pages are visited, and what a cell holds. Compiled into the guest too: freestanding,
 * nothing but <stdint.h>.
 *
 *   0x01000  parameters (struct rf_guest_params), written once by the VMM at boot
 *   0x02000  control page of vCPU 0, then 1, 2, 3 (struct rf_guest_control)
 *   0x08000  code (kvm)
 *   0x10000  stack of vCPU 0, then 1, 2, 3 (kvm)
 *  0x100000  page tables (kvm): PML4, PDPT, a page directory a GiB
 *  0x200000  the working set, split into one contiguous share a vCPU; behind it the balloon,
 *            split likewise, and the fill
 *
 * A pass visits every page of the share once. A vCPU's progress is one number that only grows,
 * pass * period + step, stored after the page of that step is written. So at whatever
 * instruction the vCPU stops: pages of earlier steps hold this pass's values, later ones the
 * last pass's, and the page of the step itself new values up to some cell and old ones after.
 *
 * The balloon's blocks are taken and given back in a ring, all the time:
 *
 *   block   0   1   2   3   4   5   6   7
 *               ▲given      ▲taken            blocks given … taken - 1 (mod 8) are in use
 *
 * To take a block is to look whether its cells are zero or what this guest has once written
 * there, and to write them anew; to give it back is to look whether they are what was written,
 * and to tell the VMM that it is free. With each new epoch the VMM is told of all that are. One
 * number counts both by turns: it grows when a block has been taken as a whole, and before the VMM
 * is told.
 */
#ifndef RF_VMM_PROGRAM_H
#define RF_VMM_PROGRAM_H

#include <stdint.h>

#define RF_PROGRAM_PARAMS      0x1000u
#define RF_PROGRAM_CONTROL     0x2000u
#define RF_PROGRAM_CODE	       0x8000u
#define RF_PROGRAM_CODE_END    0x10000u
#define RF_PROGRAM_STACK       0x10000u
#define RF_PROGRAM_STACK_BYTES 0x4000u
#define RF_PROGRAM_PAGE_TABLES 0x100000u
#define RF_PROGRAM_WORKING_SET 0x200000u
#define RF_PROGRAM_PAGE	       4096u
#define RF_PROGRAM_CELL_STRIDE 512u /* bytes from cell to cell: eight a page, so tearing shows */
#define RF_PROGRAM_MAGIC       0x6d61726770666572ull
#define RF_PROGRAM_MAX_VCPUS   4u
#define RF_PROGRAM_MAX_MAPPED  (254ull << 30) /* what the page tables below 2 MiB can map */

/* Ports the program leaves the guest by (kvm), reasons it calls the VMM for (threads). */
#define RF_PROGRAM_EXIT_PACE  0xe0 /* a batch of pages is done: sleep, if a rate is set */
#define RF_PROGRAM_EXIT_STOP  0xe1 /* a wrong cell: see the control page */
#define RF_PROGRAM_EXIT_EPOCH 0xe2 /* read: the epoch of free page hints, 0: none are wanted */
#define RF_PROGRAM_EXIT_HINT  0xe3 /* pages are free: see the control page */

#define RF_PROGRAM_BLOCK_PAGES	16u /* of the balloon, taken and given as one */
#define RF_PROGRAM_BLOCK_BYTES	(RF_PROGRAM_BLOCK_PAGES * RF_PROGRAM_PAGE)
#define RF_PROGRAM_BALLOON_STEP 64u /* pages visited between two turns at the balloon */

struct rf_guest_params {
	uint64_t magic;
	uint64_t vcpus;
	uint64_t memory; /* bytes */
	uint64_t pages;	 /* of the working set */
	uint64_t seed;
	uint64_t sequential; /* 1: ascending, 0: permuted */
	uint64_t dirty_rate; /* bytes a second of all vCPUs, 0: full speed */
	uint64_t batch;	     /* pages between two EXIT_PACE, 0: never */
	uint64_t hot;	     /* percent of the working set that vCPU 0 has; 0: shares are even */
	uint64_t blocks;     /* of each vCPU's balloon, 0: none */
	uint64_t held;	     /* of these, in use at a time: 1 … blocks - 1 */
};

struct rf_guest_control {
	uint64_t progress;
	/* A wrong cell; valid once error is 1. */
	uint64_t error;
	uint64_t address; /* guest-physical */
	uint64_t expected;
	uint64_t found;
	uint64_t pass;
	/* The balloon: turns taken, even ones to take a block, odd ones to give one back. */
	uint64_t turns;
	/* What EXIT_HINT is about. */
	uint64_t free_address; /* guest-physical */
	uint64_t free_bytes;
	uint64_t free_epoch;
	uint64_t told_epoch; /* all that is free has been told with it */
};

static inline uint64_t rf_program_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* What a cell holds after pass number `pass`, counted from 0. Distinct for distinct addresses
 * in one pass and for distinct passes of one address. */
static inline uint64_t rf_program_value(uint64_t seed, uint64_t address, uint64_t pass)
{
	uint64_t z = (address + seed) ^ ((pass + 1) * 0x9e3779b97f4a7c15ull);

	z *= 0xd6e8feb86659fd93ull;
	return z ^ (z >> 32);
}

/* The number of the pass such a value is of: any number, if it is none. */
static inline uint64_t rf_program_pass_of(uint64_t seed, uint64_t address, uint64_t value)
{
	uint64_t z = (value ^ (value >> 32)) * 0xcfee444d8b59a89bull;

	return (z ^ (address + seed)) * 0xf1de83e19937733dull - 1;
}

/* What it holds before that pass. */
static inline uint64_t rf_program_value_before(uint64_t seed, uint64_t address, uint64_t pass)
{
	return pass ? rf_program_value(seed, address, pass - 1) : 0;
}

/* Where a vCPU's part of the balloon begins, guest-physical. */
static inline uint64_t rf_program_balloon(const struct rf_guest_params *p, uint64_t vcpu)
{
	return RF_PROGRAM_WORKING_SET + p->pages * RF_PROGRAM_PAGE +
	       vcpu * p->blocks * RF_PROGRAM_BLOCK_BYTES;
}

/* Blocks taken and given back so far, by the number of turns. */
static inline uint64_t rf_program_taken(uint64_t turns)
{
	return (turns + 1) / 2;
}
static inline uint64_t rf_program_given(const struct rf_guest_params *p, uint64_t turns)
{
	return turns / 2 > p->held ? turns / 2 - p->held : 0;
}

/* A cell of a block nobody uses: zero, or what was written there at one of the first `times`
 * times it was taken. */
static inline int rf_program_free_cell(uint64_t seed, uint64_t address, uint64_t value,
				       uint64_t times)
{
	return !value || rf_program_pass_of(seed, address, value) < times;
}

/* First page of a vCPU's share, counted from the working set's begin; of vCPU n: its end. */
static inline uint64_t rf_program_share(const struct rf_guest_params *p, uint64_t vcpu)
{
	uint64_t others = p->vcpus - 1, first = p->pages / 100 * p->hot;

	if (!p->hot || !others)
		return p->pages * vcpu / p->vcpus;
	/* No share is empty. */
	if (!first)
		first = 1;
	if (first > p->pages - others)
		first = p->pages - others;
	return vcpu ? first + (p->pages - first) * (vcpu - 1) / others : 0;
}

/*
 * The order of a pass: a linear congruential generator modulo a power of two that has its full
 * period (c odd, a = 1 mod 4); numbers past the share are skipped. It is moved to another
 * start every pass.
 */
struct rf_program_order {
	uint64_t period; /* steps of a pass, at least pages */
	uint64_t pages;
	uint64_t a, c, x;
	unsigned shift;
};

static inline void rf_program_order_init(struct rf_program_order *o,
					 const struct rf_guest_params *p, uint64_t vcpu)
{
	unsigned bits = 0;

	o->pages = rf_program_share(p, vcpu + 1) - rf_program_share(p, vcpu);
	while ((1ull << bits) < o->pages)
		bits++;
	o->x = 0;
	o->shift = bits / 2 + 1;
	o->period = p->sequential ? o->pages : 1ull << bits;
	o->a = p->sequential ? 1 : (rf_program_mix(p->seed + 2 * vcpu) & ~7ull) | 5;
	o->c = p->sequential ? 1 : rf_program_mix(p->seed + 2 * vcpu + 1) | 1;
}

/* Goes to a step of a pass, in time logarithmic in step. */
static inline void rf_program_order_seek(struct rf_program_order *o,
					 const struct rf_guest_params *p, uint64_t pass,
					 uint64_t step)
{
	uint64_t a = o->a, c = o->c, x = p->sequential ? 0 : rf_program_mix(p->seed ^ ~pass);

	/* x → a x + c applied 2^k times is again of that form. */
	for (; step; step >>= 1) {
		if (step & 1)
			x = a * x + c;
		c = (a + 1) * c;
		a = a * a;
	}
	o->x = x;
}

/* The page of the present step, counted from the share's begin; >= pages: this step has none. */
static inline uint64_t rf_program_order_page(const struct rf_program_order *o)
{
	uint64_t x;

	if (o->period == o->pages && o->a == 1)
		return o->x;
	/* Low bits of such a generator repeat early: fold high ones in (one-to-one). */
	x = o->x & (o->period - 1);
	return x ^ (x >> o->shift);
}

static inline void rf_program_order_next(struct rf_program_order *o)
{
	o->x = o->a * o->x + o->c;
}

/* What host threads give the program; the kvm guest has none. */
struct rf_program_host {
	/* Set to 1: call checkpoint at the next page. */
	unsigned char *attention;
	/* Non-zero: return. */
	int (*checkpoint)(struct rf_program_host *h);
	/* A batch is done. */
	void (*pace)(struct rf_program_host *h, uint64_t pages);
	/* If set: told of each page after it was written, by its guest-physical address. */
	void (*wrote)(struct rf_program_host *h, uint64_t address);
	/* The epoch of free page hints, 0: none are wanted; pages are free. */
	uint64_t (*epoch)(struct rf_program_host *h);
	void (*hint)(struct rf_program_host *h, uint64_t address, uint64_t bytes, uint64_t epoch);
};

/*
 * The program as a function for a host thread: walks until checkpoint says to return or a cell
 * is wrong. params: a copy that was checked; ram: where guest-physical 0 is mapped.
 */
void rf_program_run(void *ram, const struct rf_guest_params *params, uint64_t vcpu,
		    struct rf_program_host *host);

#endif
