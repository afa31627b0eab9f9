/* SPDX-License-Identifier: BSD-3-Clause */
/* The front door of the built-in guests: configuration, memory, life and death. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "vmm/vm.h"

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif

#define GUEST_NAME "guest"

static const char *const tracker_names[] = {
	[RF_VM_TRACKER_AUTO] = "auto",	       [RF_VM_TRACKER_KVM_LOG] = "kvm-log",
	[RF_VM_TRACKER_KVM_RING] = "kvm-ring", [RF_VM_TRACKER_UFFD_WP] = "uffd-wp",
	[RF_VM_TRACKER_MANUAL] = "manual",     [RF_VM_TRACKER_SOFT_DIRTY] = "soft-dirty",
};

static int parse_tracker(const char *name, enum rf_vm_tracker_kind *kind)
{
	for (size_t i = 0; i < sizeof(tracker_names) / sizeof(tracker_names[0]); i++) {
		if (!strcmp(name ? name : "auto", tracker_names[i])) {
			*kind = (enum rf_vm_tracker_kind)i;
			return RF_OK;
		}
	}
	rf_err_log(GUEST_NAME,
		   "tracker \"%s\" is none of auto, kvm-log, kvm-ring, uffd-wp, soft-dirty, manual",
		   name);
	return RF_ERR_INVALID;
}

static int check_balloon(const struct rf_vm_cfg *c)
{
	uint64_t blocks = c->balloon / RF_PROGRAM_BLOCK_BYTES;

	if (!c->balloon ||
	    (c->balloon % RF_PROGRAM_BLOCK_BYTES == 0 && blocks / c->vcpus >= 2 &&
	     blocks % c->vcpus == 0 && c->free_percent >= 1 && c->free_percent <= 99))
		return RF_OK;
	rf_err_log(
		GUEST_NAME,
		"balloon of %llu bytes, %u %% free: it must be blocks of 64 KiB, the same number "
		"for each vCPU and two at least, of which 1 to 99 %% are free",
		(unsigned long long)c->balloon, c->free_percent);
	return RF_ERR_INVALID;
}

static int check_layout(const struct rf_vm_cfg *c)
{
	uint64_t room = c->memory - RF_GUEST_LOW_BYTES;

	if (c->working_set % RF_PAGE_SIZE || c->working_set / RF_PAGE_SIZE < c->vcpus) {
		rf_err_log(GUEST_NAME,
			   "working set of %llu bytes: it must be whole pages, one a vCPU at least",
			   (unsigned long long)c->working_set);
		return RF_ERR_INVALID;
	}
	if (c->working_set > room || c->balloon > room - c->working_set ||
	    c->fill > room - c->working_set - c->balloon) {
		rf_err_log(GUEST_NAME,
			   "memory of %llu bytes is too small: 2 MiB, a working set of %llu, a "
			   "balloon of %llu and a fill of %llu do not fit",
			   (unsigned long long)c->memory, (unsigned long long)c->working_set,
			   (unsigned long long)c->balloon, (unsigned long long)c->fill);
		return RF_ERR_INVALID;
	}
	if (c->working_set + c->balloon > RF_PROGRAM_MAX_MAPPED - RF_GUEST_LOW_BYTES) {
		rf_err_log(GUEST_NAME,
			   "working set and balloon of %llu bytes: they end at 254 GiB at most",
			   (unsigned long long)(c->working_set + c->balloon));
		return RF_ERR_INVALID;
	}
	return check_balloon(c);
}

static int check_cfg(const struct rf_vm_cfg *c)
{
	if (c->vcpus < 1 || c->vcpus > RF_GUEST_MAX_VCPUS) {
		rf_err_log(GUEST_NAME, "%u vCPUs: 1 to %u are possible", c->vcpus,
			   RF_GUEST_MAX_VCPUS);
		return RF_ERR_INVALID;
	}
	if (c->page_size && c->page_size != RF_PAGE_SIZE && c->page_size != 2u << 20 &&
	    c->page_size != 1u << 30) {
		rf_err_log(GUEST_NAME,
			   "host pages of %u bytes: 4 KiB, 2 MiB and 1 GiB are possible",
			   c->page_size);
		return RF_ERR_INVALID;
	}
	if (c->memory < RF_GUEST_MIN_BYTES || c->memory > RF_GUEST_MAX_BYTES ||
	    c->memory % (c->page_size ? c->page_size : RF_PAGE_SIZE)) {
		rf_err_log(
			GUEST_NAME,
			"memory of %llu bytes: whole host pages from 8 MiB to 16 TiB are possible",
			(unsigned long long)c->memory);
		return RF_ERR_INVALID;
	}
	/* What the destination's program does is in the memory it is going to be given. */
	return c->memory_at ? RF_OK : check_layout(c);
}

static int make_memory(struct rf_vm *vm)
{
	unsigned flags = MFD_CLOEXEC;

	if (vm->cfg.memory_at) {
		vm->ram = vm->cfg.memory_at;
		vm->memfd = vm->cfg.memfd;
		return RF_OK;
	}
	if (vm->cfg.page_size > RF_PAGE_SIZE)
		flags |= MFD_HUGETLB | (unsigned)__builtin_ctz(vm->cfg.page_size) << MFD_HUGE_SHIFT;
	vm->memfd = memfd_create("ramferry-ram", flags);
	if (vm->memfd < 0) {
		rf_err_log(GUEST_NAME, "memfd_create: %s", strerror(errno));
		return RF_ERR_SYSTEM;
	}
	vm->owns_memory = true;
	if (ftruncate(vm->memfd, (off_t)vm->cfg.memory)) {
		rf_err_log(GUEST_NAME, "memfd of %llu bytes: %s",
			   (unsigned long long)vm->cfg.memory, strerror(errno));
		return RF_ERR_NO_MEMORY;
	}
	vm->ram = mmap(NULL, vm->cfg.memory, PROT_READ | PROT_WRITE,
		       MAP_SHARED | (vm->cfg.page_size > RF_PAGE_SIZE ? 0 : MAP_NORESERVE),
		       vm->memfd, 0);
	if (vm->ram == MAP_FAILED) {
		vm->ram = NULL;
		rf_err_log(GUEST_NAME, "mapping %llu bytes: %s%s",
			   (unsigned long long)vm->cfg.memory, strerror(errno),
			   vm->cfg.page_size > RF_PAGE_SIZE
				   ? "; are there enough free huge pages (vm.nr_hugepages)?"
				   : "");
		return RF_ERR_NO_MEMORY;
	}
	return RF_OK;
}

static void free_memory(struct rf_vm *vm)
{
	if (!vm->owns_memory)
		return;
	if (vm->ram)
		munmap(vm->ram, vm->cfg.memory);
	close(vm->memfd);
}

static int open_kind(struct rf_vm *vm, const struct rf_vm_kind *kind, enum rf_log_level level)
{
	int rc;

	vm->kind = kind;
	rc = kind->open(vm, level);
	if (rc)
		kind->close(vm);
	return rc;
}

static int open_named(struct rf_vm *vm, const char *name)
{
	struct rf_log_capture words;
	int rc;

	if (name && !strcmp(name, rf_vm_kind_kvm.name))
		return open_kind(vm, &rf_vm_kind_kvm, RF_LOG_ERROR);
	if (name && !strcmp(name, rf_vm_kind_threads.name))
		return open_kind(vm, &rf_vm_kind_threads, RF_LOG_ERROR);
	if (name && strcmp(name, "auto")) {
		rf_err_log(GUEST_NAME, "kind \"%s\" is none of auto, kvm, threads", name);
		return RF_ERR_INVALID;
	}
	rf_log_capture_begin(&words);
	rc = open_kind(vm, &rf_vm_kind_kvm, RF_LOG_ERROR);
	rf_log_capture_end(&words);
	if (rc != RF_OK && rc != RF_ERR_PERMISSION && rc != RF_ERR_UNSUPPORTED)
		rf_err_log(GUEST_NAME, "%s", words.text);
	if (rc != RF_ERR_PERMISSION && rc != RF_ERR_UNSUPPORTED)
		return rc;
	rf_info(GUEST_NAME, "no kvm guest here, it runs on host threads instead: %s", words.text);
	return open_kind(vm, &rf_vm_kind_threads, RF_LOG_ERROR);
}

static void init_vm(struct rf_vm *vm, const struct rf_vm_cfg *cfg)
{
	pthread_condattr_t attr;

	vm->cfg = *cfg;
	vm->cfg.kind = vm->cfg.tracker = NULL;
	vm->memfd = vm->kvm_fd = vm->vm_fd = -1;
	vm->want = RF_VM_WANT_PAUSED;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->hint_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&vm->cond, &attr);
	pthread_condattr_destroy(&attr);
	for (unsigned i = 0; i < RF_GUEST_MAX_VCPUS; i++) {
		vm->vcpu[i].vm = vm;
		vm->vcpu[i].index = i;
		vm->vcpu[i].fd = -1;
	}
}

int rf_vm_new(const struct rf_vm_cfg *cfg, struct rf_vm **out)
{
	struct rf_vm *vm;
	enum rf_vm_tracker_kind tracker;
	int rc = check_cfg(cfg);

	if (!rc)
		rc = parse_tracker(cfg->tracker, &tracker);
	if (rc)
		return rc;
	vm = calloc(1, sizeof(*vm));
	if (!vm) {
		rf_err_log(GUEST_NAME, "no memory");
		return RF_ERR_NO_MEMORY;
	}
	init_vm(vm, cfg);
	vm->tracker_kind = tracker;
	rc = make_memory(vm);
	if (!rc)
		rc = open_named(vm, cfg->kind);
	if (rc)
		goto free_vm;
	if (vm->owns_memory) {
		rc = rf_vm_boot_memory(vm);
		atomic_store(&vm->loaded, !rc);
	}
	if (!rc)
		rc = rf_vm_start_threads(vm);
	if (rc)
		goto close_kind;
	*out = vm;
	return RF_OK;
close_kind:
	rf_vm_stop_threads(vm);
	vm->kind->close(vm);
free_vm:
	free_memory(vm);
	pthread_cond_destroy(&vm->cond);
	pthread_mutex_destroy(&vm->hint_lock);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
	return rc;
}

void rf_vm_delete(struct rf_vm **vmp)
{
	struct rf_vm *vm = vmp ? *vmp : NULL;

	if (!vm)
		return;
	*vmp = NULL;
	if (!rf_vm_stop_threads(vm))
		return;
	rf_vm_stop_throttle(vm);
	rf_tracker_delete(&vm->tracker);
	vm->kind->close(vm);
	free_memory(vm);
	pthread_cond_destroy(&vm->cond);
	pthread_mutex_destroy(&vm->hint_lock);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

const char *rf_vm_kind(const struct rf_vm *vm)
{
	return vm->kind->name;
}

void rf_vm_region(const struct rf_vm *vm, struct rf_region *out)
{
	*out = (struct rf_region){
		.size = sizeof(*out),
		.id = "ram",
		.addr = vm->ram,
		.len = vm->cfg.memory,
		.page_size = vm->cfg.page_size ? vm->cfg.page_size : RF_PAGE_SIZE,
		.memfd = vm->memfd,
	};
}

int rf_vm_tracker(struct rf_vm *vm, struct rf_tracker *out)
{
	if (!vm->tracker.ops) {
		struct rf_tracker made = {0};
		int rc = vm->kind->tracker(vm, &made);

		if (rc)
			return rc;
		vm->tracker = made;
		atomic_store_explicit(&vm->tracker_ready, true, memory_order_release);
	}
	*out = vm->tracker;
	return RF_OK;
}
