/* SPDX-License-Identifier: BSD-3-Clause */
/* The balloon as the VMM sees it: hints to the source, and whether its cells are right. */
#include <inttypes.h>
#include <stdio.h>

#include <ramferry/err.h>

#include "vmm/vm.h"

void rf_vm_set_hint_source(struct rf_vm *vm, struct rf_source *src)
{
	pthread_mutex_lock(&vm->hint_lock);
	vm->hint_source = src;
	pthread_mutex_unlock(&vm->hint_lock);
}

unsigned rf_vm_hint_dones(const struct rf_vm *vm)
{
	return atomic_load(&vm->hint_dones);
}

uint64_t rf_vcpu_hint_epoch(struct rf_vcpu *v)
{
	struct rf_vm *vm = v->vm;
	uint64_t epoch;

	pthread_mutex_lock(&vm->hint_lock);
	epoch = vm->hint_source ? rf_source_hint_epoch(vm->hint_source) : 0;
	pthread_mutex_unlock(&vm->hint_lock);
	/* What a kvm guest reads from a port is 32 bits wide; 4 billion harvests are none. */
	return (uint32_t)epoch;
}

void rf_vcpu_hint_free(struct rf_vcpu *v, uint64_t address, uint64_t bytes, uint64_t epoch)
{
	struct rf_vm *vm = v->vm;
	int rc = RF_OK;

	pthread_mutex_lock(&vm->hint_lock);
	if (vm->hint_source)
		rc = rf_source_hint_free(vm->hint_source, 0, address, bytes, epoch);
	pthread_mutex_unlock(&vm->hint_lock);
	/* A hint that comes too late is the guest's good right. */
	if (rc == RF_ERR_INVALID)
		rf_vcpu_halt(v, "%" PRIu64 " bytes at 0x%" PRIx64 " cannot be free", bytes,
			     address);
}

/* ---- from outside ---- */

static int wrong_cell(char *desc, size_t cap, unsigned vcpu, uint64_t address, uint64_t found,
		      const char *what)
{
	snprintf(desc, cap,
		 "vCPU %u: cell of the balloon at 0x%" PRIx64 " holds 0x%016" PRIx64 ", %s", vcpu,
		 address, found, what);
	return RF_ERR_GUEST;
}

int rf_vm_check_balloon(const struct rf_vm *vm, const struct rf_guest_params *p, unsigned vcpu,
			char *desc, size_t cap)
{
	const struct rf_guest_control *c =
		(const void *)(vm->ram + RF_PROGRAM_CONTROL + (uint64_t)vcpu * RF_PROGRAM_PAGE);
	uint64_t turns = __atomic_load_n(&c->turns, __ATOMIC_ACQUIRE);
	uint64_t taken = rf_program_taken(turns), given = rf_program_given(p, turns);

	/* The last of the numbers each block has had: it may be about to have the next one. */
	for (uint64_t block = 0; block < p->blocks; block++) {
		uint64_t at = rf_program_balloon(p, vcpu) + block * RF_PROGRAM_BLOCK_BYTES;
		uint64_t times = (taken + p->blocks - 1 - block) / p->blocks;
		uint64_t number = times ? (times - 1) * p->blocks + block : 0;
		bool used = times && number >= given;

		for (uint64_t end = at + RF_PROGRAM_BLOCK_BYTES; at < end;
		     at += RF_PROGRAM_CELL_STRIDE) {
			uint64_t found =
				__atomic_load_n((const uint64_t *)(vm->ram + at), __ATOMIC_ACQUIRE);

			if (used && found != rf_program_value(p->seed, at, times - 1))
				return wrong_cell(desc, cap, vcpu, at, found,
						  "not what was written when it was taken");
			if (!used && !rf_program_free_cell(p->seed, at, found, times + 1))
				return wrong_cell(desc, cap, vcpu, at, found,
						  "neither zero nor what was once there");
		}
	}
	return RF_OK;
}
