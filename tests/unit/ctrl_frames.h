/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames whose content is known by a number, and threads that send them. */
#ifndef RF_TESTS_CTRL_FRAMES_H
#define RF_TESTS_CTRL_FRAMES_H

#include "tests/unit/ctrl_peer.h"

/* A payload that is known by its seed. */
static inline void fill(uint8_t *p, uint32_t len, uint32_t seed)
{
	for (uint32_t i = 0; i < len; i++)
		p[i] = (uint8_t)(seed * 31 + i * 7 + (i >> 8));
}

static inline uint8_t *new_payload(uint32_t len, uint32_t seed)
{
	uint8_t *p = malloc(len + 1);

	fill(p, len, seed);
	return p;
}

static inline int send_seeded(struct rf_ctrl *c, uint32_t type, uint32_t len, uint32_t seed)
{
	uint8_t *p = new_payload(len, seed);
	int r = rf_ctrl_send(c, type, p, len);

	free(p);
	return r;
}

static inline bool recv_seeded(struct rf_ctrl *c, uint32_t type, uint32_t len, uint32_t seed)
{
	struct rf_frame f;
	bool ok;

	if (rf_ctrl_recv(c, &f, SOON))
		return false;
	uint8_t *p = new_payload(len, seed);

	ok = f.type == type && f.len == len && (!len || !memcmp(f.payload, p, len));
	free(p);
	rf_frame_free(&f);
	return ok && !f.payload && !f.len;
}

/* ---- threads ---- */

struct sender {
	struct rf_ctrl *c;
	uint32_t type, n, len;
	_Atomic int r;
	_Atomic uint32_t sent;
	pthread_t thread;
};

static inline void *run_sender(void *arg)
{
	struct sender *s = arg;
	uint8_t *p = malloc(s->len + 1);

	for (uint32_t i = 0; i < s->n && !s->r; i++) {
		fill(p, s->len, i);
		s->r = rf_ctrl_send(s->c, s->type, p, s->len);
		s->sent += !s->r;
	}
	free(p);
	return NULL;
}

static inline void start_sender(struct sender *s, struct rf_ctrl *c, uint32_t type, uint32_t n,
				uint32_t len)
{
	*s = (struct sender){.c = c, .type = type, .n = n, .len = len};
	pthread_create(&s->thread, NULL, run_sender, s);
}

static inline int join_sender(struct sender *s)
{
	pthread_join(s->thread, NULL);
	return s->r;
}

#endif
