/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ramferry/version.h>

#include "bench/msg.h"
#include "bench/say.h"

#define MAGIC	 0x31484e4542465252ull /* "RRFBENH1", as a number */
#define PROTOCOL 1		       /* of the messages; changes with them */

static struct addrinfo *resolve(const char *host, uint16_t port, int flags)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
	struct addrinfo *list;
	char service[8];
	int rc;

	snprintf(service, sizeof(service), "%u", port);
	rc = getaddrinfo(host, service, &hints, &list);
	if (!rc)
		return list;
	say_error("%s: %s", host ? host : "any address", gai_strerror(rc));
	return NULL;
}

static int listen_on(const struct addrinfo *ai)
{
	const int yes = 1, no = 0;
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (ai->ai_family == AF_INET6) /* IPv4 as well */
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
	if (!bind(fd, ai->ai_addr, ai->ai_addrlen) && !listen(fd, 4))
		return fd;
	close(fd);
	return -1;
}

static uint16_t port_of(int fd)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} a = {0};
	socklen_t len = sizeof(a);

	if (getsockname(fd, &a.sa, &len))
		return 0;
	return ntohs(a.sa.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

int peer_listen(const char *host, uint16_t *port, int *fd)
{
	struct addrinfo *list = resolve(host, *port, AI_PASSIVE);

	if (!list)
		return -1;
	*fd = -1;
	/* IPv6 first: without a host that is both */
	for (int family = AF_INET6; *fd < 0; family = AF_INET) {
		for (struct addrinfo *ai = list; ai && *fd < 0; ai = ai->ai_next)
			if (ai->ai_family == family)
				*fd = listen_on(ai);
		if (family == AF_INET)
			break;
	}
	freeaddrinfo(list);
	if (*fd < 0)
		return say_error("cannot listen on port %u: %s", *port, strerror(errno));
	*port = port_of(*fd);
	return 0;
}

/* The address as text, an IPv4 one without its IPv6 prefix. */
static void host_text(int (*name)(int, struct sockaddr *, socklen_t *), int fd, char *text)
{
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(ss);
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&ss;

	text[0] = 0;
	if (name(fd, (struct sockaddr *)&ss, &len))
		return;
	if (ss.ss_family == AF_INET)
		inet_ntop(AF_INET, &((struct sockaddr_in *)&ss)->sin_addr, text, INET6_ADDRSTRLEN);
	else if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], text, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, &v6->sin6_addr, text, INET6_ADDRSTRLEN);
}

/* Both say who they are at once, so neither waits for a peer that only listens. */
static int introduce(struct peer *p, const char *kind, bool *stranger)
{
	char their_kind[32], their_version[32];
	uint64_t magic, protocol;
	struct msg m;

	*stranger = true;
	msg_init(&m, MSG_HELLO);
	msg_put_u64(&m, MAGIC);
	msg_put_bytes(&m, kind, (uint32_t)strlen(kind));
	msg_put_u64(&m, PROTOCOL);
	msg_put_bytes(&m, rf_version(), (uint32_t)strlen(rf_version()));
	if (msg_send(p->fd, &m) || msg_recv(p->fd, &m, MSG_HELLO, PEER_TIMEOUT))
		return -1;
	magic = msg_get_u64(&m);
	msg_get_text(&m, their_kind, sizeof(their_kind));
	protocol = msg_get_u64(&m);
	msg_get_text(&m, their_version, sizeof(their_version));
	if (magic != MAGIC || m.bad)
		return say_error("%s: what answers there is not a bench of ramferry", p->peer_host);
	*stranger = false;
	if (strcmp(their_kind, kind))
		return say_error("the other side, %s, is %s: start the same program on both",
				 p->peer_host, their_kind);
	if (protocol != PROTOCOL || strcmp(their_version, rf_version()))
		return say_error("the other side, %s, is version %s (bench protocol %llu), this is "
				 "%s (%d): use the same on both",
				 p->peer_host, their_version, (unsigned long long)protocol,
				 rf_version(), PROTOCOL);
	return 0;
}

static int begin(struct peer *p, int fd, const char *kind, bool *stranger)
{
	const int yes = 1;
	int rc;

	p->fd = fd;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
	host_text(getsockname, fd, p->local_host);
	host_text(getpeername, fd, p->peer_host);
	rc = introduce(p, kind, stranger);
	if (rc)
		peer_close(p);
	return rc;
}

int peer_accept(int listen_fd, const char *kind, struct peer *p)
{
	bool stranger = true;
	int rc = -1;

	while (rc && stranger) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && errno != EINTR && errno != ECONNABORTED)
			return say_error("accept: %s", strerror(errno));
		if (fd >= 0)
			rc = begin(p, fd, kind, &stranger);
	}
	return rc;
}

/* Connects with a limit; -1 with errno. */
static int connect_to(const struct addrinfo *ai)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err = 0;
	struct pollfd w = {.fd = fd, .events = POLLOUT};
	socklen_t len = sizeof(err);

	if (fd < 0)
		return -1;
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) && errno != EINPROGRESS)
		err = errno;
	else if (poll(&w, 1, PEER_TIMEOUT) <= 0)
		err = ETIMEDOUT;
	else
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (!err && !fcntl(fd, F_SETFL, 0))
		return fd;
	close(fd);
	errno = err;
	return -1;
}

int peer_connect(const char *host, uint16_t port, const char *kind, struct peer *p)
{
	struct addrinfo *list = resolve(host, port, 0);
	bool stranger;
	int fd = -1;

	if (!list)
		return -1;
	for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
		fd = connect_to(ai);
	freeaddrinfo(list);
	if (fd < 0)
		return say_error("cannot connect to %s port %u: %s (is the server running there?)",
				 host, port, strerror(errno));
	return begin(p, fd, kind, &stranger);
}

void peer_close(struct peer *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}
