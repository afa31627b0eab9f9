/* SPDX-License-Identifier: BSD-3-Clause */
#include "transport/poll_plan.h"

#include <ramferry/err.h>

#include "common/log.h"

#define OBJ "pollers"

static int check_mode(struct rf_poll_plan *p, const char *mode)
{
	int rc = mode ? rf_poll_mode_parse(mode, &p->mode) : RF_OK;

	if (rc != RF_OK)
		rf_err_log(OBJ, "mode \"%s\" is none of busy, adaptive, event", mode);
	return rc;
}

static int place_on_cpus(struct rf_poll_plan *p, const char *cpus)
{
	int rc;

	rf_topology_all(p->topology, &p->place);
	rc = rf_topology_override(p->topology, cpus, &p->place);
	if (rc != RF_OK)
		rf_err_log(OBJ, "\"%s\" names no CPU of this machine; give a list such as 2,4-7",
			   cpus);
	return rc;
}

/* Only where there is a choice: with one node the kernel places threads better than we do. */
static void place_near(struct rf_poll_plan *p, const char *where)
{
	int rc;

	if (rf_topology_nodes(p->topology) < 2) {
		rf_info(OBJ, "not pinned: this machine has one node");
		rf_topology_delete(&p->topology);
		return;
	}
	rc = where ? rf_topology_cpus_near(p->topology, where, &p->place) : RF_ERR_NOT_FOUND;
	if (rc == RF_OK && p->place.node >= 0) {
		rf_info(OBJ, "next to %s: node %d, %u cores", p->place.device, p->place.node,
			p->place.cores);
		p->pinned = true;
		return;
	}
	rf_info(OBJ, "not pinned: %s",
		rc == RF_OK ? "this machine does not tell where the NIC is"
			    : "the local address belongs to no hardware");
}

int rf_poll_plan_init(struct rf_poll_plan *p, const char *mode, const char *cpus, const char *where)
{
	int rc;

	*p = (struct rf_poll_plan){0};
	rc = check_mode(p, mode);
	if (rc != RF_OK)
		return rc;
	rc = rf_topology_new(NULL, &p->topology);
	if (rc != RF_OK) {
		rf_info(OBJ, "not pinned: this machine's topology cannot be read");
		return cpus ? rc : RF_OK;
	}
	if (!cpus) {
		place_near(p, where);
		return RF_OK;
	}
	rc = place_on_cpus(p, cpus);
	p->pinned = rc == RF_OK;
	if (rc != RF_OK)
		rf_poll_plan_fini(p);
	return rc;
}

void rf_poll_plan_fini(struct rf_poll_plan *p)
{
	rf_topology_delete(&p->topology);
}

void rf_poll_plan_next(struct rf_poll_plan *p, struct rf_poller_cfg *cfg)
{
	cfg->mode = p->mode;
	cfg->cpu = -1;
	if (!p->pinned)
		return;
	cfg->cpu = rf_topology_nth_cpu(p->topology, &p->place, p->next++);
	cfg->cores = p->place.cores;
}
