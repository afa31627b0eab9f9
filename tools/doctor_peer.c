/* SPDX-License-Identifier: BSD-3-Clause */
/* A waiting destination: which transport would be used between here and there, and why not a
 * better one. */
#include <stdio.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/netdev.h"
#include "common/wire.h"
#include "scheduler/probe.h"
#include "tools/doctor.h"

/* The way to the peer begins at an address of ours. Is that one of an RDMA device? */
static void check_route(struct doctor *d, const struct rf_probe_result *p)
{
	const struct rdma_port *port = rdma_port_of_address(d->ports, d->nports, p->local_host);
	char netdev[64] = "";

	if (rf_netdev_of_address(p->local_host, netdev, sizeof(netdev)) != RF_OK)
		snprintf(netdev, sizeof(netdev), "unknown device");
	for (unsigned i = 0; i < d->nports && !port; i++)
		if (!strcmp(d->ports[i].netdev, netdev))
			port = &d->ports[i];
	if (port) {
		report_add(&d->report, CHECK_OK, "peer-route",
			   "by %s (%s), which is RDMA device %s", p->local_host, netdev,
			   port->device);
		return;
	}
	if (!d->nports) {
		report_add(&d->report, CHECK_INFO, "peer-route",
			   "by %s (%s); this host has no RDMA device", p->local_host, netdev);
		return;
	}
	report_add(&d->report, CHECK_WARN, "peer-route", "by %s (%s), which is no RDMA device",
		   p->local_host, netdev);
	if (d->ports[0].naddress)
		report_remedy(&d->report, "name an address of the peer in the network of %s (%s)",
			      d->ports[0].device, d->ports[0].address[0].text);
	else
		report_remedy(&d->report, "see to the checks rdma-… above");
}

static void tell_rung(struct doctor *d, const struct rf_ladder_rung *r)
{
	bool there = !strncmp(r->why, "destination: ", 13);
	bool verbs = !strcmp(r->name, "verbs");
	char name[40];

	snprintf(name, sizeof(name), "peer-transport %.24s", r->name);
	if (r->err == RF_OK) {
		report_add(&d->report, CHECK_OK, name, "works; a migration would use it");
		return;
	}
	report_add(&d->report, verbs && d->rdma_ready ? CHECK_WARN : CHECK_INFO, name, "%s",
		   r->why);
	if (verbs && d->rdma_ready)
		report_remedy(&d->report,
			      there ? "run 'ramferry doctor' on the destination"
				    : "see to peer-route and to the checks rdma-… above");
}

void doctor_check_peer(struct doctor *d, const char *host, uint16_t port)
{
	const struct rf_probe_cfg cfg = {
		.host = host,
		.port = port,
		.transport = d->transport,
		.provider = d->provider,
	};
	struct rf_probe_result p;
	int rc = rf_source_probe(&cfg, &p);

	d->peer_asked = true;
	if (p.reached && (rc == RF_OK || p.ladder.n)) {
		report_add(&d->report, CHECK_OK, "peer",
			   "%s answers: protocol %d.%u, round trip %.2f ms", p.peer, RF_WIRE_MAJOR,
			   p.minor, (double)p.rtt_ns / 1e6);
		check_route(d, &p);
	}
	for (unsigned i = 0; i < p.ladder.n; i++)
		if (p.ladder.rung[i].err != RF_IN_PROGRESS)
			tell_rung(d, &p.ladder.rung[i]);
	if (rc == RF_OK) {
		snprintf(d->rung, sizeof(d->rung), "%s", p.ladder.rung[p.ladder.n - 1].name);
		return;
	}
	d->rung[0] = '\0';
	report_add(&d->report, CHECK_FAIL, p.ladder.n ? "peer-transport" : "peer", "%s", p.why);
	if (p.ladder.n)
		report_remedy(&d->report, "run 'ramferry doctor' on both hosts; one transport that "
					  "works on both is enough");
	else
		report_remedy(&d->report,
			      "start 'ramferry receive %s:%u' there, and let TCP port %u "
			      "through firewalls",
			      host, port, port);
}
