/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What both ends of a control stream do with a socket before it is a stream: wait with a
 * deadline, put addresses into words, exchange the preamble.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <ramferry/err.h>

#include "transport/ctrl_impl.h"

int rf_ctrl_wait(int fd, short events, uint64_t deadline_ns, int cancel_fd)
{
	struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = cancel_fd, .events = POLLIN}};

	for (;;) {
		int left = rf_ms_left(&rf_clock_monotonic, deadline_ns);
		int n = poll(p, 2, left);

		if (n < 0 && errno != EINTR) {
			rf_err_log("control stream", "poll: %s", strerror(errno));
			return RF_ERR_SYSTEM;
		}
		if (n > 0)
			return p[1].revents ? RF_ERR_CANCELLED : RF_OK;
		if (left == 0)
			return RF_ERR_TIMEOUT;
	}
}

/* An IPv4 peer of an IPv6 listener looks like ::ffff:10.0.0.1. */
static void unmap_v4(struct sockaddr_storage *sa)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)sa;
	struct sockaddr_in v4 = {.sin_family = AF_INET};

	if (sa->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		return;
	v4.sin_port = v6->sin6_port;
	memcpy(&v4.sin_addr, &v6->sin6_addr.s6_addr[12], sizeof(v4.sin_addr));
	memcpy(sa, &v4, sizeof(v4));
}

void rf_ctrl_host_str(const struct sockaddr_storage *sa, char host[RF_CTRL_HOST_SIZE])
{
	struct sockaddr_storage plain = *sa;

	unmap_v4(&plain);
	if (getnameinfo((struct sockaddr *)&plain, sizeof(plain), host, RF_CTRL_HOST_SIZE, NULL, 0,
			NI_NUMERICHOST))
		snprintf(host, RF_CTRL_HOST_SIZE, "?");
}

uint16_t rf_ctrl_sockaddr_port(const struct sockaddr_storage *sa)
{
	if (sa->ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)sa)->sin6_port);
	return ntohs(((const struct sockaddr_in *)sa)->sin_port);
}

void rf_ctrl_addr_str(const struct sockaddr_storage *sa, char str[RF_CTRL_PEER_SIZE])
{
	char host[RF_CTRL_HOST_SIZE];
	bool v6;

	rf_ctrl_host_str(sa, host);
	v6 = strchr(host, ':') != NULL;
	snprintf(str, RF_CTRL_PEER_SIZE, "%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "",
		 rf_ctrl_sockaddr_port(sa));
}

void rf_ctrl_addrs_of(int fd, struct rf_ctrl_addrs *a)
{
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof(sa);

	getsockname(fd, (struct sockaddr *)&sa, &len);
	rf_ctrl_host_str(&sa, a->local_host);
	memset(&sa, 0, sizeof(sa));
	len = sizeof(sa);
	getpeername(fd, (struct sockaddr *)&sa, &len);
	rf_ctrl_host_str(&sa, a->peer_host);
	rf_ctrl_addr_str(&sa, a->peer);
}

int rf_ctrl_read_preamble(int fd, uint8_t in[RF_WIRE_PREAMBLE_SIZE], size_t *got, uint16_t *major,
			  uint16_t *minor)
{
	static const char magic[] = RF_WIRE_MAGIC;
	size_t known = sizeof(magic) - 1;

	while (*got < RF_WIRE_PREAMBLE_SIZE) {
		ssize_t n = recv(fd, in + *got, RF_WIRE_PREAMBLE_SIZE - *got, MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return RF_AGAIN;
		if (n <= 0)
			return RF_ERR_NOT_RAMFERRY;
		*got += (size_t)n;
		/* A peer that says "SSH-2.0" and waits is not waited for. */
		if (memcmp(in, magic, *got < known ? *got : known))
			return RF_ERR_NOT_RAMFERRY;
	}
	return rf_wire_get_preamble(in, major, minor);
}

int rf_ctrl_send_preamble(int fd)
{
	uint8_t out[RF_WIRE_PREAMBLE_SIZE];

	rf_wire_put_preamble(out, RF_WIRE_MAJOR, RF_WIRE_MINOR);
	if (send(fd, out, sizeof(out), MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof(out))
		return RF_ERR_PEER_GONE;
	return RF_OK;
}
