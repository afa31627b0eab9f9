/* SPDX-License-Identifier: BSD-3-Clause */
/* The destination of the migrations. */
#include "bench/moving.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/say.h"
#include "bench/toucher.h"
#include "common/clock.h"
#include "dest/dest.h"

#define FRUITLESS 20 /* migrations without a fault that counts, in a row */
#define MARGIN	  8  /* the last eighth of what is pushed is nobody's company */

struct mover {
	struct session *s;
	enum moving_bulk bulk;
	struct rf_dest *dest;
	uint64_t bulk_pages; /* of RF_PAGE_SIZE */
	struct toucher touch;
	bool touching;
	/* how much was pushed meanwhile */
	uint64_t begin_ns, begin_left;
	struct moving_seen *seen; /* ns and pages: by the last toucher */
};

uint64_t moving_region_len(const struct session *s, const struct run *r, uint64_t want)
{
	uint64_t pages = s->opts.want.memory / r->size;

	if (pages > want + MOVING_WARM_UP)
		pages = want + MOVING_WARM_UP;
	return (pages ? pages : 1) * r->size;
}

void moving_rung(const struct session *s, char transport[RF_WIRE_RUNG_SIZE], const char **provider)
{
	char *colon;

	memcpy(transport, s->rung, RF_WIRE_RUNG_SIZE);
	colon = strchr(transport, ':');
	*provider = colon ? colon + 1 : NULL;
	if (colon)
		*colon = 0;
}

/* Pages of the first region that are not there yet. */
static uint64_t bulk_left(const struct mover *mv)
{
	uint64_t all = atomic_load(&mv->dest->post.remaining);
	uint64_t touched = toucher_touched(&mv->touch), faults = mv->touch.npages - touched;

	return all > faults ? all - faults : 0;
}

static bool goes_on(void *arg)
{
	const struct mover *mv = arg;

	return mv->bulk == MOVING_IDLE || bulk_left(mv) > mv->bulk_pages / MARGIN;
}

static void note_end(void *arg)
{
	struct mover *mv = arg;
	uint64_t left = bulk_left(mv);

	mv->seen->ns += rf_now_ns(&rf_clock_monotonic) - mv->begin_ns;
	if (mv->begin_left > left)
		mv->seen->pages += mv->begin_left - left;
}

/* ---- the guest ---- */

static int load_nothing(void *arg, const void *buf, size_t len)
{
	(void)arg;
	(void)buf;
	(void)len;
	return RF_OK;
}

static int start_touching(void *arg)
{
	struct mover *mv = arg;

	atomic_store(&mv->touch.next, 0);
	mv->begin_left = bulk_left(mv);
	mv->begin_ns = rf_now_ns(&rf_clock_monotonic);
	mv->touching = !toucher_start(&mv->touch);
	return mv->touching ? RF_OK : RF_ERR_SYSTEM;
}

/* ---- one migration ---- */

static int add_region(struct mover *mv, const char *id, uint64_t len, uint32_t page_size,
		      struct rf_dest_memory *mem)
{
	struct rf_dest_region r = {.size = sizeof(r), .len = len, .page_size = page_size};
	int rc;

	snprintf(r.id, sizeof(r.id), "%s", id);
	rc = rf_dest_add_region(mv->dest, &r, mem);
	return rc ? say_code(rc, "%" PRIu64 " bytes of guest memory", len) : 0;
}

static int open_dest(struct mover *mv, const struct run *r, uint64_t len)
{
	const struct bench_opts *o = &mv->s->opts;
	char transport[RF_WIRE_RUNG_SIZE];
	struct rf_dest_memory mem = {.size = sizeof(mem)};
	struct rf_dest_cfg cfg = {
		.size = sizeof(cfg),
		.host = o->local ? o->local : mv->s->peer.local_host,
		.transport = transport,
		.accept_timeout = MOVING_PATIENCE,
		.connect_timeout = MOVING_PATIENCE,
		.link_timeout = (uint32_t)o->link_timeout,
		.odp = o->odp,
		.poll_mode = o->poll_mode,
		.guest = {.size = sizeof(cfg.guest),
			  .load_state = load_nothing,
			  .resume = start_touching},
		.guest_arg = mv,
	};
	int rc;

	moving_rung(mv->s, transport, &cfg.provider);
	rc = rf_dest_new(&cfg, &mv->dest);
	if (rc)
		return say_code(rc, "destination");
	rf_dest_set_hub(mv->dest, mv->s->hub);
	mv->bulk_pages = mv->bulk == MOVING_IDLE ? 1 : o->want.bulk / RF_PAGE_SIZE;
	if (add_region(mv, "pushed", mv->bulk_pages * RF_PAGE_SIZE, RF_PAGE_SIZE, NULL) ||
	    add_region(mv, "touched", len, (uint32_t)r->size, &mem))
		return -1;
	mv->touch.view = mem.guest_view;
	mv->touch.npages = len / r->size;
	return 0;
}

static void add_parts(struct mover *mv)
{
	struct rf_stats st = {.size = sizeof(st)};
	double n;

	rf_dest_stats(mv->dest, &st);
	n = (double)st.postcopy.requests;
	mv->seen->request += st.postcopy.part_request * n;
	mv->seen->wire += st.postcopy.part_wire * n;
	mv->seen->place += st.postcopy.part_place * n;
	mv->seen->requests += st.postcopy.requests;
}

static int move(struct mover *mv, const struct run *r, uint64_t len)
{
	struct msg m;
	int rc;

	if (open_dest(mv, r, len))
		return -1;
	msg_init(&m, MSG_NEXT);
	msg_put_u64(&m, rf_dest_port(mv->dest));
	msg_put_u64(&m, len);
	if (msg_send(mv->s->peer.fd, &m))
		return -1;
	mv->touching = false;
	rc = rf_dest_run(mv->dest);
	if (rc) /* threads may wait for pages that never come: they end with the process */
		return say_code(rc, "the migration failed");
	if (mv->touching)
		toucher_join(&mv->touch);
	if (atomic_load(&mv->touch.wrong))
		return say_error("a page has other contents than it should");
	add_parts(mv);
	rf_dest_delete(&mv->dest);
	return 0;
}

static int move_until_enough(struct mover *mv, const struct run *r)
{
	struct rf_histogram *h = mv->touch.h;
	uint64_t before = h->n;
	unsigned fruitless = 0;
	struct msg m;

	while (h->n < r->iters) {
		fruitless = h->n == before ? fruitless + 1 : 0;
		if (fruitless > FRUITLESS)
			return say_error("all is pushed before the guest has touched anything: "
					 "raise --bulk");
		before = h->n;
		if (move(mv, r, moving_region_len(mv->s, r, r->iters - h->n)))
			return -1;
	}
	msg_init(&m, MSG_NEXT);
	msg_put_u64(&m, 0);
	msg_put_u64(&m, 0);
	return msg_send(mv->s->peer.fd, &m);
}

int moving_server(struct session *s, const struct run *r, enum moving_bulk bulk,
		  struct rf_histogram *h, struct moving_seen *seen)
{
	struct mover *mv = calloc(1, sizeof(*mv));
	int rc;

	if (!mv)
		return say_error("out of memory");
	mv->s = s;
	mv->bulk = bulk;
	mv->seen = seen;
	mv->touch = (struct toucher){
		.page_size = (uint32_t)r->size,
		.nthreads = (unsigned)s->opts.want.fault_threads,
		.gap = s->opts.want.gap,
		.warm = MOVING_WARM_UP,
		.go_on = goes_on,
		.ended = note_end,
		.arg = mv,
		.h = h,
	};
	rc = move_until_enough(mv, r);
	if (rc && mv->touching)
		return rc; /* they may still look at it */
	rf_dest_delete(&mv->dest);
	free(mv);
	return rc;
}
