/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "transport/poller_impl.h"

/* ---- passes ---- */

static void close_gaps(struct rf_poller *p)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->nlanes; i++) {
		if (p->lanes[i])
			p->lanes[n++] = p->lanes[i];
	}
	p->nlanes = n;
}

/* One writer, so no locked instruction is needed. */
static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* True if the lane had something to tell. */
static bool poll_lane(struct rf_poller *p, unsigned i)
{
	const struct rf_poller_ops *ops = p->cfg.ops;
	struct rf_lane *l = p->lanes[i];
	int n;

	if (!l)
		return false;
	n = rf_lane_poll(l, p->batch, RF_POLLER_BATCH);
	if (n > 0) {
		count(&p->completions, (uint64_t)n);
		count(&p->batches, 1);
		ops->completions(p->cfg.arg, l, p->batch, (unsigned)n);
	} else if (n < 0 && n != RF_AGAIN) {
		p->lanes[i] = NULL;
		if (ops->lane_failed)
			ops->lane_failed(p->cfg.arg, l, n);
	}
	return n != 0 && n != RF_AGAIN;
}

/* Each lane once, so that a busy one does not keep the others waiting, then the owner's work. */
static bool make_pass(struct rf_poller *p)
{
	bool news = false;

	/* Exchanged, not stored: a wake in between is either seen by this pass or left standing. */
	if (atomic_load_explicit(&p->wanted, memory_order_relaxed))
		atomic_exchange(&p->wanted, false);
	for (unsigned i = 0; i < p->nlanes; i++)
		news |= poll_lane(p, i);
	if (news && p->timed_out)
		count(&p->rescues, 1);
	p->timed_out = false;
	if (p->cfg.ops->work)
		news |= p->cfg.ops->work(p->cfg.arg);
	close_gaps(p);
	count(&p->passes, 1);
	return news;
}

/* ---- sleeping ---- */

/* False: something came meanwhile. */
static bool arm_lanes(struct rf_poller *p, struct pollfd *fds)
{
	for (unsigned i = 0; i < p->nlanes; i++) {
		if (rf_lane_arm(p->lanes[i]) != RF_OK)
			return false;
		fds[i] = (struct pollfd){.fd = rf_lane_fd(p->lanes[i]), .events = POLLIN};
	}
	return true;
}

/*
 * Who wakes stores `wanted` and then reads `sleeping`; here it is the other way round, so one of
 * the two sees the other (both are sequentially consistent).
 */
static void sleep_on_lanes(struct rf_poller *p)
{
	struct pollfd fds[RF_POLLER_MAX_LANES + 2];
	nfds_t nfds = p->nlanes;
	eventfd_t v;
	int n = -1;

	atomic_store(&p->sleeping, true);
	if (!atomic_load(&p->wanted) && !atomic_load(&p->stop) && arm_lanes(p, fds)) {
		fds[nfds++] = (struct pollfd){.fd = p->wake_fd, .events = POLLIN};
		if (p->cfg.has_extra_fd)
			fds[nfds++] = (struct pollfd){.fd = p->cfg.extra_fd, .events = POLLIN};
		count(&p->sleeps, 1);
		n = poll(fds, nfds, (int)p->cfg.max_sleep);
		count(n ? &p->wakeups : &p->timeouts, 1);
		if (n > 0 && fds[p->nlanes].revents)
			eventfd_read(p->wake_fd, &v);
	}
	atomic_store(&p->sleeping, false);
	p->timed_out = n == 0;
}

static void relax_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static bool may_spin(const struct rf_poller *p, uint64_t now)
{
	if (!p->nlanes)
		return false;
	switch ((enum rf_poll_mode)atomic_load_explicit(&p->mode, memory_order_relaxed)) {
	case RF_POLL_BUSY:
		return true;
	case RF_POLL_ADAPTIVE:
		return now - p->news_ns < p->cfg.spin_us * 1000ull;
	default:
		return false;
	}
}

/* ---- thread ---- */

static void bind_thread(struct rf_poller *p)
{
	int cpu = p->cfg.cpu;
	cpu_set_t set;

	if (cpu < 0)
		return;
	/* The kernel would let a thread out of what taskset gave its process. The thread that made
	 * this one may be bound more narrowly; the main thread most likely is not. */
	if (cpu >= CPU_SETSIZE || sched_getaffinity(getpid(), sizeof(set), &set) ||
	    !CPU_ISSET(cpu, &set)) {
		rf_warn(p->name, "CPU %d is not one this process may run on; it runs on any", cpu);
		return;
	}
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set)) {
		rf_warn(p->name, "cannot run on CPU %d: %s; it runs on any", cpu, strerror(errno));
		return;
	}
	atomic_store(&p->cpu, cpu);
}

void *rf_poller_run(void *arg)
{
	struct rf_poller *p = arg;

	atomic_store(&p->tid, gettid());
	prctl(PR_SET_NAME, "rf-poller");
	bind_thread(p);
	while (!atomic_load(&p->stop)) {
		bool news = make_pass(p);
		uint64_t now = rf_now_ns(&rf_clock_monotonic);

		if (news)
			p->news_ns = now;
		else if (may_spin(p, now))
			relax_cpu();
		else
			sleep_on_lanes(p);
	}
	atomic_store(&p->cpu_ns, rf_poller_clock_ns(CLOCK_THREAD_CPUTIME_ID));
	return NULL;
}
