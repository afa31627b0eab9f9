/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/topology.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hwloc.h>

#include <ramferry/err.h>

#include "common/cpulist.h"
#include "common/log.h"
#include "common/netdev.h"

/* Bond over VLAN over port is three; more is a loop. */
#define MAX_STACKED 4

struct rf_topology {
	hwloc_topology_t hw;
	char *sysfs;
};

/* ---- life ---- */

/* One at a time: libudev, which hwloc asks, seeds its hashes at the first use, and unguarded. */
static int load(hwloc_topology_t hw)
{
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
	int rc;

	pthread_mutex_lock(&one);
	rc = hwloc_topology_load(hw);
	pthread_mutex_unlock(&one);
	return rc;
}

static int load_with(struct rf_topology *t, const char *xml, bool devices)
{
	if (hwloc_topology_init(&t->hw)) {
		t->hw = NULL;
		return RF_ERR_NO_MEMORY;
	}
	if (devices)
		hwloc_topology_set_io_types_filter(t->hw, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
	if ((!xml || !hwloc_topology_set_xml(t->hw, xml)) && !load(t->hw))
		return RF_OK;
	rf_err_log("topology", "cannot load %s%s: %s", xml ? "it from " : "that of this host",
		   xml ? xml : "", strerror(errno));
	return RF_ERR_NOT_FOUND;
}

/* Devices take twenty times as long as the rest: each one's PCI configuration is read. */
static int load_what_is_needed(struct rf_topology *t, const struct rf_topology_cfg *cfg)
{
	bool devices = cfg && cfg->devices;
	int rc = load_with(t, cfg ? cfg->xml : NULL, devices);

	if (rc != RF_OK || devices || rf_topology_nodes(t) < 2)
		return rc;
	hwloc_topology_destroy(t->hw);
	return load_with(t, cfg ? cfg->xml : NULL, true);
}

int rf_topology_new(const struct rf_topology_cfg *cfg, struct rf_topology **out)
{
	struct rf_topology *t = calloc(1, sizeof(*t));
	int rc = RF_ERR_NO_MEMORY;

	if (!t)
		return rc;
	t->sysfs = strdup(cfg && cfg->sysfs ? cfg->sysfs : "/sys");
	if (t->sysfs)
		rc = load_what_is_needed(t, cfg);
	if (rc != RF_OK)
		rf_topology_delete(&t);
	else
		*out = t;
	return rc;
}

void rf_topology_delete(struct rf_topology **t)
{
	if (!*t)
		return;
	if ((*t)->hw)
		hwloc_topology_destroy((*t)->hw);
	free((*t)->sysfs);
	free(*t);
	*t = NULL;
}

unsigned rf_topology_nodes(const struct rf_topology *t)
{
	return (unsigned)hwloc_get_nbobjs_by_type(t->hw, HWLOC_OBJ_NUMANODE);
}

bool rf_topology_is_real(const struct rf_topology *t)
{
	return hwloc_topology_is_thissystem(t->hw);
}

/* ---- places ---- */

static void copy_cpus(hwloc_const_bitmap_t from, cpu_set_t *to)
{
	CPU_ZERO(to);
	for (int cpu = hwloc_bitmap_first(from); cpu >= 0 && cpu < CPU_SETSIZE;
	     cpu = hwloc_bitmap_next(from, cpu))
		CPU_SET(cpu, to);
}

/* Cores of which at least one hardware thread is in the set. */
static unsigned count_cores(const struct rf_topology *t, const cpu_set_t *set)
{
	hwloc_obj_t core = NULL;
	unsigned n = 0;

	while ((core = hwloc_get_next_obj_by_type(t->hw, HWLOC_OBJ_CORE, core))) {
		int cpu = hwloc_bitmap_first(core->cpuset);

		while (cpu >= 0 && cpu < CPU_SETSIZE && !CPU_ISSET(cpu, set))
			cpu = hwloc_bitmap_next(core->cpuset, cpu);
		n += cpu >= 0 && cpu < CPU_SETSIZE;
	}
	/* Some virtual machines have no cores, only CPUs. */
	return n ? n : (unsigned)CPU_COUNT(set);
}

/* obj has CPUs and memory next to it, it is no I/O object. */
static void place_at(const struct rf_topology *t, hwloc_obj_t obj, const char *device,
		     struct rf_place *place)
{
	hwloc_obj_t root = hwloc_get_root_obj(t->hw);
	bool somewhere = obj != root || rf_topology_nodes(t) == 1;

	snprintf(place->device, sizeof(place->device), "%s", device);
	place->node = somewhere ? hwloc_bitmap_first(obj->nodeset) : -1;
	copy_cpus(obj->cpuset, &place->cpus);
	place->cores = count_cores(t, &place->cpus);
}

void rf_topology_all(const struct rf_topology *t, struct rf_place *place)
{
	place_at(t, hwloc_get_root_obj(t->hw), "", place);
}

static hwloc_obj_t find_device(const struct rf_topology *t, const char *name)
{
	hwloc_obj_t dev = NULL;

	while ((dev = hwloc_get_next_osdev(t->hw, dev))) {
		if ((dev->attr->osdev.type == HWLOC_OBJ_OSDEV_NETWORK ||
		     dev->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS) &&
		    dev->name && !strcmp(dev->name, name))
			return dev;
	}
	return NULL;
}

/* The kernel links /sys/class/net/bond0/lower_eth0 and so on. */
static hwloc_obj_t find_below(const struct rf_topology *t, const char *name, unsigned depth)
{
	static const char lower[] = "lower_";
	hwloc_obj_t dev = find_device(t, name);
	char path[512];
	struct dirent *e;
	DIR *d;

	if (dev || depth == MAX_STACKED || strchr(name, '/'))
		return dev;
	snprintf(path, sizeof(path), "%s/class/net/%s", t->sysfs, name);
	d = opendir(path);
	if (!d)
		return NULL;
	/* cppcheck-suppress readdirCalled ; safe on a stream of one's own */
	while (!dev && (e = readdir(d))) {
		if (!strncmp(e->d_name, lower, sizeof(lower) - 1))
			dev = find_below(t, e->d_name + sizeof(lower) - 1, depth + 1);
	}
	closedir(d);
	return dev;
}

int rf_topology_near_device(const struct rf_topology *t, const char *device, struct rf_place *place)
{
	hwloc_obj_t dev = find_below(t, device, 0);

	if (!dev)
		return RF_ERR_NOT_FOUND;
	place_at(t, hwloc_get_non_io_ancestor_obj(t->hw, dev), dev->name, place);
	return RF_OK;
}

int rf_topology_cpus_near(const struct rf_topology *t, const char *where, struct rf_place *place)
{
	char name[64];
	int r = rf_netdev_of_address(where, name, sizeof(name));

	if (r == RF_ERR_INVALID) /* not an address, so it is a name */
		return rf_topology_near_device(t, where, place);
	return r ? r : rf_topology_near_device(t, name, place);
}

int rf_topology_nic_node(const struct rf_topology *t, const char *device, const char *address)
{
	struct rf_place place;
	int rc = RF_ERR_NOT_FOUND;

	if (rf_topology_nodes(t) < 2)
		return -1;
	if (device && *device)
		rc = rf_topology_near_device(t, device, &place);
	if (rc != RF_OK && address)
		rc = rf_topology_cpus_near(t, address, &place);
	return rc == RF_OK ? place.node : -1;
}

int rf_topology_override(const struct rf_topology *t, const char *cpulist, struct rf_place *place)
{
	struct rf_place all;
	cpu_set_t cpus;

	if (rf_cpulist_parse(cpulist, &cpus)) {
		rf_err_log("topology", "'%s' is not a list of CPUs such as 2,4-7", cpulist);
		return RF_ERR_INVALID;
	}
	rf_topology_all(t, &all);
	CPU_AND(&cpus, &cpus, &all.cpus);
	if (!CPU_COUNT(&cpus)) {
		rf_err_log("topology", "none of the CPUs %s exists", cpulist);
		return RF_ERR_INVALID;
	}
	place->cpus = cpus;
	place->cores = count_cores(t, &cpus);
	return RF_OK;
}

/* The k-th CPU of a core that is in the set, or -1. */
static int kth_cpu(hwloc_obj_t core, const cpu_set_t *set, unsigned k)
{
	for (int cpu = hwloc_bitmap_first(core->cpuset); cpu >= 0 && cpu < CPU_SETSIZE;
	     cpu = hwloc_bitmap_next(core->cpuset, cpu)) {
		if (CPU_ISSET(cpu, set) && k-- == 0)
			return cpu;
	}
	return -1;
}

int rf_topology_nth_cpu(const struct rf_topology *t, const struct rf_place *place, unsigned index)
{
	unsigned total = (unsigned)CPU_COUNT(&place->cpus);

	if (!total)
		return -1;
	index %= total;
	for (unsigned k = 0; k < total; k++) {
		hwloc_obj_t core = NULL;

		while ((core = hwloc_get_next_obj_by_type(t->hw, HWLOC_OBJ_CORE, core))) {
			int cpu = kth_cpu(core, &place->cpus, k);

			if (cpu >= 0 && index-- == 0)
				return cpu;
		}
	}
	/* CPUs without cores. */
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &place->cpus) && index-- == 0)
			return cpu;
	}
	return -1;
}

/* ---- memory ---- */

static size_t whole_pages(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (len + page - 1) / page * page;
}

static hwloc_obj_t find_node(const struct rf_topology *t, int node)
{
	return node < 0 ? NULL : hwloc_get_numanode_obj_by_os_index(t->hw, (unsigned)node);
}

int rf_topology_bind(const struct rf_topology *t, void *p, size_t len, int node)
{
	hwloc_obj_t obj = find_node(t, node);

	if (!obj)
		return RF_ERR_INVALID;
	/* Not STRICT: memory elsewhere is slower, none at all is worse. */
	if (hwloc_set_area_membind(t->hw, p, len, obj->nodeset, HWLOC_MEMBIND_BIND,
				   HWLOC_MEMBIND_BYNODESET))
		return RF_ERR_UNSUPPORTED;
	return RF_OK;
}

/* What the thread's policy was. */
struct rf_topology_stay {
	hwloc_bitmap_t nodes;
	hwloc_membind_policy_t policy;
};

struct rf_topology_stay *rf_topology_enter(const struct rf_topology *t, int node)
{
	const int flags = HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET;
	hwloc_obj_t obj = t ? find_node(t, node) : NULL;
	struct rf_topology_stay *s = obj ? calloc(1, sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	s->nodes = hwloc_bitmap_alloc();
	/* not STRICT, as above */
	if (s->nodes && !hwloc_get_membind(t->hw, s->nodes, &s->policy, flags) &&
	    !hwloc_set_membind(t->hw, obj->nodeset, HWLOC_MEMBIND_BIND, flags)) {
		/* the kernel's default is told as this, and would be put back as something else */
		if (s->policy == HWLOC_MEMBIND_FIRSTTOUCH)
			s->policy = HWLOC_MEMBIND_DEFAULT;
		return s;
	}
	rf_debug("topology", "this thread's memory cannot be bound to node %d: %s", node,
		 strerror(errno));
	hwloc_bitmap_free(s->nodes);
	free(s);
	return NULL;
}

void rf_topology_leave(const struct rf_topology *t, struct rf_topology_stay **stay)
{
	struct rf_topology_stay *s = *stay;

	if (!s)
		return;
	*stay = NULL;
	if (hwloc_set_membind(t->hw, s->nodes, s->policy,
			      HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET))
		rf_warn("topology", "this thread's memory policy cannot be put back: %s",
			strerror(errno));
	hwloc_bitmap_free(s->nodes);
	free(s);
}

int rf_topology_node_of(const struct rf_topology *t, const void *p, size_t len)
{
	hwloc_bitmap_t nodes = hwloc_bitmap_alloc();
	int node = -1;

	if (nodes && !hwloc_get_area_memlocation(t->hw, p, len, nodes, HWLOC_MEMBIND_BYNODESET) &&
	    hwloc_bitmap_weight(nodes) == 1)
		node = hwloc_bitmap_first(nodes);
	hwloc_bitmap_free(nodes);
	return node;
}

int rf_topology_alloc(const struct rf_topology *t, size_t len, int node, void **out)
{
	size_t bytes = whole_pages(len);
	int r = RF_OK, got;
	void *p;

	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return RF_ERR_NO_MEMORY;
	if (node >= 0)
		r = rf_topology_bind(t, p, bytes, node);
	memset(p, 0, bytes);
	/* A return code of success promises nothing: a cpuset or a policy may know better. */
	got = node >= 0 && rf_topology_is_real(t) ? rf_topology_node_of(t, p, bytes) : node;
	if (r)
		rf_warn("topology", "memory cannot be bound to node %d: %s", node, rf_err_str(r));
	else if (got != node && got >= 0)
		rf_warn("topology", "%zu bytes for node %d are on node %d", bytes, node, got);
	else if (got != node)
		rf_debug("topology", "no telling where %zu bytes for node %d are", bytes, node);
	*out = p;
	return RF_OK;
}

void rf_topology_free(const struct rf_topology *t, void *p, size_t len)
{
	if (p)
		munmap(p, whole_pages(len));
}
