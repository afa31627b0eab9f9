/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vCPU threads of the kvm guest. A vCPU is made to leave KVM_RUN by immediate_exit, which also
 * catches it on its way in, and a signal, which gets it out. The signal is RF_KICK_SIGNAL, only
 * ever sent to threads of this file; its handler does nothing, and lacks SA_RESTART so that
 * KVM_RUN returns EINTR.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

#include <ramferry/err.h>

#include "vmm/kvm.h"

#define RF_KICK_SIGNAL (SIGRTMIN + 6)

static void on_kick(int sig)
{
}

static void install_handler(void)
{
	struct sigaction sa = {.sa_handler = on_kick}; /* sa_flags 0: no SA_RESTART */

	sigaction(RF_KICK_SIGNAL, &sa, NULL);
}

void rf_kvm_install_kick(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, install_handler);
}

static void set_immediate_exit(struct rf_vcpu *v, uint8_t on)
{
	__atomic_store_n(&v->run->immediate_exit, on, __ATOMIC_SEQ_CST);
}

/* Sets immediate_exit before it looks at in_guest; the vCPU the other way round. */
void rf_kvm_kick(struct rf_vcpu *v)
{
	set_immediate_exit(v, 1);
	if (atomic_load(&v->in_guest))
		pthread_kill(v->thread, RF_KICK_SIGNAL);
}

/* 0 or errno. Whoever kicked since the last checkpoint is seen in the next one. */
static int enter_guest(struct rf_vcpu *v)
{
	int err;

	atomic_store(&v->in_guest, true);
	err = ioctl(v->fd, KVM_RUN, 0) < 0 ? errno : 0;
	atomic_store(&v->in_guest, false);
	atomic_fetch_add(&v->exits, 1);
	set_immediate_exit(v, 0);
	return err;
}

/* The `out` is complete, and the registers are behind it, only when KVM was entered again. */
static bool complete_io(struct rf_vcpu *v)
{
	int err;

	set_immediate_exit(v, 1);
	err = enter_guest(v);
	if (err == EINTR)
		return true;
	rf_vcpu_halt(v, "completing an exit: %s", err ? strerror(err) : "it ran on");
	return false;
}

static bool is_known_port(const struct rf_vcpu *v, unsigned port)
{
	if (v->run->io.direction == KVM_EXIT_IO_IN)
		return port == RF_PROGRAM_EXIT_EPOCH && v->run->io.size == sizeof(uint32_t);
	return port == RF_PROGRAM_EXIT_PACE || port == RF_PROGRAM_EXIT_STOP ||
	       port == RF_PROGRAM_EXIT_HINT;
}

/* Goes into the register when the `in` is completed. */
static void answer_epoch(struct rf_vcpu *v)
{
	uint32_t epoch = (uint32_t)rf_vcpu_hint_epoch(v);

	memcpy((uint8_t *)v->run + v->run->io.data_offset, &epoch, sizeof(epoch));
}

static void take_hint(struct rf_vcpu *v)
{
	struct rf_guest_control c;

	memcpy(&c, v->vm->ram + RF_PROGRAM_CONTROL + (uint64_t)v->index * RF_PROGRAM_PAGE,
	       sizeof(c));
	rf_vcpu_hint_free(v, c.free_address, c.free_bytes, c.free_epoch);
}

static void handle_io(struct rf_vcpu *v)
{
	unsigned port = v->run->io.port;

	if (!is_known_port(v, port)) {
		rf_vcpu_halt(v, "unexpected I/O at port 0x%x", port);
		return;
	}
	if (port == RF_PROGRAM_EXIT_EPOCH)
		answer_epoch(v);
	if (!complete_io(v))
		return;
	if (port == RF_PROGRAM_EXIT_STOP)
		rf_vcpu_halt(v, NULL);
	else if (port == RF_PROGRAM_EXIT_HINT)
		take_hint(v);
	else if (port == RF_PROGRAM_EXIT_PACE && rf_vcpu_get_params(v))
		rf_vcpu_pace(v, v->params.batch);
}

static void handle_ring_full(struct rf_vcpu *v)
{
	struct rf_vm *vm = v->vm;

	if (!atomic_load_explicit(&vm->tracker_ready, memory_order_acquire) ||
	    rf_tracker_kvm_ring_full(&vm->tracker))
		rf_vcpu_halt(v, "its dirty ring is full and cannot be emptied");
}

static void handle_other(struct rf_vcpu *v, unsigned reason)
{
	struct kvm_regs regs = {0};

	ioctl(v->fd, KVM_GET_REGS, &regs);
	switch (reason) {
	case KVM_EXIT_MMIO:
		rf_vcpu_halt(v, "access outside of memory at 0x%llx, rip 0x%llx",
			     v->run->mmio.phys_addr, regs.rip);
		break;
	case KVM_EXIT_SHUTDOWN:
		rf_vcpu_halt(v, "triple fault, rip 0x%llx", regs.rip);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		rf_vcpu_halt(v, "the processor refuses its state (0x%llx)",
			     v->run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		rf_vcpu_halt(v, "KVM internal error %u, rip 0x%llx", v->run->internal.suberror,
			     regs.rip);
		break;
	default:
		rf_vcpu_halt(v, "unexpected exit %u, rip 0x%llx", reason, regs.rip);
	}
}

static void run_once(struct rf_vcpu *v)
{
	int err = enter_guest(v);

	if (err == EINTR || err == EAGAIN)
		return;
	if (err) {
		rf_vcpu_halt(v, "KVM_RUN: %s", strerror(err));
		return;
	}
	switch (v->run->exit_reason) {
	case KVM_EXIT_INTR:
		break;
	case KVM_EXIT_IO:
		handle_io(v);
		break;
	case KVM_EXIT_DIRTY_RING_FULL:
		handle_ring_full(v);
		break;
	default:
		handle_other(v, v->run->exit_reason);
	}
}

void rf_kvm_run(struct rf_vcpu *v)
{
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, RF_KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	while (rf_vcpu_checkpoint(v))
		run_once(v);
}
