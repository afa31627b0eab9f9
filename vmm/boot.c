/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "common/clock.h"
#include "vmm/vm.h"

static bool balloon_ok(const struct rf_guest_params *p, uint64_t memory)
{
	uint64_t room = memory - RF_PROGRAM_WORKING_SET - p->pages * RF_PROGRAM_PAGE;

	if (!p->blocks)
		return !p->held;
	return p->blocks <= room / RF_PROGRAM_BLOCK_BYTES / p->vcpus && p->held &&
	       p->held < p->blocks;
}

bool rf_guest_params_ok(const struct rf_guest_params *p, uint64_t memory, unsigned vcpus)
{
	return p->magic == RF_PROGRAM_MAGIC && p->memory == memory && p->vcpus == vcpus &&
	       p->pages >= vcpus &&
	       p->pages <= (memory - RF_PROGRAM_WORKING_SET) / RF_PROGRAM_PAGE &&
	       p->sequential <= 1 && p->hot < 100 && balloon_ok(p, memory);
}

static void fill_memory(struct rf_vm *vm)
{
	uint64_t *at = (uint64_t *)(vm->ram + RF_PROGRAM_WORKING_SET + vm->cfg.working_set +
				    vm->cfg.balloon);
	uint64_t x = vm->cfg.seed;

	for (uint64_t i = 0; i < vm->cfg.fill / sizeof(*at); i++) {
		x += 0x9e3779b97f4a7c15ull; /* splitmix64 */
		at[i] = rf_program_mix(x);
	}
}

int rf_vm_boot_memory(struct rf_vm *vm)
{
	const struct rf_vm_cfg *cfg = &vm->cfg;
	struct rf_guest_params params = {
		.magic = RF_PROGRAM_MAGIC,
		.vcpus = cfg->vcpus,
		.memory = cfg->memory,
		.pages = cfg->working_set / RF_PROGRAM_PAGE,
		.seed = cfg->seed,
		.sequential = cfg->pattern == RF_PATTERN_SEQUENTIAL,
		.dirty_rate = cfg->dirty_rate,
		.hot = cfg->hot,
		.batch = rf_pace_batch(cfg->dirty_rate / cfg->vcpus),
	};

	if (cfg->balloon) {
		params.blocks = cfg->balloon / RF_PROGRAM_BLOCK_BYTES / cfg->vcpus;
		params.held = params.blocks * (100 - cfg->free_percent) / 100;
		if (!params.held)
			params.held = 1;
		if (params.held == params.blocks)
			params.held--;
	}
	memcpy(vm->ram + RF_PROGRAM_PARAMS, &params, sizeof(params));
	fill_memory(vm);
	return vm->kind->boot(vm);
}
