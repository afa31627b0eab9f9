/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/mover.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "tools/control.h"

static void tell(void *arg, const struct rf_stats *st)
{
	struct mover *m = arg;

	progress_show(&m->progress, st);
	share_track_add(&m->track, rf_now_ns(&rf_clock_monotonic), st);
	control_report(m->control, m->index, st);
}

bool mover_open(struct mover *m, const struct guest_opts *guest, const struct rf_source_cfg *cfg)
{
	struct rf_source_cfg c = *cfg;
	struct rf_vm_cfg vm_cfg;
	struct rf_region region;

	guest_config(guest, &vm_cfg);
	if (guest->seed)
		vm_cfg.seed = guest->seed + m->index;
	if (rf_vm_new(&vm_cfg, &m->w.vm) != RF_OK)
		return false;
	c.host = m->host;
	c.port = m->port;
	c.guest = watched_vm_ops;
	c.guest_arg = &m->w;
	c.progress = tell;
	c.progress_arg = m;
	m->rc = EXIT_FAILURE;
	rf_vm_region(m->w.vm, &region);
	if (rf_vm_tracker(m->w.vm, &c.tracker) == RF_OK && rf_source_new(&c, &m->src) == RF_OK &&
	    rf_source_add_region(m->src, &region) == RF_OK) {
		rf_vm_set_hint_source(m->w.vm, m->src);
		return true;
	}
	mover_close(m);
	return false;
}

void mover_close(struct mover *m)
{
	if (m->w.vm)
		rf_vm_set_hint_source(m->w.vm, NULL);
	rf_source_delete(&m->src);
	rf_vm_delete(&m->w.vm);
	share_track_fini(&m->track);
}

/* The guest runs a while, so that there is something to move and a count of passes. */
static bool warm_up(struct mover *m)
{
	struct watched_vm *w = &m->w;
	char desc[256];

	if (rf_vm_ops.resume(w->vm) != RF_OK)
		return false;
	w->story.at_start = rf_vm_passes(w->vm);
	for (uint64_t t = 0; t < m->run_before && !*m->stop; t += 5)
		usleep(5000);
	w->story.at_migration = rf_vm_passes(w->vm);
	if (rf_vm_health(w->vm, desc, sizeof(desc)) == RF_OK)
		return true;
	fprintf(stderr, "ramferry send: guest: %s\n", desc);
	return false;
}

/* One whose memory was given back cannot be looked at any more. */
static bool check_paused(struct mover *m)
{
	struct rf_stats st = {.size = sizeof(st)};
	struct watched_vm *w = &m->w;
	char desc[256];

	rf_source_stats(m->src, &st);
	if (st.ram.released)
		return w->story.healthy;

	if (rf_vm_health(w->vm, desc, sizeof(desc)) == RF_OK &&
	    rf_vm_check(w->vm, desc, sizeof(desc)) == RF_OK)
		return true;
	fprintf(stderr, "ramferry send: guest: %s\n", desc);
	return false;
}

/* The move failed: shows that the guest goes on here as if nothing had happened. */
static bool check_survivor(struct watched_vm *w)
{
	const volatile sig_atomic_t go_on = 0;
	char desc[256];

	if (run_and_check(w, rf_vm_passes(w->vm), 100, 30000, &go_on, desc, sizeof(desc))) {
		fprintf(stderr, "ramferry send: the guest ran on here unharmed\n");
		return true;
	}
	fprintf(stderr, "ramferry send: the guest here: %s\n", desc);
	return false;
}

void mover_run(struct mover *m)
{
	int rc;

	if (!warm_up(m))
		return;
	rc = rf_source_run(m->src);
	m->sound = rc == RF_OK || rc == RF_ERR_UNKNOWN_OUTCOME ? check_paused(m)
							       : check_survivor(&m->w);
	if (rc == RF_OK && m->sound)
		m->rc = EXIT_SUCCESS;
	progress_end(&m->progress);
}

struct json_object *mover_report(struct mover *m)
{
	struct rf_stats st = {.size = sizeof(st)};
	const struct guest_story *story = &m->w.story;
	struct json_object *j, *g = json_object_new_object();

	rf_source_stats(m->src, &st);
	j = stats_to_json(&st);
	json_object_object_add(g, "kind", json_object_new_string(rf_vm_kind(m->w.vm)));
	json_object_object_add(g, "passes-start", json_object_new_uint64(story->at_start));
	json_object_object_add(g, "passes-migration", json_object_new_uint64(story->at_migration));
	json_object_object_add(g, "passes-pause", json_object_new_uint64(story->at_pause));
	json_object_object_add(g, "sound", json_object_new_boolean(m->sound));
	json_object_object_add(j, "guest", g);
	return j;
}
