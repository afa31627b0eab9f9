/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vCPU threads: running, pausing, ending. States of a vCPU thread:
 *
 *   state    entered when                    does                   leaves when
 *   running  checkpoint returns true         guest code             attended to, or an exit
 *   parked   paused, or halted               waits; state readable  resume (unless halted), quit
 *   held     throttled, or ahead of its rate waits ≤ 10 ms at once  time is up, pause, quit
 *   ended    quit                            -                      -
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/clock.h"
#include "vmm/vm.h"

#define PAUSE_TIMEOUT_NS (10 * RF_NS_PER_SEC)
#define QUIT_TIMEOUT_NS	 (10 * RF_NS_PER_SEC)
#define KICK_TIMEOUT_NS	 RF_NS_PER_SEC
#define WAIT_SLICE_NS	 (10 * RF_NS_PER_MS)

void rf_vm_wait_until(struct rf_vm *vm, uint64_t ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(ns / RF_NS_PER_SEC),
		.tv_nsec = (long)(ns % RF_NS_PER_SEC),
	};

	pthread_cond_timedwait(&vm->cond, &vm->lock, &ts);
}

void rf_vcpu_attend(struct rf_vcpu *v)
{
	__atomic_store_n(&v->attention, 1, __ATOMIC_RELAXED);
	v->vm->kind->kick(v);
}

static void attend_all(struct rf_vm *vm)
{
	for (unsigned i = 0; i < vm->nthreads; i++)
		rf_vcpu_attend(&vm->vcpu[i]);
	pthread_cond_broadcast(&vm->cond);
}

static void park(struct rf_vcpu *v)
{
	struct rf_vm *vm = v->vm;

	v->parked = true;
	pthread_cond_broadcast(&vm->cond);
	while (vm->want == RF_VM_WANT_PAUSED || (v->halted && vm->want != RF_VM_WANT_QUIT))
		pthread_cond_wait(&vm->cond, &vm->lock);
	v->parked = false;
	v->ran_since = rf_now_ns(&rf_clock_monotonic);
}

/* A vCPU that waits for its rate counts as running: its slices end all the same. */
static uint64_t end_of_wait(const struct rf_vcpu *v, uint64_t now)
{
	uint64_t end = now + WAIT_SLICE_NS;

	if (v->pace.due_ns < end)
		end = v->pace.due_ns;
	if (v->vm->throttle && v->ran_since + rf_duty_slice(v->vm->throttle) < end)
		end = v->ran_since + rf_duty_slice(v->vm->throttle);
	return end;
}

bool rf_vcpu_checkpoint(struct rf_vcpu *v)
{
	struct rf_vm *vm = v->vm;
	bool go_on;

	pthread_mutex_lock(&vm->lock);
	if (vm->kick_waiters)
		pthread_cond_broadcast(&vm->cond);
	for (;;) {
		uint64_t now = rf_now_ns(&rf_clock_monotonic);

		/* A throttled vCPU that can looks at the clock itself, page by page: where many
		 * threads share a processor a tick may come far too late. */
		__atomic_store_n(&v->attention, vm->throttle != 0, __ATOMIC_RELAXED);
		if (rf_vcpu_slice_is_over(v, now))
			v->throttled = true;
		go_on = vm->want != RF_VM_WANT_QUIT;
		if (!go_on)
			break;
		if (vm->want == RF_VM_WANT_PAUSED || v->halted)
			park(v);
		else if (v->throttled)
			rf_vcpu_sleep_throttled(v);
		else if (v->pace.due_ns > now)
			rf_vm_wait_until(vm, end_of_wait(v, now));
		else
			break;
	}
	pthread_mutex_unlock(&vm->lock);
	return go_on;
}

void rf_vcpu_pace(struct rf_vcpu *v, uint64_t pages)
{
	pthread_mutex_lock(&v->vm->lock);
	rf_pace_done(&v->pace, rf_now_ns(&rf_clock_monotonic), pages * RF_PAGE_SIZE,
		     v->params.dirty_rate / v->params.vcpus);
	pthread_mutex_unlock(&v->vm->lock);
}

void rf_vcpu_halt(struct rf_vcpu *v, const char *fmt, ...)
{
	char name[16];
	va_list ap;

	pthread_mutex_lock(&v->vm->lock);
	v->halted = true;
	if (fmt) {
		va_start(ap, fmt);
		vsnprintf(v->death, sizeof(v->death), fmt, ap);
		va_end(ap);
		snprintf(name, sizeof(name), "vCPU %u", v->index);
		rf_err_log(name, "%s", v->death);
	}
	pthread_mutex_unlock(&v->vm->lock);
}

bool rf_vcpu_get_params(struct rf_vcpu *v)
{
	if (v->has_params)
		return true;
	/* May wait for the page (postcopy): without the lock. */
	memcpy(&v->params, v->vm->ram + RF_PROGRAM_PARAMS, sizeof(v->params));
	v->has_params = rf_guest_params_ok(&v->params, v->vm->cfg.memory, v->vm->cfg.vcpus);
	if (!v->has_params)
		rf_vcpu_halt(v, "the program's parameters in guest memory are damaged");
	return v->has_params;
}

static void *vcpu_thread(void *arg)
{
	struct rf_vcpu *v = arg;
	struct rf_vm *vm = v->vm;
	char name[16];

	snprintf(name, sizeof(name), "rf-vcpu%u", v->index);
	pthread_setname_np(pthread_self(), name);
	vm->kind->run(v);
	pthread_mutex_lock(&vm->lock);
	v->parked = true;
	vm->nrunning--;
	pthread_cond_broadcast(&vm->cond);
	pthread_mutex_unlock(&vm->lock);
	return NULL;
}

int rf_vm_start_threads(struct rf_vm *vm)
{
	sigset_t all, old;
	int rc = 0;

	/* Signals of the program are for its own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_mutex_lock(&vm->lock);
	for (unsigned i = 0; !rc && i < vm->cfg.vcpus; i++) {
		rc = pthread_create(&vm->vcpu[i].thread, NULL, vcpu_thread, &vm->vcpu[i]);
		if (!rc)
			vm->nrunning = vm->nthreads = i + 1;
	}
	pthread_mutex_unlock(&vm->lock);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!rc)
		return RF_OK;
	rf_err_log("guest", "vCPU thread: %s", strerror(rc));
	return RF_ERR_SYSTEM;
}

bool rf_vm_stop_threads(struct rf_vm *vm)
{
	uint64_t deadline = rf_now_ns(&rf_clock_monotonic) + QUIT_TIMEOUT_NS;
	bool ended;

	pthread_mutex_lock(&vm->lock);
	vm->want = RF_VM_WANT_QUIT;
	attend_all(vm);
	while (vm->nrunning && rf_now_ns(&rf_clock_monotonic) < deadline)
		rf_vm_wait_until(vm, deadline);
	ended = vm->nrunning == 0;
	pthread_mutex_unlock(&vm->lock);
	if (!ended) {
		rf_err_log("guest", "a vCPU thread does not end (does it wait for a page?); its "
				    "memory is left as it is");
		return false;
	}
	for (unsigned i = 0; i < vm->nthreads; i++)
		pthread_join(vm->vcpu[i].thread, NULL);
	vm->nthreads = 0;
	return true;
}

static bool all_parked(const struct rf_vm *vm)
{
	for (unsigned i = 0; i < vm->nthreads; i++)
		if (!vm->vcpu[i].parked)
			return false;
	return true;
}

int rf_vm_pause(struct rf_vm *vm)
{
	uint64_t deadline = rf_now_ns(&rf_clock_monotonic) + PAUSE_TIMEOUT_NS;
	int rc = RF_OK;

	pthread_mutex_lock(&vm->lock);
	if (vm->want != RF_VM_WANT_RUNNING) {
		rf_err_log("guest", "pause: it does not run");
		rc = RF_ERR_STATE;
		goto unlock;
	}
	vm->want = RF_VM_WANT_PAUSED;
	attend_all(vm);
	while (!all_parked(vm) && rf_now_ns(&rf_clock_monotonic) < deadline)
		rf_vm_wait_until(vm, deadline);
	if (!all_parked(vm)) {
		rf_err_log("guest", "a vCPU did not stop within %llu s; the guest runs on",
			   PAUSE_TIMEOUT_NS / RF_NS_PER_SEC);
		vm->want = RF_VM_WANT_RUNNING;
		pthread_cond_broadcast(&vm->cond);
		rc = RF_ERR_GUEST;
	}
unlock:
	pthread_mutex_unlock(&vm->lock);
	return rc;
}

int rf_vm_freeze(struct rf_vm *vm)
{
	bool runs;

	pthread_mutex_lock(&vm->lock);
	runs = vm->want == RF_VM_WANT_RUNNING;
	pthread_mutex_unlock(&vm->lock);
	vm->frozen = false;
	if (runs && rf_vm_pause(vm) != RF_OK)
		return RF_ERR_GUEST;
	vm->frozen = runs;
	return RF_OK;
}

void rf_vm_thaw(struct rf_vm *vm)
{
	if (vm->frozen)
		(void)rf_vm_resume(vm);
	vm->frozen = false;
}

int rf_vm_resume(struct rf_vm *vm)
{
	int rc = RF_OK;

	pthread_mutex_lock(&vm->lock);
	if (!vm->loaded || vm->want != RF_VM_WANT_PAUSED) {
		rf_err_log("guest", "resume: %s",
			   vm->loaded ? "it is not paused" : "it has no state to run from yet");
		rc = RF_ERR_STATE;
	} else {
		vm->has_run = true;
		vm->want = RF_VM_WANT_RUNNING;
		pthread_cond_broadcast(&vm->cond);
	}
	pthread_mutex_unlock(&vm->lock);
	return rc;
}

int rf_vm_expect_paused(struct rf_vm *vm, const char *what)
{
	bool paused;

	pthread_mutex_lock(&vm->lock);
	paused = vm->want == RF_VM_WANT_PAUSED;
	pthread_mutex_unlock(&vm->lock);
	if (paused)
		return RF_OK;
	rf_err_log("guest", "%s: it is not paused", what);
	return RF_ERR_STATE;
}

void rf_vm_kick_all(struct rf_vm *vm)
{
	uint64_t deadline = rf_now_ns(&rf_clock_monotonic) + KICK_TIMEOUT_NS;
	uint64_t before[RF_GUEST_MAX_VCPUS] = {0};
	bool inside[RF_GUEST_MAX_VCPUS] = {0};

	pthread_mutex_lock(&vm->lock);
	for (unsigned i = 0; i < vm->nthreads; i++) {
		/* exits first: if it leaves and enters again in between, it counts as kicked. */
		before[i] = atomic_load(&vm->vcpu[i].exits);
		inside[i] = atomic_load(&vm->vcpu[i].in_guest);
	}
	attend_all(vm);
	vm->kick_waiters++;
	for (unsigned i = 0; i < vm->nthreads; i++)
		while (inside[i] && atomic_load(&vm->vcpu[i].exits) == before[i] &&
		       rf_now_ns(&rf_clock_monotonic) < deadline)
			rf_vm_wait_until(vm, deadline);
	vm->kick_waiters--;
	pthread_mutex_unlock(&vm->lock);
}
