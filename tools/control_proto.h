/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is said on a control socket: a JSON object a line, in the manner of QMP.
 *
 *   {"execute": "set", "arguments": {"max-bandwidth": "100M"}, "id": 1}
 *   {"return": {…}, "id": 1}
 *   {"error": {"class": "GenericError", "desc": "…"}, "id": 1}
 *   {"event": "MIGRATION", "data": {…}, "timestamp": {"seconds": …, "microseconds": …}}
 *
 * Lines come from whoever may open the socket: each is either a request that is right in every
 * part or one error in words.
 */
#ifndef RF_TOOLS_CONTROL_PROTO_H
#define RF_TOOLS_CONTROL_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

#define CONTROL_LINE_MAX 4096 /* bytes of a request, its newline included */
#define CONTROL_ALL	 (-1) /* every migration of the process */

enum control_command {
	CONTROL_STATUS,
	CONTROL_CANCEL,
	CONTROL_POSTCOPY,
	CONTROL_SET,
	CONTROL_SNAPSHOT,
	CONTROL_EVENTS,
	CONTROL_NONE, /* not known */
};

/* What `set` can change while a migration runs. */
enum control_parameter {
	CONTROL_MAX_BANDWIDTH,		/* bytes a second, 0: no limit */
	CONTROL_MAX_POSTCOPY_BANDWIDTH, /* bytes a second, 0: no limit */
	CONTROL_DOWNTIME_LIMIT,		/* ms */
	CONTROL_THROTTLE,		/* percent */
	CONTROL_PARAMETERS,
};

struct control_settings {
	bool given[CONTROL_PARAMETERS];
	uint64_t value[CONTROL_PARAMETERS];
};

struct control_request {
	enum control_command command;
	struct json_object *id; /* what the client put in, or NULL; owned */
	int migration;		/* index, or CONTROL_ALL */
	bool on;		/* events: begin or end */
	char *to;		/* snapshot: a file or HOST:PORT; owned */
	struct control_settings set;
};

/* Why a request cannot be done. */
struct control_refusal {
	bool unknown_command;
	char desc[192];
};

const char *control_parameter_name(enum control_parameter p);
/* One line each, for --help; NULL after the last. */
const char *control_command_doc(enum control_command c, const char **name);

/*
 * Reads a line (without its newline; any bytes). True: *req is complete. False: *why says what is
 * wrong, and only req->id may be set. control_request_fini() in both cases.
 */
bool control_parse(const char *line, size_t len, struct control_request *req,
		   struct control_refusal *why);
void control_request_fini(struct control_request *req);

/* Lines with their newline, from malloc(); NULL without memory. The first two take over `ret` and
 * `data`; id may be NULL and stays the caller's. */
char *control_return_line(struct json_object *ret, struct json_object *id);
char *control_event_line(const char *event, struct json_object *data);
char *control_error_line(const struct control_refusal *why, struct json_object *id);

#endif
