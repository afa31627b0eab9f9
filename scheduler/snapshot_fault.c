/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fault threads: the guest wrote to a page that is protected and waits. They request it of the
 * saver, or take it themselves.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/uffd_fault.h"
#include "common/uffd_wp.h"
#include "scheduler/snapshot.h"
#include "scheduler/snapshot_policy.h"

#define FAULTS_AT_ONCE 16

void rf_snap_wake_saver(struct rf_snapshot *s)
{
	uint64_t one = 1;

	if (write(s->wake_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable all the same */
}

int rf_snap_release(struct rf_snapshot *s, unsigned region, uint64_t host_page, uint64_t n)
{
	const struct rf_snap_region *r = &s->regions[region];

	return rf_uffd_wp_release(s->uffd, r->addr + host_page * r->info.page_size,
				  n * r->info.page_size);
}

/* True: the page is in the pool, or another thread has taken it. False: it must be requested. */
static bool copy_page(struct rf_snapshot *s, const struct rf_snap_request *q)
{
	struct rf_snap_region *r = &s->regions[q->region];
	struct rf_snap_buf *b = r->pool ? rf_snap_pool_take(r->pool) : NULL;

	if (!b)
		return false;
	if (!rf_bitmap_test_and_clear(&r->todo, q->page)) {
		rf_snap_pool_give(b); /* whoever has it wakes the guest */
		return true;
	}
	memcpy(b->mem, r->addr + q->page * r->info.page_size, r->info.page_size);
	if (rf_snap_release(s, q->region, q->page, 1) != RF_OK)
		atomic_store(&s->fault_rc, RF_ERR_SYSTEM);
	rf_histogram_add(&s->latency, rf_now_ns(&rf_clock_monotonic) - q->since_ns);
	atomic_fetch_add(&s->count.copied, 1);
	b->request = *q;
	rf_snap_pool_ready(b);
	return true;
}

void rf_snap_fault(struct rf_snapshot *s, uint64_t addr, uint64_t now)
{
	struct rf_snap_request q = {.region = UINT32_MAX, .since_ns = now};
	bool copy;

	for (unsigned i = 0; i < s->nregions; i++) {
		const struct rf_snap_region *r = &s->regions[i];
		uint64_t begin = (uintptr_t)r->addr;

		if (addr < begin || addr - begin >= r->info.len)
			continue;
		q.region = i;
		q.page = (addr - begin) / r->info.page_size;
	}
	if (q.region == UINT32_MAX)
		return; /* none of ours: nothing of it is protected */
	atomic_fetch_add(&s->count.faults, 1);
	copy = rf_snap_should_copy(s->cfg.strategy, atomic_load(&s->copying),
				   atomic_load(&s->wait_ns));
	atomic_store(&s->copying, copy);
	if (!copy || !copy_page(s, &q))
		(void)rf_snap_queue_push(&s->queue, &q);
}

static void *fault_thread(void *arg)
{
	struct rf_snapshot *s = arg;
	struct pollfd p[] = {
		{.fd = s->uffd, .events = POLLIN},
		{.fd = s->stop_fd, .events = POLLIN},
	};

	pthread_setname_np(pthread_self(), "rf-snap-fault");
	for (;;) {
		struct rf_uffd_fault f[FAULTS_AT_ONCE];
		uint64_t now;
		int n;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			return NULL;
		n = rf_uffd_read_faults(s->uffd, f, FAULTS_AT_ONCE);
		if (n < 0)
			break;
		now = rf_now_ns(&rf_clock_monotonic);
		for (int i = 0; i < n; i++)
			rf_snap_fault(s, f[i].addr, now);
		if (n)
			rf_snap_wake_saver(s);
	}
	/* Without this thread the guest's writes would wait for the linear pass at best. */
	atomic_store(&s->fault_rc, RF_ERR_SYSTEM);
	rf_snap_wake_saver(s);
	return NULL;
}

int rf_snap_fault_start(struct rf_snapshot *s)
{
	sigset_t all, old;
	int e = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (s->nfault_threads < s->cfg.fault_threads && !e) {
		e = pthread_create(&s->fault_threads[s->nfault_threads], NULL, fault_thread, s);
		s->nfault_threads += !e;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!e)
		return RF_OK;
	rf_err_log("snapshot", "fault thread: %s", strerror(e));
	return RF_ERR_SYSTEM;
}

void rf_snap_fault_stop(struct rf_snapshot *s)
{
	uint64_t one = 1;

	rf_snap_queue_close(&s->queue);
	if (write(s->stop_fd, &one, sizeof(one)) < 0)
		rf_err_log("snapshot", "eventfd: %s", strerror(errno));
	while (s->nfault_threads)
		pthread_join(s->fault_threads[--s->nfault_threads], NULL);
}
