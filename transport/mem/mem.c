/* SPDX-License-Identifier: BSD-3-Clause */
/* Backend mem: opening, connecting, memory, and the table. */
#include "transport/mem/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "transport/mem/mem_hub.h"

static struct rf_mem *mem(struct rf_transport *t)
{
	return (struct rf_mem *)t;
}

static int list_rungs(const char *provider, char rungs[][RF_WIRE_RUNG_SIZE], unsigned max)
{
	strcpy(rungs[0], "mem");
	return 1;
}

static int open_mem(const char *detail, const struct rf_transport_cfg *cfg,
		    struct rf_transport **out)
{
	struct rf_mem *m;

	if (!cfg->hub) {
		rf_err_log("mem", "a transport without a hub");
		return RF_ERR_INVALID;
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return RF_ERR_NO_MEMORY;
	m->hub = cfg->hub;
	m->fd = -1;
	m->base.caps = (struct rf_transport_caps){
		.max_write = m->hub->cfg.max_write,
		.depth = m->hub->cfg.depth,
		.inline_size = RF_MEM_MAX_MSG,
		.max_msg = RF_MEM_MAX_MSG,
		.imm_bytes = 8,
		.spin = true,
		.pins = m->hub->cfg.pins,
	};
	*out = &m->base;
	return RF_OK;
}

/* Answers one that asked. hub.lock held. */
static void answer(struct rf_mem_pair *p, enum rf_mem_pair_state state)
{
	if (p->state == RF_MEM_ASKED)
		p->state = state;
	pthread_mutex_lock(&p->lock);
	if (p->state == RF_MEM_TURNED_AWAY)
		rf_mem_pair_kill(p, 0, RF_ERR_LANE_CLOSED, "the peer turned the lane away");
	else
		rf_mem_pair_wake(&p->end[0]);
	pthread_mutex_unlock(&p->lock);
}

static void close_mem(struct rf_transport *t)
{
	struct rf_mem *m = mem(t), **at;
	struct rf_mem_pair *p;

	if (m->listen_id) {
		pthread_mutex_lock(&m->hub->lock);
		for (at = &m->hub->listeners; *at != m; at = &(*at)->next_listener)
			;
		*at = m->next_listener;
		while ((p = m->asked)) {
			m->asked = p->next_asked;
			answer(p, RF_MEM_TURNED_AWAY);
			rf_mem_hub_put(m->hub, p);
		}
		pthread_mutex_unlock(&m->hub->lock);
		close(m->fd);
	}
	free(m);
}

static int listen_mem(struct rf_transport *t, uint8_t *addr, uint32_t *addr_len)
{
	struct rf_mem *m = mem(t);
	struct rf_mem_hub *h = m->hub;

	if (m->listen_id)
		return RF_ERR_STATE;
	m->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	if (m->fd < 0)
		return RF_ERR_SYSTEM;
	pthread_mutex_lock(&h->lock);
	m->listen_id = ++h->last_id;
	m->next_listener = h->listeners;
	h->listeners = m;
	pthread_mutex_unlock(&h->lock);
	memcpy(addr, &m->listen_id, sizeof(m->listen_id));
	*addr_len = sizeof(m->listen_id);
	return RF_OK;
}

/* Sleeps until fd is readable. RF_ERR_TIMEOUT, RF_ERR_CANCELLED. */
static int wait_fd(int fd, uint64_t deadline, int cancel_fd)
{
	struct pollfd p[2] = {{.fd = cancel_fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
	int left = rf_ms_left(&rf_clock_monotonic, deadline);

	if (poll(p, 2, left) < 0 && errno != EINTR)
		return RF_ERR_SYSTEM;
	if (p[0].revents)
		return RF_ERR_CANCELLED;
	return p[1].revents || left ? RF_OK : RF_ERR_TIMEOUT;
}

static int make_lane(struct rf_mem *m, struct rf_mem_pair *p, unsigned side, struct rf_lane **out)
{
	struct rf_mem_lane *l = calloc(1, sizeof(*l));

	if (!l)
		return RF_ERR_NO_MEMORY;
	rf_lane_init(&l->base, &m->base, &p->id);
	l->base.fd = p->end[side].fd;
	l->pair = p;
	l->side = side;
	*out = &l->base;
	return RF_OK;
}

/* The next that asked and still waits; its reference is the caller's. */
static struct rf_mem_pair *next_asked(struct rf_mem *m)
{
	struct rf_mem_pair *p;

	pthread_mutex_lock(&m->hub->lock);
	while ((p = m->asked)) {
		m->asked = p->next_asked;
		if (p->state == RF_MEM_ASKED)
			break;
		rf_mem_hub_put(m->hub, p);
	}
	pthread_mutex_unlock(&m->hub->lock);
	return p;
}

static int accept_mem(struct rf_transport *t, const uint8_t *token, uint32_t timeout, int cancel_fd,
		      struct rf_lane **out)
{
	uint64_t deadline = rf_now_ns(&rf_clock_monotonic) + timeout * RF_NS_PER_MS, n;
	struct rf_mem *m = mem(t);
	struct rf_mem_pair *p;
	bool right;
	int err;

	if (!m->listen_id)
		return RF_ERR_STATE;
	for (;;) {
		p = next_asked(m);
		if (!p) {
			err = wait_fd(m->fd, deadline, cancel_fd);
			if (err)
				return err;
			while (read(m->fd, &n, sizeof(n)) > 0)
				;
			continue;
		}
		right = rf_token_equal(p->id.token, token);
		err = right ? make_lane(m, p, 1, out) : RF_OK;
		pthread_mutex_lock(&m->hub->lock);
		if (right && !err) {
			pthread_mutex_lock(&p->lock);
			p->end[1].t = m;
			rf_mem_pair_pump(p, 0);
			pthread_mutex_unlock(&p->lock);
			answer(p, RF_MEM_JOINED);
		} else {
			answer(p, RF_MEM_TURNED_AWAY);
			rf_mem_hub_put(m->hub, p);
		}
		pthread_mutex_unlock(&m->hub->lock);
		if (right)
			return err;
		rf_warn("mem", "turned away a lane without this session's token");
	}
}

/* Puts a new pair into the queue of the listener `id`. */
static int ask(struct rf_mem *m, uint64_t id, struct rf_mem_pair *p)
{
	const uint64_t one = 1;
	struct rf_mem_pair **at;
	struct rf_mem *to;
	int err = RF_OK;

	pthread_mutex_lock(&m->hub->lock);
	for (to = m->hub->listeners; to && to->listen_id != id; to = to->next_listener)
		;
	if (to) {
		p->refs = 2; /* our lane, the queue */
		p->end[0].t = m;
		p->end[0].armed = true;
		rf_mem_hub_add(m->hub, p);
		for (at = &to->asked; *at; at = &(*at)->next_asked)
			;
		*at = p;
		if (write(to->fd, &one, sizeof(one)) < 0)
			err = RF_ERR_SYSTEM;
	} else {
		err = RF_ERR_REFUSED;
	}
	pthread_mutex_unlock(&m->hub->lock);
	return err;
}

static enum rf_mem_pair_state state_of(struct rf_mem_pair *p)
{
	enum rf_mem_pair_state s;

	pthread_mutex_lock(&p->hub->lock);
	s = p->state;
	pthread_mutex_unlock(&p->hub->lock);
	return s;
}

/* Until the other side has taken or refused the lane. */
static int wait_answer(struct rf_mem_pair *p, uint64_t deadline, int cancel_fd)
{
	enum rf_mem_pair_state s;
	int err;

	while ((s = state_of(p)) == RF_MEM_ASKED) {
		err = wait_fd(p->end[0].fd, deadline, cancel_fd);
		if (!err)
			continue;
		pthread_mutex_lock(&p->hub->lock);
		if (p->state == RF_MEM_ASKED)
			p->state = RF_MEM_GIVEN_UP;
		s = p->state;
		pthread_mutex_unlock(&p->hub->lock);
		if (s == RF_MEM_GIVEN_UP)
			return err;
	}
	return s == RF_MEM_JOINED ? RF_OK : RF_ERR_REFUSED;
}

static void close_lane(struct rf_lane *lane)
{
	struct rf_mem_lane *l = (struct rf_mem_lane *)lane;
	struct rf_mem_pair *p = l->pair;
	struct rf_mem_hub *h = p->hub;

	pthread_mutex_lock(&h->lock);
	if (p->state == RF_MEM_ASKED)
		p->state = RF_MEM_GIVEN_UP;
	pthread_mutex_lock(&p->lock);
	p->end[l->side].closed = true;
	rf_mem_pair_kill(p, l->side, RF_ERR_LANE_CLOSED, "closed");
	rf_mem_pair_kill(p, 1 - l->side, RF_ERR_LANE_CLOSED, "the peer closed it");
	pthread_mutex_unlock(&p->lock);
	rf_mem_hub_put(h, p);
	pthread_mutex_unlock(&h->lock);
	free(l);
}

static int connect_mem(struct rf_transport *t, const uint8_t *addr, uint32_t addr_len,
		       const struct rf_wire_lane *id, uint32_t timeout, int cancel_fd,
		       struct rf_lane **out)
{
	uint64_t deadline = rf_now_ns(&rf_clock_monotonic) + timeout * RF_NS_PER_MS, to;
	struct rf_mem *m = mem(t);
	struct rf_mem_pair *p;
	struct rf_lane *l;
	int err;

	if (addr_len != sizeof(to))
		return RF_ERR_PROTOCOL;
	memcpy(&to, addr, sizeof(to));
	err = rf_mem_pair_new(m->hub, id, &p);
	if (err)
		return err;
	err = make_lane(m, p, 0, &l);
	if (err)
		goto free_pair;
	err = ask(m, to, p);
	if (err)
		goto free_lane;
	/* Scripted: one thread plays both sides, so the answer may come later. */
	if (!m->hub->cfg.scripted)
		err = wait_answer(p, deadline, cancel_fd);
	if (err)
		close_lane(l);
	else
		*out = l;
	return err;
free_lane:
	free(l);
free_pair:
	rf_mem_pair_free(p);
	return err;
}

static int register_mem(struct rf_transport *t, void *addr, size_t len, enum rf_access access,
			struct rf_mr **out)
{
	struct rf_mem_mr *m = calloc(1, sizeof(*m));

	if (!m)
		return RF_ERR_NO_MEMORY;
	m->base.t = t;
	m->base.addr = addr;
	m->base.len = len;
	m->base.access = access;
	if (access == RF_ACCESS_REMOTE_WRITE)
		rf_mem_hub_add_mr(mem(t)->hub, m);
	*out = &m->base;
	return RF_OK;
}

static void deregister_mem(struct rf_mr *mr)
{
	if (mr->access == RF_ACCESS_REMOTE_WRITE)
		rf_mem_hub_remove_mr(mem(mr->t)->hub, (struct rf_mem_mr *)mr);
	else
		rf_mem_hub_stop_reads(mem(mr->t)->hub, mr);
	free(mr);
}

const struct rf_transport_ops rf_mem_ops = {
	.name = "mem",
	.rungs = list_rungs,
	.open = open_mem,
	.close = close_mem,
	.listen = listen_mem,
	.accept = accept_mem,
	.connect = connect_mem,
	.mr_register = register_mem,
	.mr_deregister = deregister_mem,
	.lane_write = rf_mem_lane_write,
	.lane_fence = rf_mem_lane_fence,
	.lane_send = rf_mem_lane_send,
	.lane_write_imm = rf_mem_lane_write_imm,
	.lane_poll = rf_mem_lane_poll,
	.lane_arm = rf_mem_lane_arm,
	.lane_close = close_lane,
};
