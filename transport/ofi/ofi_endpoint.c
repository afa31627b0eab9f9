/* SPDX-License-Identifier: BSD-3-Clause */
/* A lane's endpoint, queues, message buffers, and the one fd for all that can wake it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/log.h"
#include "transport/ofi/ofi.h"

#define BUFFER_SIZE ((size_t)(RF_OFI_DEPTH + RF_OFI_RECVS) * RF_OFI_MAX_MSG)

static int failed(const struct rf_ofi_lane *l, const char *what, int rc)
{
	rf_err_log("ofi", "lane %s: %s: %s", l->base.name, what, fi_strerror(-rc));
	return rc == -FI_ENOMEM ? RF_ERR_NO_MEMORY : RF_ERR_SYSTEM;
}

static int open_cq(struct rf_ofi *o, struct rf_ofi_lane *l)
{
	struct fi_cq_attr attr = {
		.size = 4 * RF_OFI_DEPTH,
		.format = FI_CQ_FORMAT_DATA,
		.wait_obj = FI_WAIT_FD,
	};
	int rc = fi_cq_open(o->domain[l->base.kind], &attr, &l->cq, NULL);

	if (rc) {
		/* no fd: a timer wakes the lane instead */
		attr.wait_obj = FI_WAIT_NONE;
		rc = fi_cq_open(o->domain[l->base.kind], &attr, &l->cq, NULL);
	}
	return rc ? failed(l, "fi_cq_open", rc) : RF_OK;
}

static int open_queues(struct rf_ofi *o, struct rf_ofi_lane *l)
{
	struct fi_av_attr attr = {.type = FI_AV_UNSPEC, .count = 8};
	int rc, err = open_cq(o, l);

	if (err)
		return err;
	if (o->msg)
		return rf_ofi_eq_open(o, &l->eq);
	rc = fi_av_open(o->domain[l->base.kind], &attr, &l->av, NULL);
	return rc ? failed(l, "fi_av_open", rc) : RF_OK;
}

static int open_ep(struct rf_ofi *o, struct rf_ofi_lane *l)
{
	int rc = fi_endpoint(o->domain[l->base.kind], l->info, &l->ep, NULL);

	if (rc)
		return failed(l, "fi_endpoint", rc);
	rc = fi_ep_bind(l->ep, &l->cq->fid, FI_TRANSMIT | FI_RECV);
	if (rc)
		return failed(l, "fi_ep_bind(cq)", rc);
	rc = fi_ep_bind(l->ep, o->msg ? &l->eq->fid : &l->av->fid, 0);
	if (rc)
		return failed(l, "fi_ep_bind", rc);
	rc = fi_enable(l->ep);
	return rc ? failed(l, "fi_enable", rc) : RF_OK;
}

static int watch(int epfd, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN};

	return epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev);
}

/* epoll of: completion queue, event queue (the peer's shutdown), deregistration, timer */
static int open_fds(struct rf_ofi_lane *l)
{
	int cq_fd = rf_ofi_wait_fd(&l->cq->fid);
	int eq_fd = l->eq ? rf_ofi_wait_fd(&l->eq->fid) : -1;

	l->base.fd = epoll_create1(EPOLL_CLOEXEC);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->base.fd < 0 || l->wake_fd < 0 || watch(l->base.fd, l->wake_fd))
		goto failed_call;
	if (eq_fd >= 0 && watch(l->base.fd, eq_fd))
		goto failed_call;
	if (cq_fd >= 0) {
		if (watch(l->base.fd, cq_fd))
			goto failed_call;
		return RF_OK;
	}
	l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (l->timer_fd < 0 || watch(l->base.fd, l->timer_fd))
		goto failed_call;
	return RF_OK;
failed_call:
	rf_err_log("ofi", "lane %s: making its fd: %s", l->base.name, strerror(errno));
	return RF_ERR_SYSTEM;
}

static int make_buffers(struct rf_ofi *o, struct rf_ofi_lane *l)
{
	int rc;

	l->bufs = rf_lane_memory_new(&o->base, BUFFER_SIZE);
	if (!l->bufs)
		return RF_ERR_NO_MEMORY;
	if (o->info->domain_attr->mr_mode & FI_MR_LOCAL) {
		rc = fi_mr_reg(o->domain[l->base.kind], l->bufs, BUFFER_SIZE, FI_SEND | FI_RECV, 0,
			       (uintptr_t)l->bufs >> 12, 0, &l->buf_mr, NULL);
		if (rc)
			return failed(l, "fi_mr_reg of message buffers", rc);
		l->buf_desc = fi_mr_desc(l->buf_mr);
	}
	for (unsigned i = 0; i < RF_OFI_DEPTH; i++) {
		l->tx[i].buf = l->bufs + (size_t)i * RF_OFI_MAX_MSG;
		/* the lowest on top: few in use, few pages touched */
		l->free_tx[RF_OFI_DEPTH - 1 - i] = &l->tx[i];
	}
	l->nfree = o->base.caps.depth;
	memmove(l->free_tx, l->free_tx + RF_OFI_DEPTH - l->nfree, l->nfree * sizeof(*l->free_tx));
	for (unsigned i = 0; i < RF_OFI_RECVS; i++) {
		l->rx[i].rx = true;
		l->rx[i].buf = l->bufs + (size_t)(RF_OFI_DEPTH + i) * RF_OFI_MAX_MSG;
		l->used_rx[i] = &l->rx[i];
	}
	l->nused = RF_OFI_RECVS;
	return RF_OK;
}

int rf_ofi_lane_new(struct rf_ofi *o, struct fi_info *info, const struct rf_wire_lane *id,
		    struct rf_ofi_lane **out)
{
	struct rf_ofi_lane *l = info ? calloc(1, sizeof(*l)) : NULL;
	int err;

	if (!l) {
		if (info)
			fi_freeinfo(info);
		return RF_ERR_NO_MEMORY;
	}
	l->info = info;
	rf_lane_init(&l->base, &o->base, id);
	l->wake_fd = l->timer_fd = -1;
	l->peer = FI_ADDR_UNSPEC;
	strcpy(l->peer_name, "the peer");
	pthread_mutex_init(&l->lock, NULL);
	err = open_queues(o, l);
	if (!err)
		err = open_ep(o, l);
	if (!err)
		err = open_fds(l);
	if (!err)
		err = make_buffers(o, l);
	if (!err)
		err = rf_ofi_post_recvs(l);
	if (err) {
		rf_ofi_lane_delete(l);
		return err;
	}
	*out = l;
	return RF_OK;
}

void rf_ofi_lane_up(struct rf_ofi_lane *l)
{
	struct rf_ofi *o = rf_ofi_of(l);

	rf_ofi_addr_peer(o, l->ep, l->peer_name, sizeof(l->peer_name));
	pthread_mutex_lock(&o->gate);
	l->next = o->lanes;
	o->lanes = l;
	l->listed = true;
	pthread_mutex_unlock(&o->gate);
}

static void unlist(struct rf_ofi_lane *l)
{
	struct rf_ofi *o = rf_ofi_of(l);
	struct rf_ofi_lane **p;

	pthread_mutex_lock(&o->gate);
	for (p = &o->lanes; *p != l; p = &(*p)->next)
		;
	*p = l->next;
	pthread_mutex_unlock(&o->gate);
}

static void close_fid(struct rf_ofi_lane *l, const char *what, struct fid *fid)
{
	int rc = fi_close(fid);

	if (rc)
		rf_warn("ofi", "lane %s: closing its %s: %s", l->base.name, what, fi_strerror(-rc));
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void rf_ofi_lane_delete(struct rf_ofi_lane *l)
{
	if (l->listed)
		unlist(l);
	/* before the queues it feeds and the buffers it may write to */
	if (l->ep)
		close_fid(l, "endpoint", &l->ep->fid);
	if (l->av)
		close_fid(l, "address vector", &l->av->fid);
	/* epoll keeps no reference to the queues' fds, but must not outlive their numbers */
	close_fd(l->base.fd);
	if (l->cq)
		close_fid(l, "completion queue", &l->cq->fid);
	if (l->eq)
		close_fid(l, "event queue", &l->eq->fid);
	if (l->buf_mr)
		close_fid(l, "buffers", &l->buf_mr->fid);
	close_fd(l->wake_fd);
	close_fd(l->timer_fd);
	fi_freeinfo(l->info);
	pthread_mutex_destroy(&l->lock);
	rf_lane_memory_free(l->base.t, l->bufs, BUFFER_SIZE);
	free(l);
}
