/* SPDX-License-Identifier: BSD-3-Clause */
/* Where tests over RDMA can run: addresses of this machine that have an RDMA device. */
#ifndef RF_TESTS_RDMA_ENV_H
#define RF_TESTS_RDMA_ENV_H

#include <stdbool.h>

#define RDMA_ENV_ENABLE "needs an RDMA device; tests/lab/run tests/lab/rdma-tests BUILD_DIRECTORY"

struct rdma_env {
	char local[64];		    /* of the source */
	char peer[64];		    /* of the destination; the same if there is one device only */
	char local6[64], peer6[64]; /* in IPv6; "" if the devices have none */
};

/* $RF_RDMA_LOCAL and $RF_RDMA_PEER, or the addresses of the first two active RoCE ports. False if
 * there is none. */
bool rdma_env_find(struct rdma_env *env);

/* True in the lab's VM, whose link may be cut and shaped. */
bool rdma_env_in_lab(void);

#endif
