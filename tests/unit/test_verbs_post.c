/* SPDX-License-Identifier: BSD-3-Clause */
/* Posting on a queue pair: lists, completions asked for, accounts. */
#include "tests/unit/verbs_fixture.h"

static struct rf_completion c[16];

static void batch_is_one_list(void **state)
{
	struct rf_write w[5];

	fake_open(RF_LANE_BULK, 64, 64);
	for (unsigned i = 0; i < 5; i++)
		w[i] = fake_write(i * 8192, 4096 + i);
	assert_int_equal(rf_lane_write(&fake.l.base, w, 5), 5);
	assert_int_equal(fake.calls, 1);
	assert_int_equal(fake.nposts, 5);
	for (unsigned i = 0; i < 5; i++) {
		const struct fake_post *p = &fake.posts[i];

		assert_int_equal(p->opcode, IBV_WR_RDMA_WRITE);
		assert_int_equal(p->addr, (uintptr_t)fake.mem + i * 8192);
		assert_int_equal(p->len, 4096 + i);
		assert_int_equal(p->lkey, 11);
		assert_int_equal(p->remote, 0x100000 + i * 8192);
		assert_int_equal(p->rkey, 77);
		assert_int_equal(p->flags, i == 4 ? IBV_SEND_SIGNALED : 0);
	}
	assert_int_equal(rf_lane_inflight(&fake.l.base), 5 * 4096 + 10);
	fake_close();
}

static void every_sixteenth_is_signalled(void **state)
{
	struct rf_write w[64];

	fake_open(RF_LANE_BULK, 256, 64);
	for (unsigned i = 0; i < 64; i++)
		w[i] = fake_write(0, 4096);
	assert_int_equal(rf_lane_write(&fake.l.base, w, 61), 61);
	assert_int_equal(fake.calls, 2);
	for (unsigned i = 0; i < 61; i++) {
		bool want = i % 16 == 15 || i == 60;

		assert_int_equal(fake.posts[i].flags, want ? IBV_SEND_SIGNALED : 0);
	}
	/* counting begins anew after each signalled one */
	assert_int_equal(rf_lane_write(&fake.l.base, w, 17), 17);
	assert_int_equal(fake.posts[61 + 15].flags, IBV_SEND_SIGNALED);
	assert_int_equal(fake.posts[61 + 16].flags, IBV_SEND_SIGNALED);
	fake_close();
}

static void big_writes_are_signalled_by_bytes(void **state)
{
	struct rf_write w[6];

	fake_open(RF_LANE_BULK, 256, 64);
	for (unsigned i = 0; i < 6; i++)
		w[i] = fake_write(0, 400u << 10);
	assert_int_equal(rf_lane_write(&fake.l.base, w, 6), 6);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(fake.posts[i].flags, i % 3 == 2 ? IBV_SEND_SIGNALED : 0);
	fake_close();
}

static void full_queue_takes_no_more(void **state)
{
	struct rf_write w[100];

	fake_open(RF_LANE_BULK, 48, 64);
	for (unsigned i = 0; i < 100; i++)
		w[i] = fake_write(0, 100);
	assert_int_equal(rf_lane_write(&fake.l.base, w, 100), 48);
	/* the last one taken is signalled, though the caller had more */
	assert_int_equal(fake.posts[47].flags, IBV_SEND_SIGNALED);
	assert_int_equal(rf_lane_write(&fake.l.base, w, 1), RF_NO_RESOURCE);
	assert_int_equal(rf_lane_fence(&fake.l.base, 1), RF_NO_RESOURCE);
	assert_int_equal(rf_lane_send(&fake.l.base, "x", 1), RF_NO_RESOURCE);
	fake_complete(15, IBV_WC_SUCCESS);
	assert_int_equal(rf_lane_poll(&fake.l.base, c, 16), 1);
	assert_int_equal(c[0].op, RF_OP_WRITE);
	assert_int_equal(c[0].count, 16);
	assert_int_equal(c[0].bytes, 1600);
	assert_int_equal(rf_lane_inflight(&fake.l.base), 3200);
	assert_int_equal(rf_lane_fence(&fake.l.base, 1), RF_OK);
	assert_int_equal(rf_lane_write(&fake.l.base, w, 100), 15);
	assert_int_equal(rf_lane_write(&fake.l.base, w, 1), RF_NO_RESOURCE);
	fake_close();
}

/* Any mixture of posts, completed in random steps: what was posted is told, once. */
static void accounts_are_exact(void **state)
{
	uint64_t seed = 7, bytes = 0, told_bytes = 0;
	unsigned writes = 0, sends = 0, told_writes = 0, told_sends = 0, completed = 0;
	uint8_t msg[200] = {1};
	struct rf_write w[40];

	fake_open(RF_LANE_URGENT, 37, 64);
	for (unsigned round = 0; round < 20000; round++) {
		unsigned n = 1 + (unsigned)(next_random(&seed) >> 40) % 40;
		int rc;

		for (unsigned i = 0; i < n; i++)
			w[i] = fake_write(0, 1 + i * 17);
		switch (next_random(&seed) >> 62) {
		case 0:
			rc = rf_lane_send(&fake.l.base, msg, n & 1 ? 200 : 20);
			sends += rc == RF_OK;
			break;
		case 1:
			rc = rf_lane_write_imm(&fake.l.base, w, n);
			writes += rc == RF_OK;
			bytes += rc == RF_OK ? 1 : 0;
			break;
		default:
			rc = rf_lane_write(&fake.l.base, w, n);
			for (int i = 0; i < rc; i++)
				bytes += w[i].len;
			writes += rc > 0 ? (unsigned)rc : 0;
		}
		assert_true(rc >= 0 || rc == RF_NO_RESOURCE);
		/* the device completes a few of what is signalled */
		while (completed < fake.nposts && next_random(&seed) >> 62) {
			if (fake.posts[completed % FAKE_MAX].flags & IBV_SEND_SIGNALED)
				fake_complete(completed, IBV_WC_SUCCESS);
			completed++;
		}
		rc = rf_lane_poll(&fake.l.base, c, 1 + round % 3);
		for (int i = 0; i < rc; i++) {
			told_writes += c[i].op == RF_OP_WRITE ? c[i].count : 0;
			told_sends += c[i].op == RF_OP_SEND ? c[i].count : 0;
			told_bytes += c[i].bytes;
		}
		assert_true(rf_lane_inflight(&fake.l.base) <= bytes - told_bytes);
		assert_true(fake.l.head - fake.l.tail <= 37);
	}
	for (; completed < fake.nposts; completed++) {
		if (fake.posts[completed % FAKE_MAX].flags & IBV_SEND_SIGNALED)
			fake_complete(completed, IBV_WC_SUCCESS);
	}
	while (rf_lane_poll(&fake.l.base, c, 1) > 0) {
		told_writes += c[0].op == RF_OP_WRITE ? c[0].count : 0;
		told_sends += c[0].op == RF_OP_SEND ? c[0].count : 0;
		told_bytes += c[0].bytes;
	}
	assert_int_equal(told_writes, writes);
	assert_int_equal(told_sends, sends);
	assert_int_equal(told_bytes, bytes);
	assert_int_equal(rf_lane_inflight(&fake.l.base), 0);
	assert_int_equal(fake.l.head, fake.l.tail);
	assert_int_equal(fake.l.send_head, fake.l.send_tail);
	fake_close();
}

static void short_sends_are_inline(void **state)
{
	uint8_t msg[100];

	memset(msg, 5, sizeof(msg));
	fake_open(RF_LANE_URGENT, 16, 64);
	assert_int_equal(rf_lane_send(&fake.l.base, msg, 64), RF_OK);
	assert_int_equal(fake.posts[0].flags, IBV_SEND_SIGNALED | IBV_SEND_INLINE);
	assert_int_equal(fake.posts[0].addr, (uintptr_t)msg);
	assert_int_equal(rf_lane_send(&fake.l.base, msg, 65), RF_OK);
	assert_int_equal(fake.posts[1].flags, IBV_SEND_SIGNALED);
	assert_int_equal(fake.posts[1].lkey, 33);
	assert_int_not_equal(fake.posts[1].addr, (uintptr_t)msg);
	assert_int_equal(fake.posts[1].len, 65);
	assert_memory_equal(fake.posts[1].bytes, msg, 64);
	fake_close();
}

/* Without inline data a message keeps its bytes in a buffer of its own until it is done. */
static void long_sends_have_their_own_buffers(void **state)
{
	uint8_t msg[8];

	fake_open(RF_LANE_URGENT, 256, 0);
	for (unsigned i = 0; i < RF_VERBS_SENDS; i++) {
		memset(msg, (int)i, sizeof(msg));
		assert_int_equal(rf_lane_send(&fake.l.base, msg, sizeof(msg)), RF_OK);
	}
	assert_int_equal(rf_lane_send(&fake.l.base, msg, sizeof(msg)), RF_NO_RESOURCE);
	for (unsigned i = 0; i < RF_VERBS_SENDS; i++)
		assert_int_equal(*(uint8_t *)(uintptr_t)fake.posts[i].addr, i);
	/* writes need none */
	struct rf_write w = fake_write(0, 10);

	assert_int_equal(rf_lane_write(&fake.l.base, &w, 1), 1);
	fake_complete(2, IBV_WC_SUCCESS);
	assert_int_equal(rf_lane_poll(&fake.l.base, c, 4), 1);
	assert_int_equal(c[0].op, RF_OP_SEND);
	assert_int_equal(c[0].count, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(rf_lane_send(&fake.l.base, msg, sizeof(msg)), RF_OK);
	assert_int_equal(rf_lane_send(&fake.l.base, msg, sizeof(msg)), RF_NO_RESOURCE);
	/* the fourth message is still there */
	assert_int_equal(*(uint8_t *)(uintptr_t)fake.posts[3].addr, 3);
	fake_close();
}

static void fence_and_immediate(void **state)
{
	struct rf_write w;
	uint64_t value = 0;

	fake_open(RF_LANE_URGENT, 16, 64);
	w = fake_write(4096, 4096);
	assert_int_equal(rf_lane_fence(&fake.l.base, 0x1122334455667788), RF_OK);
	assert_int_equal(fake.posts[0].opcode, IBV_WR_SEND);
	assert_int_equal(fake.posts[0].len, RF_WIRE_FENCE_SIZE);
	assert_int_equal(rf_wire_get_fence(fake.posts[0].bytes, RF_WIRE_FENCE_SIZE, &value), RF_OK);
	assert_int_equal(value, 0x1122334455667788);
	assert_int_equal(rf_lane_write_imm(&fake.l.base, &w, 0xa1b2c3d4), RF_OK);
	assert_int_equal(fake.posts[1].opcode, IBV_WR_RDMA_WRITE_WITH_IMM);
	assert_int_equal(be32toh(fake.posts[1].imm), 0xa1b2c3d4);
	assert_int_equal(fake.posts[1].rkey, 88);
	assert_int_equal(fake.posts[1].remote, 0x101000);
	assert_int_equal(fake.posts[1].flags, IBV_SEND_SIGNALED);
	fake_close();
}

static void refused_post_is_an_answer_or_the_end(void **state)
{
	struct rf_write w;

	fake_open(RF_LANE_BULK, 16, 64);
	w = fake_write(0, 4096);
	assert_int_equal(rf_lane_write(&fake.l.base, &w, 1), 1);
	fake.post_rc = ENOMEM;
	assert_int_equal(rf_lane_write(&fake.l.base, &w, 1), RF_NO_RESOURCE);
	assert_int_equal(rf_lane_inflight(&fake.l.base), 4096);
	assert_int_equal(rf_lane_write(&fake.l.base, &w, 1), 1);
	assert_int_equal(fake.stops, 0);
	fake.post_rc = EINVAL;
	assert_int_equal(rf_lane_write(&fake.l.base, &w, 1), RF_ERR_LANE);
	assert_int_equal(fake.stops, 1);
	assert_non_null(strstr(rf_lane_error(&fake.l.base), "10.9.0.2"));
	assert_int_equal(rf_lane_write(&fake.l.base, &w, 1), RF_ERR_LANE);
	fake_close();

	/* full though nothing is outstanding: no completion would ever make room */
	fake_open(RF_LANE_BULK, 16, 64);
	w = fake_write(0, 4096);
	fake.post_rc = ENOMEM;
	assert_int_equal(rf_lane_write(&fake.l.base, &w, 1), RF_ERR_LANE);
	fake_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batch_is_one_list),
		cmocka_unit_test(every_sixteenth_is_signalled),
		cmocka_unit_test(big_writes_are_signalled_by_bytes),
		cmocka_unit_test(full_queue_takes_no_more),
		cmocka_unit_test(accounts_are_exact),
		cmocka_unit_test(short_sends_are_inline),
		cmocka_unit_test(long_sends_have_their_own_buffers),
		cmocka_unit_test(fence_and_immediate),
		cmocka_unit_test(refused_post_is_an_answer_or_the_end),
	};

	rf_log_set_level(RF_LOG_NONE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
