/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The throttle: a vCPU runs for a slice, then stands still, at most 10 ms at once (duty.h). A
 * ticker ends the slices; each vCPU measures for itself how long it really ran and stood still,
 * so that a late tick does not change the share.
 */
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/clock.h"
#include "vmm/vm.h"

#define TICKER_NICE (-10)

bool rf_vcpu_slice_is_over(const struct rf_vcpu *v, uint64_t now)
{
	return v->vm->throttle && now >= v->ran_since + rf_duty_slice(v->vm->throttle);
}

void rf_vcpu_sleep_throttled(struct rf_vcpu *v)
{
	struct rf_vm *vm = v->vm;
	uint64_t begin = rf_now_ns(&rf_clock_monotonic), now = begin;

	v->stop_until = begin + rf_duty_stop(&v->duty, begin - v->ran_since, vm->throttle);
	while (now < v->stop_until && vm->want == RF_VM_WANT_RUNNING && vm->throttle) {
		rf_vm_wait_until(vm, v->stop_until);
		now = rf_now_ns(&rf_clock_monotonic);
	}
	rf_duty_stopped(&v->duty, now - begin);
	/* Otherwise a guest below its dirty rate would catch up what the throttle took. */
	rf_pace_shift(&v->pace, now - begin);
	v->stop_until = 0;
	v->throttled = false;
	v->ran_since = now;
}

/* Ends the slices that are over. Returns when the next one will be. Lock held. */
static uint64_t end_slices(struct rf_vm *vm, uint64_t now)
{
	uint64_t next = now + RF_DUTY_PERIOD_NS, slice = rf_duty_slice(vm->throttle);

	for (unsigned i = 0; i < vm->nthreads; i++) {
		struct rf_vcpu *v = &vm->vcpu[i];
		uint64_t end = v->ran_since + slice;

		if (v->stop_until) /* and runs from then on */
			end = (v->stop_until > now ? v->stop_until : now) + slice;
		else if (v->parked || v->throttled)
			continue;
		if (end <= now) {
			v->throttled = true;
			rf_vcpu_attend(v);
		} else if (end < next) {
			next = end;
		}
	}
	return next;
}

static void *ticker_thread(void *arg)
{
	struct rf_vm *vm = arg;

	pthread_setname_np(pthread_self(), "rf-throttle");
	/* A tick that waits for a processor lets vCPUs run on; without the right to do this they
	 * do, where processors are few. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), TICKER_NICE);
	pthread_mutex_lock(&vm->lock);
	while (vm->want != RF_VM_WANT_QUIT) {
		if (vm->throttle)
			rf_vm_wait_until(vm, end_slices(vm, rf_now_ns(&rf_clock_monotonic)));
		else
			pthread_cond_wait(&vm->cond, &vm->lock);
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
		for (unsigned i = 0; i < vm->nthreads; i++) {
			vm->vcpu[i].ran_since = rf_now_ns(&rf_clock_monotonic);
			vm->vcpu[i].duty = (struct rf_duty){0};
		}
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
