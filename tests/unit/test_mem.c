/* SPDX-License-Identifier: BSD-3-Clause */
/* The scripted wire of backend mem: order of steps, and what each fate does to both ends. */
#include "tests/unit/unit.h"

#include "transport/mem/mem.h"
#include "transport/transport.h"

#define PAGE 4096u

struct fixture {
	struct rf_mem_hub *hub;
	struct rf_transport *src, *dst;
	uint8_t addr[RF_WIRE_ADDR_SIZE];
	uint32_t addr_len;
	struct rf_lane *at_src, *at_dst;
	uint8_t from[4 * PAGE], to[4 * PAGE];
	struct rf_mr *from_mr, *to_mr;
	struct rf_remote_key key;
	/* the script: fates by sequence number, and what it was asked about */
	enum rf_mem_fate fates[16];
	struct rf_mem_op_info asked[16];
	unsigned nasked;
};

static enum rf_mem_fate script(void *arg, const struct rf_mem_op_info *op)
{
	struct fixture *f = arg;

	f->asked[f->nasked++ % COUNT_OF(f->asked)] = *op;
	return f->fates[op->seq % COUNT_OF(f->fates)];
}

/* One thread plays both sides: connect does not wait. */
static struct rf_lane *join(struct fixture *f, uint8_t kind, uint16_t index, struct rf_lane **dst)
{
	struct rf_wire_lane id = {.kind = kind, .index = index, .token = {7}};
	struct rf_lane *src;

	assert_int_equal(rf_transport_connect(f->src, f->addr, f->addr_len, &id, 0, -1, &src),
			 RF_OK);
	assert_int_equal(rf_transport_accept(f->dst, id.token, 0, -1, dst), RF_OK);
	return src;
}

static void open_fixture(struct fixture *f)
{
	struct rf_mem_hub_cfg cfg = {.scripted = true, .depth = 4, .script = script, .arg = f};
	struct rf_transport_cfg tcfg = {0};

	memset(f, 0, sizeof(*f));
	memset(f->from, 1, sizeof(f->from));
	assert_int_equal(rf_mem_hub_new(&cfg, &f->hub), RF_OK);
	tcfg.hub = f->hub;
	assert_int_equal(rf_transport_open("mem", &tcfg, &f->src), RF_OK);
	assert_int_equal(rf_transport_open("mem", &tcfg, &f->dst), RF_OK);
	assert_int_equal(rf_transport_listen(f->dst, f->addr, &f->addr_len), RF_OK);
	assert_int_equal(rf_mr_register(f->src, f->from, sizeof(f->from), RF_ACCESS_LOCAL_READ,
					&f->from_mr),
			 RF_OK);
	assert_int_equal(rf_mr_register(f->dst, f->to, sizeof(f->to), RF_ACCESS_REMOTE_WRITE,
					&f->to_mr),
			 RF_OK);
	rf_mr_key(f->to_mr, &f->key);
	f->at_src = join(f, RF_LANE_BULK, 0, &f->at_dst);
}

static void close_fixture(struct fixture *f)
{
	rf_lane_close(&f->at_src);
	rf_lane_close(&f->at_dst);
	rf_mr_deregister(&f->from_mr);
	rf_mr_deregister(&f->to_mr);
	rf_transport_close(&f->src);
	rf_transport_close(&f->dst);
	rf_mem_hub_delete(&f->hub);
	assert_null(f->hub);
}

static void post(struct fixture *f, uint64_t page)
{
	const struct rf_write w = {f->from + page * PAGE, f->from_mr, &f->key, page * PAGE, PAGE};

	assert_int_equal(rf_lane_write(f->at_src, &w, 1), 1);
}

static void nothing_moves_without_a_step(void **state)
{
	struct rf_completion c[4];
	struct fixture f;

	open_fixture(&f);
	post(&f, 0);
	assert_int_equal(rf_lane_fence(f.at_src, 9), RF_OK);
	assert_int_equal(rf_mem_hub_pending(f.hub), 2);
	assert_int_equal(rf_lane_poll(f.at_src, c, 4), 0);
	assert_int_equal(f.to[0], 0);
	assert_int_equal(rf_mem_hub_step(f.hub), 1);
	assert_int_equal(f.to[0], 1);
	assert_int_equal(rf_lane_inflight(f.at_src), PAGE);
	assert_int_equal(rf_lane_poll(f.at_src, c, 4), 1);
	assert_int_equal(c[0].op, RF_OP_WRITE);
	assert_int_equal(c[0].bytes, PAGE);
	assert_int_equal(rf_lane_inflight(f.at_src), 0);
	assert_int_equal(rf_lane_poll(f.at_dst, c, 4), 0);
	assert_true(rf_mem_hub_step_lane(f.hub, RF_LANE_BULK, 0, true));
	assert_int_equal(rf_lane_poll(f.at_dst, c, 4), 1);
	assert_int_equal(c[0].op, RF_OP_FENCE_SEEN);
	assert_int_equal(c[0].value, 9);
	assert_int_equal(rf_mem_hub_pending(f.hub), 0);
	assert_false(rf_mem_hub_step_lane(f.hub, RF_LANE_BULK, 0, true));
	/* what the script was told */
	assert_int_equal(f.nasked, 2);
	assert_int_equal(f.asked[0].op, RF_OP_WRITE);
	assert_int_equal(f.asked[0].len, PAGE);
	assert_int_equal(f.asked[0].seq, 1);
	assert_int_equal(f.asked[1].op, RF_OP_FENCE_SEEN);
	assert_int_equal(f.asked[1].value, 9);
	assert_true(f.asked[1].from_source);
	close_fixture(&f);
}

static void a_held_head_holds_its_lane_only(void **state)
{
	struct rf_lane *src, *dst;
	struct rf_completion c;
	struct fixture f;

	open_fixture(&f);
	src = join(&f, RF_LANE_URGENT, 3, &dst);
	f.fates[1] = RF_MEM_HOLD;
	f.fates[2] = RF_MEM_DELIVER;
	post(&f, 0);
	post(&f, 1);
	assert_int_equal(rf_mem_hub_step(f.hub), 0);
	assert_int_equal(f.to[0] + f.to[PAGE], 0);
	f.fates[1] = RF_MEM_DELIVER;
	assert_int_equal(rf_lane_send(dst, "x", 1), RF_OK);
	assert_int_equal(rf_mem_hub_step(f.hub), 2); /* bulk forth, urgent back */
	assert_int_equal(rf_lane_poll(src, &c, 1), 1);
	assert_int_equal(c.op, RF_OP_RECV);
	assert_int_equal(f.to[PAGE], 0);
	rf_lane_close(&src);
	rf_lane_close(&dst);
	close_fixture(&f);
}

static void steps_go_by_kind_index_direction(void **state)
{
	static const unsigned want[][3] = {
		{RF_LANE_BULK, 0, 1}, {RF_LANE_BULK, 0, 0},   {RF_LANE_BULK, 2, 1},
		{RF_LANE_BULK, 2, 0}, {RF_LANE_URGENT, 1, 1}, {RF_LANE_URGENT, 1, 0},
	};
	struct rf_lane *src[2], *dst[2];
	struct fixture f;

	open_fixture(&f);
	src[0] = join(&f, RF_LANE_URGENT, 1, &dst[0]);
	src[1] = join(&f, RF_LANE_BULK, 2, &dst[1]);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(rf_lane_send(i ? dst[i - 1] : f.at_dst, "d", 1), RF_OK);
		assert_int_equal(rf_lane_send(i ? src[i - 1] : f.at_src, "s", 1), RF_OK);
	}
	assert_int_equal(rf_mem_hub_step(f.hub), 6);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(f.asked[i].lane_kind, want[i][0]);
		assert_int_equal(f.asked[i].lane_index, want[i][1]);
		assert_int_equal(f.asked[i].from_source, want[i][2]);
	}
	for (unsigned i = 0; i < 2; i++) {
		rf_lane_close(&src[i]);
		rf_lane_close(&dst[i]);
	}
	close_fixture(&f);
}

static void fates_that_kill(void **state)
{
	static const struct {
		enum rf_mem_fate fate;
		int err;
		unsigned landed; /* bytes of the second write */
	} rows[] = {
		{RF_MEM_FAIL, RF_ERR_LANE, 0},
		{RF_MEM_CUT, RF_ERR_LANE, PAGE / 2},
		{RF_MEM_LOSE_ACK, RF_ERR_LANE_TIMEOUT, PAGE},
	};

	for (unsigned i = 0; i < COUNT_OF(rows); i++) {
		struct rf_completion c[4];
		unsigned landed = 0;
		struct fixture f;

		open_fixture(&f);
		f.fates[2] = rows[i].fate;
		for (uint64_t page = 0; page < 3; page++)
			post(&f, page);
		while (rf_mem_hub_step(f.hub))
			;
		/* what was done before it is handed out, then the error for ever */
		assert_int_equal(rf_lane_poll(f.at_src, c, 4), 1);
		assert_int_equal(c[0].count, 1);
		for (unsigned k = 0; k < 2; k++)
			assert_int_equal(rf_lane_poll(f.at_src, c, 4), rows[i].err);
		assert_int_equal(rf_lane_poll(f.at_dst, c, 4), RF_ERR_LANE_CLOSED);
		while (landed < PAGE && f.to[PAGE + landed])
			landed++;
		assert_int_equal(landed, rows[i].landed);
		assert_int_equal(f.to[2 * PAGE], 0);
		assert_int_equal(rf_mem_hub_pending(f.hub), 0);
		close_fixture(&f);
	}
}

static void a_full_inbox_waits_for_its_owner(void **state)
{
	struct rf_completion c[8];
	struct fixture f;

	open_fixture(&f);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(rf_lane_fence(f.at_src, i), RF_OK);
	assert_int_equal(rf_lane_fence(f.at_src, 4), RF_NO_RESOURCE);
	while (rf_mem_hub_step(f.hub))
		;
	assert_int_equal(rf_lane_poll(f.at_src, c, 8), 1);
	assert_int_equal(c[0].count, 4);
	assert_int_equal(rf_lane_fence(f.at_src, 4), RF_OK);
	assert_int_equal(rf_mem_hub_step(f.hub), 0); /* four are there already */
	assert_int_equal(rf_lane_poll(f.at_dst, c, 8), 4);
	assert_int_equal(rf_mem_hub_step(f.hub), 0); /* handed out, not given back */
	assert_int_equal(rf_lane_poll(f.at_dst, c, 8), 0);
	assert_int_equal(rf_mem_hub_step(f.hub), 1);
	assert_int_equal(rf_lane_poll(f.at_dst, c, 8), 1);
	assert_int_equal(c[0].value, 4);
	close_fixture(&f);
}

static void a_wrong_token_ends_the_lane(void **state)
{
	struct rf_wire_lane id = {.token = {1}};
	const uint8_t right[RF_TOKEN_SIZE] = {7};
	struct rf_lane *src, *dst = NULL;
	struct rf_completion c;
	struct fixture f;

	open_fixture(&f);
	assert_int_equal(rf_transport_connect(f.src, f.addr, f.addr_len, &id, 0, -1, &src), RF_OK);
	assert_int_equal(rf_transport_accept(f.dst, right, 1, -1, &dst), RF_ERR_TIMEOUT);
	assert_null(dst);
	assert_int_equal(rf_lane_poll(src, &c, 1), RF_ERR_LANE_CLOSED);
	rf_lane_close(&src);
	close_fixture(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_moves_without_a_step),
		cmocka_unit_test(a_held_head_holds_its_lane_only),
		cmocka_unit_test(steps_go_by_kind_index_direction),
		cmocka_unit_test(fates_that_kill),
		cmocka_unit_test(a_full_inbox_waits_for_its_owner),
		cmocka_unit_test(a_wrong_token_ends_the_lane),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
