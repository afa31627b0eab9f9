/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kvm guest: a machine of one memory slot and one to four vCPUs in 64-bit mode at CPL 3,
 * without firmware, devices or interrupts. Memory is mapped one to one by 2 MiB pages with the
 * user bit; IOPL 3 lets the program leave by `out`. (At CPL 0 some hypervisors emulate every
 * instruction; CPL 3 runs natively everywhere.)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "vmm/kvm.h"

#define GUEST_NAME    "kvm guest"
#define RING_BYTES    (256u << 10) /* 16 Ki pages a vCPU */
#define CPUID_ENTRIES 256
#define LARGE_PAGE    (2ull << 20)
#define GIB	      (1ull << 30)

/* Page table bits. Accessed and dirty are set from the start: the MMU need not write them. */
#define PT_TABLE 0x27ull /* present, writable, user, accessed */
#define PT_LARGE 0xe7ull /* the same, dirty, 2 MiB */

/* guest_image.S */
extern const unsigned char rf_guest_image[];
extern const uint64_t rf_guest_image_bytes;

static int open_dev(struct rf_vm *vm, enum rf_log_level level)
{
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd >= 0)
		return RF_OK;
	if (errno == EACCES || errno == EPERM) {
		rf_log(level, GUEST_NAME,
		       "/dev/kvm: %s: user %u must be in group kvm (usermod -aG kvm NAME, then log "
		       "in again); guests of kind threads need no rights",
		       strerror(errno), (unsigned)geteuid());
		return RF_ERR_PERMISSION;
	}
	if (errno == EMFILE || errno == ENFILE) {
		rf_log(level, GUEST_NAME, "/dev/kvm: %s; raise ulimit -n", strerror(errno));
		return RF_ERR_SYSTEM;
	}
	rf_log(level, GUEST_NAME,
	       "/dev/kvm: %s: load kvm_intel or kvm_amd and enable virtualisation in the firmware; "
	       "guests of kind threads need neither",
	       strerror(errno));
	return RF_ERR_UNSUPPORTED;
}

static int create_vm(struct rf_vm *vm, enum rf_log_level level)
{
	static const int needed[] = {KVM_CAP_USER_MEMORY, KVM_CAP_IMMEDIATE_EXIT};
	int run_bytes = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION || run_bytes <= 0) {
		rf_log(level, GUEST_NAME, "/dev/kvm speaks another API");
		return RF_ERR_UNSUPPORTED;
	}
	vm->run_bytes = (uint32_t)run_bytes;
	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0) {
		rf_log(level, GUEST_NAME, "KVM_CREATE_VM: %s", strerror(errno));
		return RF_ERR_UNSUPPORTED;
	}
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, needed[i]) > 0)
			continue;
		rf_log(level, GUEST_NAME, "KVM lacks capability %d (Linux 4.12 has it)", needed[i]);
		return RF_ERR_UNSUPPORTED;
	}
	return RF_OK;
}

/* To be asked for before the first vCPU is made. */
static int enable_ring(struct rf_vm *vm, enum rf_log_level level)
{
	static const uint32_t caps[] = {KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING};

	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
		int most = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, caps[i]);
		struct kvm_enable_cap cap = {.cap = caps[i]};

		if (most <= 0)
			continue;
		cap.args[0] = (uint32_t)most < RING_BYTES ? (uint32_t)most : RING_BYTES;
		if (ioctl(vm->vm_fd, KVM_ENABLE_CAP, &cap))
			continue;
		vm->ring_bytes = (uint32_t)cap.args[0];
		return RF_OK;
	}
	rf_log(level, GUEST_NAME,
	       "KVM has no dirty ring (Linux 5.11); tracker kvm-log does without");
	return RF_ERR_UNSUPPORTED;
}

static int add_memory(struct rf_vm *vm, enum rf_log_level level)
{
	struct kvm_userspace_memory_region r = {
		.memory_size = vm->cfg.memory,
		.userspace_addr = (uintptr_t)vm->ram,
	};

	if (!ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &r))
		return RF_OK;
	rf_log(level, GUEST_NAME, "memory slot of %llu bytes: %s",
	       (unsigned long long)r.memory_size, strerror(errno));
	return RF_ERR_SYSTEM;
}

static int set_cpuid(struct rf_vm *vm, struct rf_vcpu *v)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + CPUID_ENTRIES * sizeof(c->entries[0]));
	int rc = -1;

	if (c) {
		c->nent = CPUID_ENTRIES;
		rc = ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, c);
		if (!rc)
			rc = ioctl(v->fd, KVM_SET_CPUID2, c);
	}
	free(c);
	return rc;
}

static int create_vcpu(struct rf_vm *vm, struct rf_vcpu *v, enum rf_log_level level)
{
	void *run;

	v->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, v->index);
	if (v->fd < 0) {
		rf_log(level, GUEST_NAME, "vCPU %u: KVM_CREATE_VCPU: %s", v->index,
		       strerror(errno));
		return RF_ERR_SYSTEM;
	}
	run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (run == MAP_FAILED) {
		rf_log(level, GUEST_NAME, "vCPU %u: mmap: %s", v->index, strerror(errno));
		return RF_ERR_SYSTEM;
	}
	v->run = run;
	if (set_cpuid(vm, v)) {
		rf_log(level, GUEST_NAME, "vCPU %u: CPUID: %s", v->index, strerror(errno));
		return RF_ERR_SYSTEM;
	}
	return RF_OK;
}

static int open_kvm(struct rf_vm *vm, enum rf_log_level level)
{
	int rc = open_dev(vm, level);

	if (!rc)
		rc = create_vm(vm, level);
	if (!rc && vm->tracker_kind == RF_VM_TRACKER_KVM_RING)
		rc = enable_ring(vm, level);
	if (!rc)
		rc = add_memory(vm, level);
	for (unsigned i = 0; !rc && i < vm->cfg.vcpus; i++)
		rc = create_vcpu(vm, &vm->vcpu[i], level);
	if (!rc)
		rf_kvm_install_kick();
	return rc;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_kvm(struct rf_vm *vm)
{
	for (unsigned i = 0; i < RF_GUEST_MAX_VCPUS; i++) {
		if (vm->vcpu[i].run)
			munmap(vm->vcpu[i].run, vm->run_bytes);
		vm->vcpu[i].run = NULL;
		close_fd(&vm->vcpu[i].fd);
	}
	close_fd(&vm->vm_fd);
	close_fd(&vm->kvm_fd);
}

/* For what the program touches, which may be little of a huge guest. */
static void write_page_tables(struct rf_vm *vm)
{
	uint64_t mapped = RF_PROGRAM_WORKING_SET + vm->cfg.working_set + vm->cfg.balloon;
	uint64_t *pml4 = (uint64_t *)(vm->ram + RF_PROGRAM_PAGE_TABLES);
	uint64_t *pdpt = pml4 + 512, *pd = pdpt + 512;
	uint64_t pdpt_at = RF_PROGRAM_PAGE_TABLES + RF_PROGRAM_PAGE;

	pml4[0] = pdpt_at | PT_TABLE;
	for (uint64_t i = 0; i * GIB < mapped; i++)
		pdpt[i] = (pdpt_at + (i + 1) * RF_PROGRAM_PAGE) | PT_TABLE;
	/* The page directories lie one behind the other. */
	for (uint64_t i = 0; i * LARGE_PAGE < mapped; i++)
		pd[i] = i * LARGE_PAGE | PT_LARGE;
}

static struct kvm_segment flat_segment(unsigned selector, unsigned type)
{
	bool code = type & 8;

	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = (uint16_t)(selector | 3),
		.type = (uint8_t)type,
		.present = 1,
		.dpl = 3,
		.db = !code,
		.s = 1,
		.l = code,
		.g = 1,
	};
}

static int boot_vcpu(struct rf_vcpu *v)
{
	struct kvm_regs regs = {
		.rip = RF_PROGRAM_CODE,
		.rflags = 0x3002, /* IOPL 3 */
		/* As after a call. */
		.rsp = RF_PROGRAM_STACK + (v->index + 1) * RF_PROGRAM_STACK_BYTES - 8,
		.rsi = v->index,
	};
	struct kvm_sregs s;

	if (ioctl(v->fd, KVM_GET_SREGS, &s))
		goto failed;
	s.cs = flat_segment(0x28, 11);
	s.ss = s.ds = s.es = s.fs = s.gs = flat_segment(0x30, 3);
	s.tr = (struct kvm_segment){.limit = 0x67, .selector = 0x18, .type = 11, .present = 1};
	s.cr3 = RF_PROGRAM_PAGE_TABLES;
	s.cr4 |= 0x20;	      /* PAE */
	s.cr0 |= 0x80000031u; /* PG, NE, ET, PE */
	s.efer |= 0x500;      /* LME, LMA */
	if (ioctl(v->fd, KVM_SET_SREGS, &s) || ioctl(v->fd, KVM_SET_REGS, &regs))
		goto failed;
	return RF_OK;
failed:
	rf_err_log(GUEST_NAME, "vCPU %u: setting registers: %s", v->index, strerror(errno));
	return RF_ERR_SYSTEM;
}

static int boot_kvm(struct rf_vm *vm)
{
	int rc = RF_OK;

	memcpy(vm->ram + RF_PROGRAM_CODE, rf_guest_image, rf_guest_image_bytes);
	write_page_tables(vm);
	for (unsigned i = 0; !rc && i < vm->cfg.vcpus; i++)
		rc = boot_vcpu(&vm->vcpu[i]);
	return rc;
}

static void kick_for_ring(void *arg)
{
	rf_vm_kick_all(arg);
}

static int tracker_kvm(struct rf_vm *vm, struct rf_tracker *out)
{
	const struct rf_kvm_slot slot = {.len = vm->cfg.memory, .addr = vm->ram};
	int vcpu_fds[RF_GUEST_MAX_VCPUS];
	struct rf_kvm_tracker_cfg cfg = {
		.size = sizeof(cfg),
		.vm_fd = vm->vm_fd,
		.slots = &slot,
		.nslots = 1,
		.use_ring = vm->tracker_kind == RF_VM_TRACKER_KVM_RING,
		.ring_bytes = vm->ring_bytes,
		.vcpu_fds = vcpu_fds,
		.nvcpus = vm->cfg.vcpus,
		.kick = kick_for_ring,
		.kick_arg = vm,
	};

	if (vm->tracker_kind == RF_VM_TRACKER_UFFD_WP)
		return rf_tracker_uffd_wp_new(out);
	if (vm->tracker_kind == RF_VM_TRACKER_MANUAL ||
	    vm->tracker_kind == RF_VM_TRACKER_SOFT_DIRTY) {
		rf_err_log(GUEST_NAME, "this tracker does not see what a vCPU writes; kvm-log, "
				       "kvm-ring and uffd-wp do");
		return RF_ERR_UNSUPPORTED;
	}
	for (unsigned i = 0; i < vm->cfg.vcpus; i++)
		vcpu_fds[i] = vm->vcpu[i].fd;
	return rf_tracker_kvm_new(&cfg, out);
}

const struct rf_vm_kind rf_vm_kind_kvm = {
	.name = "kvm",
	.code = 1,
	.open = open_kvm,
	.boot = boot_kvm,
	.close = close_kvm,
	.run = rf_kvm_run,
	.kick = rf_kvm_kick,
	.save = rf_kvm_save,
	.load = rf_kvm_load,
	.state_size = rf_kvm_state_size,
	.tracker = tracker_kvm,
};
