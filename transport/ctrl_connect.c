/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The source's way to a control stream: every address of the destination is tried in turn, each
 * with its share of what is left of the one deadline; the failure that came furthest is
 * reported, in one line that says what to do.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "transport/ctrl_impl.h"

/* How far an attempt came, and why it went no further. */
struct attempt {
	int err;
	int reached;	/* 0: no network … 4: a ramferry of another version */
	uint16_t minor; /* of the peer's version, once it has worked */
	char where[RF_CTRL_PEER_SIZE];
	char why[160];
};

static int note(struct attempt *a, int reached, int err, const char *why)
{
	a->err = err;
	a->reached = reached;
	snprintf(a->why, sizeof(a->why), "%s", why);
	return err;
}

static int note_connect_errno(struct attempt *a, int e)
{
	char why[160];

	switch (e) {
	case ECONNREFUSED:
	case ECONNRESET:
		return note(a, 2, RF_ERR_REFUSED,
			    "nobody listens there; start the destination first, check the port");
	case ETIMEDOUT:
		return note(a, 1, RF_ERR_TIMEOUT,
			    "no answer; check the address, the network and the firewalls");
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		snprintf(why, sizeof(why), "%s; raise the limit or free resources", strerror(e));
		return note(a, 0, RF_ERR_SYSTEM, why);
	default:
		snprintf(why, sizeof(why), "%s; check the address, the network and the firewalls",
			 strerror(e));
		return note(a, 0, RF_ERR_UNREACHABLE, why);
	}
}

static int connect_socket(int fd, const struct addrinfo *ai, uint64_t deadline, int cancel_fd,
			  struct attempt *a)
{
	int one = 1, e = 0, r;
	socklen_t len = sizeof(e);

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
		return RF_OK;
	if (errno != EINPROGRESS)
		return note_connect_errno(a, errno);
	r = rf_ctrl_wait(fd, POLLOUT, deadline, cancel_fd);
	if (r == RF_ERR_TIMEOUT)
		return note_connect_errno(a, ETIMEDOUT);
	if (r)
		return note(a, 0, r, rf_err_str(r));
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
	return e ? note_connect_errno(a, e) : RF_OK;
}

static int note_version(struct attempt *a, uint16_t major, uint16_t minor)
{
	char why[160];

	snprintf(why, sizeof(why),
		 "it speaks protocol %u.%u, this side %d.%d; use matching versions of ramferry",
		 major, minor, RF_WIRE_MAJOR, RF_WIRE_MINOR);
	return note(a, 4, RF_ERR_VERSION, why);
}

static int exchange_preamble(int fd, uint64_t deadline, int cancel_fd, struct attempt *a)
{
	uint8_t in[RF_WIRE_PREAMBLE_SIZE];
	uint16_t major = 0, minor = 0;
	size_t got = 0;
	int r = rf_ctrl_send_preamble(fd);

	if (!r)
		r = RF_AGAIN;
	while (r == RF_AGAIN) {
		r = rf_ctrl_wait(fd, POLLIN, deadline, cancel_fd);
		if (!r)
			r = rf_ctrl_read_preamble(fd, in, &got, &major, &minor);
	}
	switch (r) {
	case RF_OK:
		a->minor = minor;
		return RF_OK;
	case RF_ERR_TIMEOUT:
		return note(a, 3, r,
			    "it took the connection and says nothing; "
			    "is it a ramferry destination, and not busy with another source?");
	case RF_ERR_VERSION:
		return note_version(a, major, minor);
	case RF_ERR_NOT_RAMFERRY:
	case RF_ERR_PEER_GONE:
		return note(a, 3, RF_ERR_NOT_RAMFERRY,
			    got ? "it does not speak ramferry's protocol; check the port"
				: "it closed the connection without a word; check the port, and "
				  "that the destination is not just stopping");
	default:
		return note(a, 0, r, rf_err_str(r));
	}
}

/* On a loopback port that nobody listens on, TCP may connect a socket to itself. */
static bool connected_to_itself(int fd)
{
	struct sockaddr_storage me = {0}, peer = {0};
	char a[RF_CTRL_PEER_SIZE], b[RF_CTRL_PEER_SIZE];
	socklen_t mlen = sizeof(me), plen = sizeof(peer);

	if (getsockname(fd, (struct sockaddr *)&me, &mlen) ||
	    getpeername(fd, (struct sockaddr *)&peer, &plen))
		return false;
	rf_ctrl_addr_str(&me, a);
	rf_ctrl_addr_str(&peer, b);
	return !strcmp(a, b);
}

static int try_addr(const struct addrinfo *ai, uint64_t deadline, int cancel_fd, struct attempt *a,
		    int *out)
{
	struct sockaddr_storage sa = {0};
	int fd, r;

	memcpy(&sa, ai->ai_addr, ai->ai_addrlen);
	rf_ctrl_addr_str(&sa, a->where);
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return note_connect_errno(a, errno);
	r = connect_socket(fd, ai, deadline, cancel_fd, a);
	if (!r && connected_to_itself(fd))
		r = note_connect_errno(a, ECONNREFUSED);
	if (!r)
		r = exchange_preamble(fd, deadline, cancel_fd, a);
	if (r) {
		close(fd);
		return r;
	}
	*out = fd;
	return RF_OK;
}

/* Leaves the attempt that came furthest, or the one that worked, in *best. */
static int try_all(const struct addrinfo *list, const char *name, uint64_t deadline, int cancel_fd,
		   struct attempt *best, int *out)
{
	unsigned left = 0;

	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
		left++;
	best->reached = -1;
	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next, left--) {
		uint64_t now = rf_now_ns(&rf_clock_monotonic);
		uint64_t share = now < deadline ? (deadline - now) / left : 0;
		struct attempt a = {0};

		if (try_addr(ai, now + share, cancel_fd, &a, out) == RF_OK) {
			*best = a;
			return RF_OK;
		}
		if (a.reached > best->reached || a.err == RF_ERR_CANCELLED)
			*best = a;
		if (a.err == RF_ERR_CANCELLED)
			break;
		rf_debug(name, "%s: %s", a.where, a.why);
	}
	return best->err;
}

/* The time is told where it was what failed, the address where it is not what was given. */
static void tell_failure(const char *name, const char *host, uint16_t port, uint32_t timeout,
			 const struct attempt *a)
{
	size_t len = strlen(host);
	bool numeric = !strncmp(a->where, host, len) && a->where[len] == ':';
	char within[32] = "", where[RF_CTRL_PEER_SIZE + 4] = "";

	if (a->err == RF_ERR_CANCELLED)
		return;
	if (a->err == RF_ERR_TIMEOUT)
		snprintf(within, sizeof(within), " within %u ms", timeout);
	if (!numeric)
		snprintf(where, sizeof(where), " (%s)", a->where);
	rf_err_log(name, "cannot connect to '%s' port %u%s%s: %s", host, port, where, within,
		   a->why);
}

int rf_ctrl_connect(const char *host, uint16_t port, const struct rf_ctrl_cfg *cfg, int cancel_fd,
		    struct rf_ctrl **out)
{
	uint32_t timeout = cfg->connect_timeout ? cfg->connect_timeout : RF_CTRL_DEFAULT_TIMEOUT;
	uint64_t deadline = rf_now_ns(&rf_clock_monotonic) + timeout * RF_NS_PER_MS;
	const char *name = cfg->name ? cfg->name : "control stream", *why;
	struct attempt best = {0};
	struct rf_ctrl_addrs addrs;
	struct addrinfo *list;
	int fd = -1, r;

	r = rf_ctrl_resolve(host, port, 0, deadline, cancel_fd, &list, &why);
	if (r) {
		if (r != RF_ERR_CANCELLED)
			rf_err_log(name, "cannot find the address of '%s': %s; check the name",
				   host, *why ? why : rf_err_str(r));
		return r;
	}
	r = try_all(list, name, deadline, cancel_fd, &best, &fd);
	freeaddrinfo(list);
	if (r) {
		tell_failure(name, host, port, timeout, &best);
		return r;
	}
	rf_ctrl_addrs_of(fd, &addrs);
	addrs.peer_minor = best.minor;
	return rf_ctrl_start(fd, cfg, &addrs, out);
}
