/* SPDX-License-Identifier: BSD-3-Clause */
/* The other end of a control socket. Errors are one line on stderr that begins with `prog`. */
#ifndef RF_TOOLS_CONTROL_CLIENT_H
#define RF_TOOLS_CONTROL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

struct json_object;

struct control_client {
	int fd;
	const char *prog, *path;
	char *buf; /* what was read and is not taken yet */
	size_t len, cap, taken;
};

bool control_client_open(struct control_client *c, const char *prog, const char *path);
void control_client_close(struct control_client *c);

/* Sends {"execute": command, "arguments": args}; takes over args, which may be NULL. */
bool control_client_send(struct control_client *c, const char *command, struct json_object *args);

/* The next line as an object, which the caller puts; NULL: nothing within timeout ms (-1: none),
 * or, with *end, nothing ever again. */
struct json_object *control_client_next(struct control_client *c, int timeout, bool *end);

/* Sends and waits for the answer; events that come before it are dropped. The `return` of it,
 * which the caller puts, or NULL after a line that says what is wrong. */
struct json_object *control_client_ask(struct control_client *c, const char *command,
				       struct json_object *args);

#endif
