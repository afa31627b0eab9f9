/* SPDX-License-Identifier: BSD-3-Clause */
#include "transport/frame_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/log.h"

void rf_frame_free(struct rf_frame *f)
{
	free(f->payload);
	*f = (struct rf_frame){0};
}

int rf_frame_queue_init(struct rf_frame_queue *q, int wake_fd)
{
	*q = (struct rf_frame_queue){.wake_fd = wake_fd};
	q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->fd < 0) {
		rf_err_log("control stream", "eventfd: %s", strerror(errno));
		return RF_ERR_SYSTEM;
	}
	pthread_mutex_init(&q->lock, NULL);
	return RF_OK;
}

void rf_frame_queue_fini(struct rf_frame_queue *q)
{
	for (; q->count; q->count--) {
		rf_frame_free(&q->frames[q->head]);
		q->head = (q->head + 1) % RF_FRAME_QUEUE_FRAMES;
	}
	pthread_mutex_destroy(&q->lock);
	close(q->fd);
}

/* Brings the eventfd in line with the queue. An eventfd of at most 1 never blocks. */
static void update_event(struct rf_frame_queue *q)
{
	bool want = q->count || q->end != RF_OK;
	eventfd_t v;

	if (want == q->raised)
		return;
	if (want)
		eventfd_write(q->fd, 1);
	else
		eventfd_read(q->fd, &v);
	q->raised = want;
}

static bool has_no_room(const struct rf_frame_queue *q)
{
	return q->count == RF_FRAME_QUEUE_FRAMES || q->bytes >= RF_FRAME_QUEUE_BYTES;
}

bool rf_frame_queue_full(struct rf_frame_queue *q)
{
	pthread_mutex_lock(&q->lock);
	bool full = q->stalled = has_no_room(q);
	pthread_mutex_unlock(&q->lock);
	return full;
}

void rf_frame_queue_push(struct rf_frame_queue *q, struct rf_frame *f)
{
	pthread_mutex_lock(&q->lock);
	q->frames[(q->head + q->count++) % RF_FRAME_QUEUE_FRAMES] = *f;
	q->bytes += f->len;
	update_event(q);
	pthread_mutex_unlock(&q->lock);
	*f = (struct rf_frame){0};
}

void rf_frame_queue_end(struct rf_frame_queue *q, int err)
{
	pthread_mutex_lock(&q->lock);
	q->end = err;
	update_event(q);
	pthread_mutex_unlock(&q->lock);
}

int rf_frame_queue_pop(struct rf_frame_queue *q, struct rf_frame *f)
{
	int r = RF_OK;

	pthread_mutex_lock(&q->lock);
	if (q->count) {
		*f = q->frames[q->head];
		q->frames[q->head] = (struct rf_frame){0};
		q->head = (q->head + 1) % RF_FRAME_QUEUE_FRAMES;
		q->count--;
		q->bytes -= f->len;
		if (q->stalled && !has_no_room(q)) {
			q->stalled = false;
			eventfd_write(q->wake_fd, 1);
		}
	} else {
		r = q->end != RF_OK ? q->end : RF_AGAIN;
	}
	update_event(q);
	pthread_mutex_unlock(&q->lock);
	return r;
}
