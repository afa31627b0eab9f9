/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where NICs are: on topologies of other machines, exported as XML into data/, and on this one.
 *
 *   two-nodes      mlx5_0/enp23s0 at node 0, mlx5_1/enp177s0 at node 1; 4 cores of 2 threads each,
 *                  numbered 0-3,8-11 and 4-7,12-15
 *   sub-numa       mlx5_0 at a package of nodes 0 and 1, mlx5_1 at node 3; 2 cores a node
 *   unknown-place  two nodes; the firmware does not tell where mlx5_0/ens3 is
 *   one-node       two cores, one node, mlx5_0/ens3
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/unit.h"

#include "common/cpulist.h"
#include "common/netdev.h"
#include "common/topology.h"

static struct rf_topology *load_with(const char *name, const char *sysfs, bool devices)
{
	struct rf_topology_cfg cfg = {.sysfs = sysfs, .devices = devices};
	struct rf_topology *t = NULL;
	char path[512];

	snprintf(path, sizeof(path), "%s/topology-%s.xml", RF_TEST_DATA, name);
	cfg.xml = path;
	assert_int_equal(rf_topology_new(&cfg, &t), RF_OK);
	return t;
}

static struct rf_topology *load(const char *name, const char *sysfs)
{
	return load_with(name, sysfs, true);
}

static void check_place(const struct rf_place *p, const char *device, int node, unsigned cores,
			const char *cpus)
{
	char buf[256];

	assert_string_equal(p->device, device);
	assert_int_equal(p->node, node);
	assert_int_equal(p->cores, cores);
	assert_string_equal(rf_cpulist_format(&p->cpus, buf, sizeof(buf)), cpus);
}

static void check_device(const char *topology, const char *device, int node, unsigned cores,
			 const char *cpus)
{
	struct rf_topology *t = load(topology, NULL);
	struct rf_place p;

	assert_int_equal(rf_topology_near_device(t, device, &p), RF_OK);
	check_place(&p, device, node, cores, cpus);
	memset(&p, 0, sizeof(p));
	assert_int_equal(rf_topology_cpus_near(t, device, &p), RF_OK);
	check_place(&p, device, node, cores, cpus);
	rf_topology_delete(&t);
	assert_null(t);
	rf_topology_delete(&t);
}

static void test_rdma_device_is_at_its_node(void **state)
{
	check_device("two-nodes", "mlx5_0", 0, 4, "0-3,8-11");
	check_device("two-nodes", "mlx5_1", 1, 4, "4-7,12-15");
}

static void test_network_device_is_at_its_node(void **state)
{
	check_device("two-nodes", "enp23s0", 0, 4, "0-3,8-11");
	check_device("two-nodes", "enp177s0", 1, 4, "4-7,12-15");
}

static void test_device_at_several_nodes_takes_the_first(void **state)
{
	check_device("sub-numa", "mlx5_0", 0, 4, "0-3");
	check_device("sub-numa", "mlx5_1", 3, 2, "6-7");
}

static void test_device_of_unknown_place_is_at_no_node(void **state)
{
	check_device("unknown-place", "mlx5_0", -1, 8, "0-15");
}

static void test_only_node_is_known_without_a_place(void **state)
{
	check_device("one-node", "ens3", 0, 2, "0-1");
}

static void test_other_devices_are_not_found(void **state)
{
	static const char *const names[] = {"mlx5_2",	 "nvme0n1",    "lo",
					    "127.0.0.1", "192.0.2.77", "",
					    "..",	 "../net",     "mlx5"};
	struct rf_topology *t = load("two-nodes", NULL);
	struct rf_place p = {.node = 77};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(rf_topology_cpus_near(t, names[i], &p), RF_ERR_NOT_FOUND);
	assert_int_equal(p.node, 77);
	rf_topology_delete(&t);
}

/* Finding them takes time, and with one node nothing follows from it. */
static void test_devices_are_looked_for_where_there_is_a_choice(void **state)
{
	struct rf_topology *t = load_with("one-node", NULL, false);
	struct rf_place p;

	assert_int_equal(rf_topology_near_device(t, "ens3", &p), RF_ERR_NOT_FOUND);
	rf_topology_delete(&t);
	t = load_with("two-nodes", NULL, false);
	assert_int_equal(rf_topology_near_device(t, "mlx5_1", &p), RF_OK);
	rf_topology_delete(&t);
}

static void test_whole_machine(void **state)
{
	struct rf_topology *t = load("two-nodes", NULL);
	struct rf_place p;

	assert_int_equal(rf_topology_nodes(t), 2);
	assert_false(rf_topology_is_real(t));
	rf_topology_all(t, &p);
	check_place(&p, "", -1, 8, "0-15");
	rf_topology_delete(&t);
	t = load("one-node", NULL);
	rf_topology_all(t, &p);
	check_place(&p, "", 0, 2, "0-1");
	rf_topology_delete(&t);
}

/* bond0 of a VLAN of a port of mlx5_1, and a loop, as links of sysfs. */
static void test_stacked_device_is_where_its_port_is(void **state)
{
	static const char *const dirs[] = {"class",	      "class/net",   "class/net/bond0",
					   "class/net/vlan7", "class/net/a", "class/net/b"};
	static const char *const files[] = {"class/net/bond0/lower_vlan7",
					    "class/net/vlan7/lower_enp177s0", "class/net/a/lower_b",
					    "class/net/b/lower_a"};
	char root[] = "/tmp/rf-topology-XXXXXX", path[256];
	struct rf_topology *t;
	struct rf_place p;

	assert_non_null(mkdtemp(root));
	for (unsigned i = 0; i < 6; i++) {
		snprintf(path, sizeof(path), "%s/%s", root, dirs[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s", root, files[i]);
		assert_int_equal(symlink("/nowhere", path), 0);
	}
	t = load("two-nodes", root);
	assert_int_equal(rf_topology_near_device(t, "bond0", &p), RF_OK);
	check_place(&p, "enp177s0", 1, 4, "4-7,12-15");
	assert_int_equal(rf_topology_near_device(t, "a", &p), RF_ERR_NOT_FOUND);
	rf_topology_delete(&t);
	for (int i = 3; i >= 0; i--) {
		snprintf(path, sizeof(path), "%s/%s", root, files[i]);
		unlink(path);
	}
	for (int i = 5; i >= 0; i--) {
		snprintf(path, sizeof(path), "%s/%s", root, dirs[i]);
		rmdir(path);
	}
	assert_int_equal(rmdir(root), 0);
}

static void check_order(const struct rf_topology *t, const struct rf_place *p, const int *cpus,
			unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(rf_topology_nth_cpu(t, p, i), cpus[i]);
}

static void test_threads_get_cores_of_their_own_first(void **state)
{
	static const int own[] = {4, 5, 6, 7, 12, 13, 14, 15, 4, 5};
	static const int listed[] = {2, 7, 15, 2};
	struct rf_topology *t = load("two-nodes", NULL);
	struct rf_place p;

	assert_int_equal(rf_topology_near_device(t, "mlx5_1", &p), RF_OK);
	check_order(t, &p, own, 10);
	assert_int_equal(rf_topology_override(t, "2,7,15", &p), RF_OK);
	check_place(&p, "mlx5_1", 1, 2, "2,7,15");
	check_order(t, &p, listed, 4);
	CPU_ZERO(&p.cpus);
	assert_int_equal(rf_topology_nth_cpu(t, &p, 0), -1);
	rf_topology_delete(&t);
}

static void test_wrong_lists_change_nothing(void **state)
{
	struct rf_topology *t = load("one-node", NULL);
	struct rf_place p;

	rf_topology_all(t, &p);
	assert_int_equal(rf_topology_override(t, "1-", &p), RF_ERR_INVALID);
	assert_int_equal(rf_topology_override(t, "2-40", &p), RF_ERR_INVALID);
	check_place(&p, "", 0, 2, "0-1");
	assert_int_equal(rf_topology_override(t, "1-40", &p), RF_OK);
	check_place(&p, "", 0, 1, "1");
	rf_topology_delete(&t);
}

static void test_environment_names_a_topology(void **state)
{
	struct rf_topology *t;
	struct rf_place p;
	char path[512];

	snprintf(path, sizeof(path), "%s/topology-two-nodes.xml", RF_TEST_DATA);
	setenv("HWLOC_XMLFILE", path, 1);
	assert_int_equal(rf_topology_new(NULL, &t), RF_OK);
	unsetenv("HWLOC_XMLFILE");
	assert_int_equal(rf_topology_near_device(t, "mlx5_1", &p), RF_OK);
	assert_int_equal(p.node, 1);
	rf_topology_delete(&t);
}

static void test_missing_xml_is_told(void **state)
{
	struct rf_topology_cfg cfg = {.xml = "/nowhere/topology.xml"};
	struct rf_topology *t = NULL;

	assert_int_equal(rf_topology_new(&cfg, &t), RF_ERR_NOT_FOUND);
	assert_null(t);
}

/* ---- memory ---- */

static void test_memory_for_a_foreign_node_is_memory(void **state)
{
	struct rf_topology *t = load("two-nodes", NULL);
	uint8_t *p = NULL;

	/* Binding means nothing here; the memory must be there and zero all the same. */
	assert_int_equal(rf_topology_alloc(t, 10000, 1, (void **)&p), RF_OK);
	for (unsigned i = 0; i < 10000; i++)
		assert_int_equal(p[i], 0);
	assert_int_equal(rf_topology_bind(t, p, 4096, 2), RF_ERR_INVALID);
	assert_int_equal(rf_topology_bind(t, p, 4096, -1), RF_ERR_INVALID);
	rf_topology_free(t, p, 10000);
	rf_topology_free(t, NULL, 10000);
	rf_topology_delete(&t);
}

/* On a real machine success is what the kernel says of the pages, not a return code. */
static void test_memory_is_where_it_should_be(void **state)
{
	const size_t len = 1 << 20;
	struct rf_topology *t;
	struct rf_place all;
	void *p;

	assert_int_equal(rf_topology_new(NULL, &t), RF_OK);
	assert_true(rf_topology_is_real(t));
	rf_topology_all(t, &all);
	assert_true(all.cores >= 1);
	assert_true(rf_topology_nth_cpu(t, &all, 0) >= 0);
	for (int node = 0, seen = 0; seen < (int)rf_topology_nodes(t) && node < 1024; node++) {
		assert_int_equal(rf_topology_alloc(t, len, node, &p), RF_OK);
		int got = rf_topology_node_of(t, p, len);

		if (got >= 0) {
			/* Node numbers may have gaps; memory of one that is not goes anywhere. */
			seen += got == node;
		} else {
			seen = (int)rf_topology_nodes(t);
			print_message("the kernel does not tell where memory is: move_pages() "
				      "must be allowed for this case\n");
		}
		rf_topology_free(t, p, len);
	}
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(rf_topology_node_of(t, p, len), -1); /* not touched */
	munmap(p, len);
	rf_topology_delete(&t);
}

/* ---- addresses ---- */

static void test_loopback_addresses_belong_to_lo(void **state)
{
	char name[64] = "unchanged";

	assert_int_equal(rf_netdev_of_address("192.0.2.77", name, sizeof(name)), RF_ERR_NOT_FOUND);
	assert_int_equal(rf_netdev_of_address("2001:db8::77", name, sizeof(name)),
			 RF_ERR_NOT_FOUND);
	assert_int_equal(rf_netdev_of_address("localhost", name, sizeof(name)), RF_ERR_INVALID);
	assert_int_equal(rf_netdev_of_address("", name, sizeof(name)), RF_ERR_INVALID);
	assert_string_equal(name, "unchanged");
	assert_int_equal(rf_netdev_of_address("127.0.0.1", name, sizeof(name)), RF_OK);
	assert_string_equal(name, "lo");
	if (rf_netdev_of_address("::1", name, sizeof(name)) == RF_OK)
		assert_string_equal(name, "lo");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rdma_device_is_at_its_node),
		cmocka_unit_test(test_network_device_is_at_its_node),
		cmocka_unit_test(test_device_at_several_nodes_takes_the_first),
		cmocka_unit_test(test_device_of_unknown_place_is_at_no_node),
		cmocka_unit_test(test_only_node_is_known_without_a_place),
		cmocka_unit_test(test_other_devices_are_not_found),
		cmocka_unit_test(test_devices_are_looked_for_where_there_is_a_choice),
		cmocka_unit_test(test_whole_machine),
		cmocka_unit_test(test_stacked_device_is_where_its_port_is),
		cmocka_unit_test(test_threads_get_cores_of_their_own_first),
		cmocka_unit_test(test_wrong_lists_change_nothing),
		cmocka_unit_test(test_environment_names_a_topology),
		cmocka_unit_test(test_missing_xml_is_told),
		cmocka_unit_test(test_memory_for_a_foreign_node_is_memory),
		cmocka_unit_test(test_memory_is_where_it_should_be),
		cmocka_unit_test(test_loopback_addresses_belong_to_lo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
