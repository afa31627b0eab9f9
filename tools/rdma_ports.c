/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/rdma_ports.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/host_files.h"

#define CLASS "/sys/class/infiniband"

bool rdma_port_active(const struct rdma_port *p)
{
	return !strcmp(p->state, "ACTIVE");
}

const struct rdma_port *rdma_port_of_address(const struct rdma_port *ports, unsigned n,
					     const char *address)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < ports[i].naddress; k++)
			if (!strcmp(ports[i].address[k].text, address))
				return &ports[i];
	return NULL;
}

/* IPv4 stands before IPv6: it is what people type. */
static void add_address(struct rdma_port *p, const struct rdma_address *a)
{
	unsigned at = 0;

	if (p->naddress == RDMA_GIDS_MAX)
		return;
	while (at < p->naddress && (p->address[at].v4 || !a->v4))
		at++;
	memmove(&p->address[at + 1], &p->address[at], (p->naddress - at) * sizeof(*a));
	p->address[at] = *a;
	p->naddress++;
}

/* One entry of a RoCE port's GID table, which are the addresses of its network devices. */
static void take_gid(const char *root, struct rdma_port *p, const char *index)
{
	const char *dev = p->device;
	struct rdma_address a = {0};
	char text[64], type[32] = "";
	struct in6_addr gid;

	if (!host_read(root, text, sizeof(text), CLASS "/%s/ports/%u/gids/%s", dev, p->port,
		       index) ||
	    inet_pton(AF_INET6, text, &gid) != 1 || IN6_IS_ADDR_UNSPECIFIED(&gid))
		return;
	if (!host_read(root, type, sizeof(type), CLASS "/%s/ports/%u/gid_attrs/types/%s", dev,
		       p->port, index))
		return;
	host_read(root, a.netdev, sizeof(a.netdev), CLASS "/%s/ports/%u/gid_attrs/ndevs/%s", dev,
		  p->port, index);
	if (!p->netdev[0])
		memcpy(p->netdev, a.netdev, sizeof(p->netdev));
	if (strcmp(type, "RoCE v2")) {
		p->v1++;
		return;
	}
	if (IN6_IS_ADDR_LINKLOCAL(&gid)) {
		p->link_local++;
		return;
	}
	a.v4 = IN6_IS_ADDR_V4MAPPED(&gid);
	if (a.v4)
		inet_ntop(AF_INET, &gid.s6_addr[12], a.text, sizeof(a.text));
	else
		inet_ntop(AF_INET6, &gid, a.text, sizeof(a.text));
	add_address(p, &a);
}

static void read_gids(const char *root, struct rdma_port *p)
{
	char path[128], **names;
	unsigned n;

	snprintf(path, sizeof(path), CLASS "/%s/ports/%u/gids", p->device, p->port);
	n = host_list(root, path, &names);
	for (unsigned i = 0; i < n; i++)
		take_gid(root, p, names[i]);
	host_list_free(names, n);
}

/* The network device, where no GID told: that of the same PCI device. */
static void read_netdev(const char *root, struct rdma_port *p)
{
	char path[128], operstate[24] = "", **names;
	unsigned n;

	if (!p->netdev[0]) {
		snprintf(path, sizeof(path), CLASS "/%s/device/net", p->device);
		n = host_list(root, path, &names);
		if (n)
			snprintf(p->netdev, sizeof(p->netdev), "%s", names[0]);
		host_list_free(names, n);
	}
	if (!p->netdev[0])
		host_read(root, p->netdev, sizeof(p->netdev), CLASS "/%s/parent", p->device);
	if (!p->netdev[0])
		return;
	host_read_u64(root, &p->netdev_mtu, "/sys/class/net/%s/mtu", p->netdev);
	p->netdev_up = host_read(root, operstate, sizeof(operstate), "/sys/class/net/%s/operstate",
				 p->netdev) &&
		       strcmp(operstate, "down") != 0;
}

static void read_port(const char *root, struct rdma_port *p)
{
	char text[64] = "";
	const char *word;

	/* "4: ACTIVE" */
	if (host_read(root, text, sizeof(text), CLASS "/%s/ports/%u/state", p->device, p->port)) {
		word = strrchr(text, ' ');
		snprintf(p->state, sizeof(p->state), "%.*s", (int)sizeof(p->state) - 1,
			 word ? word + 1 : text);
	}
	p->ethernet = host_read(root, text, sizeof(text), CLASS "/%s/ports/%u/link_layer",
				p->device, p->port) &&
		      !strcmp(text, "Ethernet");
	if (p->ethernet)
		read_gids(root, p);
	read_netdev(root, p);
}

unsigned rdma_ports_read(const char *root, struct rdma_port *ports, unsigned max)
{
	char path[128], **devices, **numbers;
	unsigned found = 0, ndevices = host_list(root, CLASS, &devices), nnumbers;

	for (unsigned i = 0; i < ndevices; i++) {
		snprintf(path, sizeof(path), CLASS "/%.64s/ports", devices[i]);
		nnumbers = host_list(root, path, &numbers);
		for (unsigned k = 0; k < nnumbers && found < max; k++) {
			struct rdma_port *p = &ports[found++];

			memset(p, 0, sizeof(*p));
			snprintf(p->device, sizeof(p->device), "%s", devices[i]);
			p->port = (unsigned)strtoul(numbers[k], NULL, 10);
			read_port(root, p);
		}
		host_list_free(numbers, nnumbers);
	}
	host_list_free(devices, ndevices);
	return found;
}
