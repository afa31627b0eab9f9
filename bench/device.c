/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/device.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/say.h"

#define DEVICES "/sys/class/infiniband"
#define GIDS	256 /* indexes that are looked at */

/* One line of a file below the device's port. */
static bool read_port(const char *device, unsigned port, const char *what, unsigned index,
		      char *line, int size)
{
	char path[300];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), DEVICES "/%s/ports/%u/%s/%u", device, port, what, index);
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fgets(line, size, f) != NULL;
	fclose(f);
	if (ok)
		line[strcspn(line, "\n")] = 0;
	return ok && line[0];
}

/* The first address of a network device, IPv4 before IPv6; not a link-local one. */
static bool address_of(const char *netdev, char *text)
{
	struct ifaddrs *list, *i;
	bool found = false;

	if (getifaddrs(&list))
		return false;
	for (i = list; i && !found; i = i->ifa_next)
		if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET &&
		    !strcmp(i->ifa_name, netdev))
			found = inet_ntop(AF_INET, &((struct sockaddr_in *)i->ifa_addr)->sin_addr,
					  text, BENCH_ADDR_SIZE);
	for (i = list; i && !found; i = i->ifa_next) {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)i->ifa_addr;

		if (v6 && v6->sin6_family == AF_INET6 && !strcmp(i->ifa_name, netdev) &&
		    !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr))
			found = inet_ntop(AF_INET6, &v6->sin6_addr, text, BENCH_ADDR_SIZE);
	}
	freeifaddrs(list);
	return found;
}

/* A GID of RoCE v2 is an address, with IPv4 as ::ffff:a.b.c.d; others lead to one by the network
 * device they belong to. */
static bool address_of_gid(const char *device, unsigned port, unsigned index, char *text)
{
	char gid[64], netdev[IF_NAMESIZE + 1];
	struct in6_addr a;

	if (!read_port(device, port, "gids", index, gid, sizeof(gid)) ||
	    inet_pton(AF_INET6, gid, &a) != 1 || IN6_IS_ADDR_UNSPECIFIED(&a))
		return false;
	if (IN6_IS_ADDR_V4MAPPED(&a))
		return inet_ntop(AF_INET, &a.s6_addr[12], text, BENCH_ADDR_SIZE);
	return read_port(device, port, "gid_attrs/ndevs", index, netdev, sizeof(netdev)) &&
	       address_of(netdev, text);
}

static bool address_of_port(const char *device, unsigned port, char *text)
{
	for (unsigned i = 0; i < GIDS; i++)
		if (address_of_gid(device, port, i, text))
			return true;
	return false;
}

static bool is_rdma(const char *name)
{
	char path[300];

	if (!name[0] || name[0] == '.' || strchr(name, '/'))
		return false;
	snprintf(path, sizeof(path), DEVICES "/%s", name);
	return access(path, F_OK) == 0;
}

static int use_rdma(struct bench_opts *o)
{
	const char *d = o->device;
	unsigned port = (unsigned)o->ib_port;
	unsigned long gid = o->gid_index ? strtoul(o->gid_index, NULL, 10) : 0;

	if (strcmp(o->transport, "auto") && strcmp(o->transport, "verbs"))
		return say_error("--device %s is an RDMA device: use it with --transport verbs", d);
	o->transport = "verbs";
	if (o->local)
		return 0;
	if (o->gid_index && (gid > 65535 || !address_of_gid(d, port, (unsigned)gid, o->address)))
		return say_error("device %s port %u: GID %s leads to no address of this host", d,
				 port, o->gid_index);
	if (!o->gid_index && !address_of_port(d, port, o->address))
		return say_error("device %s has no address on port %u (give --local?)", d, port);
	o->local = o->address;
	return 0;
}

int device_resolve(struct bench_opts *o)
{
	const char *d = o->device;

	if (!d)
		return 0;
	if (is_rdma(d))
		return use_rdma(o);
	if (!strcmp(o->transport, "verbs"))
		return say_error("there is no RDMA device %s here (ls " DEVICES " lists them)", d);
	if (!strcmp(o->transport, "mem"))
		return say_error("--transport mem has no devices");
	if (o->provider && strcmp(o->provider, d))
		return say_error("--device %s and --provider %s: give one of them", d, o->provider);
	o->transport = "ofi";
	o->provider = d;
	return 0;
}

bool device_ends(char first[BENCH_ADDR_SIZE], char last[BENCH_ADDR_SIZE])
{
	struct dirent **names;
	int n = scandir(DEVICES, &names, NULL, alphasort);
	bool any = false;

	for (int i = 0; i < n; i++) {
		char text[BENCH_ADDR_SIZE];

		if (is_rdma(names[i]->d_name) && address_of_port(names[i]->d_name, 1, text)) {
			memcpy(any ? last : first, text, sizeof(text));
			if (!any)
				memcpy(last, text, sizeof(text));
			any = true;
		}
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	return any;
}
