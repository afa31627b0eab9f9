/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The contract suite: what transport/transport.h promises, tried on each backend. Both ends run in
 * this process. A case uses only the front door, so a new backend passes it unchanged.
 *
 *   contract RUNG [--local ADDR] [--peer ADDR] [--case NAME]
 */
#ifndef RF_TESTS_CONTRACT_H
#define RF_TESTS_CONTRACT_H

#include "tests/unit/unit.h"

#include "common/clock.h"
#include "transport/mem/mem.h"
#include "transport/transport.h"

#define CT_TIMEOUT 10000 /* ms that nothing here may take on a busy machine */

struct ct_env {
	const char *rung;
	const char *local, *peer;   /* addresses of the connecting and the listening end */
	const char *local6, *peer6; /* the same in IPv6; NULL if there are none */
	uint32_t link_timeout;	    /* ms, 0: CT_TIMEOUT */
};

/* What one end has seen so far. */
struct ct_seen {
	unsigned writes, sends, recvs, fences, imms;
	uint64_t bytes;
	uint64_t fence, imm; /* the last one's value */
	int err;	     /* of the lane, RF_OK while it lives */
	/* called for each message that comes, if set */
	void (*on_recv)(void *arg, const void *data, uint32_t len);
	void (*on_imm)(void *arg, uint64_t value);
	void (*on_fence)(void *arg, uint64_t value);
	void *arg;
};

/* A source and a destination, joined. */
struct ct_link {
	struct rf_mem_hub *hub;
	struct rf_transport *src, *dst;
	uint8_t addr[RF_WIRE_ADDR_SIZE];
	uint32_t addr_len;
	uint8_t token[RF_TOKEN_SIZE];
};

/* One lane, both ends. */
struct ct_lane {
	struct rf_lane *src, *dst;
	struct ct_seen at_src, at_dst;
};

/* Shared memory with a guard page on each side, filled with a pattern. */
struct ct_area {
	uint8_t *map, *mem;
	size_t map_len, len;
};

void ct_link_open(const struct ct_env *env, struct ct_link *k);
void ct_link_close(struct ct_link *k);
void ct_lane_open(struct ct_link *k, enum rf_lane_kind kind, uint16_t index, struct ct_lane *l);
void ct_lane_close(struct ct_lane *l);

/* Is the backend this one? For what only some can do. */
bool ct_is(const struct ct_env *env, const char *rung);

/* Accepting in a thread of its own, so that one can connect meanwhile. */
struct ct_accept {
	struct ct_link *link;
	uint8_t token[RF_TOKEN_SIZE];
	uint32_t timeout;
	int cancel_fd; /* written to if accept fails, so that a connect that waits on it ends too */
	int err;
	struct rf_lane *lane;
	pthread_t thread;
};
void ct_accept_start(struct ct_accept *a, struct ct_link *k, uint32_t timeout, int cancel_fd);
int ct_accept_join(struct ct_accept *a);
int ct_connect(struct ct_link *k, const uint8_t *token, enum rf_lane_kind kind, uint16_t index,
	       uint32_t timeout, int cancel_fd, struct rf_lane **out);

void ct_area_new(struct ct_area *a, size_t len);
void ct_area_fill(struct ct_area *a, uint64_t seed);
/* Guards as they were, and the middle as ct_area_fill(seed) made it. */
bool ct_area_guards_intact(const struct ct_area *a);
void ct_area_free(struct ct_area *a);
uint64_t ct_sum(const void *p, size_t len);

/* Polls one end once; returns how many completions there were. Errors go to seen->err. */
int ct_poll(struct rf_lane *l, struct ct_seen *seen);
/* Polls both ends, sleeping on their fds, until done(arg). False after CT_TIMEOUT. */
bool ct_until(struct ct_lane *l, bool (*done)(const struct ct_lane *l, uint64_t n), uint64_t n);
bool ct_src_wrote(const struct ct_lane *l, uint64_t n);
bool ct_src_sent(const struct ct_lane *l, uint64_t n);
bool ct_dst_fenced(const struct ct_lane *l, uint64_t n);
bool ct_dst_received(const struct ct_lane *l, uint64_t n);
bool ct_src_received(const struct ct_lane *l, uint64_t n);
bool ct_dst_imm(const struct ct_lane *l, uint64_t n);
bool ct_src_dead(const struct ct_lane *l, uint64_t n);
bool ct_both_dead(const struct ct_lane *l, uint64_t n);
/* Sleeps on fd of l after arming, at most ms. RF_AGAIN if there was no need to. */
int ct_sleep(struct rf_lane *l, int ms);
/* One write / fence / send, polling both ends while there is no room. */
int ct_write(struct ct_lane *l, const struct rf_write *w);
int ct_fence(struct ct_lane *l, uint64_t value);

/* The cases. */
void ct_fence_orders_writes(void **state);
void ct_fence_of_each_lane(void **state);
void ct_full_queue_recovers(void **state);
void ct_batches_complete(void **state);
void ct_big_and_unaligned(void **state);
void ct_far_offsets(void **state);
void ct_messages_both_ways(void **state);
void ct_write_imm(void **state);
void ct_sleep_misses_nothing(void **state);
void ct_arguments_refused(void **state);
void ct_past_the_end(void **state);
void ct_before_the_begin(void **state);
void ct_revoked_key(void **state);
void ct_write_cut_short(void **state);
void ct_late_writes(void **state);
void ct_other_registration(void **state);
void ct_peer_closes_busy_lane(void **state);
void ct_peer_closes_idle_lane(void **state);
void ct_dead_lane_stays_dead(void **state);
void ct_storm_leaks_nothing(void **state);
void ct_wrong_token(void **state);
void ct_strangers(void **state);
void ct_two_links(void **state);
void ct_lanes_in_threads(void **state);
void ct_cancel(void **state);
void ct_nobody_listens(void **state);
void ct_silent_port(void **state);
void ct_silent_peer(void **state);
void ct_bad_addresses(void **state);
void ct_ipv6(void **state);
void ct_fault_sweep(void **state);

#endif
