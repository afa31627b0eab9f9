/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plain loop over libfabric: what a provider gives to a program that does nothing but write.
 * Connected endpoints, one completion queue each, one thread for all, no locks, no bounds, no
 * error handling beyond words. The yardstick for transport/ofi, not an example of how to use it.
 */
#ifndef RF_BENCH_RAW_OFI_H
#define RF_BENCH_RAW_OFI_H

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include "bench/engine.h"

#define RAW_RECVS 16

struct raw_lane {
	struct fid_ep *ep;
	struct fid_cq *cq;
	struct fid_eq *eq;
	int fd;
	uint64_t fence; /* being sent */
	uint64_t msg[RAW_RECVS];
	struct fi_context2 ctx[RAW_RECVS]; /* of msg */
};

struct raw {
	struct engine base;
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_mr *src_mr, *dst_mr;
	struct fid_pep *pep;
	struct fid_eq *eq;
	uint64_t flags; /* of a write */
	bool sleeps;
	struct raw_lane lane[BENCH_MAX_LANES];
	char why[128];
	/* contexts of writes in flight: nobody looks, but providers may write there */
	struct fi_context2 ctx[BENCH_MAX_DEPTH];
	unsigned next_ctx;
};

static inline struct raw *raw_of(struct engine *e)
{
	return (struct raw *)e;
}

/* raw_ofi_setup.c: the slots of the table for set-up */
int raw_ofi_open(const struct engine_cfg *cfg, struct engine **out);
void raw_ofi_close(struct engine *e);
int raw_ofi_listen(struct engine *e, uint8_t *addr, uint32_t *len);
int raw_ofi_accept(struct engine *e, const uint8_t *token, uint32_t timeout, int cancel_fd);
int raw_ofi_connect(struct engine *e, const uint8_t *addr, uint32_t len, const uint8_t *token,
		    uint32_t timeout);
int raw_ofi_add_memory(struct engine *e, void *p, size_t len, struct rf_remote_key *key);

/* raw_ofi.c */
int raw_ofi_post_recv(struct raw_lane *l, unsigned i);

#endif
