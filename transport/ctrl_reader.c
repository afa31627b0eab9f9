/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reader thread of a control stream. It never waits but in its poll(): whatever it cannot
 * do now (queue full, tx_lock taken, socket full) it is woken for.
 *
 *   heartbeat: a PING when nothing was sent, or nothing received, for a quarter of the idle
 *              timeout; the peer's PING is echoed as PONG. Several PINGs that wait get one PONG.
 *   liveness:  nothing received for the idle timeout kills the stream. While the queue is full
 *              nothing is read, so the deadline stands still.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <ramferry/err.h>

#include "transport/ctrl_impl.h"

/* Reads between two looks at deadlines and heartbeats, so that a flood does not stop them. */
#define READS_AT_ONCE 32

static uint64_t now_ns(void)
{
	return rf_now_ns(&rf_clock_monotonic);
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- heartbeats ---- */

static uint64_t ping_due_ns(const struct rf_ctrl *c)
{
	uint64_t quiet = min_u64(atomic_load(&c->last_tx_ns), c->last_rx_ns);

	if (!c->ping_seq)
		return 1; /* the first one at once: the round trip is wanted early */
	return max_u64(quiet, c->last_ping_ns) + atomic_load(&c->idle_ns) / 4;
}

static void put_beat(struct rf_ctrl *c, uint32_t type, uint64_t value)
{
	struct rf_wbuf b;

	rf_wire_put_header(c->tail, type, 8);
	rf_wbuf_init(&b, c->tail + RF_WIRE_FRAME_HEADER, 8);
	rf_wire_put_u64(&b, value);
	c->tail_len = RF_CTRL_BEAT_SIZE;
	rf_ctrl_flush_tail(c);
}

/* Sends what is due as far as that goes without waiting. */
static void beat(struct rf_ctrl *c)
{
	uint64_t now = now_ns();
	bool ping = now >= ping_due_ns(c);

	c->tx_busy = false;
	if (atomic_load(&c->error) || !(ping || c->pong_due || c->tail_left))
		return;
	atomic_store(&c->tx_wanted, true);
	if (pthread_mutex_trylock(&c->tx_lock)) {
		c->tx_busy = true;
		return;
	}
	atomic_store(&c->tx_wanted, false);
	rf_ctrl_flush_tail(c);
	if (!c->tail_len && c->pong_due) {
		c->pong_due = false;
		put_beat(c, RF_WIRE_PONG, c->pong_value);
	}
	if (!c->tail_len && ping) {
		c->last_ping_ns = now;
		c->ping_ns[++c->ping_seq % RF_CTRL_PINGS] = now;
		put_beat(c, RF_WIRE_PING, c->ping_seq);
	}
	c->tail_left = c->tail_len > 0;
	pthread_mutex_unlock(&c->tx_lock);
}

static void take_pong(struct rf_ctrl *c, uint64_t seq)
{
	uint64_t old = atomic_load(&c->rtt_ns), rtt;

	/* An answer to nothing, or to something long ago, is of no use and does no harm. */
	if (seq <= c->pong_seq || seq > c->ping_seq || c->ping_seq - seq >= RF_CTRL_PINGS)
		return;
	c->pong_seq = seq;
	rtt = now_ns() - c->ping_ns[seq % RF_CTRL_PINGS];
	atomic_store(&c->rtt_ns, max_u64(old ? old - old / 8 + rtt / 8 : rtt, 1));
}

/* ---- frames ---- */

/* The header is complete. */
static int begin_frame(struct rf_ctrl *c)
{
	int r = rf_wire_get_header(c->header, &c->frame.type, &c->frame.len);

	if (r) {
		rf_ctrl_fail(c, r, "sent something that is not a frame");
		return r;
	}
	if (!c->frame.len)
		return RF_OK;
	c->frame.payload = malloc(c->frame.len);
	if (!c->frame.payload) {
		rf_ctrl_fail(c, RF_ERR_NO_MEMORY,
			     "sent a frame of %u bytes, for which there is no memory",
			     c->frame.len);
		return RF_ERR_NO_MEMORY;
	}
	return RF_OK;
}

/* The frame is complete. RF_AGAIN: the queue now is full. */
static int end_frame(struct rf_ctrl *c)
{
	struct rf_frame *f = &c->frame;
	uint64_t v;

	c->got = 0;
	if (f->type != RF_WIRE_PING && f->type != RF_WIRE_PONG) {
		rf_frame_queue_push(&c->queue, f);
		return rf_frame_queue_full(&c->queue) ? RF_AGAIN : RF_OK;
	}
	if (rf_wire_get_u64(f->payload, f->len, &v)) {
		rf_ctrl_fail(c, RF_ERR_PROTOCOL, "sent a bad heartbeat");
		return RF_ERR_PROTOCOL;
	}
	if (f->type == RF_WIRE_PING) {
		c->pong_due = true;
		c->pong_value = v;
	} else {
		take_pong(c, v);
	}
	rf_frame_free(f);
	return RF_OK;
}

static int end_of_stream(struct rf_ctrl *c, ssize_t n)
{
	if (n < 0)
		rf_ctrl_fail(c, RF_ERR_PEER_GONE, "closed the connection or died: %s",
			     strerror(errno));
	else if (c->got)
		rf_ctrl_fail(c, RF_ERR_PEER_GONE,
			     "closed the connection or died, in the middle of a frame");
	else /* whether the peer may close now only the owner knows */
		rf_ctrl_fail(c, RF_ERR_PEER_GONE, "closed the connection or died");
	return RF_ERR_PEER_GONE;
}

/* One read. RF_OK: there may be more; RF_AGAIN: not now; else the stream is at its end. */
static int read_some(struct rf_ctrl *c)
{
	size_t want, head = sizeof(c->header);
	uint8_t *to;
	ssize_t n;
	int r = RF_OK;

	if (c->got < head) {
		to = c->header + c->got;
		want = head - c->got;
	} else {
		to = c->frame.payload + (c->got - head);
		want = c->frame.len - (c->got - head);
	}
	n = recv(c->fd, to, want, MSG_DONTWAIT);
	if (n < 0 && errno == EINTR)
		return RF_OK;
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return RF_AGAIN;
	if (n <= 0)
		return end_of_stream(c, n);
	c->last_rx_ns = now_ns();
	c->got += (size_t)n;
	if (c->got == head)
		r = begin_frame(c);
	if (!r && c->got >= head && c->got == head + c->frame.len)
		r = end_frame(c);
	return r;
}

static int read_frames(struct rf_ctrl *c)
{
	int r = RF_OK;

	for (unsigned i = 0; i < READS_AT_ONCE && r == RF_OK; i++)
		r = read_some(c);
	return r == RF_AGAIN ? RF_OK : r;
}

/* ---- thread ---- */

/* ms until something is due by itself; -1: nothing is. */
static int next_due(const struct rf_ctrl *c, bool full)
{
	uint64_t due = UINT64_MAX;

	if (atomic_load(&c->error))
		return -1;
	if (!c->tx_busy && !c->tail_left)
		due = ping_due_ns(c);
	if (!full)
		due = min_u64(due, c->last_rx_ns + atomic_load(&c->idle_ns));
	return due == UINT64_MAX ? -1 : rf_ms_left(&rf_clock_monotonic, due);
}

/* Sleeps until there is something to do. True: the socket has something to read, or ended. */
static bool wait_event(struct rf_ctrl *c, bool full, bool *hung_up)
{
	short out = c->tail_left && !c->tx_busy ? POLLOUT : 0;
	struct pollfd p[2] = {{.fd = c->fd, .events = out}, {.fd = c->wake_fd, .events = POLLIN}};
	eventfd_t v;

	if (!full)
		p[0].events |= POLLIN;
	else if (*hung_up) /* would be told again and again; wait for room only */
		p[0].fd = -1;
	if (poll(p, 2, next_due(c, full)) < 0)
		return false; /* EINTR, or no memory for the moment */
	if (p[1].revents)
		eventfd_read(c->wake_fd, &v);
	if (p[0].revents & (POLLHUP | POLLERR))
		*hung_up = true;
	return !full && p[0].revents & (POLLIN | POLLHUP | POLLERR);
}

/* The deadline is judged by the time before the poll: if this process stood still since, there
 * may be plenty to read. */
static int check_idle(struct rf_ctrl *c, uint64_t before)
{
	uint64_t idle = atomic_load(&c->idle_ns);

	if (before < c->last_rx_ns + idle)
		return RF_OK;
	rf_ctrl_fail(c, RF_ERR_TIMEOUT, "is silent for over %llu ms: it or the network is dead",
		     (unsigned long long)(idle / RF_NS_PER_MS));
	return RF_ERR_TIMEOUT;
}

void *rf_ctrl_reader(void *ctrl)
{
	struct rf_ctrl *c = ctrl;
	bool was_full = false, hung_up = false;
	int r = RF_OK;

	prctl(PR_SET_NAME, "rf-ctrl");
	while (!r && !atomic_load(&c->closing)) {
		bool full = rf_frame_queue_full(&c->queue);
		uint64_t before = now_ns();

		if (was_full || full)
			c->last_rx_ns = before;
		was_full = full;
		if (wait_event(c, full, &hung_up))
			r = read_frames(c);
		else if (!full)
			r = check_idle(c, before);
		if (!r)
			beat(c);
	}
	if (!r)
		r = RF_ERR_PEER_GONE; /* being closed: nobody asks any more */
	rf_frame_queue_end(&c->queue, atomic_load(&c->error) ? atomic_load(&c->error) : r);
	return NULL;
}
