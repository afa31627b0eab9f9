/* SPDX-License-Identifier: BSD-3-Clause */
/* Bulk lanes of a source on a scripted wire: nothing moves until the test says so. */
#ifndef RF_TESTS_BULK_WIRE_H
#define RF_TESTS_BULK_WIRE_H

#include "tests/unit/unit.h"

#include <ramferry/log.h>
#include <ramferry/region.h>

#include "scheduler/bulk.h"
#include "transport/mem/mem.h"

#define MEM   (1u << 20)
#define PIECE ((uint64_t)16 << 10)

struct fixture {
	struct rf_mem_hub *hub;
	struct rf_transport *src, *dst;
	struct rf_lane *far[RF_WIRE_MAX_LANES];
	struct rf_mr *src_mr, *dst_mr;
	struct rf_remote_key key;
	uint8_t *from, *to;
	struct rf_bulk bulk;
	/* what the script does to the op with this number on this lane */
	unsigned bad_lane;
	uint64_t bad_seq;
	enum rf_mem_fate fate;
	uint64_t most_inflight;
};

static inline enum rf_mem_fate script(void *arg, const struct rf_mem_op_info *op)
{
	const struct fixture *f = arg;

	if (op->from_source && op->lane_index == f->bad_lane && op->seq >= f->bad_seq)
		return f->fate;
	return RF_MEM_DELIVER;
}

static inline void join_lane(struct fixture *f, unsigned i, const uint8_t *addr, uint32_t addr_len)
{
	struct rf_wire_lane id = {.token = {1, 2, 3}, .kind = RF_LANE_BULK, .index = (uint16_t)i};

	assert_int_equal(rf_transport_connect(f->src, addr, addr_len, &id, 1000, -1,
					      &f->bulk.lanes[i]),
			 RF_OK);
	assert_int_equal(rf_transport_accept(f->dst, id.token, 1000, -1, &f->far[i]), RF_OK);
	f->bulk.nlanes++;
}

static inline void open_fixture(struct fixture *f, unsigned lanes, uint64_t window, uint32_t depth)
{
	struct rf_mem_hub_cfg hub = {.scripted = true, .depth = depth, .script = script, .arg = f};
	struct rf_transport_cfg cfg = {.max_lanes = lanes};
	uint8_t addr[RF_WIRE_ADDR_SIZE];
	uint32_t addr_len;

	memset(f, 0, sizeof(*f));
	f->bad_seq = UINT64_MAX;
	assert_int_equal(rf_mem_hub_new(&hub, &f->hub), RF_OK);
	cfg.hub = f->hub;
	assert_int_equal(rf_transport_open("mem", &cfg, &f->src), RF_OK);
	assert_int_equal(rf_transport_open("mem", &cfg, &f->dst), RF_OK);
	assert_int_equal(rf_transport_listen(f->dst, addr, &addr_len), RF_OK);
	rf_bulk_init(&f->bulk, window);
	for (unsigned i = 0; i < lanes; i++)
		join_lane(f, i, addr, addr_len);
	f->from = aligned_alloc(RF_PAGE_SIZE, MEM);
	f->to = aligned_alloc(RF_PAGE_SIZE, MEM);
	for (unsigned i = 0; i < MEM; i++)
		f->from[i] = (uint8_t)(i * 31 + i / 256);
	memset(f->to, 0, MEM);
	assert_int_equal(rf_mr_register(f->src, f->from, MEM, RF_ACCESS_LOCAL_READ, &f->src_mr),
			 RF_OK);
	assert_int_equal(rf_mr_register(f->dst, f->to, MEM, RF_ACCESS_REMOTE_WRITE, &f->dst_mr),
			 RF_OK);
	rf_mr_key(f->dst_mr, &f->key);
}

static inline void close_fixture(struct fixture *f)
{
	rf_bulk_close(&f->bulk);
	for (unsigned i = 0; i < RF_WIRE_MAX_LANES; i++)
		rf_lane_close(&f->far[i]);
	rf_mr_deregister(&f->src_mr);
	rf_mr_deregister(&f->dst_mr);
	rf_transport_close(&f->src);
	rf_transport_close(&f->dst);
	rf_mem_hub_delete(&f->hub);
	free(f->from);
	free(f->to);
}

static inline struct rf_write write_of(struct fixture *f, uint64_t at, uint32_t len)
{
	return (struct rf_write){.src = f->from + at,
				 .src_mr = f->src_mr,
				 .dst = &f->key,
				 .dst_off = at,
				 .len = len};
}

/* Puts a piece into the batch; there must be room. */
static inline void add(struct fixture *f, uint64_t at, uint32_t len)
{
	struct rf_write w = write_of(f, at, len);

	assert_true(rf_bulk_has_room(&f->bulk, len));
	rf_bulk_add(&f->bulk, &w);
}

static inline void note_inflight(struct fixture *f)
{
	for (unsigned i = 0; i < f->bulk.nlanes; i++) {
		uint64_t n = rf_lane_inflight(f->bulk.lanes[i]);

		f->most_inflight = n > f->most_inflight ? n : f->most_inflight;
	}
}

/* Takes one step of the wire and what completed; the outcome of the poll. */
static inline int step(struct fixture *f)
{
	note_inflight(f);
	rf_mem_hub_step(f->hub);
	return rf_bulk_poll(&f->bulk);
}

/* Posts what there is, stepping while the lanes are full. The error of a lane, or RF_OK. */
static inline int drive(struct fixture *f, int (*post)(struct fixture *f))
{
	int rc, polled;

	for (unsigned n = 0; (rc = post(f)) != RF_OK; n++) {
		assert_true(n < 100000);
		if (rc != RF_NO_RESOURCE)
			return rc;
		polled = step(f);
		if (polled < 0)
			return polled;
	}
	return RF_OK;
}

static inline int post_batch(struct fixture *f)
{
	return rf_bulk_post(&f->bulk);
}

static inline int post_fence(struct fixture *f)
{
	return rf_bulk_fence(&f->bulk, 7);
}

/* All of the memory in pieces of len. */
static inline int send_all(struct fixture *f, uint32_t len)
{
	for (uint64_t at = 0; at < MEM; at += len) {
		int rc = rf_bulk_has_room(&f->bulk, len) ? RF_OK : drive(f, post_batch);

		if (rc != RF_OK)
			return rc;
		add(f, at, len);
	}
	return drive(f, post_batch);
}

static inline int drain(struct fixture *f)
{
	int rc = RF_OK;

	for (unsigned n = 0; rc >= 0 && rf_bulk_inflight(&f->bulk); n++) {
		assert_true(n < 100000);
		rc = step(f);
	}
	return rc < 0 ? rc : RF_OK;
}

#endif
