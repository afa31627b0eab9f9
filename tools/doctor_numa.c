/* SPDX-License-Identifier: BSD-3-Clause */
/* Which CPUs are next to each NIC, for the threads that serve its lanes. */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/cpulist.h"
#include "common/topology.h"
#include "tools/doctor.h"
#include "tools/host_files.h"
#include "transport/poller.h"

static void check_device(struct doctor *d, const struct rf_topology *t, const char *device)
{
	struct rf_place place;
	cpu_set_t mine, usable;
	char name[40], near[128];

	snprintf(name, sizeof(name), "numa %.30s", device);
	if (rf_topology_near_device(t, device, &place) != RF_OK)
		return; /* no hardware of its own: soft-RoCE, veth */
	rf_cpulist_format(&place.cpus, near, sizeof(near));
	if (place.node < 0) {
		report_add(&d->report, CHECK_INFO, name,
			   "this host does not tell which NUMA node it is at: any CPU serves it");
		return;
	}
	usable = place.cpus;
	if (rf_topology_is_real(t) && !sched_getaffinity(0, sizeof(mine), &mine))
		CPU_AND(&usable, &usable, &mine);
	if (CPU_COUNT(&usable)) {
		report_add(&d->report, CHECK_OK, name,
			   "at NUMA node %d, CPUs %s (%u cores), %d of them for this process",
			   place.node, near, place.cores, CPU_COUNT(&usable));
		return;
	}
	report_add(&d->report, CHECK_WARN, name,
		   "at NUMA node %d, CPUs %s, and this process may use none of them", place.node,
		   near);
	report_remedy(&d->report, "start it with taskset -c %s", near);
}

static void check_polling(struct doctor *d, const struct rf_topology *t)
{
	const char *why = NULL;
	struct rf_place all;

	rf_topology_all(t, &all);
	rf_poll_mode_fit(RF_POLL_BUSY, all.cores, true, &why);
	if (why)
		report_add(&d->report, CHECK_INFO, "polling", "no busy polling here: %s", why);
	else
		report_add(&d->report, CHECK_OK, "polling", "%u cores: busy polling is possible",
			   all.cores);
}

/* RDMA devices and network devices with hardware. */
static void check_devices(struct doctor *d, const struct rf_topology *t)
{
	char **names;
	unsigned n = host_list(d->root, "/sys/class/net", &names);

	for (unsigned i = 0; i < d->nports; i++)
		if (!i || strcmp(d->ports[i].device, d->ports[i - 1].device))
			check_device(d, t, d->ports[i].device);
	for (unsigned i = 0; i < n; i++)
		if (host_exists(d->root, "/sys/class/net/%s/device", names[i]))
			check_device(d, t, names[i]);
	host_list_free(names, n);
}

void doctor_check_numa(struct doctor *d)
{
	struct rf_topology_cfg cfg = {.xml = d->topology, .devices = true};
	char sysfs[256];
	struct rf_topology *t;

	snprintf(sysfs, sizeof(sysfs), "%s/sys", d->root);
	cfg.sysfs = sysfs;
	if (rf_topology_new(&cfg, &t) != RF_OK)
		return;
	check_polling(d, t);
	if (rf_topology_nodes(t) > 1)
		check_devices(d, t);
	else
		report_add(&d->report, CHECK_OK, "numa",
			   "one NUMA node: every CPU is next to every NIC");
	rf_topology_delete(&t);
}
