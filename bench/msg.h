/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages of the benches' TCP connection: numbers and bytes, put in and taken out in the same
 * order. It is no part of ramferry's wire protocol: a ramferry that waits for a guest turns a
 * bench away by its first bytes, and the other way round.
 *
 *   message = type:u32 len:u32 payload[len]        little-endian
 */
#ifndef RF_BENCH_MSG_H
#define RF_BENCH_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MSG_MAX 2048 /* bytes of a payload */

enum msg_type {
	MSG_HELLO = 1, /* both: magic, kind, protocol, version */
	MSG_PARAMS,    /* C→S */
	MSG_OFFER,     /* S→C: where to connect the lanes to */
	MSG_KEYS,      /* C→S: memory the server may write to */
	MSG_UP,	       /* S→C: all lanes are there */
	MSG_RUN,       /* C→S: one size */
	MSG_GO,	       /* S→C */
	MSG_DONE,      /* S→C: the run as the server saw it */
	MSG_CHECK,     /* C→S: how much was written */
	MSG_DIGESTS,   /* S→C */
	MSG_ROW,       /* C→S: the row it printed */
	MSG_BYE,       /* C→S */
	MSG_NEXT,      /* S→C: rf_urgent_lat: where the next migration goes */
	MSG_ERROR,     /* both: text; the sender gives up */
};

struct msg {
	uint32_t type;
	uint32_t len;
	uint32_t at; /* reader's position */
	bool bad;    /* written over the end, or read over it */
	uint8_t data[MSG_MAX];
};

void msg_init(struct msg *m, enum msg_type type);
void msg_put_u64(struct msg *m, uint64_t v);
void msg_put_double(struct msg *m, double v);
void msg_put_bytes(struct msg *m, const void *p, uint32_t len); /* with their length */
/* A reader that goes over the end gets zeros; msg_end tells. */
uint64_t msg_get_u64(struct msg *m);
double msg_get_double(struct msg *m);
uint32_t msg_get_bytes(struct msg *m, void *p, uint32_t cap); /* returns the length */
void msg_get_text(struct msg *m, char *text, uint32_t cap);   /* always ends with NUL */
bool msg_end(const struct msg *m);			      /* all was there, and no more */

/* Over a connected socket; 0, or -1 after a line on stderr. The receiver waits for `type` at most
 * timeout ms (-1: for ever), and prints the peer's words if it sends MSG_ERROR instead. */
int msg_send(int fd, const struct msg *m);
int msg_recv(int fd, struct msg *m, enum msg_type type, int timeout);
/* Tells the peer why this side gives up; errors are ignored. */
void msg_send_error(int fd, const char *text);

#endif
