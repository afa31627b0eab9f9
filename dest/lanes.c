/* SPDX-License-Identifier: BSD-3-Clause */
#include "dest/lanes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/log.h"

static void fail(struct rf_dst_lane *d, int err, const char *why)
{
	snprintf(d->error_desc, sizeof(d->error_desc), "%s", why);
	atomic_store_explicit(&d->error, err, memory_order_release);
	eventfd_write(d->all->wake_fd, 1);
}

static void take_message(struct rf_dst_lane *d, const struct rf_completion *c)
{
	int (*on_message)(void *, const void *, uint32_t) = atomic_load(&d->all->on_message);

	if (!on_message)
		fail(d, RF_ERR_PROTOCOL, "source sent a message on a bulk lane during precopy");
	else
		(void)on_message(d->all->arg, c->data, c->len); /* keeps its error itself */
}

static void take_completions(void *arg, struct rf_lane *l, const struct rf_completion *c,
			     unsigned n)
{
	struct rf_dst_lane *d = arg;

	(void)l;
	for (unsigned i = 0; i < n; i++) {
		if (c[i].op == RF_OP_FENCE_SEEN) {
			atomic_store_explicit(&d->fence_seen, c[i].value, memory_order_release);
			eventfd_write(d->all->wake_fd, 1);
		} else if (c[i].op == RF_OP_RECV) {
			take_message(d, &c[i]);
		}
	}
}

static void lane_failed(void *arg, struct rf_lane *l, int err)
{
	fail(arg, err, rf_lane_error(l));
}

int rf_dst_lanes_init(struct rf_dst_lanes *l)
{
	memset(l, 0, sizeof(*l));
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd >= 0)
		return RF_OK;
	rf_err_log("dest", "eventfd: %s", strerror(errno));
	return RF_ERR_SYSTEM;
}

void rf_dst_lanes_fini(struct rf_dst_lanes *l)
{
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	l->wake_fd = -1;
}

int rf_dst_lanes_start(struct rf_dst_lanes *l, struct rf_lane *lane)
{
	static const struct rf_poller_ops ops = {
		.completions = take_completions,
		.lane_failed = lane_failed,
	};
	struct rf_dst_lane *d = &l->lane[l->n];
	struct rf_poller_cfg cfg = {
		.name = rf_lane_name(lane),
		.ops = &ops,
		.arg = d,
	};
	int rc;

	rf_poll_plan_next(l->plan, &cfg);
	*d = (struct rf_dst_lane){.all = l, .lane = lane};
	rc = rf_poller_new(&cfg, &lane, 1, &d->poller);
	if (rc == RF_OK)
		l->n++;
	return rc;
}

bool rf_dst_lanes_fenced(const struct rf_dst_lanes *l, uint64_t value)
{
	for (unsigned i = 0; i < l->n; i++)
		if (atomic_load_explicit(&l->lane[i].fence_seen, memory_order_acquire) < value)
			return false;
	return true;
}

int rf_dst_lanes_error(const struct rf_dst_lanes *l, const char **why)
{
	for (unsigned i = 0; i < l->n; i++) {
		int err = atomic_load_explicit(&l->lane[i].error, memory_order_acquire);

		if (err != RF_OK) {
			*why = l->lane[i].error_desc;
			return err;
		}
	}
	return RF_OK;
}

void rf_dst_lanes_stop(struct rf_dst_lanes *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		struct rf_poller_stats s;

		rf_poller_delete(&l->lane[i].poller, &s);
		l->stats.cpu_ns += s.cpu_ns;
		l->stats.wakeups += s.wakeups;
		rf_lane_close(&l->lane[i].lane);
	}
	l->n = 0;
}
