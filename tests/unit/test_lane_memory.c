/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where memory of lanes is: which node is decided on topologies of other machines (data/), that it
 * gets there is looked up on this one.
 */
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/unit/unit.h"

#include "common/topology.h"
#include "transport/mem/mem.h"
#include "transport/ofi/ofi.h"
#include "transport/poll_plan.h"

static struct rf_topology *load(const char *name)
{
	struct rf_topology_cfg cfg = {0};
	struct rf_topology *t;
	char path[512];

	snprintf(path, sizeof(path), "%s/topology-%s.xml", RF_TEST_DATA, name);
	cfg.xml = path;
	assert_int_equal(rf_topology_new(&cfg, &t), RF_OK);
	return t;
}

/* ---- which node ---- */

static void node_is_that_of_the_nic(void **state)
{
	static const struct {
		const char *topology, *device, *address;
		int node;
	} rows[] = {
		{"two-nodes", "mlx5_0", NULL, 0},	{"two-nodes", "mlx5_1", NULL, 1},
		{"two-nodes", "mlx5_1", "enp23s0", 1}, /* the device says more than the address */
		{"two-nodes", "tcp", "enp177s0", 1},   /* a provider is no device */
		{"two-nodes", "", "enp23s0", 0},	{"two-nodes", "rxe0", "mlx5_1", 1},
		{"two-nodes", "tcp", "127.0.0.1", -1},	/* no hardware */
		{"two-nodes", "tcp", "192.0.2.77", -1}, /* nobody's */
		{"two-nodes", "tcp", NULL, -1},		{"two-nodes", NULL, NULL, -1},
		{"sub-numa", "mlx5_1", NULL, 3},	{"unknown-place", "mlx5_0", NULL, -1},
		{"one-node", "mlx5_0", NULL, -1}, /* nothing to choose */
	};

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct rf_topology *t = load(rows[i].topology);
		int node = rf_topology_nic_node(t, rows[i].device, rows[i].address);

		if (node != rows[i].node)
			fail_msg("%s, %s, %s: node %d instead of %d", rows[i].topology,
				 rows[i].device, rows[i].address, node, rows[i].node);
		rf_topology_delete(&t);
	}
}

/* A transport has the node from its configuration, through the door that all backends share. */
static void transport_knows_its_node(void **state)
{
	struct rf_topology *t = load("two-nodes");
	struct rf_mem_hub_cfg hub = {0};
	struct rf_transport_cfg cfg = {.topology = t, .local_host = "enp177s0"};
	struct rf_transport *tr;
	uint8_t *p;

	assert_int_equal(rf_mem_hub_new(&hub, &cfg.hub), RF_OK);
	assert_int_equal(rf_transport_open("mem", &cfg, &tr), RF_OK);
	assert_int_equal(tr->node, 1);
	p = rf_lane_memory_new(tr, 5000);
	assert_non_null(p);
	p[4999] = 1;
	rf_lane_memory_free(tr, p, 5000);
	rf_transport_close(&tr);
	cfg.topology = NULL;
	assert_int_equal(rf_transport_open("mem", &cfg, &tr), RF_OK);
	assert_int_equal(tr->node, -1);
	rf_transport_close(&tr);
	rf_mem_hub_delete(&cfg.hub);
	rf_topology_delete(&t);
}

/* CPUs that are named, or a NIC of no hardware, do not change where its memory is to be. */
static void plan_keeps_the_topology_where_there_is_a_choice(void **state)
{
	static const struct {
		const char *topology, *cpus, *where;
		bool kept, pinned;
	} rows[] = {
		{"two-nodes", NULL, "mlx5_1", true, true},
		{"two-nodes", "2", "mlx5_1", true, true},
		{"two-nodes", NULL, "lo", true, false},
		{"unknown-place", NULL, "ens3", true, false},
		{"one-node", NULL, "ens3", false, false},
		{"one-node", "1", NULL, true, true},
	};

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct rf_poller_cfg cfg = {0};
		struct rf_poll_plan plan;
		char path[512];

		snprintf(path, sizeof(path), "%s/topology-%s.xml", RF_TEST_DATA, rows[i].topology);
		setenv("HWLOC_XMLFILE", path, 1);
		assert_int_equal(rf_poll_plan_init(&plan, NULL, rows[i].cpus, rows[i].where),
				 RF_OK);
		unsetenv("HWLOC_XMLFILE");
		assert_int_equal(plan.topology != NULL, rows[i].kept);
		assert_int_equal(plan.pinned, rows[i].pinned);
		rf_poll_plan_next(&plan, &cfg);
		assert_int_equal(cfg.cpu >= 0, rows[i].pinned);
		rf_poll_plan_fini(&plan);
	}
}

/* ---- on this machine ---- */

static int policy_of_this_thread(void)
{
	int policy = -1;

	return syscall(SYS_get_mempolicy, &policy, NULL, 0, NULL, 0) ? -1 : policy;
}

static void stay_ends_as_it_began(void **state)
{
	struct rf_topology_stay *stay;
	int before = policy_of_this_thread();
	struct rf_topology *t;

	if (before < 0)
		skip_case("stay_ends_as_it_began", "a kernel with get_mempolicy");
	assert_int_equal(rf_topology_new(NULL, &t), RF_OK);
	stay = rf_topology_enter(t, 0);
	assert_non_null(stay);
	assert_int_not_equal(policy_of_this_thread(), before);
	rf_topology_leave(t, &stay);
	assert_null(stay);
	assert_int_equal(policy_of_this_thread(), before);
	rf_topology_leave(t, &stay);
	assert_null(rf_topology_enter(t, -1));
	assert_null(rf_topology_enter(t, 1000));
	assert_null(rf_topology_enter(NULL, 0));
	assert_int_equal(policy_of_this_thread(), before);
	rf_topology_delete(&t);
}

struct side {
	struct rf_transport *t;
	struct rf_lane *lane;
	uint8_t addr[RF_WIRE_ADDR_SIZE];
	uint32_t addr_len;
};

static void *accept_one(void *arg)
{
	static const uint8_t token[RF_TOKEN_SIZE];
	struct side *s = arg;

	if (rf_transport_accept(s->t, token, 30000, -1, &s->lane))
		s->lane = NULL;
	return NULL;
}

/* Lanes of a transport whose node is 0: what they are made of is there, for the kernel says so. */
static void buffers_of_lanes_are_there(void **state)
{
	struct rf_topology *t;
	struct rf_transport_cfg cfg = {.local_host = "127.0.0.1"};
	const struct rf_wire_lane id = {.kind = RF_LANE_URGENT};
	const size_t len = (size_t)(RF_OFI_DEPTH + RF_OFI_RECVS) * RF_OFI_MAX_MSG;
	struct side dst = {0}, src = {0};
	pthread_t thread;
	int policy = policy_of_this_thread(), node;
	void *p;

	assert_int_equal(rf_topology_new(NULL, &t), RF_OK);
	assert_int_equal(rf_topology_alloc(t, 4096, 0, &p), RF_OK);
	node = rf_topology_node_of(t, p, 4096);
	rf_topology_free(t, p, 4096);
	if (node != 0) {
		rf_topology_delete(&t);
		skip_case("buffers_of_lanes_are_there", "a node 0 with memory, and move_pages()");
	}
	cfg.topology = t;
	assert_int_equal(rf_transport_open("ofi:tcp", &cfg, &dst.t), RF_OK);
	assert_int_equal(rf_transport_open("ofi:tcp", &cfg, &src.t), RF_OK);
	dst.t->node = src.t->node = 0;
	assert_int_equal(rf_transport_listen(dst.t, dst.addr, &dst.addr_len), RF_OK);
	assert_int_equal(pthread_create(&thread, NULL, accept_one, &dst), 0);
	assert_int_equal(rf_transport_connect(src.t, dst.addr, dst.addr_len, &id, 30000, -1,
					      &src.lane),
			 RF_OK);
	pthread_join(thread, NULL);
	assert_non_null(dst.lane);
	assert_int_equal(rf_topology_node_of(t, rf_ofi_lane(src.lane)->bufs, len), 0);
	assert_int_equal(rf_topology_node_of(t, rf_ofi_lane(dst.lane)->bufs, len), 0);
	assert_int_equal(policy_of_this_thread(), policy);
	rf_lane_close(&src.lane);
	rf_lane_close(&dst.lane);
	rf_transport_close(&src.t);
	rf_transport_close(&dst.t);
	rf_topology_delete(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(node_is_that_of_the_nic),
		cmocka_unit_test(transport_knows_its_node),
		cmocka_unit_test(plan_keeps_the_topology_where_there_is_a_choice),
		cmocka_unit_test(stay_ends_as_it_began),
		cmocka_unit_test(buffers_of_lanes_are_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
