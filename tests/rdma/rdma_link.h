/* SPDX-License-Identifier: BSD-3-Clause */
/* Links over RDMA for tests that need more than the contract suite: time limits, the link itself.
 */
#ifndef RF_TESTS_RDMA_LINK_H
#define RF_TESTS_RDMA_LINK_H

#include "tests/contract/contract.h"
#include "tests/rdma/rdma_env.h"

#include <ramferry/log.h>

/* A bulk or urgent lane with memory at both ends. */
struct rdma_link {
	struct ct_link k;
	struct ct_lane l;
	struct ct_area from, to;
	struct rf_mr *from_mr, *to_mr;
	struct rf_remote_key key;
	uint64_t next; /* where the stream goes on */
};

/* Finds the addresses; ends the program with 77 and the line that says why if there are none. */
void rdma_link_require(const char *test, struct rdma_env *env);

void rdma_link_open(struct rdma_link *r, const struct rdma_env *env, enum rf_lane_kind kind,
		    uint32_t link_timeout, size_t len);
void rdma_link_close(struct rdma_link *r);
struct rf_write rdma_link_write_of(struct rdma_link *r, uint64_t off, uint32_t len);

/* Writes pieces round and round for ms, or until the lane dies; both ends are polled. */
void rdma_link_stream(struct rdma_link *r, uint32_t piece, uint32_t ms);
/* The same until the lane dies, at most ms. Returns how many ms it took. */
uint32_t rdma_link_stream_to_death(struct rdma_link *r, uint32_t piece, uint32_t ms);

/* Writes [0, len) and a fence behind it, and waits until the fence is seen and memory is equal.
 * Returns how many ms it took; the case fails if that is more than limit. */
uint32_t rdma_link_move(struct rdma_link *r, size_t len, uint32_t piece, uint32_t limit);

/* tests/lab/net with these arguments; outside of the lab's VM the case is skipped. */
void rdma_link_net(const char *test, const char *arguments);
int rdma_link_try_net(const char *arguments);

/* What the library logged since the last call of rdma_log_keep(). */
void rdma_log_keep(void);
bool rdma_log_has(const char *words);

uint64_t rdma_now_ms(void);

#endif
