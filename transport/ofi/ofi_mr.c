/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registered memory.
 *
 * Software providers (`tcp`, `sockets`, `shm`) check a key when the head of a write arrives and
 * then copy its payload as it comes, over many calls: closing the key does not stop a write whose
 * head has passed. So deregistering a range that peers may write to also closes the endpoints of
 * all lanes of the transport, each while its owner is kept out: nobody copies any more, and the
 * writer gets an error for all it has posted. In `tcp` up to libfabric 1.17 looking a key up does
 * not even exclude adding or removing another one: registering stops the lanes in the same way,
 * but they live on.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/log.h"
#include "transport/ofi/ofi.h"

struct rf_ofi_mr {
	struct rf_mr base;
	struct fid_mr *mr[RF_LANE_KINDS];
};

static void stop_lanes(struct rf_ofi *o)
{
	pthread_mutex_lock(&o->gate);
	atomic_store(&o->gate_shut, true);
	for (struct rf_ofi_lane *l = o->lanes; l; l = l->next)
		pthread_mutex_lock(&l->lock);
}

static void release_lanes(struct rf_ofi *o)
{
	for (struct rf_ofi_lane *l = o->lanes; l; l = l->next)
		pthread_mutex_unlock(&l->lock);
	atomic_store(&o->gate_shut, false);
	pthread_mutex_unlock(&o->gate);
}

/* Lanes are stopped. The owner finds its lane ended at its next call and is woken for it. */
static void end_lanes(struct rf_ofi *o)
{
	const uint64_t one = 1;

	for (struct rf_ofi_lane *l = o->lanes; l; l = l->next) {
		if (l->ended)
			continue;
		l->ended = true;
		if (!o->msg)
			rf_ofi_rdm_bye(l);
		/* What moves only when it is asked to stands still from now on, so it may stay
		 * for a peer that still looks at it (shm). */
		if (o->msg || o->info->domain_attr->data_progress != FI_PROGRESS_MANUAL) {
			fi_close(&l->ep->fid);
			l->ep = NULL;
		}
		if (write(l->wake_fd, &one, sizeof(one)) < 0)
			rf_warn("ofi", "lane %s: waking its owner failed", l->base.name);
	}
}

static void close_keys(struct rf_ofi_mr *m)
{
	for (unsigned k = 0; k < RF_LANE_KINDS; k++) {
		if (m->mr[k])
			fi_close(&m->mr[k]->fid);
		m->mr[k] = NULL;
	}
}

static int explain(struct rf_ofi *o, size_t len, int rc)
{
	struct rlimit lim = {0};

	if (rc != -FI_ENOMEM && rc != -FI_EPERM && rc != -FI_EAGAIN) {
		rf_err_log("ofi", "registering %zu bytes: %s", len, fi_strerror(-rc));
		return RF_ERR_SYSTEM;
	}
	if (!o->base.caps.pins) {
		rf_err_log("ofi", "registering %zu bytes: out of memory", len);
		return RF_ERR_NO_MEMORY;
	}
	getrlimit(RLIMIT_MEMLOCK, &lim);
	rf_err_log("ofi",
		   "registering %zu bytes failed: provider %s pins memory, RLIMIT_MEMLOCK is %llu; "
		   "raise it to the size of guest memory (ulimit -l)",
		   len, o->base.provider, (unsigned long long)lim.rlim_cur);
	return RF_ERR_MEMLOCK;
}

/* Keys are ours to choose unless FI_MR_PROV_KEY: random, so that they cannot be guessed. */
static int register_kind(struct rf_ofi *o, struct rf_ofi_mr *m, unsigned kind, void *addr,
			 size_t len, uint64_t access)
{
	size_t key_size = o->info->domain_attr->mr_key_size;
	int rc = -FI_ENOKEY;

	for (unsigned tries = 0; rc == -FI_ENOKEY && tries < 8; tries++) {
		uint64_t key;

		if (getrandom(&key, sizeof(key), 0) != sizeof(key))
			return -FI_EOTHER;
		if (key_size < sizeof(key))
			key &= (1ull << (8 * key_size)) - 1;
		/* not the all-ones key, which means "not available" */
		if (key == FI_KEY_NOTAVAIL)
			continue;
		rc = fi_mr_reg(o->domain[kind], addr, len, access, 0, key, 0, &m->mr[kind], NULL);
	}
	if (!rc && access == FI_REMOTE_WRITE)
		m->base.key.key[kind] = fi_mr_key(m->mr[kind]);
	return rc;
}

int rf_ofi_mr_register(struct rf_transport *t, void *addr, size_t len, enum rf_access access,
		       struct rf_mr **out)
{
	struct rf_ofi *o = rf_ofi(t);
	uint64_t mode = o->info->domain_attr->mr_mode;
	bool remote = access == RF_ACCESS_REMOTE_WRITE;
	struct rf_ofi_mr *m = calloc(1, sizeof(*m));
	int rc = 0;

	if (!m)
		return RF_ERR_NO_MEMORY;
	m->base.t = t;
	m->base.access = access;
	if (remote || (mode & FI_MR_LOCAL)) {
		stop_lanes(o);
		for (unsigned k = 0; k < RF_LANE_KINDS && !rc; k++)
			rc = register_kind(o, m, k, addr, len,
					   remote ? FI_REMOTE_WRITE : FI_WRITE | FI_SEND);
		if (rc)
			close_keys(m);
		release_lanes(o);
	}
	if (rc) {
		free(m);
		return explain(o, len, rc);
	}
	if (remote)
		m->base.key.base = mode & FI_MR_VIRT_ADDR ? (uintptr_t)addr : 0;
	*out = &m->base;
	return RF_OK;
}

void rf_ofi_mr_deregister(struct rf_mr *mr)
{
	struct rf_ofi_mr *m = (struct rf_ofi_mr *)mr;
	struct rf_ofi *o = rf_ofi(mr->t);

	stop_lanes(o);
	/* some providers keep memory busy while an endpoint has work on it: endpoints first */
	if (mr->access == RF_ACCESS_REMOTE_WRITE)
		end_lanes(o);
	close_keys(m);
	release_lanes(o);
	free(m);
}

void *rf_ofi_mr_desc(const struct rf_mr *mr, enum rf_lane_kind kind)
{
	struct fid_mr *fid = ((const struct rf_ofi_mr *)mr)->mr[kind];

	return fid ? fi_mr_desc(fid) : NULL;
}
