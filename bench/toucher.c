/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/toucher.h"

#include <stdlib.h>
#include <unistd.h>

#include "bench/guest_memory.h"
#include "bench/say.h"
#include "common/clock.h"

static void shuffle(uint64_t *order, uint64_t n)
{
	uint64_t x = rf_now_ns(&rf_clock_monotonic) | 1;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t k;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		k = x % (i + 1);
		order[i] = order[k];
		order[k] = i;
	}
}

static volatile uint64_t *place_of(const struct toucher *t, uint64_t i)
{
	return (volatile uint64_t *)(t->view + t->order[i] * t->page_size + i * 8 % t->page_size);
}

/* Reads, and writes something else, which must stay. */
static void touch(struct toucher *t, uint64_t i)
{
	uint64_t page = t->order[i], then, word;
	volatile uint64_t *at = place_of(t, i);

	then = rf_now_ns(&rf_clock_monotonic);
	word = *at;
	if (i >= t->warm)
		rf_histogram_add(t->h, rf_now_ns(&rf_clock_monotonic) - then);
	if (word != guest_memory_word(page))
		atomic_fetch_add(&t->wrong, 1);
	*at = ~word;
}

/* Was a page written after the guest had it? */
static void check_writes(struct toucher *t)
{
	for (uint64_t i = 0; i < toucher_touched(t); i++)
		if (*place_of(t, i) != ~guest_memory_word(t->order[i]))
			atomic_fetch_add(&t->wrong, 1);
}

static void *touch_all(void *arg)
{
	struct toucher *t = arg;

	while (!t->go_on || t->go_on(t->arg)) {
		uint64_t i = atomic_fetch_add(&t->next, 1);

		if (i >= t->npages)
			break;
		touch(t, i);
		if (t->gap)
			usleep((useconds_t)t->gap);
	}
	if (atomic_fetch_sub(&t->running, 1) == 1 && t->ended)
		t->ended(t->arg);
	return NULL;
}

int toucher_start(struct toucher *t)
{
	if (t->warm > t->npages / 4)
		t->warm = t->npages / 4;
	atomic_store(&t->next, 0);
	atomic_store(&t->running, t->nthreads);
	atomic_store(&t->wrong, 0);
	t->order = calloc(t->npages, sizeof(*t->order));
	if (!t->order)
		return say_error("out of memory");
	shuffle(t->order, t->npages);
	for (unsigned i = 0; i < t->nthreads; i++) {
		if (!pthread_create(&t->thread[i], NULL, touch_all, t))
			continue;
		t->nthreads = i;
		toucher_join(t);
		return say_error("cannot start a thread");
	}
	return 0;
}

void toucher_join(struct toucher *t)
{
	for (unsigned i = 0; t->order && i < t->nthreads; i++)
		pthread_join(t->thread[i], NULL);
	if (t->order)
		check_writes(t);
	free(t->order);
	t->order = NULL;
}

uint64_t toucher_touched(const struct toucher *t)
{
	uint64_t n = atomic_load(&t->next);

	return n < t->npages ? n : t->npages;
}
