/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A control stream's life, and sending on it. Who sends writes the socket itself, under tx_lock;
 * a frame that cannot be written whole kills the stream, so half a frame is never followed by
 * another one.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "transport/ctrl_impl.h"

/* How long close waits for the peer to take what was sent: at most, and when it has it all but
 * does not close (its owner is busy). */
#define DRAIN_MAX_MS   1000
#define DRAIN_ACKED_MS 100

static uint64_t now_ns(void)
{
	return rf_now_ns(&rf_clock_monotonic);
}

void rf_ctrl_fail(struct rf_ctrl *c, int err, const char *fmt, ...)
{
	bool first;
	va_list ap;

	pthread_mutex_lock(&c->fail_lock);
	first = !atomic_load(&c->closing) && atomic_load(&c->error) == RF_OK;
	if (first) {
		va_start(ap, fmt);
		vsnprintf(c->why, sizeof(c->why), fmt, ap);
		va_end(ap);
		atomic_store(&c->error, err);
	}
	pthread_mutex_unlock(&c->fail_lock);
	if (!first)
		return;
	/* The reader gets what is still there, then the end; a blocked sender gets EPIPE. */
	shutdown(c->fd, SHUT_RDWR);
	rf_debug(c->obj, "%s", c->why);
}

/* ---- life ---- */

static void free_ctrl(struct rf_ctrl *c)
{
	rf_frame_free(&c->frame);
	rf_frame_queue_fini(&c->queue);
	pthread_mutex_destroy(&c->tx_lock);
	pthread_mutex_destroy(&c->fail_lock);
	close(c->wake_fd);
	close(c->fd);
	free(c);
}

/* Signals are for the threads of the program, not for ours. */
static int start_reader(struct rf_ctrl *c)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&c->reader, NULL, rf_ctrl_reader, c);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!r)
		return RF_OK;
	rf_err_log(c->obj, "cannot start the reader thread: %s", strerror(r));
	return RF_ERR_SYSTEM;
}

int rf_ctrl_start(int fd, const struct rf_ctrl_cfg *cfg, const struct rf_ctrl_addrs *addrs,
		  struct rf_ctrl **out)
{
	uint32_t idle = cfg->idle_timeout ? cfg->idle_timeout : RF_CTRL_DEFAULT_TIMEOUT;
	struct rf_ctrl *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		close(fd);
		return RF_ERR_NO_MEMORY;
	}
	c->fd = fd;
	c->addrs = *addrs;
	snprintf(c->obj, sizeof(c->obj), "%s: %s", cfg->name ? cfg->name : "control stream",
		 addrs->peer);
	c->idle_ns = idle * RF_NS_PER_MS;
	c->last_rx_ns = now_ns();
	c->last_tx_ns = c->last_rx_ns;
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = c->wake_fd < 0 ? RF_ERR_SYSTEM : rf_frame_queue_init(&c->queue, c->wake_fd);
	if (r) {
		close(c->wake_fd);
		close(fd);
		free(c);
		return r;
	}
	pthread_mutex_init(&c->tx_lock, NULL);
	pthread_mutex_init(&c->fail_lock, NULL);
	r = start_reader(c);
	if (r) {
		free_ctrl(c);
		return r;
	}
	*out = c;
	return RF_OK;
}

/*
 * The peer must read what was sent before it sees a reset, and closing a socket with unread data
 * resets it. So: end our side, and throw away what comes until the peer ends its own.
 */
static void drain_socket(int fd)
{
	uint64_t start = now_ns(), end;
	char trash[4096];
	int unacked;

	shutdown(fd, SHUT_WR);
	for (;;) {
		ssize_t n = recv(fd, trash, sizeof(trash), MSG_DONTWAIT);

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return;
		end = start + DRAIN_MAX_MS * RF_NS_PER_MS;
		if (ioctl(fd, SIOCOUTQ, &unacked) == 0 && unacked == 0)
			end = start + DRAIN_ACKED_MS * RF_NS_PER_MS;
		if (now_ns() >= end)
			return;
		/* No event tells of the acknowledgement: look again soon. */
		if (n < 0)
			rf_ctrl_wait(fd, POLLIN, now_ns() + 10 * RF_NS_PER_MS, -1);
	}
}

void rf_ctrl_close(struct rf_ctrl **cp)
{
	struct rf_ctrl *c = *cp;

	if (!c)
		return;
	*cp = NULL;
	atomic_store(&c->closing, true);
	eventfd_write(c->wake_fd, 1);
	pthread_join(c->reader, NULL);
	if (atomic_load(&c->error) == RF_OK) {
		pthread_mutex_lock(&c->tx_lock);
		rf_ctrl_flush_tail(c);
		pthread_mutex_unlock(&c->tx_lock);
		drain_socket(c->fd);
	}
	free_ctrl(c);
}

/* ---- sending ---- */

static void count_sent(struct rf_ctrl *c, size_t n)
{
	atomic_fetch_add_explicit(&c->sent_bytes, n, memory_order_relaxed);
	atomic_store_explicit(&c->last_tx_ns, now_ns(), memory_order_relaxed);
}

static void fail_send(struct rf_ctrl *c, int e)
{
	rf_ctrl_fail(c, RF_ERR_PEER_GONE, "closed the connection or died%s%s",
		     e == EPIPE ? "" : ": ", e == EPIPE ? "" : strerror(e));
}

void rf_ctrl_flush_tail(struct rf_ctrl *c)
{
	while (c->tail_len) {
		ssize_t n = send(c->fd, c->tail, c->tail_len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				fail_send(c, errno);
			return;
		}
		count_sent(c, (size_t)n);
		c->tail_len -= (size_t)n;
		memmove(c->tail, c->tail + n, c->tail_len);
	}
}

/* Under tx_lock. Drops n written bytes from the front of the vector. */
static void advance_iov(struct msghdr *m, size_t n)
{
	while (m->msg_iovlen && n >= m->msg_iov->iov_len) {
		n -= m->msg_iov->iov_len;
		m->msg_iov++;
		m->msg_iovlen--;
	}
	if (m->msg_iovlen) {
		m->msg_iov->iov_base = (char *)m->msg_iov->iov_base + n;
		m->msg_iov->iov_len -= n;
	}
}

/* Under tx_lock. Writes all or kills the stream. */
static int write_whole(struct rf_ctrl *c, struct msghdr *m, uint64_t deadline)
{
	while (m->msg_iovlen && atomic_load(&c->error) == RF_OK) {
		ssize_t n = sendmsg(c->fd, m, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0) {
			count_sent(c, (size_t)n);
			advance_iov(m, (size_t)n);
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			int r = rf_ctrl_wait(c->fd, POLLOUT, deadline, -1);

			if (r)
				rf_ctrl_fail(c, r, "does not read what is sent to it: %s",
					     rf_err_str(r));
		} else if (errno != EINTR) {
			fail_send(c, errno);
		}
	}
	/* All written is sent, even if the peer closed in the same moment. */
	return m->msg_iovlen ? atomic_load(&c->error) : RF_OK;
}

int rf_ctrl_send(struct rf_ctrl *c, uint32_t type, const void *payload, uint32_t len)
{
	uint8_t header[RF_WIRE_FRAME_HEADER];
	uint64_t deadline;
	int r;

	if (!type || type >= RF_WIRE_TYPE_COUNT || len > RF_WIRE_MAX_PAYLOAD)
		return RF_ERR_INVALID;
	rf_wire_put_header(header, type, len);
	pthread_mutex_lock(&c->tx_lock);
	deadline = now_ns() + atomic_load(&c->idle_ns);
	struct iovec iov[3] = {{c->tail, c->tail_len},
			       {header, sizeof(header)},
			       {(void *)payload, len}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 3};

	if (!c->tail_len)
		advance_iov(&m, 0);
	r = write_whole(c, &m, deadline);
	if (!r)
		c->tail_len = 0;
	pthread_mutex_unlock(&c->tx_lock);
	if (atomic_exchange(&c->tx_wanted, false))
		eventfd_write(c->wake_fd, 1);
	return r;
}

/* ---- receiving, and what is known of the stream ---- */

int rf_ctrl_recv(struct rf_ctrl *c, struct rf_frame *f, int timeout)
{
	uint64_t deadline = timeout > 0 ? now_ns() + (uint64_t)timeout * RF_NS_PER_MS : 0;

	for (;;) {
		int r = rf_frame_queue_pop(&c->queue, f);

		if (r != RF_AGAIN || timeout == 0)
			return r;
		r = rf_ctrl_wait(c->queue.fd, POLLIN, deadline, -1);
		if (r == RF_ERR_TIMEOUT)
			return RF_AGAIN;
		if (r)
			return r;
	}
}

int rf_ctrl_fd(const struct rf_ctrl *c)
{
	return c->queue.fd;
}

int rf_ctrl_error(const struct rf_ctrl *c)
{
	return atomic_load(&c->error);
}

const char *rf_ctrl_why(const struct rf_ctrl *c)
{
	return rf_ctrl_error(c) == RF_OK ? "cannot be heard" : c->why;
}

uint64_t rf_ctrl_rtt_ns(const struct rf_ctrl *c)
{
	return atomic_load_explicit(&c->rtt_ns, memory_order_relaxed);
}

uint64_t rf_ctrl_sent_bytes(const struct rf_ctrl *c)
{
	return atomic_load_explicit(&c->sent_bytes, memory_order_relaxed);
}

uint16_t rf_ctrl_peer_minor(const struct rf_ctrl *c)
{
	return c->addrs.peer_minor;
}

void rf_ctrl_set_idle_timeout(struct rf_ctrl *c, uint32_t ms)
{
	atomic_store(&c->idle_ns, (ms ? ms : RF_CTRL_DEFAULT_TIMEOUT) * RF_NS_PER_MS);
	eventfd_write(c->wake_fd, 1);
}

const char *rf_ctrl_local_host(const struct rf_ctrl *c)
{
	return c->addrs.local_host;
}

const char *rf_ctrl_peer_host(const struct rf_ctrl *c)
{
	return c->addrs.peer_host;
}

const char *rf_ctrl_peer(const struct rf_ctrl *c)
{
	return c->addrs.peer;
}
