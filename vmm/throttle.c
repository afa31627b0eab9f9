/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The throttle: in every 10 ms a vCPU runs for a slice and stands still for the rest. A ticker
 * ends the slices; each vCPU measures for itself how long it really ran and sleeps in that
 * proportion, so that a late tick does not change the share.
 */
#include <signal.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/clock.h"
#include "vmm/vm.h"

#define PERIOD_NS    (10 * RF_NS_PER_MS)
#define MAX_SLEEP_NS RF_NS_PER_SEC /* after a slice that got far too long */

void rf_vcpu_sleep_throttled(struct rf_vcpu *v)
{
	struct rf_vm *vm = v->vm;
	uint64_t begin = rf_now_ns(&rf_clock_monotonic), now = begin, end;

	end = (begin - v->ran_since) * vm->throttle / (100 - vm->throttle);
	end = begin + (end < MAX_SLEEP_NS ? end : MAX_SLEEP_NS);
	while (now < end && vm->want == RF_VM_WANT_RUNNING && vm->throttle) {
		rf_vm_wait_until(vm, end - now > PERIOD_NS ? now + PERIOD_NS : end);
		now = rf_now_ns(&rf_clock_monotonic);
	}
	/* Otherwise a guest below its dirty rate would catch up what the throttle took. */
	rf_pace_shift(&v->pace, now - begin);
	v->throttled = false;
	v->ran_since = now;
}

/* Lock held. False: the vm ends or the throttle was taken off. */
static bool sleep_for(struct rf_vm *vm, uint64_t ns)
{
	uint64_t end = rf_now_ns(&rf_clock_monotonic) + ns;

	while (vm->want != RF_VM_WANT_QUIT && vm->throttle) {
		if (rf_now_ns(&rf_clock_monotonic) >= end)
			return true;
		rf_vm_wait_until(vm, end);
	}
	return false;
}

static void *ticker_thread(void *arg)
{
	struct rf_vm *vm = arg;

	pthread_setname_np(pthread_self(), "rf-throttle");
	pthread_mutex_lock(&vm->lock);
	while (vm->want != RF_VM_WANT_QUIT) {
		if (!vm->throttle) {
			pthread_cond_wait(&vm->cond, &vm->lock);
			continue;
		}
		if (!sleep_for(vm, PERIOD_NS * (100 - vm->throttle) / 100))
			continue;
		for (unsigned i = 0; i < vm->nthreads; i++) {
			vm->vcpu[i].throttled = true;
			rf_vcpu_attend(&vm->vcpu[i]);
		}
		sleep_for(vm, PERIOD_NS * vm->throttle / 100);
	}
	pthread_mutex_unlock(&vm->lock);
	return NULL;
}

static int start_ticker(struct rf_vm *vm)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&vm->ticker, NULL, ticker_thread, vm);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc) {
		rf_err_log("guest", "throttle thread: %s", strerror(rc));
		return RF_ERR_SYSTEM;
	}
	vm->has_ticker = true;
	return RF_OK;
}

int rf_vm_throttle(struct rf_vm *vm, unsigned percent)
{
	int rc = RF_OK;

	if (percent > 99) {
		rf_err_log("guest", "throttle: %u is not 0 to 99 percent", percent);
		return RF_ERR_INVALID;
	}
	pthread_mutex_lock(&vm->lock);
	if (percent && !vm->throttle)
		for (unsigned i = 0; i < vm->nthreads; i++)
			vm->vcpu[i].ran_since = rf_now_ns(&rf_clock_monotonic);
	vm->throttle = percent;
	if (percent && !vm->has_ticker)
		rc = start_ticker(vm);
	if (rc)
		vm->throttle = 0;
	pthread_cond_broadcast(&vm->cond);
	pthread_mutex_unlock(&vm->lock);
	return rc;
}

void rf_vm_stop_throttle(struct rf_vm *vm)
{
	if (vm->has_ticker)
		pthread_join(vm->ticker, NULL);
	vm->has_ticker = false;
}
