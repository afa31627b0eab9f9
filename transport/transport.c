/* SPDX-License-Identifier: BSD-3-Clause */
/* The front door: rungs, opening, connecting and memory. Lanes are in lane.c. */
#include "transport/transport.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/fault.h"
#include "common/log.h"
#include "common/topology.h"
#include "transport/ops.h"

/* Best first. mem is never chosen by "auto". */
static const struct rf_transport_ops *const backends[] = {
#ifdef RF_HAVE_VERBS
	&rf_verbs_ops,
#endif
	&rf_ofi_ops,
	&rf_mem_ops,
};
#define NBACKENDS (sizeof(backends) / sizeof(backends[0]))

/* A slot that is empty would be found by the first caller in the middle of a migration. */
static bool ops_complete(const struct rf_transport_ops *o)
{
	return o->name && o->rungs && o->open && o->close && o->listen && o->accept && o->connect &&
	       o->mr_register && o->mr_deregister && o->lane_write && o->lane_fence &&
	       o->lane_send && o->lane_write_imm && o->lane_poll && o->lane_arm && o->lane_close;
}

/* The backend of "name" or "name:detail"; *detail points behind the colon or to "". */
static const struct rf_transport_ops *find_backend(const char *rung, const char **detail)
{
	size_t len = strcspn(rung, ":");

	for (size_t i = 0; i < NBACKENDS; i++) {
		if (strlen(backends[i]->name) == len && !strncmp(backends[i]->name, rung, len)) {
			*detail = rung[len] ? rung + len + 1 : "";
			return backends[i];
		}
	}
	return NULL;
}

const char *rf_lane_kind_str(enum rf_lane_kind kind)
{
	switch (kind) {
	case RF_LANE_BULK:
		return "bulk";
	case RF_LANE_URGENT:
		return "urgent";
	default:
		return "unknown";
	}
}

int rf_transport_rungs(const char *transport, const char *provider, char rungs[][RF_WIRE_RUNG_SIZE],
		       unsigned max)
{
	bool any = !transport || !strcmp(transport, "auto");
	unsigned n = 0;

	if (!rungs || !max)
		return RF_ERR_INVALID;
	for (size_t i = 0; i < NBACKENDS && n < max; i++) {
		const struct rf_transport_ops *o = backends[i];
		int found;

		if (any ? o == &rf_mem_ops : strcmp(o->name, transport) != 0)
			continue;
		found = o->rungs(provider, rungs + n, max - n);
		if (found > 0)
			n += (unsigned)found;
	}
	if (!n) {
		rf_err_log("transport", "nothing works for transport %s, provider %s",
			   transport ? transport : "auto", provider ? provider : "any");
		return RF_ERR_UNSUPPORTED;
	}
	return (int)n;
}

int rf_transport_ladder(const char *transport, const char *provider,
			char rungs[][RF_WIRE_RUNG_SIZE], unsigned max)
{
	static const char *const all[] = {"verbs", "ofi:tcp", "ofi:sockets"};
	bool any = !transport || !strcmp(transport, "auto");
	unsigned n = 0;

	if (!max)
		return RF_ERR_INVALID;
	/* A provider is libfabric's, and may be one that is not on the ladder. */
	if (provider && (any || !strcmp(transport, "ofi"))) {
		snprintf(rungs[0], RF_WIRE_RUNG_SIZE, "ofi:%.*s", RF_WIRE_RUNG_SIZE - 5, provider);
		return 1;
	}
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && n < max; i++) {
		size_t len = strcspn(all[i], ":");

		if (any || (strlen(transport) == len && !strncmp(all[i], transport, len)))
			snprintf(rungs[n++], RF_WIRE_RUNG_SIZE, "%s", all[i]);
	}
	return n ? (int)n : rf_transport_rungs(transport, provider, rungs, max);
}

/* The device of verbs has the provider's name; the others are found by the address. */
static void find_node(struct rf_transport *t, const struct rf_transport_cfg *cfg)
{
	t->topology = cfg->topology;
	t->node =
		t->topology ? rf_topology_nic_node(t->topology, t->provider, cfg->local_host) : -1;
	if (t->node >= 0)
		rf_info(t->ops->name, "memory of lanes is on node %d, the NIC's", t->node);
}

int rf_transport_open(const char *name, const struct rf_transport_cfg *cfg,
		      struct rf_transport **out)
{
	const struct rf_transport_ops *ops;
	struct rf_transport *t = NULL;
	const char *detail;
	int err;

	if (!name || !cfg || !out)
		return RF_ERR_INVALID;
	ops = find_backend(name, &detail);
	if (!ops) {
		rf_err_log("transport", "there is no transport %s in this build", name);
		return RF_ERR_NOT_FOUND;
	}
	if (!ops_complete(ops)) {
		rf_err_log("transport", "backend %s has an empty slot", ops->name);
		return RF_ERR_UNSUPPORTED;
	}
	if (rf_fault_point())
		return RF_ERR_NO_MEMORY;
	err = ops->open(detail, cfg, &t);
	if (err)
		return err;
	if (cfg->odp && t->caps.pins) {
		rf_err_log(ops->name,
			   "%s pins the memory it registers, and on-demand paging is asked "
			   "for (odp)",
			   t->provider);
		ops->close(t);
		return RF_ERR_UNSUPPORTED;
	}
	t->ops = ops;
	find_node(t, cfg);
	atomic_init(&t->lanes, 0);
	atomic_init(&t->mrs, 0);
	*out = t;
	return RF_OK;
}

const struct rf_transport_caps *rf_transport_caps(const struct rf_transport *t)
{
	return &t->caps;
}

const char *rf_transport_name(const struct rf_transport *t)
{
	return t->ops->name;
}

const char *rf_transport_provider(const struct rf_transport *t)
{
	return t->provider;
}

void rf_transport_close(struct rf_transport **t)
{
	if (!t || !*t)
		return;
	if (atomic_load(&(*t)->lanes) || atomic_load(&(*t)->mrs))
		rf_err_log((*t)->ops->name, "closed with %u lanes and %u registrations open",
			   atomic_load(&(*t)->lanes), atomic_load(&(*t)->mrs));
	(*t)->ops->close(*t);
	*t = NULL;
}

/* What libraries and drivers allocate for a lane, such as its rings, comes from the NIC's node,
 * too: whatever is new while a backend makes one. */
int rf_transport_listen(struct rf_transport *t, uint8_t addr[RF_WIRE_ADDR_SIZE], uint32_t *addr_len)
{
	struct rf_topology_stay *stay;
	int err;

	if (!t || !addr || !addr_len)
		return RF_ERR_INVALID;
	if (rf_fault_point())
		return RF_ERR_BUSY;
	stay = rf_topology_enter(t->topology, t->node);
	err = t->ops->listen(t, addr, addr_len);
	rf_topology_leave(t->topology, &stay);
	return err;
}

bool rf_token_equal(const uint8_t a[RF_TOKEN_SIZE], const uint8_t b[RF_TOKEN_SIZE])
{
	uint8_t diff = 0;

	for (unsigned i = 0; i < RF_TOKEN_SIZE; i++)
		diff |= a[i] ^ b[i];
	return diff == 0;
}

static void adopt_lane(struct rf_transport *t, struct rf_lane *l, struct rf_lane **out)
{
	atomic_fetch_add(&t->lanes, 1);
	*out = l;
}

int rf_transport_accept(struct rf_transport *t, const uint8_t token[RF_TOKEN_SIZE],
			uint32_t timeout, int cancel_fd, struct rf_lane **out)
{
	struct rf_topology_stay *stay;
	struct rf_lane *l = NULL;
	int err;

	if (!t || !token || !out)
		return RF_ERR_INVALID;
	if (rf_fault_point())
		return RF_ERR_TIMEOUT;
	stay = rf_topology_enter(t->topology, t->node);
	err = t->ops->accept(t, token, timeout, cancel_fd, &l);
	rf_topology_leave(t->topology, &stay);
	if (!err)
		adopt_lane(t, l, out);
	return err;
}

int rf_transport_connect(struct rf_transport *t, const uint8_t *addr, uint32_t addr_len,
			 const struct rf_wire_lane *id, uint32_t timeout, int cancel_fd,
			 struct rf_lane **out)
{
	struct rf_topology_stay *stay;
	struct rf_lane *l = NULL;
	int err;

	if (!t || !addr || !addr_len || addr_len > RF_WIRE_ADDR_SIZE || !id || !out ||
	    id->kind >= RF_LANE_KINDS)
		return RF_ERR_INVALID;
	if (rf_fault_point())
		return RF_ERR_UNREACHABLE;
	stay = rf_topology_enter(t->topology, t->node);
	err = t->ops->connect(t, addr, addr_len, id, timeout, cancel_fd, &l);
	rf_topology_leave(t->topology, &stay);
	if (!err)
		adopt_lane(t, l, out);
	return err;
}

int rf_mr_register(struct rf_transport *t, void *addr, size_t len, enum rf_access access,
		   struct rf_mr **out)
{
	struct rf_mr *mr = NULL;
	int err;

	if (!t || !addr || !len || (uintptr_t)addr + len < (uintptr_t)addr || !out ||
	    (access != RF_ACCESS_LOCAL_READ && access != RF_ACCESS_REMOTE_WRITE))
		return RF_ERR_INVALID;
	if (rf_fault_point())
		return RF_ERR_MEMLOCK;
	err = t->ops->mr_register(t, addr, len, access, &mr);
	if (err)
		return err;
	mr->t = t;
	mr->addr = addr;
	mr->len = len;
	mr->access = access;
	atomic_fetch_add(&t->mrs, 1);
	*out = mr;
	return RF_OK;
}

void rf_mr_key(const struct rf_mr *mr, struct rf_remote_key *key)
{
	*key = mr->key;
}

void rf_mr_deregister(struct rf_mr **mr)
{
	struct rf_transport *t;

	if (!mr || !*mr)
		return;
	t = (*mr)->t;
	t->ops->mr_deregister(*mr);
	atomic_fetch_sub(&t->mrs, 1);
	*mr = NULL;
}
