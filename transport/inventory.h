/* SPDX-License-Identifier: BSD-3-Clause */
/* What the libraries behind the backends tell of this host, for people to read. */
#ifndef RF_TRANSPORT_INVENTORY_H
#define RF_TRANSPORT_INVENTORY_H

#include <stdbool.h>
#include <stddef.h>

/* libfabric's version and the names of its providers, in its order, each once: "tcp, sockets".
 * RF_ERR_UNSUPPORTED if it has none. */
int rf_ofi_inventory(char *version, size_t version_cap, char *providers, size_t providers_cap);

struct rf_verbs_port {
	char device[64];
	unsigned port;
	unsigned mtu;	  /* bytes of a packet's data now */
	unsigned max_mtu; /* and at best */
	bool odp;	  /* the device offers on-demand paging of RDMA writes */
};

/* Ports libibverbs can open; returns how many. RF_ERR_UNSUPPORTED: a build without
 * libibverbs. */
int rf_verbs_inventory(struct rf_verbs_port *ports, unsigned max);

/* Does librdmacm work here? Trying it makes the kernel load the module, if there is one. */
bool rf_verbs_cm_works(void);

#endif
