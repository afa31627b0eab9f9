/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of 'ramferry doctor': what its checks share. A check looks at one thing, adds one line to
 * the report and, where something is to be done, the command or the setting that does it.
 *
 *   ok    all is well
 *   info  nothing to do, or something that only some migrations need
 *   warn  works, but not as well as it could, or not in every case
 *   fail  a migration by the transport that was asked for needs it, and it does not work
 */
#ifndef RF_TOOLS_DOCTOR_H
#define RF_TOOLS_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/rdma_ports.h"
#include "transport/inventory.h"

enum check_status { CHECK_OK, CHECK_INFO, CHECK_WARN, CHECK_FAIL };

struct check {
	enum check_status status;
	char name[40];
	char detail[400];
	char remedy[400]; /* "" if there is nothing to do */
};

#define REPORT_MAX 128

struct report {
	struct check checks[REPORT_MAX];
	unsigned n; /* what does not fit is left out */
};

const char *check_status_str(enum check_status status);
void report_add(struct report *r, enum check_status status, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* What to do about the last line added. */
void report_remedy(struct report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool report_has(const struct report *r, enum check_status status);
/* The check of that name, or NULL. */
const struct check *report_find(const struct report *r, const char *name);

struct doctor {
	/* what was asked; fixed */
	uint64_t memory;       /* bytes of the guest */
	const char *transport; /* "auto", "verbs", "ofi" */
	const char *provider;  /* or NULL */
	const char *root;      /* where sys/, proc/, dev/ and lib/ are: "" or a test's folder */
	const char *topology;  /* XML of another machine, or NULL */
	/* what libibverbs can open; NULL: rf_verbs_inventory, with a root nothing */
	int (*verbs_ports)(struct rf_verbs_port *ports, unsigned max);

	/* found so far; a check may use what those before it found */
	struct rdma_port ports[RDMA_PORTS_MAX];
	unsigned nports;
	bool rdma_ready;  /* a port with state and addresses that RDMA can use */
	bool odp;	  /* a device offers on-demand paging */
	bool verbs_works; /* the transport can be opened */
	char rung[64];	  /* best transport of this host, "" if none */
	const char *kvm_tracker, *own_tracker; /* of KVM guests, of other memory; NULL: none */
	bool peer_asked;
	bool postcopy; /* userfaultfd has what it takes */

	struct report report;
};

/* True if a lack of RDMA is a failure, since it was asked for. */
bool doctor_needs_verbs(const struct doctor *d);

/* In the order in which they are called. */
void doctor_check_host(struct doctor *d);     /* kernel, processor */
void doctor_check_kvm(struct doctor *d);      /* /dev/kvm and its dirty tracking */
void doctor_check_uffd(struct doctor *d);     /* userfaultfd, the trackers of other memory */
void doctor_check_trackers(struct doctor *d); /* which one would be used */
void doctor_check_rdma(struct doctor *d);     /* devices, ports, addresses, modules */
void doctor_check_transports(struct doctor *d);
void doctor_check_memory(struct doctor *d); /* memlock, huge pages */
void doctor_check_numa(struct doctor *d);
void doctor_check_peer(struct doctor *d, const char *host, uint16_t port);
/* All but the peer. */
void doctor_check_all(struct doctor *d);
/* What would be used, or that nothing works. The last line. */
void doctor_conclude(struct doctor *d);

#endif
