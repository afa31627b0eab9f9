/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the pages of a snapshot go: a file, or a destination by its transport's bulk lanes.
 *
 *   open → memory … → begin → expect … → (write | absent | touched)* → commit → close → destroy
 *
 * Called by the saver thread, but for open, memory and close, which are the thread's that runs the
 * snapshot while there is no saver, and cancel and describe.
 */
#ifndef RF_SCHEDULER_SNAPSHOT_SINK_H
#define RF_SCHEDULER_SNAPSHOT_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ramferry/region.h>
#include <ramferry/snapshot.h>

struct rf_snap_sink_ops {
	/* Before the guest is paused. regions stay until close. */
	int (*open)(void *self, const struct rf_region *regions, unsigned n);
	/* What is written will be in there. Stays until close. */
	int (*memory)(void *self, void *at, uint64_t len);
	/* The guest has been paused. state stays until close. */
	int (*begin)(void *self, const void *state, size_t state_len);
	/* Pages of [first, first + n) may come; of others none will. */
	void (*expect)(void *self, unsigned region, uint64_t first, uint64_t n);
	/* Pages [first, first + n) from data, none of them zero. data stays until the token comes
	 * back. RF_NO_RESOURCE: poll, then try the same again. */
	int (*write)(void *self, unsigned region, uint64_t first, const void *data, uint32_t n,
		     void *token);
	int (*absent)(void *self, unsigned region, uint64_t page);   /* a page of zeros */
	void (*touched)(void *self, unsigned region, uint64_t page); /* the guest wrote to it */
	int (*submit)(void *self); /* what was written since the last time */
	/* Tokens of writes that are done, how many, or an error. */
	int (*poll)(void *self, void **tokens, unsigned cap);
	/* Readable when there is something to poll, if arm said true before. */
	int (*fd)(void *self);
	bool (*arm)(void *self);
	uint64_t (*size)(void *self); /* of the file, holes included; 0: there is none */
	int (*commit)(void *self);    /* all is written, and nothing on its way */
	/* Ends a wait in open or commit. Any thread, also a signal handler. */
	void (*cancel)(void *self);
	/* Why it failed, if that is more than what was logged; or NULL. */
	const char *(*why)(void *self);
	/* Puts in what is the sink's own. Any thread, after open. */
	void (*describe)(void *self, struct rf_snapshot_stats *st);
	/* Without a commit nothing is left. False: writes do not end, their data must stay. */
	bool (*close)(void *self);
	void (*destroy)(void *self); /* closed, or never opened */
};

struct rf_snap_sink {
	const struct rf_snap_sink_ops *ops;
	void *self;
};

/* Strings are copied. RF_ERR_NO_MEMORY; nothing is opened yet. */
int rf_snap_file_new(const char *path, struct rf_snap_sink *out);
int rf_snap_link_new(const struct rf_snapshot_cfg *cfg, struct rf_snap_sink *out);

#endif
