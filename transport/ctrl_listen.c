/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The destination's way to a control stream. Peers that have connected wait in a small table
 * until their preamble is there, so that one that says nothing does not keep others out; each
 * has a deadline, and when the table is full the oldest one is turned away.
 */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "transport/ctrl_impl.h"

#define MAX_CALLERS 16

/* A peer whose preamble is not complete. */
struct caller {
	int fd;
	uint64_t deadline;
	uint8_t in[RF_WIRE_PREAMBLE_SIZE];
	size_t got;
	struct rf_ctrl_addrs addrs;
};

struct rf_ctrl_listener {
	/* fixed */
	int fd;
	uint16_t port;
	char obj[RF_CTRL_PEER_SIZE]; /* "127.0.0.1:4444" */
	/* who calls accept; oldest first */
	struct caller callers[MAX_CALLERS];
	unsigned ncallers;
};

static int listen_err(int e)
{
	switch (e) {
	case EADDRINUSE:
		return RF_ERR_BUSY;
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
		return RF_ERR_UNREACHABLE;
	case EACCES:
	case EPERM:
		return RF_ERR_PERMISSION;
	default:
		return RF_ERR_SYSTEM;
	}
}

static const char *listen_advice(int err)
{
	switch (err) {
	case RF_ERR_BUSY:
		return "; choose another port, or stop the program that has it";
	case RF_ERR_UNREACHABLE:
		return "; listen on an address of this host";
	case RF_ERR_PERMISSION:
		return "; ports below 1024 need a privilege, choose a higher one";
	default:
		return "";
	}
}

/* A listening socket, or -1 with errno. */
static int listen_addr(const struct addrinfo *ai)
{
	int one = 1, zero = 0, e;
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, MAX_CALLERS) == 0)
		return fd;
	e = errno;
	close(fd);
	errno = e;
	return -1;
}

int rf_ctrl_listen(const char *host, uint16_t port, struct rf_ctrl_listener **out)
{
	uint64_t deadline = rf_now_ns(&rf_clock_monotonic) + RF_CTRL_DEFAULT_TIMEOUT * RF_NS_PER_MS;
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof(sa);
	struct rf_ctrl_listener *l;
	struct addrinfo *list;
	const char *why;
	int fd = -1, e, r;

	if (!host)
		host = "127.0.0.1";
	r = rf_ctrl_resolve(host, port, AI_PASSIVE, deadline, -1, &list, &why);
	if (r) {
		rf_err_log("listener", "cannot find the address of '%s': %s; check the name", host,
			   *why ? why : rf_err_str(r));
		return r;
	}
	for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
		fd = listen_addr(ai);
	e = errno;
	freeaddrinfo(list);
	if (fd < 0) {
		r = listen_err(e);
		rf_err_log("listener", "cannot listen on '%s' port %u: %s%s", host, port,
			   strerror(e), listen_advice(r));
		return r;
	}
	l = calloc(1, sizeof(*l));
	if (!l) {
		close(fd);
		return RF_ERR_NO_MEMORY;
	}
	l->fd = fd;
	getsockname(fd, (struct sockaddr *)&sa, &len);
	l->port = rf_ctrl_sockaddr_port(&sa);
	rf_ctrl_addr_str(&sa, l->obj);
	rf_info(l->obj, "listening for a source");
	*out = l;
	return RF_OK;
}

uint16_t rf_ctrl_listener_port(const struct rf_ctrl_listener *l)
{
	return l->port;
}

/* Takes caller i out of the table; its socket stays open. */
static struct caller remove_caller(struct rf_ctrl_listener *l, unsigned i)
{
	struct caller c = l->callers[i];

	l->ncallers--;
	memmove(&l->callers[i], &l->callers[i + 1], (l->ncallers - i) * sizeof(c));
	return c;
}

/* Takes one connection from the backlog into the table. */
static int take_caller(struct rf_ctrl_listener *l, uint32_t timeout)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
	struct caller *c;

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			rf_err_log(l->obj, "accept: %s; raise the limit", strerror(errno));
			return RF_ERR_SYSTEM;
		}
		return RF_OK; /* gone again, or a network error of that one connection */
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (l->ncallers == MAX_CALLERS) {
		struct caller old = remove_caller(l, 0);

		rf_warn(l->obj, "too many peers without a greeting; turned away %s",
			old.addrs.peer);
		close(old.fd);
	}
	c = &l->callers[l->ncallers++];
	*c = (struct caller){.fd = fd,
			     .deadline = rf_now_ns(&rf_clock_monotonic) + timeout * RF_NS_PER_MS};
	rf_ctrl_addrs_of(fd, &c->addrs);
	return RF_OK;
}

/* Listens to what a caller says. RF_AGAIN: not complete; RF_OK: greeted back. */
static int hear_caller(struct rf_ctrl_listener *l, struct caller *c)
{
	uint16_t major = 0, minor = 0;
	int r = rf_ctrl_read_preamble(c->fd, c->in, &c->got, &major, &minor);

	if (r == RF_AGAIN) {
		if (rf_ms_left(&rf_clock_monotonic, c->deadline) > 0)
			return r;
		rf_warn(l->obj, "turned away %s: it did not greet in time; not a ramferry source",
			c->addrs.peer);
		return RF_ERR_NOT_RAMFERRY;
	}
	if (r == RF_ERR_NOT_RAMFERRY) {
		rf_warn(l->obj, "turned away %s: %s; not a ramferry source", c->addrs.peer,
			c->got ? "it speaks something else" : "it closed without a word");
		return r;
	}
	c->addrs.peer_minor = minor;
	/* One of another version is greeted too, so that it can say what is wrong. */
	if (rf_ctrl_send_preamble(c->fd) && !r) {
		rf_warn(l->obj, "turned away %s: it closed while greeting", c->addrs.peer);
		return RF_ERR_NOT_RAMFERRY;
	}
	if (r == RF_ERR_VERSION)
		rf_warn(l->obj,
			"turned away %s: it speaks protocol %u.%u, this side %d.%d; use matching "
			"versions of ramferry",
			c->addrs.peer, major, minor, RF_WIRE_MAJOR, RF_WIRE_MINOR);
	return r;
}

/* Looks at all callers. RF_AGAIN: none is ready; else the result of one, with it in *done. */
static int hear_callers(struct rf_ctrl_listener *l, struct caller *done)
{
	for (unsigned i = 0; i < l->ncallers; i++) {
		int r = hear_caller(l, &l->callers[i]);

		if (r == RF_AGAIN)
			continue;
		*done = remove_caller(l, i);
		return r;
	}
	return RF_AGAIN;
}

static int wait_callers(struct rf_ctrl_listener *l, uint64_t deadline, uint32_t connect_timeout,
			int cancel_fd)
{
	struct pollfd p[2 + MAX_CALLERS] = {{.fd = cancel_fd, .events = POLLIN},
					    {.fd = l->fd, .events = POLLIN}};
	int left = rf_ms_left(&rf_clock_monotonic, deadline);
	int wait = left < 0 ? INT_MAX : left;

	for (unsigned i = 0; i < l->ncallers; i++) {
		int ms = rf_ms_left(&rf_clock_monotonic, l->callers[i].deadline);

		p[2 + i] = (struct pollfd){.fd = l->callers[i].fd, .events = POLLIN};
		wait = ms < wait ? ms : wait;
	}
	int n = poll(p, 2 + l->ncallers, wait == INT_MAX ? -1 : wait);

	if (n < 0 && errno != EINTR) {
		rf_err_log(l->obj, "poll: %s", strerror(errno));
		return RF_ERR_SYSTEM;
	}
	if (n > 0 && p[0].revents)
		return RF_ERR_CANCELLED;
	if (n > 0 && p[1].revents) {
		int r = take_caller(l, connect_timeout);

		if (r)
			return r;
	}
	return left == 0 ? RF_ERR_TIMEOUT : RF_OK;
}

int rf_ctrl_accept(struct rf_ctrl_listener *l, const struct rf_ctrl_cfg *cfg, uint32_t timeout,
		   int cancel_fd, struct rf_ctrl **out)
{
	uint32_t greet = cfg->connect_timeout ? cfg->connect_timeout : RF_CTRL_DEFAULT_TIMEOUT;
	uint64_t deadline = timeout ? rf_now_ns(&rf_clock_monotonic) + timeout * RF_NS_PER_MS : 0;
	struct caller c;
	int r;

	while ((r = hear_callers(l, &c)) == RF_AGAIN) {
		r = wait_callers(l, deadline, greet, cancel_fd);
		if (r)
			return r;
	}
	if (r) {
		shutdown(c.fd, SHUT_WR);
		close(c.fd);
		return r;
	}
	return rf_ctrl_start(c.fd, cfg, &c.addrs, out);
}

void rf_ctrl_listener_close(struct rf_ctrl_listener **l)
{
	if (!*l)
		return;
	while ((*l)->ncallers)
		close(remove_caller(*l, 0).fd);
	close((*l)->fd);
	free(*l);
	*l = NULL;
}
