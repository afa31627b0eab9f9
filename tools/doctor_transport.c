/* SPDX-License-Identifier: BSD-3-Clause */
/* libfabric, and which rungs of the ladder this host has: each is opened to see. */
#include <stdio.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/log.h"
#include "tools/doctor.h"
#include "transport/inventory.h"
#include "transport/transport.h"

static void check_libfabric(struct doctor *d)
{
	char version[16], providers[256];

	if (rf_ofi_inventory(version, sizeof(version), providers, sizeof(providers)) == RF_OK) {
		report_add(&d->report, CHECK_OK, "libfabric", "version %s, providers %s", version,
			   providers);
		return;
	}
	report_add(&d->report, CHECK_WARN, "libfabric", "version %s, and no provider", version);
	report_remedy(&d->report, "sudo apt install --reinstall libfabric1");
}

/* The address of this host that lanes of the rung would use; NULL: any. */
static const char *local_host(const struct doctor *d, const char *rung)
{
	if (strcmp(rung, "verbs"))
		return NULL;
	for (unsigned i = 0; i < d->nports; i++)
		if (rdma_port_active(&d->ports[i]) && d->ports[i].naddress)
			return d->ports[i].address[0].text;
	return NULL;
}

/* Why the rung does not work, in words; "" if it does, then provider is what it uses. */
static void try_rung(const struct doctor *d, const char *rung, char *why, size_t why_cap,
		     char *provider, size_t provider_cap)
{
	struct rf_transport_cfg cfg = {.local_host = local_host(d, rung), .max_lanes = 1};
	struct rf_log_capture words;
	struct rf_transport *t;
	int rc;

	rf_log_capture_begin(&words);
	rc = rf_transport_open(rung, &cfg, &t);
	rf_log_capture_end(&words);
	why[0] = '\0';
	if (rc == RF_OK) {
		snprintf(provider, provider_cap, "%s", rf_transport_provider(t));
		rf_transport_close(&t);
		return;
	}
	snprintf(why, why_cap, "%s", words.text[0] ? words.text : rf_err_str(rc));
}

/* only: no other one was asked for. */
static void check_rung(struct doctor *d, const char *rung, bool only)
{
	bool verbs = !strcmp(rung, "verbs");
	char why[256], provider[64] = "", name[40];

	snprintf(name, sizeof(name), "transport %.27s", rung);
	try_rung(d, rung, why, sizeof(why), provider, sizeof(provider));
	if (!why[0]) {
		report_add(&d->report, CHECK_OK, name, "works%s%s", verbs ? ", by " : "",
			   verbs ? provider : "");
		d->verbs_works = d->verbs_works || verbs;
		if (!d->rung[0])
			snprintf(d->rung, sizeof(d->rung), "%.63s", rung);
		return;
	}
	/* One that is not there is no fault as long as another works. */
	report_add(&d->report,
		   only			? CHECK_FAIL
		   : verbs && d->nports ? CHECK_WARN
					: CHECK_INFO,
		   name, "%s", why);
	if (verbs && (only || d->nports))
		report_remedy(&d->report, "see to the checks rdma-… above");
	else if (only)
		report_remedy(&d->report, "name a provider that libfabric has, or none");
}

void doctor_check_transports(struct doctor *d)
{
	char rungs[RF_WIRE_MAX_RUNGS][RF_WIRE_RUNG_SIZE];
	int n = rf_transport_ladder(d->transport, d->provider, rungs, RF_WIRE_MAX_RUNGS);

	check_libfabric(d);
	for (int i = 0; i < n; i++)
		check_rung(d, rungs[i], n == 1);
}
