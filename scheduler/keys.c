/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registered memory of both sides, a chunk at a time: here for reading, there for writing. The
 * keys of the next chunks with pending pages are asked for before the cursor comes to them, so
 * that registering (which may pin and zero memory) overlaps with sending.
 */
#include "common/log.h"
#include "scheduler/source.h"

#define AHEAD	 4    /* chunks asked for in advance */
#define ASK_MOST 1024 /* chunks in one KEY_REQ */

static int register_here(struct rf_source *src, struct rf_src_region *r, uint64_t chunk)
{
	uint64_t at = chunk * src->cfg.chunk_size;
	uint64_t len =
		r->info.len - at < src->cfg.chunk_size ? r->info.len - at : src->cfg.chunk_size;
	int rc;

	if (r->chunks[chunk].mr)
		return RF_OK;
	rc = rf_mr_register(src->t, r->addr + at, len, RF_ACCESS_LOCAL_READ, &r->chunks[chunk].mr);
	if (rc != RF_OK)
		return rf_source_fail(src, rc, "region %s: chunk %llu cannot be registered: %s",
				      r->info.id, (unsigned long long)chunk, rf_err_str(rc));
	return RF_OK;
}

/* Puts the chunk into the request unless it was asked for before. */
static void want_chunk(struct rf_source *src, struct rf_wbuf *b, uint32_t region, uint64_t chunk)
{
	struct rf_src_chunk *c = &src->regions[region].chunks[chunk];
	struct rf_wire_chunk w = {.region = region, .chunk = (uint32_t)chunk};

	if (c->state != RF_CHUNK_NONE)
		return;
	rf_wire_put_chunk(b, &w);
	c->state = RF_CHUNK_ASKED;
	src->keys_wanted++;
}

static int ask(struct rf_source *src, const struct rf_wbuf *b)
{
	return b->len ? rf_source_send(src, RF_WIRE_KEY_REQ, b->data, (uint32_t)b->len) : RF_OK;
}

/* The next chunks behind this one that hold pending pages, in this region. */
static void want_ahead(struct rf_source *src, struct rf_wbuf *b, uint32_t region, uint64_t chunk)
{
	struct rf_src_region *r = &src->regions[region];
	uint64_t chunk_pages = src->cfg.chunk_size / RF_PAGE_SIZE;
	uint64_t page = (chunk + 1) * chunk_pages;

	for (unsigned n = 0; n < AHEAD && page < r->map.npages; n++) {
		page = rf_bitmap_find_set(&r->map.pending, page, r->map.npages);
		if (page == RF_BITMAP_NONE)
			return;
		want_chunk(src, b, region, page / chunk_pages);
		page = (page / chunk_pages + 1) * chunk_pages;
	}
}

static int wait_for_key(struct rf_source *src, struct rf_src_region *r, struct rf_src_chunk *c)
{
	uint64_t until = rf_now_ns(src->clock) + RF_SOURCE_ANSWER_TIMEOUT * RF_NS_PER_MS;

	while (c->state != RF_CHUNK_READY) {
		int rc;

		if (rf_now_ns(src->clock) >= until)
			return rf_source_fail(src, RF_ERR_TIMEOUT,
					      "region %s: no key from the destination within %u ms",
					      r->info.id, RF_SOURCE_ANSWER_TIMEOUT);
		rc = rf_source_pump(src);
		if (rc != RF_OK)
			return rc;
	}
	return RF_OK;
}

/* Asks for it and for those that come next, in one frame. */
static int ask_from(struct rf_source *src, uint32_t region, uint64_t chunk)
{
	uint8_t buf[(AHEAD + 1) * RF_WIRE_CHUNK_SIZE];
	struct rf_wbuf b;

	rf_wbuf_init(&b, buf, sizeof(buf));
	want_chunk(src, &b, region, chunk);
	want_ahead(src, &b, region, chunk);
	return ask(src, &b);
}

int rf_source_want_chunk(struct rf_source *src, uint32_t region, uint64_t chunk)
{
	int rc = ask_from(src, region, chunk);

	if (rc != RF_OK)
		return rc;
	return src->regions[region].chunks[chunk].state == RF_CHUNK_READY ? RF_OK : RF_NO_RESOURCE;
}

int rf_source_need_chunk(struct rf_source *src, uint32_t region, uint64_t chunk,
			 struct rf_src_chunk **out)
{
	struct rf_src_region *r = &src->regions[region];
	struct rf_src_chunk *c = &r->chunks[chunk];
	int rc;

	*out = c;
	if (c->state == RF_CHUNK_READY && c->mr)
		return RF_OK;
	if (c->state != RF_CHUNK_READY) {
		rc = ask_from(src, region, chunk);
		if (rc != RF_OK)
			return rc;
	}
	rc = register_here(src, r, chunk);
	return rc == RF_OK ? wait_for_key(src, r, c) : rc;
}

int rf_source_take_keys(struct rf_source *src, const struct rf_frame *f)
{
	struct rf_wire_array keys;
	struct rf_wire_key k;

	if (rf_wire_get_keys(f->payload, f->len, &keys) != RF_OK)
		return rf_source_fail(src, RF_ERR_PROTOCOL, "destination sent malformed keys");
	for (uint32_t i = 0; i < keys.count; i++) {
		struct rf_src_chunk *c;

		rf_wire_key_at(&keys, i, &k);
		if (k.region >= src->nregions || k.chunk >= src->regions[k.region].nchunks)
			return rf_source_fail(src, RF_ERR_PROTOCOL,
					      "destination sent a key of no chunk (%u/%u)",
					      k.region, k.chunk);
		c = &src->regions[k.region].chunks[k.chunk];
		if (c->state != RF_CHUNK_ASKED)
			return rf_source_fail(src, RF_ERR_PROTOCOL,
					      "destination sent a key nobody asked for (%u/%u)",
					      k.region, k.chunk);
		c->key.base = k.base;
		for (unsigned kind = 0; kind < RF_LANE_KINDS; kind++)
			c->key.key[kind] = k.key[kind];
		c->state = RF_CHUNK_READY;
		src->keys_wanted--;
	}
	return RF_OK;
}

static bool has_pending(const struct rf_source *src, const struct rf_src_region *r, uint64_t chunk)
{
	uint64_t pages = src->cfg.chunk_size / RF_PAGE_SIZE, first = chunk * pages;
	uint64_t end = first + pages < r->map.npages ? first + pages : r->map.npages;

	return rf_bitmap_find_set(&r->map.pending, first, end) != RF_BITMAP_NONE;
}

/* Keys and registrations of all chunks, or of those with pending pages. */
static int need_chunks(struct rf_source *src, bool all)
{
	uint8_t buf[ASK_MOST * RF_WIRE_CHUNK_SIZE];
	struct rf_wbuf b;
	int rc;

	rf_wbuf_init(&b, buf, sizeof(buf));
	for (uint32_t r = 0; r < src->nregions; r++) {
		for (uint64_t c = 0; c < src->regions[r].nchunks; c++) {
			if (all || has_pending(src, &src->regions[r], c))
				want_chunk(src, &b, r, c);
			if (b.len < sizeof(buf))
				continue;
			rc = ask(src, &b);
			if (rc != RF_OK)
				return rc;
			b.len = 0;
		}
	}
	rc = ask(src, &b);
	for (uint32_t r = 0; rc == RF_OK && r < src->nregions; r++)
		for (uint64_t c = 0; rc == RF_OK && c < src->regions[r].nchunks; c++)
			if (src->regions[r].chunks[c].state != RF_CHUNK_NONE)
				rc = register_here(src, &src->regions[r], c);
	while (rc == RF_OK && src->keys_wanted)
		rc = rf_source_pump(src);
	return rc;
}

int rf_source_pin_all(struct rf_source *src)
{
	return need_chunks(src, true);
}

int rf_source_need_pending(struct rf_source *src)
{
	return need_chunks(src, false);
}
