/* SPDX-License-Identifier: BSD-3-Clause */
/* ramferry doctor: what this host can do for a migration, and what to change. */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "tools/common.h"
#include "tools/doctor.h"

struct doctor_opts {
	struct output_opts out;
	const char *transport, *provider, *peer;
	uint64_t memory;
};

static const struct rf_opt table[] = {
	RF_OPT_SIZE(struct doctor_opts, memory, "memory", 'm', "SIZE", "4G",
		    "memory of the guests that are to be moved", .min = 4096, .max = 1ull << 46),
	RF_OPT_CHOICE(struct doctor_opts, transport, "transport", 't', "auto|verbs|ofi", "auto",
		      "what is asked for; its lack is a failure"),
	RF_OPT_STRING(struct doctor_opts, provider, "provider", 'p', "NAME", NULL,
		      "libfabric provider, e.g. tcp, sockets"),
	RF_OPT_STRING(struct doctor_opts, peer, "peer", 0, "HOST:PORT", NULL,
		      "also ask a waiting 'ramferry receive' what would be used"),
	RF_OPT_BOOL(struct doctor_opts, out.json, "json", 'j', "no",
		    "print one JSON object instead of lines"),
	RF_OPT_CHOICE(struct doctor_opts, out.log_level, "log-level", 0,
		      "none|error|warn|info|debug|trace", "none", "how much is told on stderr"),
	RF_OPT_BOOL(struct doctor_opts, out.help, "help", 'h', "no", "print this help"),
	RF_OPT_END,
};

static void print_lines(const struct report *r)
{
	for (unsigned i = 0; i < r->n; i++) {
		const struct check *c = &r->checks[i];

		printf("%-4s  %s: %s%s%s\n", check_status_str(c->status), c->name, c->detail,
		       c->remedy[0] ? " → " : "", c->remedy);
	}
}

static void print_json(const struct report *r)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();

	json_object_object_add(o, "ok", json_object_new_boolean(!report_has(r, CHECK_FAIL)));
	for (unsigned i = 0; i < r->n; i++) {
		const struct check *c = &r->checks[i];
		struct json_object *j = json_object_new_object();

		json_object_object_add(j, "check", json_object_new_string(c->name));
		json_object_object_add(j, "status",
				       json_object_new_string(check_status_str(c->status)));
		json_object_object_add(j, "detail", json_object_new_string(c->detail));
		json_object_object_add(j, "remedy",
				       c->remedy[0] ? json_object_new_string(c->remedy) : NULL);
		json_object_array_add(list, j);
	}
	json_object_object_add(o, "checks", list);
	print_json_line(o);
	json_object_put(o);
}

void doctor_check_all(struct doctor *d)
{
	doctor_check_host(d);
	doctor_check_kvm(d);
	doctor_check_uffd(d);
	doctor_check_trackers(d);
	doctor_check_rdma(d);
	doctor_check_transports(d);
	doctor_check_memory(d);
	doctor_check_numa(d);
}

void doctor_conclude(struct doctor *d)
{
	struct report *r = &d->report;

	if (!d->rung[0]) {
		bool any = !strcmp(d->transport, "auto") && !d->provider;

		report_add(r, CHECK_FAIL, "verdict", "%s",
			   d->peer_asked ? "nothing can be moved to the peer"
			   : any	 ? "no transport works: nothing can be moved"
					 : "what was asked for does not work: nothing can be moved "
					   "by it");
		report_remedy(r, "%s",
			      d->peer_asked ? "see to the lines with peer above"
			      : any	    ? "repair one of the transports above"
				    : "see to transport above, or ask for --transport auto");
	} else if (report_has(r, CHECK_FAIL)) {
		report_add(r, CHECK_FAIL, "verdict",
			   "a migration would fail: see the lines with fail");
		report_remedy(r, "do what they say");
	} else if (!d->kvm_tracker && !d->own_tracker) {
		report_add(r, CHECK_WARN, "verdict",
			   "migrations to this host work, over %s; from here none does", d->rung);
		report_remedy(r, "see to tracker above");
	} else {
		report_add(r, CHECK_OK, "verdict", "migrations work, over %s%s", d->rung,
			   d->postcopy ? ", with postcopy" : ", without postcopy");
	}
}

int cmd_doctor(int argc, char **argv)
{
	static const char prog[] = "ramferry doctor";
	struct doctor_opts o = {0};
	struct doctor *d;
	unsigned npos = 0;
	char host[256];
	uint16_t port = 0;
	int rc = parse_command(table, prog,
			       "[OPTION ...]\n\n"
			       "Says what this host can do for a migration and what to change, a "
			       "line for each check.\nExit code: 0 all that is needed works, 1 "
			       "something that is needed does not, 2 wrong usage.",
			       argc, argv, &o, &o.out, NULL, 0, &npos);

	if (rc >= 0)
		return rc;
	if (o.peer && !parse_host_port(prog, o.peer, host, sizeof(host), &port))
		return EXIT_USAGE;
	d = calloc(1, sizeof(*d));
	if (!d)
		return EXIT_FAILURE;
	d->memory = o.memory;
	d->transport = o.transport;
	d->provider = o.provider;
	d->root = "";
	doctor_check_all(d);
	if (o.peer)
		doctor_check_peer(d, host, port);
	doctor_conclude(d);
	if (o.out.json)
		print_json(&d->report);
	else
		print_lines(&d->report);
	rc = report_has(&d->report, CHECK_FAIL) ? EXIT_FAILURE : EXIT_SUCCESS;
	free(d);
	return rc;
}
