/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a process that takes snapshots has been asked for and does, as its control socket sees it:
 *
 *   control thread   snapshot ─► asked ─┐                    status, cancel
 *   main thread                         └─► wait ─► begin ─► (rf_snapshot_run) ─► end ─► wait
 */
#ifndef RF_TOOLS_SNAPSHOT_DESK_H
#define RF_TOOLS_SNAPSHOT_DESK_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include <ramferry/snapshot.h>

#include "tools/control_target.h"

struct json_object;

#define SNAPSHOT_TO_MAX 1024

/* A file, or a destination. */
struct snapshot_to {
	char text[SNAPSHOT_TO_MAX];
	char host[256]; /* empty: text is a file */
	uint16_t port;
};

/* False: why says in words what is wrong with it. */
bool snapshot_to_parse(const char *text, struct snapshot_to *to, char *why, size_t cap);

struct snapshot_desk {
	/* fixed after init */
	bool hold;   /* takes more than one */
	int wake_fd; /* eventfd: one is asked for, or look whether to stop */

	pthread_mutex_t lock;
	/* guarded by lock */
	struct rf_snapshot *now; /* being taken, or NULL */
	struct rf_snapshot_stats last;
	struct snapshot_to to; /* of now, or of the last */
	bool asked;
};

bool snapshot_desk_init(struct snapshot_desk *d, bool hold);
void snapshot_desk_fini(struct snapshot_desk *d);
/* Waits until one is asked for; false: *stop was set, and somebody wrote to wake_fd. */
bool snapshot_desk_wait(struct snapshot_desk *d, const volatile sig_atomic_t *stop,
			struct snapshot_to *to);
void snapshot_desk_begin(struct snapshot_desk *d, struct rf_snapshot *s,
			 const struct snapshot_to *to);
/* It is over, and may be deleted; *st is how it ended. The next one may be asked for at once. */
void snapshot_desk_end(struct snapshot_desk *d, struct rf_snapshot_stats *st);
/* There is none: it could not even be begun. */
void snapshot_desk_fail(struct snapshot_desk *d, const char *why, struct rf_snapshot_stats *st);

void control_target_desk(struct control_target *t, struct snapshot_desk *d);

/* The statistics by their names of docs/snapshot.md. */
struct json_object *snapshot_stats_json(const struct rf_snapshot_stats *st);
/* All there is to say of one: status, error, where to, statistics. */
struct json_object *snapshot_report_json(const struct rf_snapshot_stats *st,
					 const struct snapshot_to *to);

#endif
