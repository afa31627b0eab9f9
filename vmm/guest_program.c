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
#endif

/* 0: the page held the last pass's values and now holds this pass's. */
static int visit_page(struct walk *w, uint64_t page, uint64_t pass)
{
	uint64_t address = w->base + page * RF_PROGRAM_PAGE;

	for (unsigned at = 0; at < RF_PROGRAM_PAGE;
	     at += RF_PROGRAM_CELL_STRIDE, address += RF_PROGRAM_CELL_STRIDE) {
		volatile uint64_t *cell = (volatile uint64_t *)(w->ram + address);
		uint64_t expected = rf_program_value_before(w->seed, address, pass);
		uint64_t found = *cell;

		if (found != expected) {
			w->control->address = address;
			w->control->expected = expected;
			w->control->found = found;
			w->control->pass = pass;
			w->control->error = 1;
			return -1;
		}
		*cell = rf_program_value(w->seed, address, pass);
	}
	return 0;
}

static void walk_share(struct walk *w, const struct rf_guest_params *p, uint64_t vcpu)
{
	struct rf_program_order order;
	uint64_t progress = w->control->progress, left = p->batch;

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
