/* SPDX-License-Identifier: BSD-3-Clause */
/* The sink that is a destination: pages on their way, and what comes back. The saver thread. */
#include "common/log.h"
#include "scheduler/snapshot_link.h"

#define COMPLETIONS 16

/* What is registered of the memory that data is in. A write never goes over the end of a unit. */
static int find_mr(struct rf_snap_link *k, const uint8_t *data, struct rf_mr **out)
{
	struct rf_snap_memory *m = k->memory;
	uint64_t at, len;
	int rc;

	while (m < k->memory + k->nmemory && (uint64_t)(data - m->at) >= m->len)
		m++;
	if (m == k->memory + k->nmemory)
		return rf_source_fail(k->src, RF_ERR_INVALID, "pages come from unknown memory");
	at = (uint64_t)(data - m->at) / RF_SNAP_LINK_UNIT;
	len = m->len - at * RF_SNAP_LINK_UNIT < RF_SNAP_LINK_UNIT ? m->len - at * RF_SNAP_LINK_UNIT
								  : RF_SNAP_LINK_UNIT;
	if (!m->mrs[at]) {
		rc = rf_mr_register(k->src->t, m->at + at * RF_SNAP_LINK_UNIT, len,
				    RF_ACCESS_LOCAL_READ, &m->mrs[at]);
		if (rc != RF_OK)
			return rf_source_fail(k->src, rc, "a buffer cannot be registered: %s",
					      rf_err_str(rc));
	}
	*out = m->mrs[at];
	return RF_OK;
}

static bool has_room(const struct rf_snap_link *k, uint32_t len)
{
	const struct rf_snap_ring *r = &k->rings[k->lane];
	uint64_t inflight = rf_lane_inflight(k->src->bulk.lanes[k->lane]);

	return r->head - r->tail < k->depth && (!inflight || inflight + len <= k->src->bulk.window);
}

/* The next piece of a write of `left` bytes to `at` of a region. */
static int post_piece(struct rf_snap_link *k, unsigned region, uint64_t at, const uint8_t *data,
		      uint64_t left, void *token)
{
	struct rf_source *src = k->src;
	uint64_t chunk = at / src->cfg.chunk_size;
	uint64_t room = (chunk + 1) * src->cfg.chunk_size - at;
	struct rf_src_chunk *c = &src->regions[region].chunks[chunk];
	struct rf_write w = {.src = data, .dst = &c->key, .dst_off = at % src->cfg.chunk_size};
	struct rf_snap_ring *ring = &k->rings[k->lane];
	int rc = c->state == RF_CHUNK_READY ? RF_OK : rf_source_want_chunk(src, region, chunk);

	if (rc == RF_OK)
		rc = find_mr(k, data, &w.src_mr);
	if (rc != RF_OK)
		return rc;
	room = room < k->piece ? room : k->piece;
	w.len = (uint32_t)(left < room ? left : room);
	if (!has_room(k, w.len))
		return RF_NO_RESOURCE;
	rc = rf_lane_write(src->bulk.lanes[k->lane], &w, 1);
	if (rc < 0)
		return rc == RF_NO_RESOURCE ? rc : rf_source_fail_by_bulk(src, rc);
	ring->tokens[ring->head++ % k->depth] = w.len == left ? token : NULL;
	k->posted += w.len;
	src->round_bytes += w.len;
	return RF_OK;
}

/* Tried again after RF_NO_RESOURCE it goes on where it was, by the same lane. */
int rf_snap_link_write(void *self, unsigned region, uint64_t first, const void *data, uint32_t n,
		       void *token)
{
	struct rf_snap_link *k = self;
	const struct rf_bulk *b = &k->src->bulk;
	uint64_t len = (uint64_t)n * RF_PAGE_SIZE;
	int rc = RF_OK;

	for (unsigned i = 0; !k->posted && i < b->nlanes; i++)
		if (b->lanes[i] == rf_bulk_idlest(b))
			k->lane = i;
	while (rc == RF_OK && k->posted < len)
		rc = post_piece(k, region, first * RF_PAGE_SIZE + k->posted,
				(const uint8_t *)data + k->posted, len - k->posted, token);
	if (rc == RF_OK)
		k->posted = 0;
	return rc;
}

int rf_snap_link_absent(void *self, unsigned region, uint64_t page)
{
	const struct rf_piece p = {.region = region, .zero = true, .pages = {page, 1}};

	return rf_source_announce_zero(((struct rf_snap_link *)self)->src, &p);
}

void rf_snap_link_touched(void *self, unsigned region, uint64_t page)
{
	(void)self;
	(void)region;
	(void)page;
}

int rf_snap_link_submit(void *self)
{
	(void)self;
	return RF_OK;
}

/* Takes completions of a lane, and tokens as far as there is room. Returns how many. */
static int poll_lane(struct rf_snap_link *k, unsigned i, void **tokens, unsigned cap)
{
	struct rf_completion c[COMPLETIONS];
	struct rf_snap_ring *r = &k->rings[i];
	int got = rf_lane_poll(k->src->bulk.lanes[i], c, COMPLETIONS), n = 0;

	if (got < 0)
		return rf_source_fail_by_bulk(k->src, got);
	for (int j = 0; j < got; j++)
		r->done += c[j].op == RF_OP_WRITE ? c[j].count : 0;
	for (; r->done && (unsigned)n < cap; r->done--) {
		tokens[n] = r->tokens[r->tail++ % k->depth];
		n += tokens[n] != NULL;
	}
	return n;
}

int rf_snap_link_poll(void *self, void **tokens, unsigned cap)
{
	struct rf_snap_link *k = self;
	int n = 0, rc = RF_OK;

	for (unsigned i = 0; rc >= 0 && i < k->src->bulk.nlanes; i++) {
		rc = poll_lane(k, i, tokens + n, cap - (unsigned)n);
		n += rc > 0 ? rc : 0;
	}
	if (rc >= 0)
		rc = rf_source_check(k->src);
	if (rc == RF_OK)
		rc = rf_source_look(k->src);
	return rc == RF_OK ? n : rc;
}

int rf_snap_link_fd(void *self)
{
	return ((struct rf_snap_link *)self)->epoll;
}

bool rf_snap_link_arm(void *self)
{
	const struct rf_bulk *b = &((struct rf_snap_link *)self)->src->bulk;

	for (unsigned i = 0; i < b->nlanes; i++)
		if (rf_lane_arm(b->lanes[i]) != RF_OK)
			return false;
	return true;
}
