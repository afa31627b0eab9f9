/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the pollers of one link run and how they wait: next to the NIC of the link's local
 * address, unless the user names CPUs.
 */
#ifndef RF_TRANSPORT_POLL_PLAN_H
#define RF_TRANSPORT_POLL_PLAN_H

#include "common/topology.h"
#include "transport/poller.h"

struct rf_poll_plan {
	enum rf_poll_mode mode;
	struct rf_topology *topology; /* NULL: there is nothing to choose, or no telling */
	bool pinned;		      /* pollers run on the place's CPUs, else anywhere */
	struct rf_place place;
	unsigned next; /* CPU of the place for the next poller */
};

/*
 * mode: "adaptive" (also NULL), "busy", "event". cpus: a list such as "2,4-7", or NULL: the CPUs
 * of the NUMA node of `where` (an RDMA device or a local address). Without either, or on a
 * machine with one node, nothing is pinned, which is logged at info. RF_ERR_INVALID: another
 * mode, or a list of no CPU of this machine; the log says so.
 */
int rf_poll_plan_init(struct rf_poll_plan *p, const char *mode, const char *cpus,
		      const char *where);
void rf_poll_plan_fini(struct rf_poll_plan *p);

/* Fills mode, cpu and cores for the next poller. Session thread. */
void rf_poll_plan_next(struct rf_poll_plan *p, struct rf_poller_cfg *cfg);

#endif
