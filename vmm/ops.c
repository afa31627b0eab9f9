/* SPDX-License-Identifier: BSD-3-Clause */
/* The built-in guest as a VMM: the table that rf_source and rf_dest call. */
#include <ramferry/err.h>

#include "vmm/vm.h"

static int pause_vm(void *arg)
{
	return rf_vm_pause(arg);
}

static int resume_vm(void *arg)
{
	return rf_vm_resume(arg);
}

static struct rf_blob_machine machine_of(const struct rf_vm *vm)
{
	return (struct rf_blob_machine){
		.kind = vm->kind->code,
		.vcpus = vm->cfg.vcpus,
		.memory = vm->cfg.memory,
	};
}

int rf_vm_state_machine(const void *state, size_t len, struct rf_vm_cfg *cfg)
{
	static const struct rf_vm_kind *const kinds[] = {&rf_vm_kind_kvm, &rf_vm_kind_threads};
	struct rf_blob_machine m;
	int rc = rf_blob_machine(state, len, &m);

	if (rc)
		return rc;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (kinds[i]->code != m.kind)
			continue;
		cfg->kind = kinds[i]->name;
		cfg->vcpus = m.vcpus;
		cfg->memory = m.memory;
		return RF_OK;
	}
	rf_err_log("guest state", "a guest of unknown kind %u", m.kind);
	return RF_ERR_NOT_FOUND;
}

/* A vCPU that KVM could not run has no state that could run elsewhere. What the program found wrong
 * is in its memory and moves with it. Only for a paused guest. */
static bool has_dead_vcpu(struct rf_vm *vm)
{
	char desc[256];

	if (rf_vm_vcpus_live(vm, desc, sizeof(desc)))
		return false;
	rf_err_log("guest", "died here before it could be saved: %s", desc);
	return true;
}

static int save_vm(void *arg, void **buf, size_t *len)
{
	struct rf_vm *vm = arg;
	struct rf_blob_machine machine = machine_of(vm);
	struct rf_blob_writer w;
	int rc = rf_vm_expect_paused(vm, "save_state");

	if (rc)
		return rc;
	if (has_dead_vcpu(vm))
		return RF_ERR_GUEST;
	rf_blob_begin(&w);
	rc = vm->kind->save(vm, &w);
	if (rc) {
		rf_blob_drop(&w);
		return rc;
	}
	return rf_blob_finish(&w, &machine, buf, len);
}

static int load_vm(void *arg, const void *buf, size_t len)
{
	struct rf_vm *vm = arg;
	struct rf_blob_machine machine = machine_of(vm);
	const unsigned char *body;
	size_t body_len;
	int rc = rf_vm_expect_paused(vm, "load_state");

	if (rc)
		return rc;
	if (vm->has_run) {
		rf_err_log("guest", "load_state: it has run already");
		return RF_ERR_STATE;
	}
	/* Nothing half loaded may run. */
	atomic_store(&vm->loaded, false);
	rc = rf_blob_open(buf, len, &machine, &body, &body_len);
	if (!rc)
		rc = vm->kind->load(vm, body, body_len);
	if (!rc)
		atomic_store(&vm->loaded, true);
	return rc;
}

static uint64_t size_vm(void *arg)
{
	const struct rf_vm *vm = arg;

	return RF_BLOB_HEADER + vm->kind->state_size(vm);
}

static int throttle_vm(void *arg, unsigned percent)
{
	return rf_vm_throttle(arg, percent);
}

/* The program asks for the epoch by itself, before it gives pages back. */
static void hints_done(void *arg)
{
	struct rf_vm *vm = arg;

	atomic_fetch_add(&vm->hint_dones, 1);
}

const struct rf_guest_ops rf_vm_ops = {
	.size = sizeof(struct rf_guest_ops),
	.pause = pause_vm,
	.resume = resume_vm,
	.save_state = save_vm,
	.load_state = load_vm,
	.state_size = size_vm,
	.throttle = throttle_vm,
	.free_hint_done = hints_done,
};
