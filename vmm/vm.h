/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of a built-in guest: the vm, its vCPUs, and the table a kind of guest fills.
 *
 * Each vCPU is a thread that alternates between the kind's way of running guest code and
 * rf_vcpu_checkpoint(), the one place where it waits: for a resume, for its dirty rate, for its
 * throttle. Whoever wants something of a vCPU sets it under the lock and then makes the vCPU
 * leave guest code (rf_vcpu_attend); the vCPU takes the lock after it left, so nothing is missed.
 */
#ifndef RF_VMM_VM_H
#define RF_VMM_VM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/log.h"
#include "vmm/duty.h"
#include "vmm/guest.h"
#include "vmm/pace.h"
#include "vmm/program.h"
#include "vmm/state_blob.h"

struct kvm_run;

enum rf_vm_tracker_kind {
	RF_VM_TRACKER_AUTO,
	RF_VM_TRACKER_KVM_LOG,
	RF_VM_TRACKER_KVM_RING,
	RF_VM_TRACKER_UFFD_WP,
	RF_VM_TRACKER_MANUAL,
	RF_VM_TRACKER_SOFT_DIRTY,
};

enum rf_vm_want { RF_VM_WANT_PAUSED, RF_VM_WANT_RUNNING, RF_VM_WANT_QUIT };

struct rf_vcpu {
	/* fixed after new */
	struct rf_vm *vm;
	unsigned index;
	pthread_t thread;
	/* kvm: fixed after new */
	int fd;
	struct kvm_run *run;

	/* guarded by vm->lock */
	bool parked;	/* stands in the checkpoint, its state may be read */
	bool halted;	/* will not run again: found a wrong cell, or died */
	bool throttled; /* is to stand still for its share of time */
	uint64_t ran_since;
	uint64_t stop_until; /* stands still for its throttle; 0: it does not */
	struct rf_duty duty;
	struct rf_pace pace;
	char death[160]; /* why KVM_RUN failed; empty: it did not */

	/* own thread */
	bool has_params;
	struct rf_guest_params params; /* checked copy of those in guest memory */

	/* any thread */
	unsigned char attention; /* threads: call the checkpoint; __atomic access only */
	_Atomic bool in_guest;	 /* kvm: about to enter or in KVM_RUN */
	_Atomic uint64_t exits;	 /* kvm: returns from KVM_RUN */
};

/* A kind of guest. */
struct rf_vm_kind {
	const char *name;
	uint32_t code; /* in the state's header */
	/* Makes what it needs before vCPU threads start; log level for failures. */
	int (*open)(struct rf_vm *vm, enum rf_log_level level);
	/* Source: writes to guest memory what this kind needs beside the parameters. */
	int (*boot)(struct rf_vm *vm);
	/* Undoes open, also half of it; the threads have ended. */
	void (*close)(struct rf_vm *vm);
	/* Body of a vCPU thread: returns when rf_vcpu_checkpoint() says so. */
	void (*run)(struct rf_vcpu *v);
	/* Makes the vCPU leave guest code soon, if it is in it. With vm->lock held. */
	void (*kick)(struct rf_vcpu *v);
	/* Paused vm: what is not memory. load checks all before it changes anything it can. */
	int (*save)(struct rf_vm *vm, struct rf_blob_writer *w);
	int (*load)(struct rf_vm *vm, const void *body, size_t len);
	uint64_t (*state_size)(const struct rf_vm *vm);
	int (*tracker)(struct rf_vm *vm, struct rf_tracker *out); /* as vm->tracker_kind says */
};
extern const struct rf_vm_kind rf_vm_kind_kvm;
extern const struct rf_vm_kind rf_vm_kind_threads;

struct rf_vm {
	/* fixed after new */
	const struct rf_vm_kind *kind;
	struct rf_vm_cfg cfg; /* kind and tracker are NULL here */
	enum rf_vm_tracker_kind tracker_kind;
	unsigned char *ram;
	int memfd;
	bool owns_memory;
	/* kvm: fixed after new */
	int kvm_fd, vm_fd;
	uint32_t run_bytes;  /* of a vCPU's struct kvm_run */
	uint32_t ring_bytes; /* of a vCPU's dirty ring, 0: not enabled */

	/* Written once by the thread of rf_vm_tracker(), before tracker_ready; then vCPU threads
	 * use it too, to empty full rings (kvm) or to mark (threads). */
	struct rf_tracker tracker;
	_Atomic bool tracker_ready;

	pthread_mutex_t hint_lock; /* taken with no other held, but may be while a hint is told */
	struct rf_source *hint_source; /* guarded by hint_lock */
	_Atomic unsigned hint_dones;

	_Atomic bool loaded; /* booted, or the state of the source was taken over */

	pthread_mutex_t lock; /* the only one held here; vCPU threads hold it never in guest code */
	pthread_cond_t cond;  /* any change of what it guards; CLOCK_MONOTONIC */
	/* guarded by lock */
	enum rf_vm_want want;
	bool has_run;
	unsigned throttle; /* percent */
	bool has_ticker;
	pthread_t ticker;
	unsigned nthreads; /* vcpu[0 … nthreads - 1].thread are to be joined */
	unsigned nrunning; /* of those, how many have not ended */
	unsigned kick_waiters;

	bool frozen; /* by rf_vm_freeze(), whose thread owns it */

	struct rf_vcpu vcpu[RF_GUEST_MAX_VCPUS];
};

/* vcpu.c: the vCPU's side */

/*
 * Waits as long as the vCPU must not run. False: the vm ends, return from kind->run. Called by
 * the vCPU's thread with its state complete.
 */
bool rf_vcpu_checkpoint(struct rf_vcpu *v);
/* A batch of pages was written: the next checkpoint waits until the dirty rate allows more. */
void rf_vcpu_pace(struct rf_vcpu *v, uint64_t pages);
/* The vCPU must not run again; text: why, NULL if the program stopped by itself. */
void rf_vcpu_halt(struct rf_vcpu *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Copies the program's parameters from guest memory and checks them; halts the vCPU if bad. */
bool rf_vcpu_get_params(struct rf_vcpu *v);

/* vcpu.c: the vm's side */

int rf_vm_start_threads(struct rf_vm *vm);
/* False: a thread does not end within a time no healthy one needs, so nothing may be freed. */
bool rf_vm_stop_threads(struct rf_vm *vm);
/* Makes every vCPU leave guest code once; waits for it, but not for long. */
void rf_vm_kick_all(struct rf_vm *vm);
int rf_vm_pause(struct rf_vm *vm);
/*
 * For a harvest that needs the guest to stand still: pauses it unless it is paused, and lets it
 * run again only if it was this call that paused it. Not nested; the thread that pauses and
 * resumes.
 */
int rf_vm_freeze(struct rf_vm *vm);
void rf_vm_thaw(struct rf_vm *vm);
int rf_vm_resume(struct rf_vm *vm);
/* RF_OK if paused; otherwise logs that `what` needs that. */
int rf_vm_expect_paused(struct rf_vm *vm, const char *what);

/* Whether KVM, or what stands for it, could run all of them until now; desc says what became of the
 * first that is dead. Takes the lock. */
bool rf_vm_vcpus_live(const struct rf_vm *vm, char *desc, size_t cap);

/* Lock held: waits for a change or until ns of the monotonic clock. */
void rf_vm_wait_until(struct rf_vm *vm, uint64_t ns);

/* throttle.c */
int rf_vm_throttle(struct rf_vm *vm, unsigned percent);
void rf_vm_stop_throttle(struct rf_vm *vm); /* want is QUIT */
/* Lock held: it has run for a slice. */
bool rf_vcpu_slice_is_over(const struct rf_vcpu *v, uint64_t now);
/* Lock held, own thread: stands still in proportion to the time it ran. */
void rf_vcpu_sleep_throttled(struct rf_vcpu *v);

/* balloon.c: what the program says of free pages. Own thread, no lock held. */
uint64_t rf_vcpu_hint_epoch(struct rf_vcpu *v);
/* Halts the vCPU if it is outside of memory. */
void rf_vcpu_hint_free(struct rf_vcpu *v, uint64_t address, uint64_t bytes, uint64_t epoch);
/* check.c calls it for each vCPU of a paused guest. */
int rf_vm_check_balloon(const struct rf_vm *vm, const struct rf_guest_params *p, unsigned vcpu,
			char *desc, size_t cap);

/* boot.c: what the source writes to guest memory before it starts */
int rf_vm_boot_memory(struct rf_vm *vm);
bool rf_guest_params_ok(const struct rf_guest_params *p, uint64_t memory, unsigned vcpus);

/* Lock held: makes a vCPU look at what was set for it. */
void rf_vcpu_attend(struct rf_vcpu *v);

#endif
