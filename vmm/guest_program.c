/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest: walks its share of the working set, checks every cell and writes the next value.
 * Compiled twice: freestanding for the kvm guest, and for host threads, where it is never
 * instrumented: sanitizers must see guest memory as little as they see a vCPU's writes.
 */
#include "vmm/program.h"

struct walk {
	unsigned char *ram;
	volatile struct rf_guest_control *control;
	uint64_t seed;
	uint64_t base; /* guest-physical address of the share */
	struct rf_program_host *host;
	const struct rf_guest_params *params;
	uint64_t balloon; /* guest-physical addresses: of its part, */
	uint64_t page;	  /* of the control page */
};

#ifdef RF_PROGRAM_FREESTANDING
static inline void leave_guest(const int port)
{
	__asm__ volatile("outb %%al, %0" : : "N"(port), "a"(0) : "memory");
}

static inline int look_up(struct walk *w)
{
	return 0; /* a vCPU is stopped from outside */
}

static inline void tell_written(struct walk *w, uint64_t address)
{
}

static inline void pace(struct walk *w, uint64_t pages)
{
	leave_guest(RF_PROGRAM_EXIT_PACE);
}

static inline uint64_t hint_epoch(struct walk *w)
{
	uint32_t epoch;

	__asm__ volatile("inl %1, %0" : "=a"(epoch) : "N"(RF_PROGRAM_EXIT_EPOCH) : "memory");
	return epoch;
}

static inline void tell_free(struct walk *w)
{
	leave_guest(RF_PROGRAM_EXIT_HINT);
}
#else
static inline int look_up(struct walk *w)
{
	return __atomic_load_n(w->host->attention, __ATOMIC_RELAXED) &&
	       w->host->checkpoint(w->host);
}

static inline void tell_written(struct walk *w, uint64_t address)
{
	if (w->host->wrote)
		w->host->wrote(w->host, address);
}

static inline void pace(struct walk *w, uint64_t pages)
{
	w->host->pace(w->host, pages);
}

static inline uint64_t hint_epoch(struct walk *w)
{
	return w->host->epoch ? w->host->epoch(w->host) : 0;
}

static inline void tell_free(struct walk *w)
{
	w->host->hint(w->host, w->control->free_address, w->control->free_bytes,
		      w->control->free_epoch);
}
#endif

static int report(struct walk *w, uint64_t address, uint64_t pass, uint64_t expected,
		  uint64_t found)
{
	w->control->address = address;
	w->control->expected = expected;
	w->control->found = found;
	w->control->pass = pass;
	w->control->error = 1;
	return -1;
}

/* 0: the page held the last pass's values and now holds this pass's. */
static int visit_page(struct walk *w, uint64_t page, uint64_t pass)
{
	uint64_t address = w->base + page * RF_PROGRAM_PAGE;

	for (unsigned at = 0; at < RF_PROGRAM_PAGE;
	     at += RF_PROGRAM_CELL_STRIDE, address += RF_PROGRAM_CELL_STRIDE) {
		volatile uint64_t *cell = (volatile uint64_t *)(w->ram + address);
		uint64_t expected = rf_program_value_before(w->seed, address, pass);
		uint64_t found = *cell;

		if (found != expected)
			return report(w, address, pass, expected, found);
		*cell = rf_program_value(w->seed, address, pass);
	}
	return 0;
}

/* ---- the balloon ---- */

/* The block with this number, counted from the first that was ever taken. */
static uint64_t block_address(const struct walk *w, uint64_t number)
{
	return w->balloon + number % w->params->blocks * RF_PROGRAM_BLOCK_BYTES;
}

static int take_block(struct walk *w, uint64_t number)
{
	uint64_t address = block_address(w, number), times = number / w->params->blocks;
	uint64_t end = address + RF_PROGRAM_BLOCK_BYTES;

	for (uint64_t at = address; at < end; at += RF_PROGRAM_CELL_STRIDE) {
		volatile uint64_t *cell = (volatile uint64_t *)(w->ram + at);
		uint64_t found = *cell;

		if (!rf_program_free_cell(w->seed, at, found, times))
			return report(w, at, times, 0, found);
		*cell = rf_program_value(w->seed, at, times);
	}
	w->control->turns++;
	for (uint64_t at = address; at < end; at += RF_PROGRAM_PAGE)
		tell_written(w, at);
	return 0;
}

/* Blocks [from, to), by number, which do not go round the ring. */
static void tell_blocks(struct walk *w, uint64_t from, uint64_t to, uint64_t epoch)
{
	if (from >= to)
		return;
	w->control->free_address = block_address(w, from);
	w->control->free_bytes = (to - from) * RF_PROGRAM_BLOCK_BYTES;
	w->control->free_epoch = epoch;
	tell_written(w, w->page);
	tell_free(w);
}

/* All that has been given back and not been taken again. */
static void tell_all(struct walk *w, uint64_t epoch)
{
	uint64_t blocks = w->params->blocks, turns = w->control->turns;
	uint64_t taken = rf_program_taken(turns), to = rf_program_given(w->params, turns);
	uint64_t from = taken > blocks ? taken - blocks : 0;
	uint64_t round = (from / blocks + 1) * blocks;

	tell_blocks(w, from, to < round ? to : round, epoch);
	tell_blocks(w, round, to, epoch);
	w->control->told_epoch = epoch;
	tell_written(w, w->page);
}

static int give_block(struct walk *w, uint64_t number, uint64_t epoch)
{
	uint64_t address = block_address(w, number), times = number / w->params->blocks;

	for (uint64_t at = address; at < address + RF_PROGRAM_BLOCK_BYTES;
	     at += RF_PROGRAM_CELL_STRIDE) {
		uint64_t found = *(volatile uint64_t *)(w->ram + at);
		uint64_t expected = rf_program_value(w->seed, at, times);

		if (found != expected)
			return report(w, at, times, expected, found);
	}
	w->control->turns++;
	tell_written(w, w->page);
	if (epoch)
		tell_blocks(w, number, number + 1, epoch);
	return 0;
}

/* 0, or -1 with a wrong cell. */
static int turn_balloon(struct walk *w)
{
	const struct rf_guest_params *p = w->params;
	uint64_t turns = w->control->turns, epoch;
	int rc = 0;

	if (!p->blocks)
		return 0;
	/* Before anything is given back: what is told with it is free since. */
	epoch = hint_epoch(w);
	if (turns % 2 == 0)
		rc = take_block(w, turns / 2);
	else if (turns / 2 >= p->held)
		rc = give_block(w, turns / 2 - p->held, epoch);
	else
		w->control->turns++;
	if (!rc && epoch && epoch != w->control->told_epoch)
		tell_all(w, epoch);
	tell_written(w, w->page);
	return rc;
}

static void walk_share(struct walk *w, const struct rf_guest_params *p, uint64_t vcpu)
{
	struct rf_program_order order;
	uint64_t progress = w->control->progress, left = p->batch, visited = 0;

	rf_program_order_init(&order, p, vcpu);
	while (order.period) { /* no share is empty */
		uint64_t pass = progress / order.period, step = progress % order.period;

		rf_program_order_seek(&order, p, pass, step);
		for (; step < order.period; step++, rf_program_order_next(&order)) {
			uint64_t page = rf_program_order_page(&order);

			if (page < order.pages && visit_page(w, page, pass))
				return;
			w->control->progress = ++progress;
			if (page >= order.pages)
				continue;
			tell_written(w, w->base + page * RF_PROGRAM_PAGE);
			if (++visited % RF_PROGRAM_BALLOON_STEP == 0 && turn_balloon(w))
				return;
			if (left && --left == 0) {
				left = p->batch;
				pace(w, left);
			}
			if (look_up(w))
				return;
		}
	}
}

void rf_program_run(void *ram, const struct rf_guest_params *params, uint64_t vcpu,
		    struct rf_program_host *host)
{
	struct walk w = {
		.ram = ram,
		.control = (volatile struct rf_guest_control *)((unsigned char *)ram +
								RF_PROGRAM_CONTROL +
								vcpu * RF_PROGRAM_PAGE),
		.seed = params->seed,
		.base = RF_PROGRAM_WORKING_SET + rf_program_share(params, vcpu) * RF_PROGRAM_PAGE,
		.host = host,
		.params = params,
		.balloon = rf_program_balloon(params, vcpu),
		.page = RF_PROGRAM_CONTROL + vcpu * RF_PROGRAM_PAGE,
	};

	walk_share(&w, params, vcpu);
}

#ifdef RF_PROGRAM_FREESTANDING
void rf_guest_entry(uint64_t ram, uint64_t vcpu);

/* First byte of the image. The VMM gives ram = 0 and the vCPU's number as arguments. */
__attribute__((section(".entry"))) void rf_guest_entry(uint64_t ram, uint64_t vcpu)
{
	unsigned char *base = (unsigned char *)ram;

	rf_program_run(base, (const struct rf_guest_params *)(base + RF_PROGRAM_PARAMS), vcpu, 0);
	for (;;)
		leave_guest(RF_PROGRAM_EXIT_STOP);
}
#endif
