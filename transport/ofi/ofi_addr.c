/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses as they travel on the control stream: addr_format:u32, then the provider's bytes.
 * They come from the peer: format, length and family are checked before libfabric sees them.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "transport/ofi/ofi.h"

int rf_ofi_addr_get(const struct rf_ofi *o, struct fid *fid, uint8_t *addr, uint32_t *addr_len)
{
	uint8_t raw[RF_OFI_ADDR_SIZE];
	size_t len = sizeof(raw);
	uint32_t format = o->info->addr_format;
	int rc = fi_getname(fid, raw, &len);

	if (rc || len > sizeof(raw)) {
		rf_err_log("ofi", "fi_getname: %s", fi_strerror(-rc));
		return RF_ERR_SYSTEM;
	}
	for (unsigned i = 0; i < 4; i++)
		addr[i] = (uint8_t)(format >> (8 * i));
	memcpy(addr + 4, raw, len);
	*addr_len = (uint32_t)len + 4;
	return RF_OK;
}

void rf_ofi_addr_peer(const struct rf_ofi *o, struct fid_ep *ep, char *out, size_t size)
{
	struct sockaddr_storage ss = {0};
	size_t len = sizeof(ss);
	char host[INET6_ADDRSTRLEN], port[8];

	snprintf(out, size, "%s", o->peer_host ? o->peer_host : "the peer");
	if (!o->msg || fi_getpeer(ep, &ss, &len) ||
	    (ss.ss_family != AF_INET && ss.ss_family != AF_INET6))
		return;
	if (!getnameinfo((struct sockaddr *)&ss, (socklen_t)len, host, sizeof(host), port,
			 sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(out, size, ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* A listener on all addresses does not know which one we can reach: the one we know it by. */
static int fill_any(const struct rf_ofi *o, struct sockaddr_storage *ss)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	struct addrinfo hints = {.ai_family = ss->ss_family, .ai_socktype = SOCK_STREAM}, *res;
	int rc;

	if (ss->ss_family == AF_INET ? in->sin_addr.s_addr != INADDR_ANY
				     : !IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
		return RF_OK;
	if (!o->peer_host) {
		rf_err_log("ofi", "the peer listens on any address and its host is not known");
		return RF_ERR_UNREACHABLE;
	}
	rc = getaddrinfo(o->peer_host, NULL, &hints, &res);
	if (rc) {
		rf_err_log("ofi", "%s: %s", o->peer_host, gai_strerror(rc));
		return RF_ERR_UNREACHABLE;
	}
	if (ss->ss_family == AF_INET)
		in->sin_addr = ((struct sockaddr_in *)res->ai_addr)->sin_addr;
	else
		in6->sin6_addr = ((struct sockaddr_in6 *)res->ai_addr)->sin6_addr;
	freeaddrinfo(res);
	return RF_OK;
}

static int parse_ip(const struct rf_ofi *o, const uint8_t *raw, size_t len, uint8_t *out)
{
	struct sockaddr_storage ss = {0};
	size_t need;
	int err;

	if (len < sizeof(ss.ss_family) || len > sizeof(ss))
		return RF_ERR_PROTOCOL;
	memcpy(&ss, raw, len);
	if (ss.ss_family == AF_INET)
		need = sizeof(struct sockaddr_in);
	else if (ss.ss_family == AF_INET6)
		need = sizeof(struct sockaddr_in6);
	else
		return RF_ERR_PROTOCOL;
	if (len != need)
		return RF_ERR_PROTOCOL;
	err = fill_any(o, &ss);
	if (!err)
		memcpy(out, &ss, len);
	return err;
}

int rf_ofi_addr_parse(const struct rf_ofi *o, const uint8_t *addr, uint32_t addr_len,
		      uint8_t out[RF_OFI_ADDR_SIZE], size_t *out_len)
{
	uint32_t format = 0;
	const uint8_t *raw = addr + 4;
	size_t len;
	int err = RF_OK;

	if (addr_len <= 4 || addr_len - 4 > RF_OFI_ADDR_SIZE)
		return RF_ERR_PROTOCOL;
	len = addr_len - 4;
	for (unsigned i = 0; i < 4; i++)
		format |= (uint32_t)addr[i] << (8 * i);
	switch (format) {
	case FI_SOCKADDR:
	case FI_SOCKADDR_IN:
	case FI_SOCKADDR_IN6:
		if (o->info->addr_format != FI_SOCKADDR && o->info->addr_format != FI_SOCKADDR_IN &&
		    o->info->addr_format != FI_SOCKADDR_IN6)
			err = RF_ERR_PROTOCOL;
		else
			err = parse_ip(o, raw, len, out);
		break;
	case FI_ADDR_STR:
		if (o->info->addr_format != format || raw[len - 1] || memchr(raw, 0, len - 1))
			err = RF_ERR_PROTOCOL;
		else
			memcpy(out, raw, len);
		break;
	default: /* opaque, but of the one size this provider has */
		if (o->info->addr_format != format || len != o->info->src_addrlen)
			err = RF_ERR_PROTOCOL;
		else
			memcpy(out, raw, len);
	}
	if (err == RF_ERR_PROTOCOL)
		rf_err_log("ofi", "the peer's lane address is not one of provider %s",
			   o->base.provider);
	*out_len = len;
	return err;
}
