/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>

#include "transport/inventory.h"
#include "transport/verbs/verbs.h"

static unsigned mtu_bytes(enum ibv_mtu mtu)
{
	return mtu >= IBV_MTU_256 && mtu <= IBV_MTU_4096 ? 128u << mtu : 0;
}

/* Ports of one device; returns how many. */
static unsigned list_ports(struct ibv_context *ctx, struct rf_verbs_port *ports, unsigned max)
{
	struct ibv_device_attr attr;
	bool odp = rf_verbs_mr_odp(ctx);
	unsigned n = 0;

	if (ibv_query_device(ctx, &attr))
		return 0;
	for (unsigned i = 1; i <= attr.phys_port_cnt && n < max; i++) {
		struct ibv_port_attr port;

		if (ibv_query_port(ctx, (uint8_t)i, &port))
			continue;
		ports[n] = (struct rf_verbs_port){
			.port = i,
			.mtu = mtu_bytes(port.active_mtu),
			.max_mtu = mtu_bytes(port.max_mtu),
			.odp = odp,
		};
		snprintf(ports[n++].device, sizeof(ports->device), "%s",
			 ibv_get_device_name(ctx->device));
	}
	return n;
}

bool rf_verbs_cm_works(void)
{
	struct rdma_event_channel *ch = rdma_create_event_channel();

	if (ch)
		rdma_destroy_event_channel(ch);
	return ch != NULL;
}

int rf_verbs_inventory(struct rf_verbs_port *ports, unsigned max)
{
	unsigned found = 0;
	int n = 0;
	struct ibv_device **list = ibv_get_device_list(&n);

	for (int i = 0; list && i < n; i++) {
		struct ibv_context *ctx = ibv_open_device(list[i]);

		if (!ctx)
			continue;
		found += list_ports(ctx, ports + found, max - found);
		ibv_close_device(ctx);
	}
	if (list)
		ibv_free_device_list(list);
	return (int)found;
}
