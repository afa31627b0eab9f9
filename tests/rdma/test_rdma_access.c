/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys and registration on a real device. */
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/topology.h"
#include "tests/rdma/rdma_link.h"
#include "transport/verbs/verbs.h"

static struct rdma_env env;

/* An urgent write that must be refused: no immediate at the peer, no change, a dead lane. */
static void expect_refused(struct rdma_link *r, const struct rf_remote_key *key, uint64_t off,
			   uint32_t len)
{
	const uint64_t sum = ct_sum(r->to.mem, r->to.len);
	const struct rf_write w = {r->from.mem, r->from_mr, key, off, len};

	assert_int_equal(rf_lane_write_imm(r->l.src, &w, 4711), RF_OK);
	assert_true(ct_until(&r->l, ct_both_dead, 0));
	assert_int_equal(r->l.at_src.err, RF_ERR_REMOTE_ACCESS);
	assert_int_equal(r->l.at_src.writes, 0);
	assert_int_equal(r->l.at_dst.imms, 0);
	assert_non_null(strstr(rf_lane_error(r->l.src), env.peer));
	assert_int_equal(ct_sum(r->to.mem, r->to.len), sum);
	assert_true(ct_area_guards_intact(&r->to));
	/* one error ends the queue pair: go on with a new one */
	ct_lane_close(&r->l);
	ct_lane_open(&r->k, RF_LANE_URGENT, 1, &r->l);
}

static void renew(struct rdma_link *r)
{
	rf_mr_deregister(&r->to_mr);
	assert_int_equal(rf_mr_register(r->k.dst, r->to.mem, r->to.len, RF_ACCESS_REMOTE_WRITE,
					&r->to_mr),
			 RF_OK);
	rf_mr_key(r->to_mr, &r->key);
}

/* The same memory registered again has another key, and the old one opens nothing. */
static void old_key_is_worthless(void **state)
{
	struct rf_remote_key old;
	struct rdma_link r;
	struct rf_write w;

	rdma_link_open(&r, &env, RF_LANE_URGENT, CT_TIMEOUT, 65536);
	for (unsigned i = 0; i < 3; i++) {
		old = r.key;
		renew(&r);
		assert_int_not_equal(old.key[RF_LANE_URGENT], r.key.key[RF_LANE_URGENT]);
		assert_int_equal(old.base, r.key.base);
		expect_refused(&r, &old, 0, 4096);
	}
	w = rdma_link_write_of(&r, 0, 4096);
	assert_int_equal(rf_lane_write_imm(r.l.src, &w, 5), RF_OK);
	assert_true(ct_until(&r.l, ct_dst_imm, 1));
	assert_int_equal(r.l.at_dst.imm, 5);
	assert_memory_equal(r.from.mem, r.to.mem, 4096);
	rdma_link_close(&r);
}

/* Neighbouring memory is mapped, registered even, but not by this key. */
static void no_write_past_a_range(void **state)
{
	static const struct {
		uint64_t off;
		uint32_t len;
	} wrong[] = {
		{65536, 1}, {65535, 2}, {61440, 8192}, {(uint64_t)-1, 2}, {(uint64_t)-4096, 4096}};
	struct rf_mr *before, *behind;
	struct rf_remote_key key;
	struct ct_area area;
	struct rdma_link r;

	rdma_link_open(&r, &env, RF_LANE_URGENT, CT_TIMEOUT, 65536);
	ct_area_new(&area, 3 * 65536);
	assert_int_equal(rf_mr_register(r.k.dst, area.mem, 65536, RF_ACCESS_REMOTE_WRITE, &before),
			 RF_OK);
	assert_int_equal(rf_mr_register(r.k.dst, area.mem + 131072, 65536, RF_ACCESS_REMOTE_WRITE,
					&behind),
			 RF_OK);
	rf_mr_deregister(&r.to_mr);
	assert_int_equal(rf_mr_register(r.k.dst, area.mem + 65536, 65536, RF_ACCESS_REMOTE_WRITE,
					&r.to_mr),
			 RF_OK);
	for (unsigned i = 0; i < COUNT_OF(wrong); i++) {
		const uint64_t sum = ct_sum(area.mem, area.len);

		rf_mr_key(r.to_mr, &key);
		/* offsets below the range as a peer would make them: from another base */
		key.base += wrong[i].off;
		expect_refused(&r, &key, 0, wrong[i].len);
		assert_int_equal(ct_sum(area.mem, area.len), sum);
	}
	rf_mr_deregister(&before);
	rf_mr_deregister(&behind);
	rdma_link_close(&r);
	ct_area_free(&area);
}

/* A source range can be read by nobody and written by nobody: it has no key at all. */
static void source_range_has_no_key(void **state)
{
	struct rf_remote_key key;
	struct rdma_link r;

	rdma_link_open(&r, &env, RF_LANE_BULK, CT_TIMEOUT, 4096);
	rf_mr_key(r.from_mr, &key);
	assert_int_equal(key.base, 0);
	assert_int_equal(key.key[RF_LANE_BULK], 0);
	assert_int_equal(key.key[RF_LANE_URGENT], 0);
	rdma_link_close(&r);
}

/* Who asks for on-demand paging gets it, or is told by name that the device has none. */
static void odp_or_a_refusal(void **state)
{
	struct rf_transport_cfg cfg = {.local_host = env.local, .odp = true};
	struct rf_transport *t = NULL;
	struct ct_area a;
	struct rf_mr *mr;
	int rc;

	rdma_log_keep();
	rc = rf_transport_open("verbs", &cfg, &t);
	if (rc != RF_OK) {
		assert_int_equal(rc, RF_ERR_UNSUPPORTED);
		assert_null(t);
		assert_true(rdma_log_has("offers no on-demand paging"));
		return;
	}
	assert_false(rf_transport_caps(t)->pins);
	ct_area_new(&a, 65536);
	assert_int_equal(rf_mr_register(t, a.mem, a.len, RF_ACCESS_REMOTE_WRITE, &mr), RF_OK);
	rf_mr_deregister(&mr);
	rf_transport_close(&t);
	ct_area_free(&a);
}

/* Where the node of the NIC is known a lane's messages and ring are there, and it works. */
static void lane_memory_is_on_the_node(void **state)
{
	const size_t len = (size_t)(RF_VERBS_SENDS + RF_VERBS_RECVS) * RF_VERBS_MAX_MSG;
	struct rf_topology *t;
	struct rdma_link r;
	struct rf_write w;

	assert_int_equal(rf_topology_new(NULL, &t), RF_OK);
	rdma_link_open(&r, &env, RF_LANE_URGENT, CT_TIMEOUT, 65536);
	ct_lane_close(&r.l);
	/* as if hwloc knew: soft-RoCE is next to no node */
	r.k.src->topology = r.k.dst->topology = t;
	r.k.src->node = r.k.dst->node = 0;
	ct_lane_open(&r.k, RF_LANE_URGENT, 1, &r.l);
	for (unsigned i = 0; i < 2; i++) {
		const struct rf_verbs_lane *l = rf_verbs_lane(i ? r.l.dst : r.l.src);

		assert_int_equal(rf_topology_node_of(t, l->bufs, len), 0);
		assert_int_equal(rf_topology_node_of(t, l->tx, sizeof(*l->tx)), 0);
	}
	w = rdma_link_write_of(&r, 0, 4096);
	assert_int_equal(rf_lane_write_imm(r.l.src, &w, 9), RF_OK);
	assert_true(ct_until(&r.l, ct_dst_imm, 1));
	assert_memory_equal(r.from.mem, r.to.mem, 4096);
	rdma_link_close(&r);
	rf_topology_delete(&t);
}

/* ---- the limit of locked memory: in a process that is not exempt from it ---- */

static int drop_ipc_lock(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	if (syscall(SYS_capget, &head, data))
		return -1;
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	data[0].permitted &= ~(1u << CAP_IPC_LOCK);
	return (int)syscall(SYS_capset, &head, data);
}

static int register_too_much(void)
{
	const struct rlimit small = {.rlim_cur = 4u << 20, .rlim_max = 4u << 20};
	struct rf_transport_cfg cfg = {.local_host = env.local};
	const size_t len = 32u << 20;
	struct rf_transport *t;
	struct ct_area a;
	struct rf_mr *mr;
	int err;

	rdma_log_keep();
	if (drop_ipc_lock() || setrlimit(RLIMIT_MEMLOCK, &small))
		return 10;
	if (rf_transport_open("verbs", &cfg, &t))
		return 11;
	ct_area_new(&a, len);
	err = rf_mr_register(t, a.mem, len, RF_ACCESS_REMOTE_WRITE, &mr);
	if (err != RF_ERR_MEMLOCK)
		return 12;
	if (!rdma_log_has("4096 KiB") || !rdma_log_has("ulimit -l"))
		return 13;
	/* what fits, fits */
	if (rf_mr_register(t, a.mem, 1u << 20, RF_ACCESS_REMOTE_WRITE, &mr))
		return 14;
	rf_mr_deregister(&mr);
	rf_transport_close(&t);
	ct_area_free(&a);
	return 0;
}

static void locked_memory_limit(void **state)
{
	char *argv[] = {"test_rdma_access", "--limit", NULL};
	int status;
	pid_t pid = fork();

	if (!pid) {
		execv("/proc/self/exe", argv);
		_exit(9);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(old_key_is_worthless),
		cmocka_unit_test(no_write_past_a_range),
		cmocka_unit_test(source_range_has_no_key),
		cmocka_unit_test(odp_or_a_refusal),
		cmocka_unit_test(lane_memory_is_on_the_node),
		cmocka_unit_test(locked_memory_limit),
	};

	rdma_link_require("test_rdma_access", &env);
	rdma_log_keep();
	if (argc > 1 && !strcmp(argv[1], "--limit"))
		return register_too_much();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
