/* SPDX-License-Identifier: BSD-3-Clause */
/* An urgent sender on a scripted wire whose far end, the destination's, the test plays. */
#ifndef RF_TESTS_ORDER_FIXTURE_H
#define RF_TESTS_ORDER_FIXTURE_H

#include "tests/unit/unit.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "scheduler/region.h"
#include "scheduler/urgent.h"
#include "transport/mem/mem.h"

#define TIMEOUT	 (30 * RF_NS_PER_SEC)
#define MAX_SLOT 256u
/* host page the bulk sender has; not the first, so that one that is forgotten shows */
#define BULK_PAGE 2u

/* A row: how large host pages and writes are, how many requests are in front and behind. */
struct order {
	uint32_t page_size;
	uint64_t piece;
	unsigned others, stream;
};

struct fixture {
	const struct order *row;
	struct rf_mem_hub *hub;
	struct rf_transport *src, *dst;
	struct rf_lane *far;
	struct rf_mr *dst_mr;
	uint8_t *from, *to;
	size_t len;
	struct rf_src_region region;
	struct rf_urgent_shared shared;
	struct rf_poll_plan plan;
	struct rf_urgent urgent;
	unsigned asked; /* requests sent; their number is the slot */
	uint64_t page_of[MAX_SLOT];
	/* what came, in order; the last piece of each */
	unsigned nanswers;
	uint32_t answers[MAX_SLOT];
	uint64_t pieces, zeros;
};

/* Every fifth host page is zero. */
static inline bool is_zero_page(uint64_t host_page)
{
	return host_page % 5 == 4;
}

static inline void make_memory(struct fixture *f)
{
	unsigned host_pages = f->row->others + f->row->stream + 1;
	struct rf_region info = {.size = sizeof(info), .id = "ram", .memfd = -1};

	f->len = (size_t)host_pages * f->row->page_size;
	f->from = aligned_alloc(RF_PAGE_SIZE, f->len);
	f->to = aligned_alloc(RF_PAGE_SIZE, f->len);
	assert_true(f->from && f->to);
	for (unsigned i = 0; i < host_pages; i++)
		memset(f->from + (size_t)i * f->row->page_size, is_zero_page(i) ? 0 : i + 1,
		       f->row->page_size);
	memset(f->to, 0, f->len);
	info.addr = f->from;
	info.len = f->len;
	info.page_size = f->row->page_size;
	assert_int_equal(rf_src_region_init(&f->region, &info), RF_OK);
	rf_bitmap_set_range(&f->region.map.pending, 0, f->region.map.npages);
	assert_int_equal(rf_src_region_make_claims(&f->region), RF_OK);
	assert_int_equal(rf_src_region_make_chunks(&f->region, f->len), RF_OK);
	assert_int_equal(rf_mr_register(f->src, f->from, f->len, RF_ACCESS_LOCAL_READ,
					&f->region.chunks[0].mr),
			 RF_OK);
	assert_int_equal(rf_mr_register(f->dst, f->to, f->len, RF_ACCESS_REMOTE_WRITE, &f->dst_mr),
			 RF_OK);
	rf_mr_key(f->dst_mr, &f->region.chunks[0].key);
}

static inline void open_fixture(struct fixture *f, const struct order *row)
{
	struct rf_mem_hub_cfg hub = {.scripted = true, .depth = 16};
	struct rf_wire_lane id = {.token = {1, 2, 3}, .kind = RF_LANE_URGENT};
	struct rf_transport_cfg cfg = {.max_lanes = 1};
	uint8_t addr[RF_WIRE_ADDR_SIZE];
	struct rf_lane *near = NULL;
	uint32_t addr_len;

	memset(f, 0, sizeof(*f));
	f->row = row;
	assert_int_equal(rf_mem_hub_new(&hub, &f->hub), RF_OK);
	cfg.hub = f->hub;
	assert_int_equal(rf_transport_open("mem", &cfg, &f->src), RF_OK);
	assert_int_equal(rf_transport_open("mem", &cfg, &f->dst), RF_OK);
	assert_int_equal(rf_transport_listen(f->dst, addr, &addr_len), RF_OK);
	assert_int_equal(rf_transport_connect(f->src, addr, addr_len, &id, 1000, -1, &near), RF_OK);
	assert_int_equal(rf_transport_accept(f->dst, id.token, 1000, -1, &f->far), RF_OK);
	make_memory(f);
	pthread_mutex_init(&f->shared.lock, NULL);
	f->shared.regions = &f->region;
	f->shared.nregions = 1;
	f->shared.chunk_size = f->len;
	f->shared.piece = row->piece;
	f->shared.is_zero = rf_zero_select();
	f->shared.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(f->shared.wake_fd >= 0);
	assert_int_equal(rf_poll_plan_init(&f->plan, "event", NULL, NULL), RF_OK);
	assert_int_equal(rf_urgent_start(&f->urgent, &f->shared, near, &f->plan), RF_OK);
}

static inline void close_fixture(struct fixture *f)
{
	assert_int_equal(atomic_load(&f->shared.error), RF_OK);
	rf_urgent_stop(&f->urgent, NULL);
	rf_poll_plan_fini(&f->plan);
	rf_lane_close(&f->far);
	rf_src_region_deregister(&f->region);
	rf_src_region_fini(&f->region);
	rf_mr_deregister(&f->dst_mr);
	rf_transport_close(&f->src);
	rf_transport_close(&f->dst);
	rf_mem_hub_delete(&f->hub);
	pthread_mutex_destroy(&f->shared.lock);
	close(f->shared.wake_fd);
	free(f->from);
	free(f->to);
}

static inline void note_answer(struct fixture *f, uint32_t slot)
{
	size_t at;

	assert_true(slot < f->asked && f->nanswers < MAX_SLOT);
	at = f->page_of[slot] * f->row->page_size;
	assert_memory_equal(f->to + at, f->from + at, f->row->page_size);
	f->answers[f->nanswers++] = slot;
}

static inline void note(struct fixture *f, const struct rf_completion *c)
{
	uint32_t slot;

	if (c->op == RF_OP_IMM) {
		f->pieces++;
		if (!(c->value & RF_IMM_MORE))
			note_answer(f, (uint32_t)c->value);
	} else if (c->op == RF_OP_RECV) {
		assert_int_equal(rf_wire_get_zero_answer(c->data, c->len, &slot), RF_OK);
		assert_true(slot < f->asked && is_zero_page(f->page_of[slot]));
		f->zeros++;
		note_answer(f, slot);
	}
}

/* One step of the wire, and what the destination's end sees of it. */
static inline void step(struct fixture *f)
{
	struct rf_completion c[8];
	int n;

	rf_mem_hub_step(f->hub);
	while ((n = rf_lane_poll(f->far, c, COUNT_OF(c))) > 0)
		for (int i = 0; i < n; i++)
			note(f, &c[i]);
	assert_int_equal(n, 0);
}

/* Steps until the condition holds. */
#define step_until(f, cond)                                               \
	do {                                                              \
		uint64_t end_ = rf_now_ns(&rf_clock_monotonic) + TIMEOUT; \
		while (!(cond)) {                                         \
			step(f);                                          \
			if (rf_now_ns(&rf_clock_monotonic) > end_)        \
				fail_msg("waited in vain for " #cond);    \
			usleep(100);                                      \
		}                                                         \
	} while (0)

static inline void ask(struct fixture *f, uint64_t host_page)
{
	uint64_t pages = f->row->page_size / RF_PAGE_SIZE;
	struct rf_wire_request q = {.page = host_page * pages, .slot = f->asked};
	uint8_t msg[RF_WIRE_REQUEST_SIZE];
	int rc;

	assert_true(f->asked < MAX_SLOT);
	f->page_of[f->asked++] = host_page;
	rf_wire_put_request(msg, &q);
	while ((rc = rf_lane_send(f->far, msg, sizeof(msg))) == RF_NO_RESOURCE)
		step(f);
	assert_int_equal(rc, RF_OK);
}

/* The next n host pages that are not the bulk sender's. */
static inline void ask_others(struct fixture *f, unsigned n, uint64_t *next)
{
	for (unsigned i = 0; i < n; i++, (*next)++) {
		if (*next == BULK_PAGE)
			(*next)++;
		ask(f, *next);
	}
}

#endif
