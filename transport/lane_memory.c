/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory that a lane's NIC and its owner's thread share. */
#include <stdlib.h>

#include "common/topology.h"
#include "transport/ops.h"

#define PAGE ((size_t)4096)

void *rf_lane_memory_new(const struct rf_transport *t, size_t len)
{
	void *p;

	if (t->node < 0)
		return aligned_alloc(PAGE, (len + PAGE - 1) / PAGE * PAGE);
	return rf_topology_alloc(t->topology, len, t->node, &p) == RF_OK ? p : NULL;
}

void rf_lane_memory_free(const struct rf_transport *t, void *p, size_t len)
{
	if (t->node < 0)
		free(p);
	else
		rf_topology_free(t->topology, p, len);
}
