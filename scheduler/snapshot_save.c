/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The saver: takes pages the guest waits for, then what was copied, then the next of the linear
 * pass; hands them to the sink, and waits when it has no buffer left or nothing to do. A page is
 * the guest's again as soon as it is in a buffer, before it is written.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/clock.h"
#include "common/log.h"
#include "scheduler/snapshot.h"
#include "scheduler/snapshot_policy.h"

#define TOKENS	      64
#define PIECE_PAGES   (RF_SNAP_PIECE / RF_PAGE_SIZE)
#define LOOK_AGAIN_MS 100

_Static_assert(PIECE_PAGES == 64, "a piece is what a word of todo names");

int rf_snap_save_init(struct rf_snapshot *s)
{
	s->buf_mem = aligned_alloc(RF_PAGE_SIZE, (size_t)RF_SNAP_BUFS * RF_SNAP_PIECE);
	if (!s->buf_mem)
		return RF_ERR_NO_MEMORY;
	for (unsigned i = 0; i < RF_SNAP_BUFS; i++) {
		s->bufs[i] = (struct rf_snap_buf){
			.mem = s->buf_mem + (size_t)i * RF_SNAP_PIECE,
			.next = s->free_bufs,
		};
		s->free_bufs = &s->bufs[i];
		s->nfree++;
	}
	return RF_OK;
}

/* ---- buffers and the sink ---- */

/* The buffer with one reference, which is put when it is filled. */
static struct rf_snap_buf *take_buf(struct rf_snapshot *s)
{
	struct rf_snap_buf *b = s->free_bufs;

	if (b) {
		s->free_bufs = b->next;
		s->nfree--;
		b->writes = 1;
	}
	return b;
}

static void put_buf(struct rf_snapshot *s, struct rf_snap_buf *b)
{
	if (--b->writes)
		return;
	if (b->pool) {
		rf_snap_pool_give(b);
		return;
	}
	b->next = s->free_bufs;
	s->free_bufs = b;
	s->nfree++;
}

/* Takes back what is written. How long nothing was is looked at here: a dead sink ends it. */
static int reap(struct rf_snapshot *s)
{
	uint64_t now = rf_now_ns(&rf_clock_monotonic);
	void *tokens[TOKENS];
	int n;

	do {
		n = s->sink.ops->poll(s->sink.self, tokens, TOKENS);
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++)
			put_buf(s, tokens[i]);
		s->inflight -= (unsigned)n;
		if (n)
			s->last_done_ns = now;
	} while (n == TOKENS);
	if (!s->inflight && !s->refused)
		s->last_done_ns = now;
	if (now - s->last_done_ns > s->cfg.sink_timeout * RF_NS_PER_MS) {
		rf_err_log("snapshot", "nothing was written for %u ms", s->cfg.sink_timeout);
		return RF_ERR_TIMEOUT;
	}
	if (atomic_load(&s->cancelled))
		return RF_ERR_CANCELLED;
	return atomic_load(&s->fault_rc);
}

/* Sleeps until something happens, or for ns (0: as long as it is safe to). */
static int sleep_for(struct rf_snapshot *s, uint64_t ns)
{
	struct pollfd p[] = {
		{.fd = s->sink.ops->fd(s->sink.self), .events = POLLIN},
		{.fd = s->wake_fd, .events = POLLIN},
	};
	struct timespec ts = {.tv_nsec = LOOK_AGAIN_MS * RF_NS_PER_MS};
	uint64_t count;
	int rc = s->sink.ops->submit(s->sink.self);

	if (rc != RF_OK)
		return rc;
	if (!s->sink.ops->arm(s->sink.self))
		return reap(s);
	if (ns && ns < LOOK_AGAIN_MS * RF_NS_PER_MS)
		ts.tv_nsec = (long)ns;
	if (ppoll(p, 2, &ts, NULL) < 0 && errno != EINTR) {
		rf_err_log("snapshot", "poll: %s", strerror(errno));
		return RF_ERR_SYSTEM;
	}
	if (read(s->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return RF_ERR_SYSTEM;
	return reap(s);
}

static int write_pages(struct rf_snapshot *s, struct rf_snap_buf *b, const uint8_t *data,
		       unsigned region, uint64_t first, uint32_t n)
{
	int rc;

	while ((rc = s->sink.ops->write(s->sink.self, region, first, data, n, b)) ==
	       RF_NO_RESOURCE) {
		s->refused = true;
		rc = sleep_for(s, 0);
		if (rc != RF_OK)
			return rc;
	}
	if (rc != RF_OK)
		return rc;
	s->refused = false;
	b->writes++;
	s->inflight++;
	rf_pacer_take(&s->pacer, (uint64_t)n * RF_PAGE_SIZE);
	atomic_fetch_add(&s->count.written, (uint64_t)n * RF_PAGE_SIZE);
	return RF_OK;
}

/* n pages from `first` on are in data, which is in b: what is zero is only counted. */
static int emit(struct rf_snapshot *s, struct rf_snap_buf *b, const uint8_t *data, unsigned region,
		uint64_t first, uint64_t n)
{
	uint64_t i = 0;
	int rc = RF_OK;

	while (rc == RF_OK && i < n) {
		uint64_t from = i;

		while (i < n && !s->is_zero(data + i * RF_PAGE_SIZE))
			i++;
		if (i > from) {
			rc = write_pages(s, b, data + from * RF_PAGE_SIZE, region, first + from,
					 (uint32_t)(i - from));
			continue;
		}
		rc = s->sink.ops->absent(s->sink.self, region, first + i++);
		atomic_fetch_add(&s->count.zero, 1);
	}
	atomic_fetch_sub(&s->count.left, n);
	atomic_fetch_add(&s->count.saved, n);
	return rc;
}

/* ---- taking pages ---- */

/* Copies a part of the guest's memory, of a file without filling its holes. */
static int copy_out(struct rf_snapshot *s, const struct rf_snap_region *r, uint64_t offset,
		    uint64_t len, uint8_t *to)
{
	(void)s;
	if (r->info.memfd < 0) {
		memcpy(to, r->addr + offset, len);
		return RF_OK;
	}
	while (len) {
		ssize_t n = pread(r->info.memfd, to, len, (off_t)(r->info.memfd_offset + offset));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			rf_err_log("snapshot", "region \"%s\": reading its file: %s", r->info.id,
				   n ? strerror(errno) : "it is shorter than the region");
			return RF_ERR_SYSTEM;
		}
		to += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return RF_OK;
}

/* A host page that was claimed and is larger than a piece: part by part, then it is released. */
static int take_huge(struct rf_snapshot *s, unsigned region, uint64_t page)
{
	struct rf_snap_region *r = &s->regions[region];
	uint64_t begin = page * r->info.page_size;
	int rc = RF_OK;

	for (uint64_t at = 0; rc == RF_OK && at < r->info.page_size; at += RF_SNAP_PIECE) {
		struct rf_snap_buf *b;

		while (!(b = take_buf(s))) {
			rc = sleep_for(s, 0);
			if (rc != RF_OK)
				return rc;
		}
		rc = copy_out(s, r, begin + at, RF_SNAP_PIECE, b->mem);
		if (rc == RF_OK && at + RF_SNAP_PIECE == r->info.page_size)
			rc = rf_snap_release(s, region, page, 1);
		if (rc == RF_OK)
			rc = emit(s, b, b->mem, region, (begin + at) / RF_PAGE_SIZE, PIECE_PAGES);
		put_buf(s, b);
	}
	return rc;
}

/* Pages of 4 KiB that were claimed, n at most a piece, into b at `slot` pages. */
static int take_pages(struct rf_snapshot *s, struct rf_snap_buf *b, unsigned slot, unsigned region,
		      uint64_t first, unsigned n)
{
	uint8_t *data = b->mem + (size_t)slot * RF_PAGE_SIZE;
	int rc = copy_out(s, &s->regions[region], first * RF_PAGE_SIZE, (uint64_t)n * RF_PAGE_SIZE,
			  data);

	if (rc == RF_OK)
		rc = rf_snap_release(s, region, first, n);
	return rc == RF_OK ? emit(s, b, data, region, first, n) : rc;
}

static void note_wait(struct rf_snapshot *s, uint64_t since_ns)
{
	uint64_t now = rf_now_ns(&rf_clock_monotonic);

	atomic_store(&s->wait_ns, rf_snap_average(atomic_load(&s->wait_ns), now - since_ns));
}

/* The bit of a request that was won; released and handed to the sink. */
static int serve_request(struct rf_snapshot *s, struct rf_snap_buf *b, unsigned slot,
			 const struct rf_snap_request *q)
{
	struct rf_snap_region *r = &s->regions[q->region];
	uint64_t small = r->info.page_size / RF_PAGE_SIZE;

	s->sink.ops->touched(s->sink.self, q->region, q->page * small);
	atomic_fetch_add(&s->count.by_fault, small);
	return small == 1 ? take_pages(s, b, slot, q->region, q->page, 1)
			  : take_huge(s, q->region, q->page);
}

/* All requests there are, up to a buffer full. *did: there were any. */
static int serve_requests(struct rf_snapshot *s, bool *did)
{
	struct rf_snap_request q;
	struct rf_snap_buf *b;
	int rc = RF_OK;

	*did = false;
	if (!s->nfree)
		return RF_OK;
	b = take_buf(s);
	for (unsigned slot = 0; rc == RF_OK && slot < PIECE_PAGES; slot++) {
		if (!rf_snap_queue_pop(&s->queue, &q))
			break;
		*did = true;
		if (rf_bitmap_test_and_clear(&s->regions[q.region].todo, q.page))
			rc = serve_request(s, b, slot, &q);
		note_wait(s, q.since_ns);
		rf_histogram_add(&s->latency, rf_now_ns(&rf_clock_monotonic) - q.since_ns);
	}
	put_buf(s, b);
	return rc;
}

/* One page of the pool. */
static int drain_pool(struct rf_snapshot *s, bool *did)
{
	*did = false;
	for (unsigned i = 0; i < 2; i++) {
		struct rf_snap_pool *p = &s->pools[i];
		struct rf_snap_buf *b = p->page_size ? rf_snap_pool_next(p) : NULL;
		uint64_t small = p->page_size / RF_PAGE_SIZE;
		int rc;

		if (!b)
			continue;
		*did = true;
		b->writes = 1;
		note_wait(s, b->request.since_ns);
		s->sink.ops->touched(s->sink.self, b->request.region, b->request.page * small);
		atomic_fetch_add(&s->count.by_fault, small);
		rc = emit(s, b, b->mem, b->request.region, b->request.page * small, small);
		put_buf(s, b);
		return rc;
	}
	return RF_OK;
}

/* A word of todo: its runs into one buffer. */
static int take_word(struct rf_snapshot *s, unsigned region, uint64_t word)
{
	uint64_t mask = rf_bitmap_take_word(&s->regions[region].todo, word, UINT64_MAX);
	struct rf_snap_buf *b = take_buf(s);
	int rc = RF_OK;

	while (rc == RF_OK && mask) {
		unsigned first = (unsigned)__builtin_ctzll(mask);
		uint64_t rest = mask >> first;
		unsigned n = ~rest ? (unsigned)__builtin_ctzll(~rest) : 64;

		rc = take_pages(s, b, first, region, word * 64 + first, n);
		mask = n + first == 64 ? 0 : mask >> (n + first) << (n + first);
	}
	put_buf(s, b);
	return rc;
}

/* The next piece of the linear pass. */
static int take_next(struct rf_snapshot *s, bool *did)
{
	*did = false;
	for (; s->cursor_region < s->nregions; s->cursor_region++, s->cursor = 0) {
		struct rf_snap_region *r = &s->regions[s->cursor_region];
		uint64_t page;

		page = rf_bitmap_find_set(&r->todo, s->cursor, rf_snap_host_pages(r));
		if (page == RF_BITMAP_NONE)
			continue;
		if (s->nfree <= RF_SNAP_BUFS_URGENT)
			return RF_OK;
		*did = true;
		s->cursor = page;
		if (r->info.page_size == RF_PAGE_SIZE)
			return take_word(s, s->cursor_region, page / 64);
		return rf_bitmap_test_and_clear(&r->todo, page)
			       ? take_huge(s, s->cursor_region, page)
			       : RF_OK;
	}
	return RF_OK;
}

static int step(struct rf_snapshot *s, bool *did)
{
	uint64_t wait =
		rf_pacer_wait(&s->pacer, rf_now_ns(&rf_clock_monotonic), s->cfg.max_bandwidth);
	int rc;

	*did = true;
	if (wait)
		return sleep_for(s, wait);
	rc = serve_requests(s, did);
	if (rc == RF_OK && !*did)
		rc = drain_pool(s, did);
	if (rc == RF_OK && !*did)
		rc = take_next(s, did);
	return rc == RF_OK ? s->sink.ops->submit(s->sink.self) : rc;
}

int rf_snap_save(struct rf_snapshot *s)
{
	bool did;
	int rc = RF_OK;

	s->last_done_ns = rf_now_ns(&rf_clock_monotonic);
	while (rc == RF_OK && atomic_load(&s->count.left)) {
		rc = reap(s);
		if (rc == RF_OK)
			rc = step(s, &did);
		if (rc == RF_OK && !did)
			rc = sleep_for(s, 0);
	}
	while (rc == RF_OK && s->inflight)
		rc = sleep_for(s, 0);
	return rc;
}
