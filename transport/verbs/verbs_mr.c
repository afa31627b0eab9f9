/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registered memory. Rights are the least: a source range has none at all (posts read it), a
 * target range may be written to and nothing else. Deregistering is final when it returns: the
 * device refuses the key, and the writer's queue pair dies of it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/fault.h"
#include "common/log.h"
#include "transport/verbs/verbs.h"

struct rf_verbs_mr {
	struct rf_mr base;
	struct ibv_mr *mr;
};

bool rf_verbs_mr_odp(struct ibv_context *ctx)
{
	struct ibv_device_attr_ex attr;

	return !ibv_query_device_ex(ctx, NULL, &attr) &&
	       (attr.odp_caps.general_caps & IBV_ODP_SUPPORT) &&
	       (attr.odp_caps.per_transport_caps.rc_odp_caps & IBV_ODP_SUPPORT_WRITE);
}

/* KiB that this process has pinned for devices; 0 if it cannot be told. */
static uint64_t pinned_kib(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	uint64_t kib = 0;
	char line[128];

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "VmPin:", 6))
			kib = strtoull(line + 6, NULL, 10);
	}
	fclose(f);
	return kib;
}

static int explain(const struct rf_verbs *v, const void *addr, size_t len, const char *what,
		   int err)
{
	struct rlimit lim = {.rlim_cur = RLIM_INFINITY};
	uint64_t pinned = pinned_kib(), need = pinned + (len + 1023) / 1024;

	getrlimit(RLIMIT_MEMLOCK, &lim);
	if ((err == ENOMEM || err == EPERM) && lim.rlim_cur != RLIM_INFINITY &&
	    need > lim.rlim_cur / 1024) {
		rf_err_log("verbs",
			   "%s: registering %zu KiB of %s: the limit of locked memory is %" PRIu64
			   " KiB and %" PRIu64 " KiB are needed by now; raise it: ulimit -l, "
			   "LimitMEMLOCK= of a systemd unit, or memlock in "
			   "/etc/security/limits.conf",
			   v->base.provider, len / 1024, what, (uint64_t)lim.rlim_cur / 1024, need);
		return RF_ERR_MEMLOCK;
	}
	rf_err_log("verbs", "%s: registering %zu KiB of %s at %p: %s%s", v->base.provider,
		   len / 1024, what, addr, strerror(err),
		   err == EFAULT ? " (not mapped; or mapped read-only, which kernels before 6.3 "
				   "cannot register)"
				 : "");
	switch (err) {
	case ENOMEM:
		return RF_ERR_NO_MEMORY;
	case EPERM:
	case EACCES:
		return RF_ERR_PERMISSION;
	case EOPNOTSUPP:
		return RF_ERR_UNSUPPORTED;
	case EFAULT:
		return RF_ERR_INVALID;
	default:
		return RF_ERR_SYSTEM;
	}
}

int rf_verbs_mr_reg(struct rf_verbs *v, void *addr, size_t len, int access, const char *what,
		    struct ibv_mr **out)
{
	struct ibv_mr *mr;

	errno = ENOMEM;
	mr = rf_fault_point() ? NULL : ibv_reg_mr(v->pd, addr, len, access);
	if (!mr)
		return explain(v, addr, len, what, errno);
	*out = mr;
	return RF_OK;
}

int rf_verbs_mr_register(struct rf_transport *t, void *addr, size_t len, enum rf_access access,
			 struct rf_mr **out)
{
	struct rf_verbs *v = rf_verbs(t);
	struct rf_verbs_mr *m = calloc(1, sizeof(*m));
	int flags = v->odp ? IBV_ACCESS_ON_DEMAND : 0, err;

	if (!m)
		return RF_ERR_NO_MEMORY;
	/* the verbs want the right to write locally for that to write remotely */
	if (access == RF_ACCESS_REMOTE_WRITE)
		flags |= IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
	err = rf_verbs_mr_reg(v, addr, len, flags, "guest memory", &m->mr);
	if (err) {
		free(m);
		return err;
	}
	if (access == RF_ACCESS_REMOTE_WRITE) {
		m->base.key.base = (uintptr_t)addr;
		for (unsigned k = 0; k < RF_LANE_KINDS; k++)
			m->base.key.key[k] = m->mr->rkey;
	}
	*out = &m->base;
	return RF_OK;
}

void rf_verbs_mr_deregister(struct rf_mr *mr)
{
	struct rf_verbs_mr *m = (struct rf_verbs_mr *)mr;
	int rc = ibv_dereg_mr(m->mr);

	if (rc && rc != EIO) /* EIO: the device is gone, and the key with it */
		rf_err_log("verbs", "%s: deregistering %zu KiB at %p: %s", mr->t->provider,
			   mr->len / 1024, (void *)mr->addr, strerror(rc));
	free(m);
}

uint32_t rf_verbs_mr_lkey(const struct rf_mr *mr)
{
	return ((const struct rf_verbs_mr *)mr)->mr->lkey;
}
