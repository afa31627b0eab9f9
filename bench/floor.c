/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/floor.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "bench/guest_memory.h"
#include "bench/moving.h"
#include "bench/say.h"
#include "bench/toucher.h"
#include "common/uffd_fault.h"
#include "common/wire_postcopy.h"
#include "transport/poll_plan.h"

#define BATCH 16u /* faults read at once, as the destination does */

/* Host pages in the order they came, to be asked for or to be answered. Poller's thread. */
struct queue {
	uint64_t *page;
	uint64_t size, head, tail;
};

static int queue_init(struct queue *q, uint64_t size)
{
	*q = (struct queue){.size = size, .page = calloc(size, sizeof(*q->page))};
	return q->page ? 0 : say_error("out of memory");
}

static void queue_push(struct queue *q, uint64_t page)
{
	q->page[q->tail++ % q->size] = page;
}

struct end {
	struct session *s;
	struct engine *engine; /* of its own: giving memory back may end all lanes of one */
	struct guest_memory mem;
	struct rf_mr *mr;
	struct rf_poll_plan plan;
	struct rf_poller *poller;
	struct rf_lane *lane;
	uint32_t page_size;
	uint64_t npages;
	struct queue queue;
	_Atomic int error;
	/* server */
	uint8_t *view; /* the guest's */
	int uffd;
	/* client */
	struct rf_remote_key key;
	uint64_t sent; /* bytes of the head */
	uint64_t piece;
};

static int fail(struct end *e, int err)
{
	atomic_store(&e->error, err);
	return err;
}

static void lane_failed(void *arg, struct rf_lane *l, int err)
{
	(void)l;
	fail(arg, err);
}

static int start_poller(struct end *e, const struct rf_poller_ops *ops)
{
	struct rf_poller_cfg cfg = {.name = "floor", .ops = ops, .arg = e};
	const char *where = e->s->opts.local ? e->s->opts.local : e->s->peer.local_host;
	int rc = rf_poll_plan_init(&e->plan, e->s->opts.poll_mode, NULL, where);

	if (rc)
		return say_code(rc, "poller");
	if (e->uffd >= 0) {
		cfg.extra_fd = e->uffd;
		cfg.has_extra_fd = true;
	}
	rf_poll_plan_next(&e->plan, &cfg);
	e->lane = engine_lane(e->engine, 0);
	rc = rf_poller_new(&cfg, &e->lane, 1, &e->poller);
	return rc ? say_code(rc, "poller") : 0;
}

static int open_end(struct end *e, struct session *s, const struct run *r, enum rf_access access)
{
	const struct engine_cfg cfg = session_engine_cfg(s);
	int rc;

	*e = (struct end){.s = s, .uffd = -1, .page_size = (uint32_t)r->size};
	rc = engine_lanes.open(&cfg, &e->engine);
	if (rc)
		return say_code(rc, "cannot use %s", s->rung);
	if (guest_memory_make(&e->mem, moving_region_len(s, r, r->iters), e->page_size))
		return -1;
	e->npages = e->mem.len / e->page_size;
	e->piece = s->max_write < MOVING_PIECE ? s->max_write : MOVING_PIECE;
	if (access == RF_ACCESS_LOCAL_READ)
		guest_memory_fill(&e->mem);
	if (queue_init(&e->queue, e->npages))
		return -1;
	rc = rf_mr_register(engine_transport(e->engine), e->mem.view, e->mem.len, access, &e->mr);
	return rc ? say_code(rc, "registering %llu bytes", (unsigned long long)e->mem.len) : 0;
}

static void close_end(struct end *e)
{
	rf_poller_delete(&e->poller, NULL);
	rf_poll_plan_fini(&e->plan);
	if (e->uffd >= 0)
		close(e->uffd);
	rf_mr_deregister(&e->mr);
	if (e->engine)
		engine_lanes.close(e->engine);
	if (e->view)
		munmap(e->view, e->mem.len);
	guest_memory_free(&e->mem);
	free(e->queue.page);
}

/* ---- server: the destination ---- */

static bool ask(struct end *e)
{
	bool any = false;

	for (; e->queue.head < e->queue.tail; e->queue.head++) {
		uint64_t page = e->queue.page[e->queue.head % e->queue.size];
		struct rf_wire_request q = {
			.page = page * (e->page_size / RF_PAGE_SIZE),
			.slot = (uint32_t)(page % RF_WIRE_MAX_SLOTS),
		};
		uint8_t msg[RF_WIRE_REQUEST_SIZE];

		rf_wire_put_request(msg, &q);
		if (rf_lane_send(e->lane, msg, sizeof(msg)) != RF_OK)
			break; /* again in the next pass; a dead lane tells by itself */
		any = true;
	}
	return any;
}

static bool read_faults(void *arg)
{
	struct end *e = arg;
	struct rf_uffd_fault faults[BATCH];
	int n = rf_uffd_read_faults(e->uffd, faults, BATCH);

	if (n < 0)
		fail(e, n);
	for (int i = 0; i < n; i++)
		queue_push(&e->queue, (faults[i].addr - (uintptr_t)e->view) / e->page_size);
	return ask(e) || n > 0;
}

static void place_answers(void *arg, struct rf_lane *l, const struct rf_completion *c, unsigned n)
{
	struct end *e = arg;
	uint64_t existed = 0;
	int rc;

	(void)l;
	for (unsigned i = 0; i < n; i++) {
		if (c[i].op != RF_OP_IMM || c[i].value & RF_IMM_MORE)
			continue;
		if (c[i].value >= e->npages) {
			fail(e, RF_ERR_PROTOCOL);
			continue;
		}
		rc = rf_uffd_continue(e->uffd, (uintptr_t)e->view + c[i].value * e->page_size,
				      e->page_size, e->page_size, &existed);
		if (rc)
			fail(e, rc);
	}
}

/* All pages are missing again: nothing is mapped, and where memory may go it has gone. */
static int make_missing(struct end *e)
{
	if (!e->engine->caps.pins &&
	    fallocate(e->mem.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)e->mem.len))
		return say_error("guest memory cannot be emptied");
	return madvise(e->view, e->mem.len, MADV_DONTNEED) ? say_error("madvise") : 0;
}

static bool lives(void *arg)
{
	return atomic_load(&((struct end *)arg)->error) == RF_OK;
}

/* A thread that waits for an answer that never comes cannot be ended but with the process. */
static int touch_all(struct end *e, const struct run *r, struct rf_histogram *h)
{
	struct toucher t = {
		.view = e->view,
		.page_size = e->page_size,
		.nthreads = (unsigned)e->s->opts.want.fault_threads,
		.gap = e->s->opts.want.gap,
		.warm = MOVING_WARM_UP,
		.go_on = lives,
		.arg = e,
		.h = h,
	};

	while (h->n < r->iters) {
		t.npages = r->iters - h->n + MOVING_WARM_UP;
		if (t.npages > e->npages)
			t.npages = e->npages;
		if (make_missing(e) || toucher_start(&t))
			return -1;
		toucher_join(&t);
		if (atomic_load(&t.wrong))
			return say_error("a page has other contents than it should");
		if (!lives(e))
			return say_code(atomic_load(&e->error), "%s", rf_lane_error(e->lane));
	}
	return 0;
}

/* Offers a lane and the memory, and waits for the client. */
static int accept_lane(struct end *e)
{
	uint8_t addr[RF_WIRE_ADDR_SIZE], token[RF_TOKEN_SIZE];
	struct rf_remote_key key;
	uint32_t len = 0;
	struct msg m;
	int rc = engine_lanes.listen(e->engine, addr, &len);

	if (rc)
		return say_code(rc, "cannot listen for a lane");
	if (getrandom(token, sizeof(token), 0) != sizeof(token))
		return say_error("getrandom");
	rf_mr_key(e->mr, &key);
	msg_init(&m, MSG_NEXT);
	msg_put_bytes(&m, addr, len);
	msg_put_bytes(&m, token, sizeof(token));
	session_put_key(&m, &key);
	if (msg_send(e->s->peer.fd, &m))
		return -1;
	rc = engine_lanes.accept(e->engine, token, PEER_TIMEOUT, e->s->peer.fd);
	if (rc == RF_ERR_CANCELLED)
		return session_interrupted(e->s);
	return rc ? say_code(rc, "waiting for the client's lane") : 0;
}

static int open_server(struct end *e, struct session *s, const struct run *r)
{
	static const struct rf_poller_ops ops = {
		.completions = place_answers,
		.lane_failed = lane_failed,
		.work = read_faults,
	};
	int rc;

	if (open_end(e, s, r, RF_ACCESS_REMOTE_WRITE))
		return -1;
	e->view = guest_memory_map(&e->mem);
	if (!e->view)
		return -1;
	rc = rf_uffd_open_faults(&e->uffd);
	if (!rc)
		rc = rf_uffd_arm(e->uffd, e->view, e->mem.len, true);
	if (rc)
		return say_code(rc, "userfaultfd");
	return accept_lane(e) ? -1 : start_poller(e, &ops);
}

int floor_server(struct session *s, const struct run *r, struct rf_histogram *h)
{
	struct end *e = malloc(sizeof(*e));
	struct msg m;
	int rc;

	if (!e)
		return say_error("out of memory");
	rc = open_server(e, s, r) || touch_all(e, r, h) ? -1 : 0;
	if (!rc) { /* the client's end goes first: it would report a lane that ends */
		msg_init(&m, MSG_NEXT);
		rc = msg_send(s->peer.fd, &m) || msg_recv(s->peer.fd, &m, MSG_BYE, PEER_TIMEOUT);
	}
	close_end(e);
	free(e);
	return rc;
}

/* ---- client: the source ---- */

/* Posts what goes of the head. True: all of it. */
static bool answer_head(struct end *e)
{
	uint64_t page = e->queue.page[e->queue.head % e->queue.size];

	while (e->sent < e->page_size) {
		uint64_t at = page * e->page_size + e->sent, left = e->page_size - e->sent;
		struct rf_write w = {
			.src = e->mem.view + at,
			.src_mr = e->mr,
			.dst = &e->key,
			.dst_off = at,
			.len = (uint32_t)(left < e->piece ? left : e->piece),
		};

		if (rf_lane_write_imm(e->lane, &w,
				      (uint32_t)page | (w.len < left ? RF_IMM_MORE : 0)) != RF_OK)
			return false;
		e->sent += w.len;
	}
	e->sent = 0;
	return true;
}

static bool answer(void *arg)
{
	struct end *e = arg;
	bool any = false;

	while (e->queue.head < e->queue.tail && answer_head(e)) {
		e->queue.head++;
		any = true;
	}
	return any;
}

static void take_requests(void *arg, struct rf_lane *l, const struct rf_completion *c, unsigned n)
{
	struct end *e = arg;
	struct rf_wire_request q;

	(void)l;
	for (unsigned i = 0; i < n; i++) {
		if (c[i].op != RF_OP_RECV)
			continue;
		if (rf_wire_get_request(c[i].data, c[i].len, &q) ||
		    q.page / (e->page_size / RF_PAGE_SIZE) >= e->npages)
			fail(e, RF_ERR_PROTOCOL);
		else
			queue_push(&e->queue, q.page / (e->page_size / RF_PAGE_SIZE));
	}
}

static int connect_lane(struct end *e)
{
	uint8_t addr[RF_WIRE_ADDR_SIZE], token[RF_TOKEN_SIZE];
	uint32_t len;
	struct msg m;
	int rc;

	if (msg_recv(e->s->peer.fd, &m, MSG_NEXT, -1))
		return -1;
	len = msg_get_bytes(&m, addr, sizeof(addr));
	m.bad |= msg_get_bytes(&m, token, sizeof(token)) != sizeof(token);
	session_get_key(&m, &e->key);
	if (!msg_end(&m))
		return session_nonsense();
	rc = engine_lanes.connect(e->engine, addr, len, token, PEER_TIMEOUT);
	return rc ? say_code(rc, "cannot connect the lane") : 0;
}

/* Answers until the server has had enough. */
static int serve_faults(struct end *e)
{
	static const struct rf_poller_ops ops = {
		.completions = take_requests,
		.lane_failed = lane_failed,
		.work = answer,
	};
	struct msg m;
	int rc;

	if (start_poller(e, &ops))
		return -1;
	rc = msg_recv(e->s->peer.fd, &m, MSG_NEXT, -1);
	rf_poller_delete(&e->poller, NULL);
	if (!rc && atomic_load(&e->error))
		rc = say_code(atomic_load(&e->error), "%s", rf_lane_error(e->lane));
	msg_init(&m, MSG_BYE);
	return rc || msg_send(e->s->peer.fd, &m) ? -1 : 0;
}

int floor_client(struct session *s, const struct run *r)
{
	struct end *e = malloc(sizeof(*e));
	int rc;

	if (!e)
		return say_error("out of memory");
	rc = open_end(e, s, r, RF_ACCESS_LOCAL_READ) || connect_lane(e) || serve_faults(e) ? -1 : 0;
	close_end(e);
	free(e);
	return rc;
}
