/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the pages of a snapshot go. Called by the saver thread alone but for open and close, which
 * are the thread's that runs the snapshot while there is no saver.
 */
#ifndef RF_SCHEDULER_SNAPSHOT_SINK_H
#define RF_SCHEDULER_SNAPSHOT_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ramferry/region.h>

struct rf_snap_sink_ops {
	int (*open)(void *self);
	/* The guest has been paused: what it is made of is known. */
	int (*begin)(void *self, const struct rf_region *regions, unsigned n, const void *state,
		     size_t state_len);
	/* Pages [first, first + n) from data, none of them zero. data stays until the token comes
	 * back. RF_NO_RESOURCE: poll, then try again. */
	int (*write)(void *self, unsigned region, uint64_t first, const void *data, uint32_t n,
		     void *token);
	void (*absent)(void *self, unsigned region, uint64_t page);  /* a page of zeros */
	void (*touched)(void *self, unsigned region, uint64_t page); /* the guest wrote to it */
	int (*submit)(void *self); /* what was written since the last time */
	/* Tokens of writes that are done, how many, or an error. */
	int (*poll)(void *self, void **tokens, unsigned cap);
	int (*fd)(void *self); /* readable when there is something to poll */
	uint64_t (*size)(void *self);
	int (*commit)(void *self); /* all is written */
	/* Without a commit nothing is left. False: writes do not end, their data must stay. */
	bool (*close)(void *self);
};

struct rf_snap_sink {
	const struct rf_snap_sink_ops *ops;
	void *self;
};

/* A file. The caller frees *self after close. */
int rf_snap_file_new(const char *path, struct rf_snap_sink *out);
bool rf_snap_file_direct(const struct rf_snap_sink *sink);
void rf_snap_file_delete(struct rf_snap_sink *sink);

#endif
