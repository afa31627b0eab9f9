/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest that snapshots are taken of, and what it does meanwhile. */
#ifndef RF_TOOLS_SNAPSHOT_SUBJECT_H
#define RF_TOOLS_SNAPSHOT_SUBJECT_H

#include <stdbool.h>
#include <stdint.h>

#include <ramferry/snapshot.h>

#include "tools/snapshot_verify.h"
#include "vmm/guest.h"

struct control;
struct json_object;

/* A guest and how much it had written when. */
struct subject {
	struct rf_vm *vm;
	bool verify;
	struct paused_copy copy;
	uint64_t start_ns, start_pages;	  /* it began to run */
	uint64_t before_ns, before_pages; /* just before the snapshot */
	uint64_t after_ns, after_pages;
	struct rf_snapshot_stats stats; /* of the last one */
	struct control *control;	/* NULL: none */
};

/* To the library; its argument is the subject. */
extern const struct rf_guest_ops subject_ops;

/* The time, and how many pages it has written. */
void subject_note(const struct subject *g, uint64_t *ns, uint64_t *pages);

/* It must be so however the snapshot ended. Lets it run for run_after ms, at least; says on stderr
 * what is wrong with it. */
bool subject_is_sound(struct subject *g, uint64_t run_after);

/* Its kind, and how fast it wrote before and during the snapshot. */
struct json_object *subject_json(const struct subject *g);

#endif
