/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The doctor's checks on hosts that are not this one: sysfs, procfs and module lists of a folder
 * made for each case, and topologies from data/.
 */
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tests/unit/unit.h"

#include "tools/doctor.h"
#include "tools/host_files.h"

static char root[] = "/tmp/rf-doctor-XXXXXX";

static void make_folders(char *path)
{
	for (char *p = path + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(path, 0755);
		*p = '/';
	}
}

/* Writes a line to a file below the root. */
static void put(const char *line, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;
	FILE *f;
	int n = snprintf(path, sizeof(path), "%s", root);

	va_start(ap, fmt);
	vsnprintf(path + n, sizeof(path) - (size_t)n, fmt, ap);
	va_end(ap);
	make_folders(path);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%s\n", line);
	fclose(f);
}

static void put_gid(const char *dev, unsigned i, const char *gid, const char *type,
		    const char *netdev)
{
	put(gid, "/sys/class/infiniband/%s/ports/1/gids/%u", dev, i);
	put(type, "/sys/class/infiniband/%s/ports/1/gid_attrs/types/%u", dev, i);
	put(netdev, "/sys/class/infiniband/%s/ports/1/gid_attrs/ndevs/%u", dev, i);
}

static void put_netdev(const char *netdev, const char *mtu, const char *state)
{
	put(mtu, "/sys/class/net/%s/mtu", netdev);
	put(state, "/sys/class/net/%s/operstate", netdev);
}

static void put_port(const char *dev, const char *state, const char *layer)
{
	put(state, "/sys/class/infiniband/%s/ports/1/state", dev);
	put(layer, "/sys/class/infiniband/%s/ports/1/link_layer", dev);
}

static void put_roce(const char *dev, const char *netdev)
{
	put_port(dev, "4: ACTIVE", "Ethernet");
	put_gid(dev, 0, "fe80:0000:0000:0000:5054:00ff:fe00:0001", "RoCE v2", netdev);
	put_gid(dev, 1, "fd00:0009:0000:0000:0000:0000:0000:0001", "RoCE v2", netdev);
	put_gid(dev, 2, "0000:0000:0000:0000:0000:ffff:0a09:0001", "IB/RoCE v1", netdev);
	put_gid(dev, 10, "0000:0000:0000:0000:0000:ffff:0a09:0001", "RoCE v2", netdev);
	put("0000:0000:0000:0000:0000:0000:0000:0000", "/sys/class/infiniband/%s/ports/1/gids/11",
	    dev);
}

/* ---- fixture ---- */

static struct doctor *doctor;

static int set_up(void **state)
{
	memcpy(root + strlen(root) - 6, "XXXXXX", 6);
	doctor = calloc(1, sizeof(*doctor));
	if (!doctor || !mkdtemp(root))
		return -1;
	doctor->memory = 4ull << 30;
	doctor->transport = "auto";
	doctor->root = root;
	return 0;
}

static int tear_down(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	free(doctor);
	return system(command); /* NOLINT(cert-env33-c): a name of our own */
}

static void assert_check(const char *name, enum check_status status, const char *detail,
			 const char *remedy)
{
	const struct check *c = report_find(&doctor->report, name);

	if (!c) {
		fail_msg("no check %s", name);
		return;
	}
	if (c->status != status || !strstr(c->detail, detail) ||
	    (remedy ? !strstr(c->remedy, remedy) : c->remedy[0]))
		fail_msg("%s is: %s %s → %s", name, check_status_str(c->status), c->detail,
			 c->remedy);
}

/* ---- files ---- */

static void lists_are_in_order_of_numbers(void **state)
{
	char **names;
	unsigned n;

	put("", "/d/10");
	put("", "/d/9");
	put("", "/d/.hidden");
	n = host_list(root, "/d", &names);
	assert_int_equal(n, 2);
	assert_string_equal(names[0], "9");
	assert_string_equal(names[1], "10");
	host_list_free(names, n);
	assert_int_equal(host_list(root, "/nowhere", &names), 0);
	assert_null(names);
}

static void keys_are_found_with_and_without_padding(void **state)
{
	char out[32] = "";

	put("MemTotal:       1 kB\nMemAvailable:   20 kB\nflags\t\t: fpu vmx", "/proc/x");
	assert_true(host_read_key(root, "/proc/x", "MemAvailable", out, sizeof(out)));
	assert_string_equal(out, "20 kB");
	assert_true(host_read_key(root, "/proc/x", "flags", out, sizeof(out)));
	assert_string_equal(out, "fpu vmx");
	assert_false(host_read_key(root, "/proc/x", "Mem", out, sizeof(out)));
}

static void modules_are_loaded_there_or_missing(void **state)
{
	assert_int_equal(host_module(root, "6.1", "rdma_rxe"), HOST_MODULE_NONE);
	put("kernel/drivers/infiniband/sw/rxe/rdma_rxe.ko.xz: kernel/ib_core.ko",
	    "/lib/modules/6.1/modules.dep");
	assert_int_equal(host_module(root, "6.1", "rdma_rxe"), HOST_MODULE_THERE);
	assert_int_equal(host_module(root, "6.1", "rxe"), HOST_MODULE_NONE);
	put("1", "/sys/module/rdma_rxe/refcnt");
	assert_int_equal(host_module(root, "6.1", "rdma_rxe"), HOST_MODULE_LOADED);
	put("kernel/x/ib_uverbs.ko", "/lib/modules/6.1/modules.builtin");
	assert_int_equal(host_module(root, "6.1", "ib_uverbs"), HOST_MODULE_LOADED);
}

/* ---- RDMA ---- */

static void ports_have_state_addresses_and_netdev(void **state)
{
	struct rdma_port p[RDMA_PORTS_MAX];

	put_roce("rxe0", "d0");
	put_netdev("d0", "9000", "up");
	put_port("mlx5_1", "2: INIT", "InfiniBand");
	put("", "/sys/class/infiniband/mlx5_1/device/net/ib1/ifindex");
	put_netdev("ib1", "2044", "down");
	assert_int_equal(rdma_ports_read(root, p, RDMA_PORTS_MAX), 2);
	assert_string_equal(p[0].device, "mlx5_1");
	assert_string_equal(p[0].state, "INIT");
	assert_false(p[0].ethernet);
	assert_false(p[0].netdev_up);
	assert_string_equal(p[0].netdev, "ib1");
	assert_string_equal(p[1].device, "rxe0");
	assert_true(rdma_port_active(&p[1]));
	assert_true(p[1].ethernet && p[1].netdev_up);
	assert_int_equal(p[1].netdev_mtu, 9000);
	assert_int_equal(p[1].link_local, 1);
	assert_int_equal(p[1].v1, 1);
	assert_int_equal(p[1].naddress, 2);
	assert_string_equal(p[1].address[0].text, "10.9.0.1"); /* IPv4 first */
	assert_string_equal(p[1].address[1].text, "fd00:9::1");
	assert_string_equal(p[1].address[0].netdev, "d0");
	assert_ptr_equal(rdma_port_of_address(p, 2, "fd00:9::1"), &p[1]);
	assert_null(rdma_port_of_address(p, 2, "10.9.0.2"));
	assert_int_equal(rdma_ports_read(root, p, 1), 1);
}

static void good_ports_are_ok(void **state)
{
	put_roce("rxe0", "d0");
	put_netdev("d0", "4200", "up");
	put("", "/dev/infiniband/rdma_cm");
	doctor_check_rdma(doctor);
	assert_check("rdma-devices", CHECK_OK, "1 port", NULL);
	assert_check("rdma-port rxe0/1", CHECK_OK, "active, link layer Ethernet (RoCE)", NULL);
	assert_check("rdma-gid rxe0/1", CHECK_OK, "RoCE v2 at 10.9.0.1, fd00:9::1", NULL);
	assert_check("rdma-mtu rxe0/1", CHECK_OK, "RDMA MTU 4096 (d0 has MTU 4200)", NULL);
	assert_check("rdma-cm", CHECK_OK, "can be used", NULL);
}

/* Two ports of a device with on-demand paging, and one of another without. */
static int fake_ports(struct rf_verbs_port *ports, unsigned max)
{
	assert_true(max >= 3);
	memset(ports, 0, 3 * sizeof(*ports));
	for (unsigned i = 0; i < 3; i++) {
		snprintf(ports[i].device, sizeof(ports[i].device), "%s", i < 2 ? "mlx5_0" : "rxe0");
		ports[i].port = i < 2 ? i + 1 : 1;
		ports[i].mtu = ports[i].max_mtu = 4096;
		ports[i].odp = i < 2;
	}
	return 3;
}

static void odp_is_told_once_a_device(void **state)
{
	unsigned lines = 0;

	put_roce("rxe0", "d0");
	put_netdev("d0", "4200", "up");
	doctor->verbs_ports = fake_ports;
	doctor_check_rdma(doctor);
	assert_check("rdma-odp mlx5_0", CHECK_OK, "--odp moves guests without pinning", NULL);
	assert_check("rdma-odp rxe0", CHECK_INFO, "--odp is refused", NULL);
	assert_check("rdma-verbs", CHECK_OK, "libibverbs can open them", NULL);
	for (unsigned i = 0; i < doctor->report.n; i++)
		lines += !strncmp(doctor->report.checks[i].name, "rdma-odp", 8);
	assert_int_equal(lines, 2);
}

static void what_is_wrong_with_a_port_has_a_remedy(void **state)
{
	put_port("rxe0", "1: DOWN", "Ethernet");
	put("d0", "/sys/class/infiniband/rxe0/parent");
	put_netdev("d0", "4199", "down");
	put_port("mlx5_0", "2: INIT", "InfiniBand");
	put_port("mlx5_1", "1: DOWN", "InfiniBand");
	doctor_check_rdma(doctor);
	assert_check("rdma-port rxe0/1", CHECK_WARN, "not active (DOWN)", "ip link set d0 up");
	assert_check("rdma-gid rxe0/1", CHECK_WARN, "no RoCE v2 address",
		     "ip addr add ADDRESS/PREFIX dev d0");
	assert_check("rdma-mtu rxe0/1", CHECK_WARN, "RDMA MTU 2048", "ip link set d0 mtu 4200");
	assert_check("rdma-port mlx5_0/1", CHECK_WARN, "not active (INIT)", "start opensm");
	assert_check("rdma-port mlx5_1/1", CHECK_WARN, "not active (DOWN)", "cable");
	assert_check("rdma-verbs", CHECK_WARN, "uverbs*: No such file", "modprobe ib_uverbs");
	assert_check("rdma-cm", CHECK_WARN, "rdma_cm: No such file", "modprobe rdma_ucm");
	assert_false(doctor->rdma_ready);
}

static void no_device_is_a_failure_only_if_rdma_is_asked_for(void **state)
{
	struct utsname u;
	char path[256];

	uname(&u);
	snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", u.release);
	put("kernel/rdma_rxe.ko:", "%s", path);
	put_netdev("lo", "65536", "unknown");
	put_netdev("virbr0", "1500", "up");
	put_netdev("eth0", "1500", "down");
	put_netdev("eth1", "1500", "up");
	put("", "/sys/class/net/eth1/device/uevent");
	doctor_check_rdma(doctor);
	assert_check("rdma-devices", CHECK_INFO, "none: migrations go over TCP", NULL);
	assert_check("soft-roce", CHECK_INFO, "can be loaded",
		     "sudo modprobe rdma_rxe && sudo rdma link add rxe0 type rxe netdev eth1");
	doctor->report.n = 0;
	doctor->transport = "verbs";
	doctor_check_rdma(doctor);
	assert_check("rdma-devices", CHECK_FAIL, "none", "--transport auto");
}

/* ---- memory ---- */

static void limit_memlock(const char *soft, const char *hard)
{
	char line[128];

	snprintf(line, sizeof(line), "Max locked memory         %-20s %-20s bytes", soft, hard);
	put(line, "/proc/self/limits");
	doctor->report.n = 0;
	doctor_check_memory(doctor);
}

static void memlock_is_held_against_the_guest(void **state)
{
	struct check c;

	put("CapEff:\t0000000000000000", "/proc/self/status");
	doctor->verbs_works = true;
	limit_memlock("unlimited", "unlimited");
	assert_check("memlock", CHECK_OK, "no limit", NULL);
	limit_memlock("8589934592", "8589934592");
	assert_check("memlock", CHECK_OK, "8 GiB, enough", NULL);
	limit_memlock("8388608", "unlimited");
	assert_check("memlock", CHECK_FAIL,
		     "8 MiB may be locked, RDMA pins all of a guest of 4 GiB", "ulimit -l 4259840");
	doctor->verbs_works = false;
	limit_memlock("8388608", "8589934592");
	assert_check("memlock", CHECK_INFO, "of no matter without RDMA", NULL);
	doctor->transport = "verbs";
	limit_memlock("8388608", "4294967296"); /* the guest alone would fit */
	assert_check("memlock", CHECK_FAIL, "8 MiB", "prlimit --pid $$ --memlock=unlimited");
	/* CAP_IPC_LOCK counts, but not that of a user namespace */
	put("CapEff:\t0000000000004000", "/proc/self/status");
	limit_memlock("8388608", "4294967296");
	assert_check("memlock", CHECK_OK, "CAP_IPC_LOCK", NULL);
	put("         0       1000          1", "/proc/self/uid_map");
	limit_memlock("8388608", "4294967296");
	assert_check("memlock", CHECK_FAIL, "8 MiB", "prlimit");
	c = *report_find(&doctor->report, "memlock");
	assert_true(strlen(c.remedy) < sizeof(c.remedy) - 1); /* not cut */
}

static void huge_pages_are_counted(void **state)
{
	put("MemAvailable:    3145728 kB", "/proc/meminfo");
	put("100", "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
	put("40", "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
	put("4", "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages");
	put("4", "/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages");
	doctor_check_memory(doctor);
	assert_check("memory", CHECK_WARN, "3 GiB free: no room for a guest of 4 GiB", "--memory");
	assert_check("hugepages-2M", CHECK_INFO, "no free memory for 3.9 GiB more", NULL);
	doctor->report.n = 0;
	put("MemAvailable:    8388608 kB", "/proc/meminfo");
	doctor_check_memory(doctor);
	/* 60 are in use, 2048 are needed */
	assert_check("hugepages-2M", CHECK_INFO, "40 free, a guest of 4 GiB",
		     "echo 2108 | sudo tee /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
	assert_check("hugepages-1G", CHECK_OK, "4 free", NULL);
	doctor->report.n = 0;
	put("3", "/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages");
	doctor_check_memory(doctor);
	assert_check("hugepages-1G", CHECK_INFO, "3 free",
		     "hugepages-1048576kB/nr_hugepages (soon after boot");
}

/* What is named in a remedy is there. */
static void remedies_name_what_there_is(void **state)
{
	struct utsname u;

	assert_int_equal(uname(&u), 0);
	doctor->transport = "verbs";
	doctor_check_rdma(doctor);
	assert_check("rdma-devices", CHECK_FAIL, "none", "driver, or ask for --transport auto");
	put("kernel/rdma_rxe.ko:", "/lib/modules/%s/modules.dep", u.release);
	doctor->report.n = 0;
	doctor_check_rdma(doctor);
	assert_check("rdma-devices", CHECK_FAIL, "none", "try soft-roce below, or ask");
	assert_check("soft-roce", CHECK_INFO, "can be loaded", "sudo modprobe rdma_rxe");
	put("CapEff:\t0000000000000000", "/proc/self/status");
	/* where the device can do without pinning, that is a way out of the limit */
	doctor->report.n = 0;
	limit_memlock("8388608", "8589934592");
	assert_null(strstr(report_find(&doctor->report, "memlock")->remedy, "--odp"));
	doctor->odp = true;
	limit_memlock("8388608", "8589934592");
	assert_check("memlock", CHECK_FAIL, "8 MiB", "or move with --odp");
	limit_memlock("8388608", "4294967296");
	assert_check("memlock", CHECK_FAIL, "8 MiB", "or move with --odp");
}

/* ---- KVM ---- */

static void missing_kvm_names_the_module_of_the_processor(void **state)
{
	put("flags\t\t: fpu vmx sse", "/proc/cpuinfo");
	doctor_check_kvm(doctor);
	assert_check("kvm", CHECK_WARN, "/dev/kvm: No such file", "modprobe kvm_intel");
	put("flags\t\t: fpu sse svm", "/proc/cpuinfo");
	doctor->report.n = 0;
	doctor_check_kvm(doctor);
	assert_check("kvm", CHECK_WARN, "/dev/kvm: No such file", "modprobe kvm_amd");
	put("flags\t\t: fpu sse", "/proc/cpuinfo");
	doctor->report.n = 0;
	doctor_check_kvm(doctor);
	assert_check("kvm", CHECK_WARN, "/dev/kvm: No such file", "firmware");
	assert_null(doctor->kvm_tracker);
}

static void trackers_are_told_of_both_kinds(void **state)
{
	doctor_check_trackers(doctor);
	assert_check("tracker", CHECK_WARN, "none can leave", "one of them is enough");
	doctor->report.n = 0;
	doctor->own_tracker = "soft-dirty";
	doctor_check_trackers(doctor);
	assert_check("tracker", CHECK_OK, "those without KVM by soft-dirty", NULL);
	doctor->report.n = 0;
	doctor->kvm_tracker = "kvm-log";
	doctor_check_trackers(doctor);
	assert_check("tracker", CHECK_OK, "KVM guests by kvm-log, others by soft-dirty", NULL);
}

/* ---- NUMA ---- */

static void each_nic_has_its_node(void **state)
{
	put_roce("mlx5_0", "enp23s0");
	put_roce("mlx5_1", "enp177s0");
	put("", "/sys/class/net/enp23s0/device/uevent");
	doctor->nports = rdma_ports_read(root, doctor->ports, RDMA_PORTS_MAX);
	doctor->topology = RF_TEST_DATA "/topology-two-nodes.xml";
	doctor_check_numa(doctor);
	assert_check("polling", CHECK_OK, "8 cores: busy polling is possible", NULL);
	assert_check("numa mlx5_0", CHECK_OK, "at NUMA node 0, CPUs 0-3,8-11 (4 cores), 8 of them",
		     NULL);
	assert_check("numa mlx5_1", CHECK_OK, "at NUMA node 1, CPUs 4-7,12-15 (4 cores)", NULL);
	assert_check("numa enp23s0", CHECK_OK, "at NUMA node 0", NULL);
	assert_null(report_find(&doctor->report, "numa enp177s0")); /* no hardware in this sysfs */
}

static void unknown_place_and_single_node_are_told(void **state)
{
	put_roce("mlx5_0", "ens3");
	doctor->nports = rdma_ports_read(root, doctor->ports, RDMA_PORTS_MAX);
	doctor->topology = RF_TEST_DATA "/topology-unknown-place.xml";
	doctor_check_numa(doctor);
	assert_check("numa mlx5_0", CHECK_INFO, "does not tell", NULL);
	doctor->topology = RF_TEST_DATA "/topology-one-node.xml";
	doctor->report.n = 0;
	doctor_check_numa(doctor);
	assert_check("numa", CHECK_OK, "one NUMA node", NULL);
	assert_check("polling", CHECK_INFO, "no busy polling", NULL);
}

#define case_of(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		case_of(lists_are_in_order_of_numbers),
		case_of(keys_are_found_with_and_without_padding),
		case_of(modules_are_loaded_there_or_missing),
		case_of(ports_have_state_addresses_and_netdev),
		case_of(good_ports_are_ok),
		case_of(odp_is_told_once_a_device),
		case_of(what_is_wrong_with_a_port_has_a_remedy),
		case_of(no_device_is_a_failure_only_if_rdma_is_asked_for),
		case_of(memlock_is_held_against_the_guest),
		case_of(huge_pages_are_counted),
		case_of(remedies_name_what_there_is),
		case_of(missing_kvm_names_the_module_of_the_processor),
		case_of(trackers_are_told_of_both_kinds),
		case_of(each_nic_has_its_node),
		case_of(unknown_place_and_single_node_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
