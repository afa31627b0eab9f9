/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The threads guest: the same program on host threads, for machines without /dev/kvm. All its
 * state is in its memory, so its device state is an empty body.
 */
#include <unistd.h>

#include <ramferry/err.h>

#include "common/log.h"
#include "common/uffd.h"
#include "vmm/vm.h"

struct thread_host {
	struct rf_program_host host;
	struct rf_vcpu *v;
};

static struct rf_vcpu *vcpu_of(struct rf_program_host *h)
{
	return ((struct thread_host *)h)->v;
}

static int check_in(struct rf_program_host *h)
{
	return !rf_vcpu_checkpoint(vcpu_of(h));
}

static void pace_batch(struct rf_program_host *h, uint64_t pages)
{
	rf_vcpu_pace(vcpu_of(h), pages);
	/* The checkpoint after this page waits. */
	__atomic_store_n(h->attention, 1, __ATOMIC_RELAXED);
}

static void mark_control(struct rf_vcpu *v)
{
	if (v->vm->tracker_kind == RF_VM_TRACKER_MANUAL &&
	    atomic_load_explicit(&v->vm->tracker_ready, memory_order_acquire))
		rf_tracker_manual_mark(&v->vm->tracker, 0,
				       RF_PROGRAM_CONTROL + (uint64_t)v->index * RF_PAGE_SIZE,
				       RF_PAGE_SIZE);
}

/* For the manual tracker: after the write, so that a harvest in between misses nothing. */
static void mark_written(struct rf_program_host *h, uint64_t address)
{
	struct rf_vcpu *v = vcpu_of(h);

	if (!atomic_load_explicit(&v->vm->tracker_ready, memory_order_acquire))
		return;
	rf_tracker_manual_mark(&v->vm->tracker, 0, address, RF_PAGE_SIZE);
	mark_control(v);
}

static uint64_t read_epoch(struct rf_program_host *h)
{
	return rf_vcpu_hint_epoch(vcpu_of(h));
}

static void tell_free(struct rf_program_host *h, uint64_t address, uint64_t bytes, uint64_t epoch)
{
	rf_vcpu_hint_free(vcpu_of(h), address, bytes, epoch);
}

static void run_thread(struct rf_vcpu *v)
{
	struct thread_host th = {
		.host = {.attention = &v->attention,
			 .checkpoint = check_in,
			 .pace = pace_batch,
			 .epoch = read_epoch,
			 .hint = tell_free,
			 .wrote =
				 v->vm->tracker_kind == RF_VM_TRACKER_MANUAL ? mark_written : NULL},
		.v = v,
	};

	if (!rf_vcpu_checkpoint(v))
		return;
	if (rf_vcpu_get_params(v)) {
		rf_program_run(v->vm->ram, &v->params, v->index, &th.host);
		/* Either the vm ends, or a cell is wrong and the control page says which. */
		mark_control(v);
		rf_vcpu_halt(v, NULL);
	}
	while (rf_vcpu_checkpoint(v))
		;
}

static int open_threads(struct rf_vm *vm, enum rf_log_level level)
{
	return RF_OK;
}

static int boot_threads(struct rf_vm *vm)
{
	return RF_OK;
}

static void close_threads(struct rf_vm *vm)
{
}

static void kick_thread(struct rf_vcpu *v)
{
	/* Attention is set; the program looks at it after every page. */
}

static int save_threads(struct rf_vm *vm, struct rf_blob_writer *w)
{
	return RF_OK;
}

static int load_threads(struct rf_vm *vm, const void *body, size_t len)
{
	if (!len)
		return RF_OK;
	rf_err_log("guest state", "%zu bytes more than a guest of threads has", len);
	return RF_ERR_PROTOCOL;
}

static uint64_t state_size_threads(const struct rf_vm *vm)
{
	return 0;
}

/* ---- standing still for a harvest ---- */

static int freeze_threads(void *arg)
{
	return rf_vm_freeze(arg);
}

static void thaw_threads(void *arg)
{
	rf_vm_thaw(arg);
}

static int tracker_soft_dirty(struct rf_vm *vm, struct rf_tracker *out)
{
	const struct rf_soft_dirty_cfg cfg = {
		.size = sizeof(cfg),
		.freeze = freeze_threads,
		.thaw = thaw_threads,
		.arg = vm,
	};

	return rf_tracker_soft_dirty_new(&cfg, out);
}

/* Neither can be had: one line with both reasons. */
static int fail_tracker_auto(const char *soft_dirty)
{
	struct rf_log_capture uffd_wp;
	int fd;

	rf_log_capture_begin(&uffd_wp);
	if (rf_uffd_open_wp_async(&fd) == RF_OK)
		close(fd);
	rf_log_capture_end(&uffd_wp);
	rf_err_log("guest", "no tracker can be had: uffd-wp: %s; soft-dirty: %s",
		   uffd_wp.text[0] ? uffd_wp.text : "cannot be used here", soft_dirty);
	return RF_ERR_UNSUPPORTED;
}

/* uffd-wp if the kernel has it (6.7) and lets us, else soft-dirty. */
static int tracker_auto(struct rf_vm *vm, struct rf_tracker *out)
{
	struct rf_log_capture soft_dirty;
	struct rf_uffd_features f;
	int rc;

	rf_uffd_probe(&f);
	if (f.available && f.wp_async && f.pagemap_scan)
		return rf_tracker_uffd_wp_new(out);
	rf_log_capture_begin(&soft_dirty);
	rc = tracker_soft_dirty(vm, out);
	rf_log_capture_end(&soft_dirty);
	if (rc != RF_OK)
		return fail_tracker_auto(soft_dirty.text);
	rf_info("guest", "no asynchronous write protection (Linux 6.7, userfaultfd): soft-dirty "
			 "bits track the guest");
	return RF_OK;
}

static int tracker_threads(struct rf_vm *vm, struct rf_tracker *out)
{
	switch (vm->tracker_kind) {
	case RF_VM_TRACKER_AUTO:
		return tracker_auto(vm, out);
	case RF_VM_TRACKER_SOFT_DIRTY:
		return tracker_soft_dirty(vm, out);
	case RF_VM_TRACKER_UFFD_WP:
		return rf_tracker_uffd_wp_new(out);
	case RF_VM_TRACKER_MANUAL:
		return rf_tracker_manual_new(out);
	default:
		rf_err_log("guest", "KVM's trackers need a kvm guest; one of threads has uffd-wp, "
				    "soft-dirty and manual");
		return RF_ERR_UNSUPPORTED;
	}
}

const struct rf_vm_kind rf_vm_kind_threads = {
	.name = "threads",
	.code = 2,
	.open = open_threads,
	.boot = boot_threads,
	.close = close_threads,
	.run = run_thread,
	.kick = kick_thread,
	.save = save_threads,
	.load = load_threads,
	.state_size = state_size_threads,
	.tracker = tracker_threads,
};
