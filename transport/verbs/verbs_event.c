/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What comes beside completions, behind one fd:
 *
 *   rf_lane_fd = epoll of  completion channel   the queue has something
 *                          event channel        the peer disconnected, the device is removed
 *                          device's async fd    port or device down, queue pair failed
 *                          wake_fd              such an event, read by another lane's thread
 *                          timer_fd             nothing completed for too long
 *
 * The device's fd is in the epoll of every lane of the transport. Whoever is awake first reads it
 * and hands on what is not its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "transport/verbs/verbs.h"

enum source { FROM_QUEUE, FROM_CM, FROM_DEVICE, FROM_LANE, FROM_TIMER, SOURCES };

static int watch(struct rf_verbs_lane *l, int fd, enum source from)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = from};

	return epoll_ctl(l->base.fd, EPOLL_CTL_ADD, fd, &ev);
}

static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? flags : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

int rf_verbs_event_open(struct rf_verbs_lane *l)
{
	l->base.fd = epoll_create1(EPOLL_CLOEXEC);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (l->base.fd >= 0 && l->wake_fd >= 0 && l->timer_fd >= 0 &&
	    !set_nonblocking(l->wakeups->fd) && !watch(l, l->wakeups->fd, FROM_QUEUE) &&
	    !watch(l, l->events->fd, FROM_CM) &&
	    !watch(l, rf_verbs_of(l)->ctx->async_fd, FROM_DEVICE) &&
	    !watch(l, l->wake_fd, FROM_LANE) && !watch(l, l->timer_fd, FROM_TIMER) &&
	    !rf_fault_point())
		return RF_OK;
	rf_err_log("verbs", "lane %s: making its fd: %s", l->base.name, strerror(errno));
	return RF_ERR_SYSTEM;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void rf_verbs_event_close(struct rf_verbs_lane *l)
{
	close_fd(&l->base.fd);
	close_fd(&l->wake_fd);
	close_fd(&l->timer_fd);
}

/* Ends the lane by our own decision: nothing is read from its memory any more. */
static void end_lane(struct rf_verbs_lane *l, int err, const char *words)
{
	if (l->base.error)
		return;
	rf_verbs_qp_stop(l);
	rf_lane_fail(&l->base, err, "%s: %s", l->peer, words);
}

/* ---- events of the device, for whichever lane ---- */

static void wake(struct rf_verbs_lane *l)
{
	const uint64_t one = 1;

	if (write(l->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		rf_warn("verbs", "lane %s: waking its owner: %s", l->base.name, strerror(errno));
}

/* For one queue pair (qp or cq set), or for all lanes. Lock held. */
static void hand_on(struct rf_verbs *v, const struct ibv_async_event *e, const struct ibv_qp *qp,
		    const struct ibv_cq *cq)
{
	for (struct rf_verbs_lane *l = v->lanes; l; l = l->next) {
		if ((qp && l->qp != qp) || (cq && l->cq != cq))
			continue;
		if (qp || cq)
			atomic_store(&l->async, (int)e->event_type + 1);
		wake(l);
	}
}

static void take_device_event(struct rf_verbs *v, const struct ibv_async_event *e)
{
	const char *name = v->base.provider, *what = ibv_event_type_str(e->event_type);

	switch (e->event_type) {
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_QP_REQ_ERR:
	case IBV_EVENT_QP_ACCESS_ERR:
		hand_on(v, e, e->element.qp, NULL);
		break;
	case IBV_EVENT_CQ_ERR:
		hand_on(v, e, NULL, e->element.cq);
		break;
	case IBV_EVENT_DEVICE_FATAL:
		rf_err_log("verbs", "%s: the device failed or was removed", name);
		atomic_store(&v->gone, true);
		hand_on(v, e, NULL, NULL);
		break;
	case IBV_EVENT_PORT_ERR:
		if (e->element.port_num != v->port)
			break;
		/* It may come back before posts have run out of tries. */
		rf_warn("verbs", "%s: port %u went down", name, v->port);
		break;
	case IBV_EVENT_PORT_ACTIVE:
		if (e->element.port_num != v->port)
			break;
		rf_info("verbs", "%s: port %u is up", name, v->port);
		break;
	default:
		rf_debug("verbs", "%s: %s", name, what);
	}
}

static void read_device(struct rf_verbs *v)
{
	struct ibv_async_event e;

	/* Acknowledged under the lock: a queue pair is destroyed only when its events are. */
	pthread_mutex_lock(&v->lock);
	while (!ibv_get_async_event(v->ctx, &e)) {
		take_device_event(v, &e);
		ibv_ack_async_event(&e);
	}
	pthread_mutex_unlock(&v->lock);
}

/* ---- events of this lane ---- */

static void read_queue_events(struct rf_verbs_lane *l)
{
	struct ibv_cq *cq;
	void *context;

	while (!ibv_get_cq_event(l->wakeups, &cq, &context)) {
		ibv_ack_cq_events(cq, 1);
		l->armed = false;
	}
}

static void read_cm(struct rf_verbs_lane *l)
{
	struct rf_verbs_cm_event e;
	int err;

	while ((err = rf_verbs_cm_read(l->events, &e)) == RF_OK) {
		switch (e.type) {
		case RDMA_CM_EVENT_DISCONNECTED:
			end_lane(l, RF_ERR_LANE_CLOSED, "the peer ended the connection");
			break;
		case RDMA_CM_EVENT_DEVICE_REMOVAL:
			end_lane(l, RF_ERR_LANE, "the device was removed");
			break;
		default:
			rf_debug("verbs", "lane %s: %s", l->base.name, rdma_event_str(e.type));
		}
	}
	if (err != RF_AGAIN)
		end_lane(l, RF_ERR_LANE, "the connection manager failed");
}

static void look_at_flags(struct rf_verbs_lane *l)
{
	int async = atomic_exchange(&l->async, 0);

	if (async - 1 == IBV_EVENT_QP_ACCESS_ERR)
		end_lane(l, RF_ERR_LANE, "a write of the peer was refused");
	else if (async)
		end_lane(l, RF_ERR_LANE, ibv_event_type_str((enum ibv_event_type)(async - 1)));
	else if (atomic_load(&rf_verbs_of(l)->gone))
		end_lane(l, RF_ERR_LANE, "the device failed or was removed");
}

void rf_verbs_event_look(struct rf_verbs_lane *l)
{
	struct epoll_event ev[SOURCES];
	int n = epoll_wait(l->base.fd, ev, SOURCES, 0);
	uint64_t count;

	for (int i = 0; i < n; i++) {
		switch ((enum source)ev[i].data.u32) {
		case FROM_QUEUE:
			read_queue_events(l);
			break;
		case FROM_CM:
			read_cm(l);
			break;
		case FROM_DEVICE:
			read_device(rf_verbs_of(l));
			break;
		case FROM_LANE:
			if (read(l->wake_fd, &count, sizeof(count)) < 0)
				rf_debug("verbs", "lane %s: woken twice", l->base.name);
			break;
		case FROM_TIMER:
			if (read(l->timer_fd, &count, sizeof(count)) > 0)
				l->timer_set = false;
			break;
		case SOURCES:
			break;
		}
	}
	look_at_flags(l);
}

/* ---- the clock and sleeping ---- */

/* ns until the lane has been silent for too long; 0 if nothing is posted. */
static uint64_t silence_left(struct rf_verbs_lane *l)
{
	const uint64_t limit = rf_verbs_of(l)->silence_ms * RF_NS_PER_MS;
	uint64_t now;

	if (l->head == l->tail)
		return 0;
	now = rf_now_ns(&rf_clock_monotonic);
	if (!l->quiet_since)
		l->quiet_since = now;
	return now - l->quiet_since < limit ? limit - (now - l->quiet_since) : 1;
}

void rf_verbs_event_clock(struct rf_verbs_lane *l)
{
	if (l->base.error || silence_left(l) != 1)
		return;
	rf_verbs_qp_stop(l);
	rf_lane_fail(&l->base, RF_ERR_LANE_TIMEOUT,
		     "%s: nothing posted completed for %" PRIu32 " ms: %s", l->peer,
		     rf_verbs_of(l)->silence_ms,
		     rf_verbs_error_port_down(rf_verbs_of(l))
			     ? "the port here is down"
			     : "it does not answer, or posts no receives");
}

/* One timer for many sleeps: it is set again only after it has gone off. */
static void set_timer(struct rf_verbs_lane *l)
{
	uint64_t left = silence_left(l);
	struct itimerspec spec = {
		.it_value = {.tv_sec = (time_t)(left / RF_NS_PER_SEC),
			     .tv_nsec = (long)(left % RF_NS_PER_SEC)},
	};

	if (!left || l->timer_set)
		return;
	l->timer_set = !timerfd_settime(l->timer_fd, 0, &spec, NULL);
}

int rf_verbs_lane_arm(struct rf_lane *lane)
{
	struct rf_verbs_lane *l = rf_verbs_lane(lane);
	int rc;

	rf_verbs_event_look(l);
	rf_verbs_event_clock(l);
	/* Receives handed out go back with the next poll: sleeping on all of them would be for
	 * ever. */
	if (lane->error || l->has_peeked || l->done.writes || l->done.sends ||
	    l->nused > RF_VERBS_RECVS / 2)
		return RF_AGAIN;
	if (!l->armed) {
		rc = ibv_req_notify_cq(l->cq, 0);
		if (rc) {
			end_lane(l, RF_ERR_LANE, strerror(rc));
			return RF_AGAIN;
		}
		l->armed = true;
	}
	/* what came before it was armed raises no event */
	rc = ibv_poll_cq(l->cq, 1, &l->peeked);
	if (rc) {
		l->has_peeked = rc > 0;
		return RF_AGAIN;
	}
	set_timer(l);
	return RF_OK;
}
