/* SPDX-License-Identifier: BSD-3-Clause */
/* RDMA devices and what they need: ports, addresses, MTU, kernel modules, rights. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "tools/doctor.h"
#include "tools/host_files.h"
#include "transport/inventory.h"

/* Bytes of Ethernet MTU that RoCE's headers take, generously: 4096 fit from 4200 on. */
#define ROCE_HEADERS 104

bool doctor_needs_verbs(const struct doctor *d)
{
	return !strcmp(d->transport, "verbs");
}

/* Something RDMA needs is not there. */
static enum check_status lacking(const struct doctor *d)
{
	return doctor_needs_verbs(d) ? CHECK_FAIL : CHECK_WARN;
}

static void name_check(char *out, size_t cap, const char *what, const struct rdma_port *p)
{
	snprintf(out, cap, "%s %s/%u", what, p->device, p->port);
}

/* ---- ports ---- */

static void check_port(struct doctor *d, const struct rdma_port *p)
{
	const char *layer = p->ethernet ? "Ethernet (RoCE)" : "InfiniBand";
	char name[40];

	name_check(name, sizeof(name), "rdma-port", p);
	if (rdma_port_active(p)) {
		report_add(&d->report, CHECK_OK, name, "active, link layer %s%s%s", layer,
			   p->netdev[0] ? ", network device " : "", p->netdev);
		return;
	}
	report_add(&d->report, CHECK_WARN, name, "not active (%s), link layer %s%s%s", p->state,
		   layer, p->netdev[0] ? ", network device " : "", p->netdev);
	if (p->ethernet && p->netdev[0] && !p->netdev_up)
		report_remedy(&d->report, "sudo ip link set %s up", p->netdev);
	else if (!p->ethernet && strcmp(p->state, "DOWN") != 0)
		report_remedy(&d->report, "start a subnet manager in this fabric: sudo systemctl "
					  "start opensm");
	else
		report_remedy(&d->report, "see to the cable and to the port at its other end");
}

static void check_addresses(struct doctor *d, const struct rdma_port *p)
{
	char name[40], list[256] = "";
	size_t at = 0;

	name_check(name, sizeof(name), "rdma-gid", p);
	if (!p->ethernet) /* rdma_cm finds InfiniBand ports by the addresses of IPoIB */
		return;
	for (unsigned i = 0; i < p->naddress && at < sizeof(list); i++)
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", i ? ", " : "",
				       p->address[i].text);
	if (p->naddress) {
		report_add(&d->report, CHECK_OK, name, "RoCE v2 at %s", list);
		return;
	}
	report_add(&d->report, CHECK_WARN, name, "no RoCE v2 address%s",
		   p->link_local ? " but a link-local one" : "");
	report_remedy(&d->report, "give it one: sudo ip addr add ADDRESS/PREFIX dev %s",
		      p->netdev[0] ? p->netdev : "DEVICE");
}

static unsigned mtu_by_netdev(uint64_t netdev_mtu)
{
	unsigned mtu = 4096;

	while (mtu > 256 && mtu + ROCE_HEADERS > netdev_mtu)
		mtu /= 2;
	return mtu;
}

static void check_mtu(struct doctor *d, const struct rdma_port *p, unsigned active)
{
	unsigned mtu = active ? active : p->ethernet ? mtu_by_netdev(p->netdev_mtu) : 0;
	char name[40];

	name_check(name, sizeof(name), "rdma-mtu", p);
	if (!mtu)
		return;
	if (!p->ethernet || !p->netdev_mtu) {
		report_add(&d->report, mtu >= 2048 ? CHECK_OK : CHECK_INFO, name, "RDMA MTU %u",
			   mtu);
		return;
	}
	if (mtu == 4096) {
		report_add(&d->report, CHECK_OK, name, "RDMA MTU %u (%s has MTU %llu)", mtu,
			   p->netdev, (unsigned long long)p->netdev_mtu);
		return;
	}
	report_add(&d->report, CHECK_WARN, name,
		   "RDMA MTU %u, 4096 would be faster: %s has MTU %llu, and 4200 are needed", mtu,
		   p->netdev, (unsigned long long)p->netdev_mtu);
	report_remedy(
		&d->report,
		"sudo ip link set %s mtu 4200 (or 9000), at both ends; switches must carry it",
		p->netdev);
}

static unsigned active_mtu(const struct rf_verbs_port *ports, int n, const struct rdma_port *p)
{
	for (int i = 0; i < n; i++)
		if (ports[i].port == p->port && !strcmp(ports[i].device, p->device))
			return ports[i].mtu;
	return 0;
}

/* One line a device; of those that cannot be opened nothing is known. */
static void check_odp(struct doctor *d, const struct rf_verbs_port *ports, int n)
{
	char name[40];

	for (int i = 0; i < n; i++) {
		if (i && !strcmp(ports[i].device, ports[i - 1].device))
			continue;
		snprintf(name, sizeof(name), "rdma-odp %.30s", ports[i].device);
		if (ports[i].odp)
			report_add(&d->report, CHECK_OK, name,
				   "on-demand paging of RDMA writes: --odp moves guests without "
				   "pinning them");
		else
			report_add(
				&d->report, CHECK_INFO, name,
				"no on-demand paging of RDMA writes: guests are pinned, chunk by "
				"chunk, and --odp is refused");
		d->odp = d->odp || ports[i].odp;
	}
}

/* ---- modules and rights ---- */

static bool can_open(const char *root, const char *path)
{
	char full[256];
	int fd;

	snprintf(full, sizeof(full), "%s%s", root, path);
	fd = open(full, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void check_rdma_cm(struct doctor *d)
{
	struct report *r = &d->report;

	/* On some hosts the file, and the module behind it, come with the first use. */
	if (!d->root[0])
		(void)rf_verbs_cm_works();
	if (can_open(d->root, "/dev/infiniband/rdma_cm")) {
		report_add(r, CHECK_OK, "rdma-cm", "/dev/infiniband/rdma_cm can be used");
		return;
	}
	report_add(r, lacking(d), "rdma-cm",
		   "connections cannot be made: /dev/infiniband/rdma_cm: %s", strerror(errno));
	if (errno == EACCES || errno == EPERM)
		report_remedy(r, "sudo chmod a+rw /dev/infiniband/rdma_cm (until the next boot)");
	else
		report_remedy(r, "sudo modprobe rdma_ucm");
	d->rdma_ready = false;
}

/* What this process may do with the devices' files: 0, or the errno of the last one. libibverbs
 * does not list a device whose file it may not open. */
static int try_uverbs(const char *root)
{
	char path[128], **names;
	unsigned n = host_list(root, "/dev/infiniband", &names);
	int error = ENOENT;

	for (unsigned i = 0; i < n && error; i++) {
		if (strncmp(names[i], "uverbs", 6))
			continue;
		snprintf(path, sizeof(path), "/dev/infiniband/%.64s", names[i]);
		error = can_open(root, path) ? 0 : errno;
	}
	host_list_free(names, n);
	return error;
}

/* The kernel has devices; can this process use them by libibverbs? */
static void check_verbs(struct doctor *d, int found)
{
	struct report *r = &d->report;
	int error = try_uverbs(d->root);

	if (found > 0) {
		report_add(r, CHECK_OK, "rdma-verbs", "libibverbs can open %s",
			   (unsigned)found < d->nports ? "some of them, not all" : "them");
		return;
	}
	d->rdma_ready = false;
	if (found == RF_ERR_UNSUPPORTED) {
		report_add(r, lacking(d), "rdma-verbs",
			   "this ramferry was built without libibverbs");
		report_remedy(r,
			      "sudo apt install libibverbs-dev librdmacm-dev, and build it again");
	} else if (error == EACCES || error == EPERM) {
		report_add(r, lacking(d), "rdma-verbs",
			   "this user may not open /dev/infiniband/uverbs*");
		report_remedy(r, "sudo chmod a+rw /dev/infiniband/uverbs* (until the next boot)");
	} else if (error) {
		report_add(r, lacking(d), "rdma-verbs",
			   "programs cannot reach them: "
			   "/dev/infiniband/uverbs*: %s",
			   strerror(error));
		report_remedy(r, "sudo modprobe ib_uverbs; in a container, pass these devices");
	} else {
		report_add(r, lacking(d), "rdma-verbs", "libibverbs does not know any of them");
		report_remedy(r, "sudo apt install ibverbs-providers");
	}
}

/* A network device soft-RoCE could be put on: one that is up, rather with hardware than without. */
static void find_netdev(const char *root, char *out, size_t cap)
{
	char state[24], **names;
	unsigned n = host_list(root, "/sys/class/net", &names);
	bool hardware = false;

	snprintf(out, cap, "DEVICE");
	for (unsigned i = 0; i < n; i++) {
		bool hw = host_exists(root, "/sys/class/net/%s/device", names[i]);

		if (!strcmp(names[i], "lo") || hardware ||
		    !host_read(root, state, sizeof(state), "/sys/class/net/%s/operstate",
			       names[i]) ||
		    !strcmp(state, "down"))
			continue;
		snprintf(out, cap, "%s", names[i]);
		hardware = hw;
	}
	host_list_free(names, n);
}

static void check_soft_roce(struct doctor *d)
{
	struct report *r = &d->report;
	struct utsname u = {0};
	char netdev[64];
	enum host_module state;

	uname(&u);
	state = host_module(d->root, u.release, "rdma_rxe");
	find_netdev(d->root, netdev, sizeof(netdev));
	if (state == HOST_MODULE_NONE) {
		report_add(r, CHECK_INFO, "soft-roce",
			   "this kernel has no module rdma_rxe (RDMA over any network device, "
			   "for tests)");
		return;
	}
	report_add(r, CHECK_INFO, "soft-roce",
		   "rdma_rxe (RDMA over any network device, for tests) %s",
		   state == HOST_MODULE_LOADED ? "is loaded" : "can be loaded");
	if (!d->nports)
		report_remedy(r,
			      "to have it: sudo modprobe rdma_rxe && sudo rdma link add rxe0 type "
			      "rxe netdev %s",
			      netdev);
}

static void check_no_devices(struct doctor *d)
{
	struct report *r = &d->report;
	struct utsname u = {0};

	uname(&u);

	report_add(r, doctor_needs_verbs(d) ? CHECK_FAIL : CHECK_INFO, "rdma-devices", "none%s",
		   doctor_needs_verbs(d) ? "" : ": migrations go over TCP");
	if (doctor_needs_verbs(d))
		report_remedy(r, "put in an RDMA NIC and its driver, %sor ask for --transport auto",
			      host_module(d->root, u.release, "rdma_rxe") == HOST_MODULE_NONE
				      ? ""
				      : "try soft-roce below, ");
}

void doctor_check_rdma(struct doctor *d)
{
	struct rf_verbs_port open[RDMA_PORTS_MAX];
	unsigned ready = 0;
	int nopen = 0;

	d->nports = rdma_ports_read(d->root, d->ports, RDMA_PORTS_MAX);
	if (!d->nports) {
		check_no_devices(d);
		check_soft_roce(d);
		return;
	}
	if (d->verbs_ports)
		nopen = d->verbs_ports(open, RDMA_PORTS_MAX);
	else if (!d->root[0])
		nopen = rf_verbs_inventory(open, RDMA_PORTS_MAX);
	report_add(&d->report, CHECK_OK, "rdma-devices", "%u port%s", d->nports,
		   d->nports > 1 ? "s" : "");
	for (unsigned i = 0; i < d->nports; i++) {
		const struct rdma_port *p = &d->ports[i];

		check_port(d, p);
		check_addresses(d, p);
		check_mtu(d, p, active_mtu(open, nopen, p));
		ready += rdma_port_active(p) && (p->naddress || !p->ethernet);
	}
	d->rdma_ready = ready > 0;
	check_odp(d, open, nopen);
	check_verbs(d, nopen);
	check_rdma_cm(d);
	check_soft_roce(d);
}
