/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/snapshot_queue.h"

#include <stdlib.h>
#include <sys/mman.h>

#include <ramferry/err.h>

void rf_snap_queue_init(struct rf_snap_queue *q)
{
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->room, NULL);
	q->head = q->tail = 0;
	q->closed = false;
}

void rf_snap_queue_fini(struct rf_snap_queue *q)
{
	pthread_cond_destroy(&q->room);
	pthread_mutex_destroy(&q->lock);
}

bool rf_snap_queue_push(struct rf_snap_queue *q, const struct rf_snap_request *r)
{
	bool open;

	pthread_mutex_lock(&q->lock);
	while (!q->closed && q->tail - q->head == RF_SNAP_QUEUE_ROOM)
		pthread_cond_wait(&q->room, &q->lock);
	open = !q->closed;
	if (open)
		q->ring[q->tail++ % RF_SNAP_QUEUE_ROOM] = *r;
	pthread_mutex_unlock(&q->lock);
	return open;
}

bool rf_snap_queue_pop(struct rf_snap_queue *q, struct rf_snap_request *r)
{
	bool any;

	pthread_mutex_lock(&q->lock);
	any = q->head != q->tail;
	if (any)
		*r = q->ring[q->head++ % RF_SNAP_QUEUE_ROOM];
	pthread_cond_signal(&q->room);
	pthread_mutex_unlock(&q->lock);
	return any;
}

void rf_snap_queue_close(struct rf_snap_queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->closed = true;
	pthread_cond_broadcast(&q->room);
	pthread_mutex_unlock(&q->lock);
}

int rf_snap_pool_init(struct rf_snap_pool *p, uint64_t bytes, uint32_t page_size)
{
	*p = (struct rf_snap_pool){.nbufs = bytes / page_size, .page_size = page_size};
	pthread_mutex_init(&p->lock, NULL);
	p->ready_end = &p->ready;
	if (!p->nbufs)
		return RF_OK;
	p->mem = mmap(NULL, p->nbufs * page_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->mem == MAP_FAILED)
		p->mem = NULL;
	p->bufs = calloc(p->nbufs, sizeof(*p->bufs));
	if (!p->mem || !p->bufs)
		return RF_ERR_NO_MEMORY;
	for (uint64_t i = p->nbufs; i-- > 0;) {
		p->bufs[i] = (struct rf_snap_buf){
			.mem = p->mem + i * page_size,
			.pool = p,
			.next = p->free,
		};
		p->free = &p->bufs[i];
	}
	return RF_OK;
}

void rf_snap_pool_fini(struct rf_snap_pool *p)
{
	if (!p->page_size)
		return;
	if (p->mem)
		munmap(p->mem, p->nbufs * p->page_size);
	free(p->bufs);
	pthread_mutex_destroy(&p->lock);
	*p = (struct rf_snap_pool){0};
}

struct rf_snap_buf *rf_snap_pool_take(struct rf_snap_pool *p)
{
	struct rf_snap_buf *b;

	pthread_mutex_lock(&p->lock);
	b = p->free;
	if (b) {
		p->free = b->next;
		if (++p->in_use > p->high_water)
			p->high_water = p->in_use;
	} else {
		p->full++;
	}
	pthread_mutex_unlock(&p->lock);
	return b;
}

void rf_snap_pool_ready(struct rf_snap_buf *b)
{
	struct rf_snap_pool *p = b->pool;

	b->next = NULL;
	pthread_mutex_lock(&p->lock);
	*p->ready_end = b;
	p->ready_end = &b->next;
	pthread_mutex_unlock(&p->lock);
}

struct rf_snap_buf *rf_snap_pool_next(struct rf_snap_pool *p)
{
	struct rf_snap_buf *b;

	pthread_mutex_lock(&p->lock);
	b = p->ready;
	if (b) {
		p->ready = b->next;
		if (!p->ready)
			p->ready_end = &p->ready;
	}
	pthread_mutex_unlock(&p->lock);
	return b;
}

void rf_snap_pool_give(struct rf_snap_buf *b)
{
	struct rf_snap_pool *p = b->pool;

	pthread_mutex_lock(&p->lock);
	b->next = p->free;
	p->free = b;
	p->in_use--;
	pthread_mutex_unlock(&p->lock);
}

void rf_snap_pool_usage(struct rf_snap_pool *p, uint64_t *high_water, uint64_t *full)
{
	pthread_mutex_lock(&p->lock);
	*high_water = p->high_water * p->page_size;
	*full = p->full;
	pthread_mutex_unlock(&p->lock);
}
