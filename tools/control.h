/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket of a process that runs migrations: a thread that answers clients.
 *
 *   clients ◄──► control thread ──► target's functions (statistics, cancel, …; any thread)
 *                     ▲
 *   migration threads ┴── control_report(): a bounded ring, never waits for a client
 *
 * The thread owns the socket, the clients and their queues. Others only put reports into the ring,
 * under its lock, which is held for a copy and nothing else.
 */
#ifndef RF_TOOLS_CONTROL_H
#define RF_TOOLS_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#include <ramferry/stats.h>

#include "tools/control_target.h"

struct control;
struct json_object;

#define CONTROL_CLIENTS 16 /* at a time */

/* Listens at path and starts the thread. False with one line on stderr that begins with prog. */
bool control_start(const char *prog, const char *path, const struct control_target *target,
		   struct control **out);

/* Tells clients that want events if migration i has another state or round than when this was last
 * called. Any thread, one for each i; NULL is fine. */
void control_report(struct control *c, unsigned i, const struct rf_stats *st);

/* The same for what is no migration. The event of its end has these statistics, which are taken
 * over; NULL for a state that is not the last. */
void control_report_state(struct control *c, unsigned i, enum rf_state state,
			  struct json_object *statistics);

/* Sends what clients take at once, ends the thread, removes the file. NULL is fine. */
void control_stop(struct control **cp);

#endif
