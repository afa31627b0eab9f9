/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Received frames on their way from a control stream's reader to its owner: bounded, one thread
 * at each end, with an eventfd that is readable while the owner has something to take.
 *
 *   reader ──push──► [ frame frame frame ] ──pop──► owner
 *            full: wait for wake_fd             fd: readable while not empty, or closed
 */
#ifndef RF_TRANSPORT_FRAME_QUEUE_H
#define RF_TRANSPORT_FRAME_QUEUE_H

#include <pthread.h>
#include <stdbool.h>

#include "transport/ctrl.h"

#define RF_FRAME_QUEUE_FRAMES 64
#define RF_FRAME_QUEUE_BYTES  (8u << 20) /* full from here on; a frame may reach over it */

struct rf_frame_queue {
	/* fixed after init */
	int fd;	     /* eventfd for the owner */
	int wake_fd; /* the reader's, not owned: written when a full queue has room again */

	pthread_mutex_t lock; /* innermost: nothing is locked under it */
	/* guarded by lock */
	struct rf_frame frames[RF_FRAME_QUEUE_FRAMES];
	unsigned head, count;
	size_t bytes;
	bool stalled; /* the reader waits for room */
	int end;      /* not RF_OK: what pop says once the queue is empty */
	bool raised;  /* fd is readable */
};

int rf_frame_queue_init(struct rf_frame_queue *q, int wake_fd); /* RF_ERR_SYSTEM */
void rf_frame_queue_fini(struct rf_frame_queue *q);		/* frees what is queued */

/* Reader: true if there is no room; wake_fd then is written when there is. */
bool rf_frame_queue_full(struct rf_frame_queue *q);
/* Reader: hands *f over and empties it. Only if not full. */
void rf_frame_queue_push(struct rf_frame_queue *q, struct rf_frame *f);
/* Reader: no frame follows, and why. */
void rf_frame_queue_end(struct rf_frame_queue *q, int err);

/* Owner: the next frame; RF_AGAIN if there is none now; how it ended when there is none left. */
int rf_frame_queue_pop(struct rf_frame_queue *q, struct rf_frame *f);

#endif
