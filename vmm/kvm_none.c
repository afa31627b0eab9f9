/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the kvm guest is not built: every slot says so. */
#include <ramferry/err.h>

#include "vmm/vm.h"

static int open_none(struct rf_vm *vm, enum rf_log_level level)
{
	rf_log(level, "kvm guest", "it is built for x86-64 only; guests of kind threads run here");
	return RF_ERR_UNSUPPORTED;
}

static int boot_none(struct rf_vm *vm)
{
	return RF_ERR_UNSUPPORTED;
}

static void close_none(struct rf_vm *vm)
{
}

static void vcpu_none(struct rf_vcpu *v)
{
}

static int save_none(struct rf_vm *vm, struct rf_blob_writer *w)
{
	return RF_ERR_UNSUPPORTED;
}

static int load_none(struct rf_vm *vm, const void *body, size_t len)
{
	return RF_ERR_UNSUPPORTED;
}

static uint64_t size_none(const struct rf_vm *vm)
{
	return 0;
}

static int tracker_none(struct rf_vm *vm, struct rf_tracker *out)
{
	return RF_ERR_UNSUPPORTED;
}

const struct rf_vm_kind rf_vm_kind_kvm = {
	.name = "kvm",
	.code = 1,
	.open = open_none,
	.boot = boot_none,
	.close = close_none,
	.run = vcpu_none,
	.kick = vcpu_none,
	.save = save_none,
	.load = load_none,
	.state_size = size_none,
	.tracker = tracker_none,
};
