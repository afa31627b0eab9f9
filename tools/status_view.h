/* SPDX-License-Identifier: BSD-3-Clause */
/* What the answer to `status` looks like to people. Reads the answer by name and leaves out what is
 * not in it, so that the two ends need not be of one version. */
#ifndef RF_TOOLS_STATUS_VIEW_H
#define RF_TOOLS_STATUS_VIEW_H

#include <stdbool.h>
#include <stdint.h>

struct json_object;

#define STATUS_VIEW_MAX 64 /* migrations shown */

/* The sample before, for rates. */
struct status_view {
	uint64_t time;						    /* ms of the process; 0: none */
	double transferred[STATUS_VIEW_MAX], rate[STATUS_VIEW_MAX]; /* bytes, bytes a second */
};

/* Takes the rates from this answer and the one before. Once for each answer, before it is shown. */
void status_view_sample(struct status_view *v, struct json_object *status);

/* Lines with their newlines, from malloc(). NULL without memory. */
char *status_view_block(const struct status_view *v, struct json_object *status);

/* One line with its newline, for logs. */
char *status_view_line(const struct status_view *v, struct json_object *status);

/* True once every migration is over; *completed: and arrived. */
bool status_view_over(struct json_object *status, bool *completed);

#endif
