/* SPDX-License-Identifier: BSD-3-Clause */
/* IPv4 and IPv6 addresses: of names, as text, and as they travel on the control stream. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "transport/verbs/verbs.h"

int rf_verbs_addr_resolve(const char *host, struct sockaddr_storage *out)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *res;
	int rc = getaddrinfo(host, NULL, &hints, &res);

	if (rc) {
		rf_err_log("verbs", "%s: %s", host, gai_strerror(rc));
		return RF_ERR_UNREACHABLE;
	}
	memset(out, 0, sizeof(*out));
	memcpy(out, res->ai_addr, res->ai_addrlen);
	freeaddrinfo(res);
	return RF_OK;
}

void rf_verbs_addr_text(const struct sockaddr *sa, char text[RF_VERBS_HOST_SIZE])
{
	socklen_t len = sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
						  : sizeof(struct sockaddr_in);

	if (getnameinfo(sa, len, text, RF_VERBS_HOST_SIZE, NULL, 0, NI_NUMERICHOST))
		snprintf(text, RF_VERBS_HOST_SIZE, "the peer");
}

void rf_verbs_addr_put(const struct sockaddr *sa, uint8_t addr[RF_VERBS_ADDR_SIZE])
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
	const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
	uint16_t port;

	memset(addr, 0, RF_VERBS_ADDR_SIZE);
	if (sa->sa_family == AF_INET6) {
		addr[0] = 6;
		port = ntohs(in6->sin6_port);
		memcpy(addr + 4, &in6->sin6_addr, sizeof(in6->sin6_addr));
	} else {
		addr[0] = 4;
		port = ntohs(in->sin_port);
		memcpy(addr + 4, &in->sin_addr, sizeof(in->sin_addr));
	}
	addr[2] = (uint8_t)port;
	addr[3] = (uint8_t)(port >> 8);
}

/* A listener on all addresses does not know which one we can reach: the one we know it by. */
static int fill_any(const struct rf_verbs *v, struct sockaddr_storage *ss, in_port_t port)
{
	int err;

	if (!v->peer_host) {
		rf_err_log("verbs", "the peer listens on any address and its host is not known");
		return RF_ERR_UNREACHABLE;
	}
	err = rf_verbs_addr_resolve(v->peer_host, ss);
	if (err)
		return err;
	if (ss->ss_family == AF_INET)
		((struct sockaddr_in *)ss)->sin_port = port;
	else
		((struct sockaddr_in6 *)ss)->sin6_port = port;
	return RF_OK;
}

/* Bytes without padding or meaning left over: 0 for the rest of an IPv4 address. */
static bool tail_is_zero(const uint8_t *addr)
{
	for (unsigned i = 8; i < RF_VERBS_ADDR_SIZE; i++) {
		if (addr[i])
			return false;
	}
	return true;
}

int rf_verbs_addr_get(const struct rf_verbs *v, const uint8_t *addr, uint32_t len,
		      struct sockaddr_storage *out)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	in_port_t port;
	bool any;

	if (len != RF_VERBS_ADDR_SIZE || (addr[0] != 4 && addr[0] != 6) || addr[1] ||
	    (addr[0] == 4 && !tail_is_zero(addr)) || !(addr[2] | addr[3])) {
		rf_err_log("verbs", "the peer's lane address is not one of this transport");
		return RF_ERR_PROTOCOL;
	}
	port = htons((uint16_t)(addr[2] | addr[3] << 8));
	memset(out, 0, sizeof(*out));
	if (addr[0] == 4) {
		in->sin_family = AF_INET;
		in->sin_port = port;
		memcpy(&in->sin_addr, addr + 4, sizeof(in->sin_addr));
		any = in->sin_addr.s_addr == INADDR_ANY;
	} else {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = port;
		memcpy(&in6->sin6_addr, addr + 4, sizeof(in6->sin6_addr));
		/* which link it is on only we know */
		if (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) && v->local.ss_family == AF_INET6)
			in6->sin6_scope_id =
				((const struct sockaddr_in6 *)&v->local)->sin6_scope_id;
		any = IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
	}
	return any ? fill_any(v, out, port) : RF_OK;
}
