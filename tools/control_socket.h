/* SPDX-License-Identifier: BSD-3-Clause */
/* The file of a control socket: made for its user only, never instead of one in use, taken away at
 * the end. Errors are one line on stderr that begins with `prog`. */
#ifndef RF_TOOLS_CONTROL_SOCKET_H
#define RF_TOOLS_CONTROL_SOCKET_H

#include <sys/types.h>

struct control_socket {
	int fd; /* listening, non-blocking; -1: none */
	char path[108];
	/* the file as we made it: only that one is removed */
	dev_t dev;
	ino_t ino;
};

/* -1 and one line if it cannot be. */
int control_socket_listen(const char *prog, const char *path, struct control_socket *s);
void control_socket_close(struct control_socket *s);

/* A blocking socket to who listens at path, or -1. */
int control_socket_connect(const char *prog, const char *path);

#endif
