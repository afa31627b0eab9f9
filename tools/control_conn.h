/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One client of a control socket: bytes come in until they are a line, lines go out when the
 * client takes them. Nothing here ever waits.
 *
 *   socket ──► in[CONTROL_LINE_MAX] ──► handler ──► out (bounded) ──► socket
 *
 * A client that does not read gets no more of its requests answered until it does, and loses
 * events, which it is told of later. Owner: the control thread.
 */
#ifndef RF_TOOLS_CONTROL_CONN_H
#define RF_TOOLS_CONTROL_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/control_proto.h"

/* Bytes waiting to be taken, above which no request is read and no event is kept. A reply may
 * go over it, once. */
#define CONTROL_OUT_MAX (64u << 10)

struct control_conn {
	int fd;	       /* -1: free */
	bool events;   /* wants them */
	bool ended;    /* says no more, or has said too much; closed when out is empty */
	uint64_t lost; /* events dropped since the last one that went out */
	char *in;      /* CONTROL_LINE_MAX bytes */
	size_t in_len;
	char *out;
	size_t out_len, out_cap;
};

/* Answers one line: gives the line to send, from malloc(), or NULL (then the client is dropped). */
typedef char *control_answer_fn(void *arg, struct control_conn *c, const char *line, size_t len);

/* Takes over fd, which is non-blocking. False without memory (fd stays the caller's). */
bool control_conn_open(struct control_conn *c, int fd);
void control_conn_close(struct control_conn *c);

/* The poll events it waits for. */
short control_conn_wants(const struct control_conn *c);

/* The socket is ready: reads, answers what is complete, sends. False: the client is gone or done,
 * close it. */
bool control_conn_serve(struct control_conn *c, control_answer_fn *answer, void *arg);

/* Puts an event behind what waits; counts it as lost when there is too much. Frees line. */
void control_conn_event(struct control_conn *c, char *line);

/* Sends what the socket takes. False: the client is gone. */
bool control_conn_flush(struct control_conn *c);

#endif
