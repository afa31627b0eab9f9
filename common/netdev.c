/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/netdev.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/log.h"

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
	if (!a || a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return !memcmp(&((const struct sockaddr_in *)a)->sin_addr,
			       &((const struct sockaddr_in *)b)->sin_addr, sizeof(struct in_addr));
	if (a->sa_family != AF_INET6)
		return false;

	const struct sockaddr_in6 *x = (const struct sockaddr_in6 *)a;
	const struct sockaddr_in6 *y = (const struct sockaddr_in6 *)b;

	/* Link-local addresses may be the same on several devices: then the scope decides. */
	return !memcmp(&x->sin6_addr, &y->sin6_addr, sizeof(x->sin6_addr)) &&
	       (!y->sin6_scope_id || x->sin6_scope_id == y->sin6_scope_id);
}

int rf_netdev_of_address(const char *local_host, char *name, size_t cap)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST}, *ai;
	struct ifaddrs *list, *i;
	int r = RF_ERR_NOT_FOUND;

	if (getaddrinfo(local_host, NULL, &hints, &ai))
		return RF_ERR_INVALID;
	if (getifaddrs(&list)) {
		rf_err_log("netdev", "getifaddrs: %s", strerror(errno));
		freeaddrinfo(ai);
		return RF_ERR_SYSTEM;
	}
	for (i = list; i && r; i = i->ifa_next) {
		if (same_address(i->ifa_addr, ai->ai_addr)) {
			snprintf(name, cap, "%s", i->ifa_name);
			r = RF_OK;
		}
	}
	freeifaddrs(list);
	freeaddrinfo(ai);
	return r;
}
