/* SPDX-License-Identifier: BSD-3-Clause */
/* The source of the migrations. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ramferry/tracker.h>

#include "bench/guest_memory.h"
#include "bench/moving.h"
#include "bench/say.h"
#include "scheduler/source.h"

#define CRAWL 1 /* bytes a second: after its first page the push stands still */

/* ---- a guest that never writes ---- */

static int do_nothing(void *arg)
{
	(void)arg;
	return RF_OK;
}

static int save_nothing(void *arg, void **buf, size_t *len)
{
	(void)arg;
	*len = 1;
	*buf = calloc(1, 1);
	return *buf ? RF_OK : RF_ERR_NO_MEMORY;
}

struct home {
	struct session *s;
	enum moving_bulk bulk;
	struct guest_memory pushed, touched;
	struct rf_tracker tracker;
};

static int add_region(struct rf_source *src, const char *id, const struct guest_memory *m,
		      uint64_t len)
{
	struct rf_region r = {
		.size = sizeof(r),
		.addr = m->view,
		.len = len,
		.page_size = m->page_size,
		.memfd = m->fd,
	};

	snprintf(r.id, sizeof(r.id), "%s", id);
	return rf_source_add_region(src, &r);
}

static uint32_t window_of(const struct home *h)
{
	uint64_t w = h->s->opts.want.urgent_window;

	if (h->bulk == MOVING_FLOOD)
		return UINT32_MAX;
	return w ? (uint32_t)w : RF_URGENT_WINDOW_STOP;
}

static int move(struct home *h, uint16_t port, uint64_t len)
{
	const struct bench_opts *o = &h->s->opts;
	char transport[RF_WIRE_RUNG_SIZE];
	struct rf_source *src = NULL;
	struct rf_source_cfg cfg = {
		.size = sizeof(cfg),
		.host = h->s->peer.peer_host,
		.port = port,
		.transport = transport,
		.connect_timeout = MOVING_PATIENCE,
		.link_timeout = (uint32_t)o->link_timeout,
		.odp = o->odp,
		.mode = RF_MODE_POSTCOPY,
		.bulk_lanes = (unsigned)o->bulk_lanes,
		.urgent_lanes = (unsigned)o->want.urgent_lanes,
		.urgent_window = window_of(h),
		.max_postcopy_bandwidth = h->bulk == MOVING_IDLE ? CRAWL : 0,
		.poll_mode = o->poll_mode,
		.guest = {.size = sizeof(cfg.guest),
			  .pause = do_nothing,
			  .resume = do_nothing,
			  .save_state = save_nothing},
		.tracker = h->tracker,
	};
	int rc;

	moving_rung(h->s, transport, &cfg.provider);
	rc = rf_source_new(&cfg, &src);
	if (!rc) {
		rf_source_set_hub(src, h->s->hub);
		rc = add_region(src, "pushed", &h->pushed, h->pushed.len);
	}
	if (!rc)
		rc = add_region(src, "touched", &h->touched, len);
	if (!rc)
		rc = rf_source_run(src);
	rf_source_delete(&src);
	return rc ? say_code(rc, "the migration failed") : 0;
}

static int make_home(struct home *h, struct session *s, const struct run *r, enum moving_bulk bulk)
{
	uint64_t len = bulk == MOVING_IDLE ? RF_PAGE_SIZE : s->opts.want.bulk;
	int rc;

	*h = (struct home){.s = s, .bulk = bulk};
	if (guest_memory_make(&h->pushed, len, RF_PAGE_SIZE) ||
	    guest_memory_make(&h->touched, moving_region_len(s, r, r->iters), (uint32_t)r->size))
		return -1;
	guest_memory_fill(&h->pushed);
	guest_memory_fill(&h->touched);
	rc = rf_tracker_manual_new(&h->tracker);
	return rc ? say_code(rc, "tracker") : 0;
}

int moving_client(struct session *s, const struct run *r, enum moving_bulk bulk)
{
	struct home h;
	int rc = make_home(&h, s, r, bulk);

	while (!rc) {
		uint64_t port, len;
		struct msg m;

		rc = msg_recv(s->peer.fd, &m, MSG_NEXT, -1);
		if (rc)
			break;
		port = msg_get_u64(&m);
		len = msg_get_u64(&m);
		if (!msg_end(&m) || port > 65535 || len > h.touched.len) {
			rc = session_nonsense();
			break;
		}
		if (!port)
			break;
		rc = move(&h, (uint16_t)port, len);
	}
	rf_tracker_delete(&h.tracker);
	guest_memory_free(&h.pushed);
	guest_memory_free(&h.touched);
	return rc;
}
