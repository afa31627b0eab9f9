/* SPDX-License-Identifier: BSD-3-Clause */
/* RDMA devices and their ports, as /sys/class/infiniband tells of them. */
#ifndef RF_TOOLS_RDMA_PORTS_H
#define RF_TOOLS_RDMA_PORTS_H

#include <stdbool.h>
#include <stdint.h>

#define RDMA_PORTS_MAX 16
#define RDMA_GIDS_MAX  8

/* An address RDMA can be reached at. */
struct rdma_address {
	char text[48];	 /* "10.9.0.1", "fd00:9::1" */
	char netdev[32]; /* which has it */
	bool v4;
};

struct rdma_port {
	char device[32]; /* "rxe0" */
	unsigned port;	 /* from 1 */
	char state[24];	 /* "ACTIVE", "DOWN", "INIT", … */
	bool ethernet;	 /* RoCE; else InfiniBand */
	char netdev[32]; /* network device of this port; "" if there is none */
	uint64_t netdev_mtu;
	bool netdev_up;
	unsigned v1, link_local; /* GIDs of no use here: RoCE v1, and fe80:: of RoCE v2 */
	struct rdma_address address[RDMA_GIDS_MAX]; /* of RoCE v2 GIDs, IPv4 first */
	unsigned naddress;
};

/* Reads up to max ports below root; returns how many. */
unsigned rdma_ports_read(const char *root, struct rdma_port *ports, unsigned max);
bool rdma_port_active(const struct rdma_port *p);
/* The port that has this address, or NULL. */
const struct rdma_port *rdma_port_of_address(const struct rdma_port *ports, unsigned n,
					     const char *address);

#endif
