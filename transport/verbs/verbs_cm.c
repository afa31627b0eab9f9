/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events of the connection manager. The kernel answers every call at once and the outcome comes
 * as an event, so all waiting is done here, with our own deadline: librdmacm's own patience with
 * a peer that does not answer is more than a minute.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "transport/verbs/verbs.h"

void rf_verbs_wait_init(struct rf_verbs_wait *w, uint32_t timeout, int cancel_fd)
{
	w->deadline = rf_now_ns(&rf_clock_monotonic) + timeout * RF_NS_PER_MS;
	w->cancel_fd = cancel_fd;
}

int rf_verbs_wait_left(const struct rf_verbs_wait *w)
{
	return rf_ms_left(&rf_clock_monotonic, w->deadline);
}

struct rdma_event_channel *rf_verbs_cm_channel(void)
{
	struct rdma_event_channel *ch = rdma_create_event_channel();
	int flags, err;

	if (!ch)
		return NULL;
	flags = fcntl(ch->fd, F_GETFL);
	if (flags >= 0 && !fcntl(ch->fd, F_SETFL, flags | O_NONBLOCK))
		return ch;
	err = errno;
	rdma_destroy_event_channel(ch);
	errno = err;
	return NULL;
}

int rf_verbs_cm_read(struct rdma_event_channel *ch, struct rf_verbs_cm_event *e)
{
	struct rdma_cm_event *ev;

	if (rdma_get_cm_event(ch, &ev)) {
		if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
			return RF_AGAIN;
		rf_err_log("verbs", "rdma_get_cm_event: %s", strerror(errno));
		return RF_ERR_SYSTEM;
	}
	*e = (struct rf_verbs_cm_event){.type = ev->event, .status = ev->status, .id = ev->id};
	if (ev->event == RDMA_CM_EVENT_CONNECT_REQUEST && ev->param.conn.private_data) {
		e->data_len = ev->param.conn.private_data_len;
		if (e->data_len > sizeof(e->data))
			e->data_len = sizeof(e->data);
		memcpy(e->data, ev->param.conn.private_data, e->data_len);
	}
	/* At once: an id with an event that is not acknowledged cannot be destroyed or moved. */
	rdma_ack_cm_event(ev);
	return RF_OK;
}

int rf_verbs_cm_wait(struct rdma_event_channel *ch, const struct rf_verbs_wait *w,
		     struct rf_verbs_cm_event *e)
{
	/* poll() skips negative fds */
	struct pollfd p[2] = {{.fd = w->cancel_fd, .events = POLLIN},
			      {.fd = ch->fd, .events = POLLIN}};
	int err, left;

	for (;;) {
		err = rf_verbs_cm_read(ch, e);
		if (err != RF_AGAIN)
			return err;
		left = rf_verbs_wait_left(w);
		if (!left)
			return RF_ERR_TIMEOUT;
		if (poll(p, 2, left) < 0 && errno != EINTR) {
			rf_err_log("verbs", "poll: %s", strerror(errno));
			return RF_ERR_SYSTEM;
		}
		if (p[0].revents)
			return RF_ERR_CANCELLED;
	}
}

int rf_verbs_cm_expect(struct rdma_event_channel *ch, const struct rf_verbs_wait *w,
		       enum rdma_cm_event_type want, const char *lane, const char *peer)
{
	struct rf_verbs_cm_event e;
	char words[128];
	int err = rf_verbs_cm_wait(ch, w, &e);

	if (err == RF_ERR_TIMEOUT)
		rf_err_log("verbs", "lane %s: %s did not answer in time", lane, peer);
	if (err)
		return err;
	if (e.type == want && !e.status)
		return RF_OK;
	err = rf_verbs_error_of_cm(e.type, e.status, words, sizeof(words));
	rf_err_log("verbs", "lane %s: not connected with %s: %s", lane, peer, words);
	return err;
}
