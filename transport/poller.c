/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "transport/poller_impl.h"

#define DEFAULT_SPIN_US 50
/* With few cores a spinning poller takes the place of who it waits for. */
#define FEW_CORES	  2
#define FEW_CORES_SPIN_US 2
#define DEFAULT_MAX_SLEEP 100

/* ---- lanes ---- */

/* A lane may make the mode less greedy; it stays so, also when that lane has gone. */
static void fit_mode(struct rf_poller *p, const struct rf_lane *l)
{
	enum rf_poll_mode was = atomic_load(&p->mode), now;
	const char *why;

	now = rf_poll_mode_fit(was, p->cfg.cores, l->t->caps.spin, &why);
	if (now == was)
		return;
	rf_info(p->name, "polls %s instead of %s: %s", rf_poll_mode_str(now), rf_poll_mode_str(was),
		why);
	atomic_store(&p->mode, now);
}

bool rf_poller_on_thread(const struct rf_poller *p)
{
	return atomic_load(&p->tid) == gettid();
}

static int add_lane(struct rf_poller *p, struct rf_lane *l)
{
	if (p->nlanes == RF_POLLER_MAX_LANES)
		return RF_NO_RESOURCE;
	p->lanes[p->nlanes++] = l;
	fit_mode(p, l);
	return RF_OK;
}

int rf_poller_add(struct rf_poller *p, struct rf_lane *l)
{
	return rf_poller_on_thread(p) ? add_lane(p, l) : RF_ERR_STATE;
}

int rf_poller_remove(struct rf_poller *p, struct rf_lane *l)
{
	if (!rf_poller_on_thread(p))
		return RF_ERR_STATE;
	for (unsigned i = 0; i < p->nlanes; i++) {
		if (p->lanes[i] == l) {
			p->lanes[i] = NULL; /* a pass may be going over them: closed up later */
			return RF_OK;
		}
	}
	return RF_ERR_NOT_FOUND;
}

/* ---- life ---- */

static unsigned own_cores(void)
{
	cpu_set_t set;

	return sched_getaffinity(getpid(), sizeof(set), &set) ? 0 : (unsigned)CPU_COUNT(&set);
}

static int start_thread(struct rf_poller *p)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&p->thread, NULL, rf_poller_run, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!r)
		return RF_OK;
	rf_err_log(p->name, "cannot start the thread: %s", strerror(r));
	return RF_ERR_SYSTEM;
}

int rf_poller_new(const struct rf_poller_cfg *cfg, struct rf_lane *const *lanes, unsigned n,
		  struct rf_poller **out)
{
	const struct rf_poller_ops *ops = cfg->ops;
	struct rf_poller *p;
	int r;

	if (!ops || !ops->completions || n > RF_POLLER_MAX_LANES ||
	    (unsigned)cfg->mode >= RF_POLL_MODES)
		return RF_ERR_INVALID;
	p = calloc(1, sizeof(*p));
	if (!p)
		return RF_ERR_NO_MEMORY;
	p->cfg = *cfg;
	snprintf(p->name, sizeof(p->name), "%s", cfg->name ? cfg->name : "poller");
	p->cfg.name = p->name;
	p->cfg.max_sleep = cfg->max_sleep ? cfg->max_sleep : DEFAULT_MAX_SLEEP;
	if (p->cfg.max_sleep > INT_MAX)
		p->cfg.max_sleep = INT_MAX;
	p->cfg.cores = cfg->cores ? cfg->cores : own_cores();
	if (!cfg->spin_us)
		p->cfg.spin_us = p->cfg.cores > FEW_CORES || !p->cfg.cores ? DEFAULT_SPIN_US
									   : FEW_CORES_SPIN_US;
	p->mode = cfg->mode;
	p->cpu = -1;
	p->start_ns = rf_now_ns(&rf_clock_monotonic);
	p->news_ns = p->start_ns;
	for (unsigned i = 0; i < n; i++)
		add_lane(p, lanes[i]);
	p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->wake_fd < 0) {
		rf_err_log(p->name, "eventfd: %s", strerror(errno));
		free(p);
		return RF_ERR_SYSTEM;
	}
	r = start_thread(p);
	if (r) {
		close(p->wake_fd);
		free(p);
		return r;
	}
	*out = p;
	return RF_OK;
}

void rf_poller_wake(struct rf_poller *p)
{
	atomic_store(&p->wanted, true);
	if (atomic_load(&p->sleeping))
		eventfd_write(p->wake_fd, 1);
}

uint64_t rf_poller_clock_ns(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * RF_NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static uint64_t thread_cpu_ns(const struct rf_poller *p)
{
	uint64_t at_end = atomic_load(&p->cpu_ns);
	clockid_t clock;

	if (at_end)
		return at_end;
	if (rf_poller_on_thread(p))
		return rf_poller_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	return pthread_getcpuclockid(p->thread, &clock) ? 0 : rf_poller_clock_ns(clock);
}

void rf_poller_stats(const struct rf_poller *p, struct rf_poller_stats *s)
{
	*s = (struct rf_poller_stats){
		.mode = (enum rf_poll_mode)atomic_load(&p->mode),
		.cpu = atomic_load(&p->cpu),
		.passes = atomic_load_explicit(&p->passes, memory_order_relaxed),
		.completions = atomic_load_explicit(&p->completions, memory_order_relaxed),
		.batches = atomic_load_explicit(&p->batches, memory_order_relaxed),
		.sleeps = atomic_load_explicit(&p->sleeps, memory_order_relaxed),
		.wakeups = atomic_load_explicit(&p->wakeups, memory_order_relaxed),
		.timeouts = atomic_load_explicit(&p->timeouts, memory_order_relaxed),
		.rescues = atomic_load_explicit(&p->rescues, memory_order_relaxed),
		.cpu_ns = thread_cpu_ns(p),
		.wall_ns = rf_now_ns(&rf_clock_monotonic) - p->start_ns,
	};
}

void rf_poller_delete(struct rf_poller **pp, struct rf_poller_stats *stats)
{
	struct rf_poller *p = *pp;

	if (!p)
		return;
	*pp = NULL;
	atomic_store(&p->stop, true);
	rf_poller_wake(p);
	pthread_join(p->thread, NULL);
	if (stats)
		rf_poller_stats(p, stats);
	close(p->wake_fd);
	free(p);
}
