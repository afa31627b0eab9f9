/* SPDX-License-Identifier: BSD-3-Clause */
/* Completions of a queue pair, how it dies, and what registration fails of. */
#include <sys/resource.h>

#include "tests/unit/verbs_fixture.h"

static struct rf_completion c[16];

static void post_some(unsigned writes, unsigned sends)
{
	struct rf_write w = fake_write(0, 100);

	for (unsigned i = 0; i < writes; i++)
		assert_int_equal(rf_lane_write(&fake.l.base, &w, 1), 1);
	for (unsigned i = 0; i < sends; i++)
		assert_int_equal(rf_lane_send(&fake.l.base, "hello", 5), RF_OK);
}

/* One place for completions: they come one after the other, each once. */
static void little_room_loses_nothing(void **state)
{
	unsigned seen[RF_OP_IMM + 1] = {0};

	fake_open(RF_LANE_URGENT, 64, 64);
	post_some(3, 2);
	fake_complete(4, IBV_WC_SUCCESS);
	fake_receive(0, "one", 3);
	fake_receive(1, "two", 3);
	while (rf_lane_poll(&fake.l.base, c, 1) == 1)
		seen[c[0].op] += c[0].count;
	assert_int_equal(seen[RF_OP_WRITE], 3);
	assert_int_equal(seen[RF_OP_SEND], 2);
	assert_int_equal(seen[RF_OP_RECV], 2);
	fake_close();
}

static void sum_of_many_is_one_completion(void **state)
{
	fake_open(RF_LANE_URGENT, 64, 64);
	post_some(7, 4);
	for (unsigned i = 0; i < 11; i++)
		fake_complete(i, IBV_WC_SUCCESS);
	assert_int_equal(rf_lane_poll(&fake.l.base, c, 16), 2);
	assert_int_equal(c[0].op, RF_OP_WRITE);
	assert_int_equal(c[0].count, 7);
	assert_int_equal(c[0].bytes, 700);
	assert_int_equal(c[1].op, RF_OP_SEND);
	assert_int_equal(c[1].count, 4);
	fake_close();
}

static void messages_fences_immediates(void **state)
{
	uint8_t fence[RF_WIRE_FENCE_SIZE], other[RF_WIRE_FENCE_SIZE] = "not a fence";

	fake_open(RF_LANE_URGENT, 16, 64);
	rf_wire_put_fence(fence, 4711);
	fake_receive(0, fence, sizeof(fence));
	fake_receive(1, other, sizeof(other));
	fake.wc[fake.wc_to++] = (struct ibv_wc){
		.wr_id = fake.recvs[2],
		.opcode = IBV_WC_RECV_RDMA_WITH_IMM,
		.byte_len = 4096,
		.imm_data = htobe32(0xcafe0001),
	};
	assert_int_equal(rf_lane_poll(&fake.l.base, c, 16), 3);
	assert_int_equal(c[0].op, RF_OP_FENCE_SEEN);
	assert_int_equal(c[0].value, 4711);
	assert_int_equal(c[1].op, RF_OP_RECV);
	assert_int_equal(c[1].len, sizeof(other));
	assert_memory_equal(c[1].data, other, sizeof(other));
	assert_int_equal(c[2].op, RF_OP_IMM);
	assert_int_equal(c[2].value, 0xcafe0001);
	fake_close();
}

/* Bytes of a message stay until the next poll, which gives the receive back. */
static void receives_go_back_with_the_next_poll(void **state)
{
	fake_open(RF_LANE_URGENT, 16, 64);
	assert_int_equal(fake.nrecvs, RF_VERBS_RECVS);
	for (unsigned i = 0; i < 1000; i++) {
		fake_receive(i, &i, sizeof(i));
		assert_int_equal(rf_lane_poll(&fake.l.base, c, 16), 1);
		assert_memory_equal(c[0].data, &i, sizeof(i));
		assert_int_equal(fake.nrecvs, RF_VERBS_RECVS + i);
	}
	assert_int_equal(rf_lane_poll(&fake.l.base, c, 16), 0);
	assert_int_equal(fake.nrecvs, RF_VERBS_RECVS + 1000);
	fake_close();
}

/* What was done before the failure is told, then the failure, for ever. */
static void first_error_decides(void **state)
{
	static const struct {
		enum ibv_wc_status status;
		int err;
		const char *words;
	} table[] = {
		{IBV_WC_RETRY_EXC_ERR, RF_ERR_LANE_TIMEOUT, "no answer to 7 tries in 940 ms"},
		{IBV_WC_REM_ACCESS_ERR, RF_ERR_REMOTE_ACCESS, "the address or the key"},
		{IBV_WC_WR_FLUSH_ERR, RF_ERR_LANE_CLOSED, "ended the connection"},
		{IBV_WC_REM_OP_ERR, RF_ERR_LANE, "status 11"},
	};

	for (unsigned i = 0; i < COUNT_OF(table); i++) {
		fake_open(RF_LANE_BULK, 64, 64);
		post_some(4, 0);
		fake_complete(0, IBV_WC_SUCCESS);
		fake_complete(1, table[i].status);
		fake_complete(2, IBV_WC_WR_FLUSH_ERR);
		fake_complete(3, IBV_WC_WR_FLUSH_ERR);
		assert_int_equal(rf_lane_poll(&fake.l.base, c, 16), 1);
		assert_int_equal(c[0].count, 1);
		for (unsigned again = 0; again < 3; again++)
			assert_int_equal(rf_lane_poll(&fake.l.base, c, 16), table[i].err);
		assert_non_null(strstr(rf_lane_error(&fake.l.base), table[i].words));
		assert_non_null(strstr(rf_lane_error(&fake.l.base), "write to 10.9.0.2"));
		assert_non_null(strstr(rf_lane_error(&fake.l.base), "bulk/3"));
		fake_close();
	}
}

static void port_down_is_said(void **state)
{
	static const struct {
		enum ibv_wc_status status;
		int err;
	} table[] = {
		{IBV_WC_RETRY_EXC_ERR, RF_ERR_LANE_TIMEOUT},
		{IBV_WC_LOC_QP_OP_ERR, RF_ERR_LANE_TIMEOUT},
		{IBV_WC_WR_FLUSH_ERR, RF_ERR_LANE_CLOSED},
		{IBV_WC_REM_ACCESS_ERR, RF_ERR_REMOTE_ACCESS},
	};

	for (unsigned i = 0; i < COUNT_OF(table); i++) {
		fake_open(RF_LANE_BULK, 64, 64);
		fake.port_state = IBV_PORT_DOWN;
		post_some(1, 0);
		fake_complete(0, table[i].status);
		assert_int_equal(rf_lane_poll(&fake.l.base, c, 16), table[i].err);
		assert_non_null(strstr(rf_lane_error(&fake.l.base), "the port here is down"));
		fake_close();
	}
}

/* A peer that takes writes and never answers: the lane's own clock. */
static void silence_ends_the_lane(void **state)
{
	fake_open(RF_LANE_BULK, 64, 64);
	fake.v.silence_ms = 0;
	/* nothing posted: nothing to wait for */
	assert_int_equal(rf_lane_poll(&fake.l.base, c, 16), 0);
	assert_int_equal(rf_lane_poll(&fake.l.base, c, 16), 0);
	post_some(1, 0);
	assert_int_equal(rf_lane_poll(&fake.l.base, c, 16), RF_ERR_LANE_TIMEOUT);
	assert_int_equal(fake.stops, 1);
	fake_close();
}

/* ---- registration ---- */

static char logged[512];

static void keep_log(void *arg, enum rf_log_level level, const char *line)
{
	snprintf(logged, sizeof(logged), "%s", line);
}

static void rights_are_the_least(void **state)
{
	struct rf_remote_key key;
	struct rf_mr *mr;

	fake_open(RF_LANE_BULK, 16, 64);
	assert_int_equal(fake_reg_access, 0);
	assert_int_equal(rf_mr_register(&fake.v.base, fake.mem, 4096, RF_ACCESS_REMOTE_WRITE, &mr),
			 RF_OK);
	assert_int_equal(fake_reg_access, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	rf_mr_key(mr, &key);
	assert_int_equal(key.base, (uintptr_t)fake.mem);
	assert_int_equal(key.key[RF_LANE_BULK], 22);
	assert_int_equal(key.key[RF_LANE_URGENT], 22);
	rf_mr_deregister(&mr);
	fake.v.odp = true;
	assert_int_equal(rf_mr_register(&fake.v.base, fake.mem, 4096, RF_ACCESS_LOCAL_READ, &mr),
			 RF_OK);
	assert_int_equal(fake_reg_access, IBV_ACCESS_ON_DEMAND);
	rf_mr_deregister(&mr);
	fake_close();
}

static struct ibv_odp_caps fake_odp;
static int fake_query_rc;

static int fake_query_device(struct ibv_context *ctx, const struct ibv_query_device_ex_input *in,
			     struct ibv_device_attr_ex *attr, size_t size)
{
	memset(attr, 0, size);
	attr->odp_caps = fake_odp;
	return fake_query_rc;
}

static bool offers_odp(uint64_t general, uint32_t rc, uint32_t ud)
{
	struct verbs_context device = {.query_device_ex = fake_query_device, .sz = sizeof(device)};

	device.context.abi_compat = __VERBS_ABI_IS_EXTENDED;
	fake_odp.general_caps = general;
	fake_odp.per_transport_caps.rc_odp_caps = rc;
	fake_odp.per_transport_caps.ud_odp_caps = ud;
	return rf_verbs_mr_odp(&device.context);
}

/* On-demand paging is of use only if RC writes can do it. */
static void odp_is_for_writes(void **state)
{
	const uint32_t all = IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV | IBV_ODP_SUPPORT_WRITE |
			     IBV_ODP_SUPPORT_READ;

	assert_false(offers_odp(0, 0, 0));
	assert_false(offers_odp(0, all, all));
	assert_false(offers_odp(IBV_ODP_SUPPORT, 0, all));
	assert_false(offers_odp(IBV_ODP_SUPPORT, all & ~IBV_ODP_SUPPORT_WRITE, all));
	assert_true(offers_odp(IBV_ODP_SUPPORT, IBV_ODP_SUPPORT_WRITE, 0));
	assert_true(offers_odp(IBV_ODP_SUPPORT | IBV_ODP_SUPPORT_IMPLICIT, all, all));
	fake_query_rc = EINVAL;
	assert_false(offers_odp(IBV_ODP_SUPPORT, all, all));
	fake_query_rc = 0;
}

static void locked_memory_is_explained(void **state)
{
	const struct rlimit small = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20};
	struct rlimit was;
	struct rf_mr *mr;

	fake_open(RF_LANE_BULK, 16, 64);
	getrlimit(RLIMIT_MEMLOCK, &was);
	if (setrlimit(RLIMIT_MEMLOCK, &small)) {
		fake_close();
		skip_case("locked_memory_is_explained", "let the test lower RLIMIT_MEMLOCK");
	}
	rf_log_set_sink(keep_log, NULL);
	rf_log_set_level(RF_LOG_ERROR);
	fake_reg_errno = ENOMEM;
	assert_int_equal(rf_mr_register(&fake.v.base, fake.mem, FAKE_MEM, RF_ACCESS_REMOTE_WRITE,
					&mr),
			 RF_ERR_MEMLOCK);
	assert_non_null(strstr(logged, "1024 KiB"));
	assert_non_null(strstr(logged, "16384 KiB"));
	assert_non_null(strstr(logged, "ulimit -l"));
	assert_non_null(strstr(logged, "LimitMEMLOCK"));
	assert_non_null(strstr(logged, "/etc/security/limits.conf"));
	/* within the limit it is another shortage */
	assert_int_equal(rf_mr_register(&fake.v.base, fake.mem, 4096, RF_ACCESS_REMOTE_WRITE, &mr),
			 RF_ERR_NO_MEMORY);
	fake_reg_errno = EFAULT;
	assert_int_equal(rf_mr_register(&fake.v.base, fake.mem, 4096, RF_ACCESS_LOCAL_READ, &mr),
			 RF_ERR_INVALID);
	assert_non_null(strstr(logged, "read-only"));
	fake_reg_errno = 0;
	rf_log_set_level(RF_LOG_NONE);
	rf_log_set_sink(NULL, NULL);
	setrlimit(RLIMIT_MEMLOCK, &was);
	fake_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(little_room_loses_nothing),
		cmocka_unit_test(sum_of_many_is_one_completion),
		cmocka_unit_test(messages_fences_immediates),
		cmocka_unit_test(receives_go_back_with_the_next_poll),
		cmocka_unit_test(first_error_decides),
		cmocka_unit_test(port_down_is_said),
		cmocka_unit_test(silence_ends_the_lane),
		cmocka_unit_test(rights_are_the_least),
		cmocka_unit_test(odp_is_for_writes),
		cmocka_unit_test(locked_memory_is_explained),
	};

	rf_log_set_level(RF_LOG_NONE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
