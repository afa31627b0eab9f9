/* SPDX-License-Identifier: BSD-3-Clause */
/* A RoCE port's addresses are its GIDs: that of an IPv4 address is ::ffff:a.b.c.d. */
#include <arpa/inet.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/rdma/rdma_env.h"

static bool read_line(const char *path, char *line, size_t size)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(line, (int)size, f);

	if (f)
		fclose(f);
	return ok;
}

static bool port_active(const char *port)
{
	char path[300], line[64];

	snprintf(path, sizeof(path), "%s/state", port);
	return read_line(path, line, sizeof(line)) && strstr(line, "ACTIVE");
}

/* The port's first address of the family; IPv6 ones of one link only are none. */
static bool port_address(const char *port, int family, char out[64])
{
	char path[300], line[64];
	struct in6_addr gid;

	for (unsigned i = 0; i < 16; i++) {
		snprintf(path, sizeof(path), "%s/gids/%u", port, i);
		if (!read_line(path, line, sizeof(line)))
			continue;
		line[strcspn(line, "\n")] = '\0';
		if (inet_pton(AF_INET6, line, &gid) != 1 || IN6_IS_ADDR_UNSPECIFIED(&gid) ||
		    IN6_IS_ADDR_LINKLOCAL(&gid) ||
		    IN6_IS_ADDR_V4MAPPED(&gid) != (family == AF_INET))
			continue;
		inet_ntop(family, family == AF_INET ? gid.s6_addr + 12 : gid.s6_addr, out, 64);
		return true;
	}
	return false;
}

static bool from_environment(struct rdma_env *env)
{
	const char *local = getenv("RF_RDMA_LOCAL"), *peer = getenv("RF_RDMA_PEER");

	if (!local)
		return false;
	snprintf(env->local, sizeof(env->local), "%s", local);
	snprintf(env->peer, sizeof(env->peer), "%s", peer ? peer : local);
	return true;
}

bool rdma_env_find(struct rdma_env *env)
{
	unsigned found = 0;
	glob_t g;

	memset(env, 0, sizeof(*env));
	if (from_environment(env))
		return true;
	if (glob("/sys/class/infiniband/*/ports/*", 0, NULL, &g))
		return false;
	for (size_t i = 0; i < g.gl_pathc && found < 2; i++) {
		const char *port = g.gl_pathv[i];

		if (!port_active(port) || !port_address(port, AF_INET, env->peer))
			continue;
		env->peer6[0] = '\0';
		port_address(port, AF_INET6, env->peer6);
		if (!found++) {
			memcpy(env->local, env->peer, sizeof(env->local));
			memcpy(env->local6, env->peer6, sizeof(env->local6));
		}
	}
	globfree(&g);
	return found > 0;
}

bool rdma_env_in_lab(void)
{
	return access("/run/rf-lab/in-vm", F_OK) == 0;
}
