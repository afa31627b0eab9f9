/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/snapshot_subject.h"

#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "tools/common.h"

static int pause_subject(void *arg)
{
	return rf_vm_ops.pause(((struct subject *)arg)->vm);
}

static int resume_subject(void *arg)
{
	return rf_vm_ops.resume(((struct subject *)arg)->vm);
}

static int save_subject(void *arg, void **buf, size_t *len)
{
	struct subject *g = arg;
	struct rf_region ram;
	int rc = rf_vm_ops.save_state(g->vm, buf, len);

	if (rc != RF_OK || !g->verify)
		return rc;
	rf_vm_region(g->vm, &ram);
	if (paused_copy_take(&g->copy, &ram, *buf, *len))
		return RF_OK;
	free(*buf);
	return RF_ERR_GUEST;
}

const struct rf_guest_ops subject_ops = {
	.size = sizeof(struct rf_guest_ops),
	.pause = pause_subject,
	.resume = resume_subject,
	.save_state = save_subject,
};

void subject_note(const struct subject *g, uint64_t *ns, uint64_t *pages)
{
	*ns = rf_now_ns(&rf_clock_monotonic);
	*pages = rf_vm_pages_written(g->vm);
}

bool subject_is_sound(struct subject *g, uint64_t run_after)
{
	const volatile sig_atomic_t go_on = 0;
	struct watched_vm w = {.vm = g->vm};
	char desc[256];

	if (run_and_check(&w, rf_vm_passes(g->vm), run_after, 60000, &go_on, desc, sizeof(desc)))
		return true;
	fprintf(stderr, "ramferry snapshot: the guest: %s\n", desc);
	return false;
}

/* Bytes a second of pages the guest wrote between two moments. */
static double write_rate(uint64_t pages0, uint64_t ns0, uint64_t pages1, uint64_t ns1)
{
	return ns1 > ns0 ? (double)(pages1 - pages0) * RF_PAGE_SIZE * 1e9 / (double)(ns1 - ns0) : 0;
}

static void add_rate(struct json_object *o, const char *name, double rate)
{
	char text[40];

	snprintf(text, sizeof(text), "%.3f", rate);
	json_object_object_add(o, name, json_object_new_double_s(rate, text));
}

struct json_object *subject_json(const struct subject *g)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "kind", json_object_new_string(rf_vm_kind(g->vm)));
	add_rate(o, "write-rate-before",
		 write_rate(g->start_pages, g->start_ns, g->before_pages, g->before_ns));
	add_rate(o, "write-rate-during",
		 write_rate(g->before_pages, g->before_ns, g->after_pages, g->after_ns));
	return o;
}
