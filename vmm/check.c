/* SPDX-License-Identifier: BSD-3-Clause */
/* Looks at the program from outside: how far it is, whether it is well, whether all cells are. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <ramferry/err.h>

#include "vmm/vm.h"

/* Where a vCPU is in its walk. */
struct position {
	struct rf_program_order order;
	uint64_t base; /* guest-physical address of its share */
	uint64_t pass, step;
};

static const struct rf_guest_control *control_of(const struct rf_vm *vm, unsigned vcpu)
{
	return (const void *)(vm->ram + RF_PROGRAM_CONTROL + (uint64_t)vcpu * RF_PROGRAM_PAGE);
}

/* A word the guest may be writing. */
static uint64_t word_of(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* False: there is no program in memory yet, or what is there is damaged. */
static bool read_params(const struct rf_vm *vm, struct rf_guest_params *p)
{
	if (!atomic_load(&vm->loaded))
		return false;
	memcpy(p, vm->ram + RF_PROGRAM_PARAMS, sizeof(*p));
	return rf_guest_params_ok(p, vm->cfg.memory, vm->cfg.vcpus);
}

static void locate(const struct rf_vm *vm, const struct rf_guest_params *p, unsigned vcpu,
		   struct position *pos)
{
	uint64_t progress = word_of(&control_of(vm, vcpu)->progress);

	rf_program_order_init(&pos->order, p, vcpu);
	pos->base = RF_PROGRAM_WORKING_SET + rf_program_share(p, vcpu) * RF_PROGRAM_PAGE;
	/* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): no share is empty */
	pos->pass = progress / pos->order.period;
	pos->step = progress % pos->order.period;
}

uint64_t rf_vm_passes(const struct rf_vm *vm)
{
	struct rf_guest_params params;
	struct position pos;
	uint64_t passes = 0;

	if (!read_params(vm, &params))
		return 0;
	for (unsigned i = 0; i < vm->cfg.vcpus; i++) {
		locate(vm, &params, i, &pos);
		passes += pos.pass;
	}
	return passes;
}

uint64_t rf_vm_pages_written(const struct rf_vm *vm)
{
	struct rf_guest_params params;
	struct position pos;
	uint64_t pages = 0;

	if (!read_params(vm, &params))
		return 0;
	for (unsigned i = 0; i < vm->cfg.vcpus; i++) {
		locate(vm, &params, i, &pos);
		/* steps without a page are spread evenly */
		pages += pos.pass * pos.order.pages +
			 (uint64_t)((double)pos.step * (double)pos.order.pages /
				    (double)pos.order.period);
	}
	return pages;
}

static void describe(char *desc, size_t cap, unsigned vcpu, uint64_t address, uint64_t pass,
		     uint64_t found, uint64_t expected)
{
	snprintf(desc, cap,
		 "vCPU %u: cell at 0x%" PRIx64 " holds 0x%016" PRIx64 ", expected 0x%016" PRIx64
		 " (pass %" PRIu64 ")",
		 vcpu, address, found, expected, pass);
}

bool rf_vm_vcpus_live(const struct rf_vm *vm, char *desc, size_t cap)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)&vm->lock;
	bool live = true;

	pthread_mutex_lock(lock);
	for (unsigned i = 0; live && i < vm->cfg.vcpus; i++) {
		live = !vm->vcpu[i].death[0];
		if (!live)
			snprintf(desc, cap, "vCPU %u: %s", i, vm->vcpu[i].death);
	}
	pthread_mutex_unlock(lock);
	return live;
}

int rf_vm_health(const struct rf_vm *vm, char *desc, size_t cap)
{
	if (!rf_vm_vcpus_live(vm, desc, cap))
		return RF_ERR_GUEST;
	if (!atomic_load(&vm->loaded))
		return RF_OK;
	for (unsigned i = 0; i < vm->cfg.vcpus; i++) {
		const struct rf_guest_control *c = control_of(vm, i);

		if (!word_of(&c->error))
			continue;
		describe(desc, cap, i, word_of(&c->address), word_of(&c->pass), word_of(&c->found),
			 word_of(&c->expected));
		return RF_ERR_GUEST;
	}
	return RF_OK;
}

/* What the cells of a page may hold: `after` up to some cell, `before` from there on. */
enum page_state { PAGE_BEFORE, PAGE_AFTER, PAGE_EITHER };

static bool page_good(const struct rf_vm *vm, uint64_t seed, uint64_t address, uint64_t pass,
		      enum page_state state, uint64_t *bad, uint64_t *expected)
{
	bool may_be_after = state != PAGE_BEFORE;

	for (unsigned at = 0; at < RF_PROGRAM_PAGE; at += RF_PROGRAM_CELL_STRIDE) {
		uint64_t found = word_of((const uint64_t *)(vm->ram + address + at));

		*bad = address + at;
		*expected = rf_program_value(seed, address + at, pass);
		if (may_be_after && found == *expected)
			continue;
		if (state == PAGE_AFTER)
			return false;
		may_be_after = false;
		*expected = rf_program_value_before(seed, address + at, pass);
		if (found != *expected)
			return false;
	}
	return true;
}

static int check_share(const struct rf_vm *vm, const struct rf_guest_params *params, unsigned vcpu,
		       char *desc, size_t cap)
{
	struct position pos;
	uint64_t bad, expected;

	locate(vm, params, vcpu, &pos);
	rf_program_order_seek(&pos.order, params, pos.pass, 0);
	for (uint64_t step = 0; step < pos.order.period; step++) {
		uint64_t page = rf_program_order_page(&pos.order);
		enum page_state state = step < pos.step	   ? PAGE_AFTER
					: step == pos.step ? PAGE_EITHER
							   : PAGE_BEFORE;

		rf_program_order_next(&pos.order);
		if (page >= pos.order.pages ||
		    page_good(vm, params->seed, pos.base + page * RF_PROGRAM_PAGE, pos.pass, state,
			      &bad, &expected))
			continue;
		describe(desc, cap, vcpu, bad, pos.pass, word_of((const uint64_t *)(vm->ram + bad)),
			 expected);
		return RF_ERR_GUEST;
	}
	return RF_OK;
}

int rf_vm_check(const struct rf_vm *vm, char *desc, size_t cap)
{
	struct rf_guest_params params;
	int rc = rf_vm_expect_paused((struct rf_vm *)vm, "check");

	if (rc) {
		snprintf(desc, cap, "the guest is not paused");
		return rc;
	}
	if (!read_params(vm, &params)) {
		snprintf(desc, cap, "there is no program in guest memory, or it is damaged");
		return RF_ERR_GUEST;
	}
	for (unsigned i = 0; !rc && i < vm->cfg.vcpus; i++)
		rc = check_share(vm, &params, i, desc, cap);
	for (unsigned i = 0; !rc && i < vm->cfg.vcpus; i++)
		rc = rf_vm_check_balloon(vm, &params, i, desc, cap);
	return rc;
}
