/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the NIC is: which NUMA node and which CPUs are next to it, and memory on that node.
 * The only place that includes <hwloc.h>.
 *
 *   local address ──getifaddrs──► network device ─┐
 *                                   RDMA device ──┴─► OS device in hwloc ──► first ancestor
 *                                    that is not I/O ──► its NUMA node and CPUs
 *
 * Threads: a topology is constant once made; any thread may use it.
 */
#ifndef RF_COMMON_TOPOLOGY_H
#define RF_COMMON_TOPOLOGY_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

struct rf_topology;

struct rf_topology_cfg {
	const char *xml;   /* file of an exported topology; NULL: this machine, or what
			      HWLOC_XMLFILE says */
	const char *sysfs; /* where to look for what lies below a virtual device; default
			      "/sys" */
	bool devices;	   /* look for them also where there is one NUMA node, and no choice */
};

/* Where something is. */
struct rf_place {
	char device[64]; /* as hwloc names it: "mlx5_0", "enp16s0f0" */
	int node;	 /* NUMA node, the first if it is next to several; -1: next to none */
	unsigned cores;	 /* cores in cpus */
	cpu_set_t cpus;	 /* CPUs (hardware threads) next to it */
};

/* cfg may be NULL. Without devices none is found on a machine with one node. RF_ERR_NO_MEMORY,
 * RF_ERR_NOT_FOUND (no such XML file, or not one). */
int rf_topology_new(const struct rf_topology_cfg *cfg, struct rf_topology **out);
void rf_topology_delete(struct rf_topology **t); /* NULLs *t; NULL is fine */

unsigned rf_topology_nodes(const struct rf_topology *t);
/* False: an XML topology. Binding then does nothing and says all is well. */
bool rf_topology_is_real(const struct rf_topology *t);

/* The whole machine: node 0 if it is the only one, else -1. */
void rf_topology_all(const struct rf_topology *t, struct rf_place *place);

/*
 * Where a network or RDMA device is; of a bond, bridge or VLAN the first device below that
 * hwloc knows. On a machine that does not tell (most virtual ones) it is next to no node and
 * to all CPUs. RF_ERR_NOT_FOUND: no such device, or one without hardware ("lo").
 */
int rf_topology_near_device(const struct rf_topology *t, const char *device,
			    struct rf_place *place);

/* The same for a device or a local address (rf_netdev_of_address). */
int rf_topology_cpus_near(const struct rf_topology *t, const char *where, struct rf_place *place);

/*
 * The node for memory that a NIC reads and writes beside the guest's: that of the device, or else
 * of the one with this local address (as for rf_topology_cpus_near). Either may be NULL. -1: there
 * is one node only, or it cannot be told.
 */
int rf_topology_nic_node(const struct rf_topology *t, const char *device, const char *address);

/* The same place with other CPUs, those of an explicit list such as "2,4-7". RF_ERR_INVALID:
 * not a list, or none of these CPUs exists. */
int rf_topology_override(const struct rf_topology *t, const char *cpulist, struct rf_place *place);

/* CPU for the index-th thread of a place: first one of each core in turn, then the second ones
 * of each, …, then round again. -1 if the place has no CPU. */
int rf_topology_nth_cpu(const struct rf_topology *t, const struct rf_place *place, unsigned index);

/*
 * Zeroed memory in whole pages on a node (-1: wherever), touched, so it is there. If it went
 * elsewhere in spite of all that is logged at warn and it is used all the same.
 * RF_ERR_NO_MEMORY. Ends with rf_topology_free() of the same len.
 */
int rf_topology_alloc(const struct rf_topology *t, size_t len, int node, void **out);
void rf_topology_free(const struct rf_topology *t, void *p, size_t len);

/* Binds pages of a mapping to a node, before their first touch. RF_ERR_INVALID: no such node;
 * RF_ERR_UNSUPPORTED: the kernel or its policy refused. */
int rf_topology_bind(const struct rf_topology *t, void *p, size_t len, int node);

/*
 * New pages of this thread come from a node, while it has any, until rf_topology_leave(): for what
 * libraries allocate. NULL if nothing is changed: t is NULL, the node is -1 or there is none of
 * that number, or the kernel refuses.
 */
struct rf_topology_stay;
struct rf_topology_stay *rf_topology_enter(const struct rf_topology *t, int node);
void rf_topology_leave(const struct rf_topology *t, struct rf_topology_stay **stay);

/* The node that has all touched pages of a range; -1: none is touched, they are on several, or
 * the kernel does not tell. */
int rf_topology_node_of(const struct rf_topology *t, const void *p, size_t len);

#endif
