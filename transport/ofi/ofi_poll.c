/* SPDX-License-Identifier: BSD-3-Clause */
/* Completions, what errors mean, and going to sleep. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "transport/ofi/ofi.h"

#define BATCH	    16	/* completions read at once */
#define EVENT_EVERY 256 /* polls that found nothing between two looks at the event queue */

void rf_ofi_poll_release(struct rf_ofi_lane *l, struct rf_ofi_slot *s)
{
	if (s->rx) {
		l->used_rx[l->nused++] = s;
		return;
	}
	l->free_tx[l->nfree++] = s;
	l->posted -= s->bytes;
	if (s->op == RF_OP_WRITE) {
		l->writes--;
		l->base.inflight -= s->bytes;
	}
}

int rf_ofi_poll_map(int err)
{
	switch (err) {
	case FI_EACCES:
	case FI_EPERM:
	case FI_ENOKEY:
	case FI_EKEYREJECTED:
		return RF_ERR_REMOTE_ACCESS;
	case FI_ETIMEDOUT:
	case FI_EHOSTUNREACH:
	case FI_ENETUNREACH:
		return RF_ERR_LANE_TIMEOUT;
	case FI_ECANCELED:
	case FI_ENOTCONN:
	case FI_ECONNRESET:
	case FI_ECONNABORTED:
	case FI_ESHUTDOWN:
	case FI_EIO:
	case FI_ENOENT: /* sockets: the connection is not in its tables any more */
	case EPIPE:
		return RF_ERR_LANE_CLOSED;
	default:
		return RF_ERR_LANE;
	}
}

int rf_ofi_poll_error(struct rf_ofi_lane *l)
{
	struct fi_cq_err_entry e = {0};
	char words[128] = "";
	ssize_t rc = fi_cq_readerr(l->cq, &e, 0);
	const struct rf_ofi_slot *s = e.op_context;
	const char *what = "an operation";
	int err, cause;

	if (rc == -FI_EAGAIN)
		return l->base.error;
	if (rc < 0)
		return rf_lane_fail(&l->base, RF_ERR_LANE, "reading the completion error: %s",
				    fi_strerror((int)-rc));
	/* Slots of the dead are not reused. */
	if (s)
		what = s->rx ? "a receive" : s->op == RF_OP_WRITE ? "a write" : "a send";
	cause = e.err < 0 ? -e.err : e.err;
	err = rf_ofi_poll_map(cause);
	if (err == RF_ERR_LANE_CLOSED)
		return rf_lane_fail(&l->base, err, "%s ended the connection (%s: %s)", l->peer_name,
				    what, fi_strerror(cause));
	fi_cq_strerror(l->cq, e.prov_errno, e.err_data, words, sizeof(words));
	return rf_lane_fail(&l->base, err, "%s to %s failed: %s (provider: %s)", what, l->peer_name,
			    fi_strerror(cause), words[0] ? words : "no more words");
}

/* A message: the user's, a fence, or one of the backend itself (false). */
static bool take_message(struct rf_ofi_lane *l, const struct fi_cq_data_entry *e,
			 struct rf_ofi_slot *s, struct rf_completion *c)
{
	uint64_t value;

	if (e->flags & FI_REMOTE_CQ_DATA) {
		l->peer_gone = e->data == RF_OFI_BYE;
		if (l->peer_gone)
			rf_lane_fail(&l->base, RF_ERR_LANE_CLOSED, "the peer closed it");
		return false;
	}
	if (e->len == RF_WIRE_FENCE_SIZE && !rf_wire_get_fence(s->buf, e->len, &value)) {
		*c = (struct rf_completion){.op = RF_OP_FENCE_SEEN, .count = 1, .value = value};
		return true;
	}
	*c = (struct rf_completion){.op = RF_OP_RECV,
				    .count = 1,
				    .data = s->buf,
				    .len = (uint32_t)e->len};
	return true;
}

/* A write is done. It is told when all before it are, whatever order the provider has. */
static struct rf_completion take_write(struct rf_ofi_lane *l, struct rf_ofi_slot *s)
{
	struct rf_completion c = {.op = RF_OP_WRITE};

	s->done = true;
	while (l->order_tail != l->order_head && l->order[l->order_tail % RF_OFI_DEPTH]->done) {
		s = l->order[l->order_tail++ % RF_OFI_DEPTH];
		c.count++;
		c.bytes += s->bytes;
		rf_ofi_poll_release(l, s);
	}
	return c;
}

static struct rf_completion take_send(struct rf_ofi_lane *l, struct rf_ofi_slot *s)
{
	rf_ofi_poll_release(l, s);
	return (struct rf_completion){.op = RF_OP_SEND, .count = !s->ctl};
}

/* Turns an entry into a completion; false if there is nothing to tell, or it was added to the
 * one before it. */
static bool take_entry(struct rf_ofi_lane *l, const struct fi_cq_data_entry *e,
		       struct rf_completion *c, struct rf_completion *before)
{
	struct rf_ofi_slot *s = e->op_context;
	bool told;

	if (e->flags & FI_REMOTE_WRITE) {
		/* with FI_RX_CQ_DATA a write with immediate uses up a receive */
		if (rf_ofi_of(l)->info->mode & FI_RX_CQ_DATA)
			rf_ofi_poll_release(l, s);
		if (!(e->flags & FI_REMOTE_CQ_DATA))
			return false;
		*c = (struct rf_completion){.op = RF_OP_IMM,
					    .count = 1,
					    .value = (uint32_t)e->data};
		return true;
	}
	if (!s)
		return false;
	if (s->rx) {
		told = take_message(l, e, s, c);
		rf_ofi_poll_release(l, s);
		return told;
	}
	*c = s->op == RF_OP_WRITE ? take_write(l, s) : take_send(l, s);
	if (!c->count || !before || before->op != c->op)
		return c->count;
	before->count += c->count;
	before->bytes += c->bytes;
	return false;
}

/* Reads completions until c is full or the queue is empty. Lock held. */
static unsigned read_queue(struct rf_ofi_lane *l, struct rf_completion *c, unsigned n)
{
	struct fi_cq_data_entry e[BATCH];
	unsigned out = 0, want;
	ssize_t got;

	while (out < n) {
		want = n - out < BATCH ? n - out : BATCH;
		if (l->has_peeked) {
			e[0] = l->peeked;
			l->has_peeked = false;
			got = 1;
		} else {
			got = fi_cq_read(l->cq, e, want);
		}
		if (got == -FI_EAVAIL) {
			/* a dead lane has an error for each flushed post: to the next */
			rf_ofi_poll_error(l);
			continue;
		}
		if (got <= 0) {
			if (got < 0 && got != -FI_EAGAIN)
				rf_lane_fail(&l->base, RF_ERR_LANE, "fi_cq_read: %s",
					     fi_strerror((int)-got));
			break;
		}
		for (ssize_t i = 0; i < got; i++) {
			if (take_entry(l, &e[i], &c[out], out ? &c[out - 1] : NULL))
				out++;
		}
	}
	return out;
}

/* FI_EP_MSG tells of the end of a connection by an event, also when nothing is posted. */
void rf_ofi_poll_events(struct rf_ofi_lane *l)
{
	struct fi_eq_cm_entry e;
	struct fi_eq_err_entry ee = {0};
	uint32_t event;
	ssize_t rc;

	if (!l->eq || l->base.error)
		return;
	rc = fi_eq_read(l->eq, &event, &e, sizeof(e), 0);
	if (rc >= 0 && event == FI_SHUTDOWN) {
		rf_lane_fail(&l->base, RF_ERR_LANE_CLOSED, "%s ended the connection", l->peer_name);
	} else if (rc == -FI_EAVAIL) {
		fi_eq_readerr(l->eq, &ee, 0);
		rf_lane_fail(&l->base, RF_ERR_LANE_CLOSED, "the connection to %s broke: %s",
			     l->peer_name, fi_strerror(ee.err < 0 ? -ee.err : ee.err));
	}
}

/* An unanswered post is the peer's silence; without posts the control stream watches it. */
static void look_at_clock(struct rf_ofi_lane *l)
{
	uint32_t limit = rf_ofi_of(l)->link_timeout;
	uint64_t now;

	if (l->base.error || !limit || l->nfree == l->base.t->caps.depth)
		return;
	now = rf_now_ns(&rf_clock_monotonic);
	if (!l->quiet_since)
		l->quiet_since = now;
	else if (now - l->quiet_since > limit * RF_NS_PER_MS)
		rf_lane_fail(&l->base, RF_ERR_LANE_TIMEOUT,
			     "%s has not answered for %" PRIu32 " ms", l->peer_name, limit);
}

int rf_ofi_lane_poll(struct rf_lane *lane, struct rf_completion *c, unsigned n)
{
	struct rf_ofi_lane *l = rf_ofi_lane(lane);
	unsigned out;

	rf_ofi_lane_enter(l);
	if (l->ended)
		rf_lane_fail(&l->base, RF_ERR_LANE_CLOSED,
			     "ended because memory was deregistered here");
	if (!l->base.error && l->nused)
		rf_ofi_post_recvs(l);
	out = l->ended ? 0 : read_queue(l, c, n);
	rf_ofi_post_waiting_fence(l);
	if (out) {
		l->quiet_since = 0;
		l->empty_polls = 0;
	} else {
		if (++l->empty_polls % EVENT_EVERY == 0)
			rf_ofi_poll_events(l);
		look_at_clock(l);
	}
	rf_ofi_lane_leave(l);
	return out ? (int)out : lane->error;
}

/* Without an fd of the queue: look once, then let a timer bound the sleep. Lock held. */
static int arm_timer(struct rf_ofi_lane *l)
{
	const struct itimerspec tick = {.it_value.tv_nsec = RF_OFI_TICK_MS * 1000000};
	ssize_t got;

	if (!l->has_peeked) {
		got = fi_cq_read(l->cq, &l->peeked, 1);
		if (got == -FI_EAGAIN || got == 0) {
			timerfd_settime(l->timer_fd, 0, &tick, NULL);
			return RF_OK;
		}
		l->has_peeked = got > 0;
	}
	return RF_AGAIN;
}

int rf_ofi_lane_arm(struct rf_lane *lane)
{
	struct rf_ofi_lane *l = rf_ofi_lane(lane);
	struct fid *queues[2];
	int n = 0, rc;

	rf_ofi_lane_enter(l);
	if (l->ended || l->base.error || l->has_peeked) {
		rc = -FI_EAGAIN;
		goto out;
	}
	if (l->timer_fd >= 0) {
		rc = arm_timer(l) == RF_OK ? 0 : -FI_EAGAIN;
		goto out;
	}
	queues[n++] = &l->cq->fid;
	if (l->eq)
		queues[n++] = &l->eq->fid;
	rc = fi_trywait(rf_ofi_of(l)->fabric, queues, n);
	/* after it: an event that came before would not make the fd readable any more */
	if (!rc)
		rf_ofi_poll_events(l);
	if (l->base.error)
		rc = -FI_EAGAIN;
out:
	rf_ofi_lane_leave(l);
	if (rc && rc != -FI_EAGAIN)
		return rf_lane_fail(lane, RF_ERR_LANE, "fi_trywait: %s", fi_strerror(-rc));
	return rc ? RF_AGAIN : RF_OK;
}
