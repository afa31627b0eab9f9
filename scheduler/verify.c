/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * --verify: while the guest is paused, digests of all its memory in blocks of 2 MiB go to the
 * destination, which compares them with what has landed. Holes are not touched: a block that
 * holds no data has the digest of zeros.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/extent.h"
#include "common/log.h"
#include "scheduler/source.h"

#define PER_FRAME 65536u /* digests in a frame */

struct digest_out {
	struct rf_source *src;
	uint32_t region;
	uint64_t next; /* block to come */
	uint8_t *copy; /* a block read through the file, so that holes stay holes */
	uint8_t *payload;
	struct rf_wbuf b;
	uint32_t n; /* digests in b */
	uint64_t *has_data;
	uint64_t nblocks;
};

static int flush(struct digest_out *d)
{
	int rc = RF_OK;

	if (d->n)
		rc = rf_source_send(d->src, RF_WIRE_DIGEST, d->payload, (uint32_t)d->b.len);
	d->n = 0;
	return rc;
}

static int put(struct digest_out *d, uint64_t digest)
{
	if (d->n == PER_FRAME) {
		int rc = flush(d);

		if (rc != RF_OK)
			return rc;
	}
	if (!d->n) {
		rf_wbuf_init(&d->b, d->payload, RF_WIRE_MAX_PAYLOAD);
		rf_wire_begin_digest(&d->b, d->region, d->next);
	}
	rf_wire_put_u64(&d->b, digest);
	d->n++;
	d->next++;
	return RF_OK;
}

static int note_extent(void *arg, uint64_t offset, uint64_t len)
{
	struct digest_out *d = arg;
	uint64_t last = (offset + len - 1) / RF_DIGEST_BLOCK;

	for (uint64_t b = offset / RF_DIGEST_BLOCK; b <= last && b < d->nblocks; b++)
		d->has_data[b / 64] |= 1ull << (b % 64);
	return 0;
}

static void find_blocks(struct digest_out *d, const struct rf_src_region *r)
{
	int rc;

	if (r->info.memfd >= 0)
		rc = rf_extent_walk_file(r->info.memfd, r->info.memfd_offset, r->info.len,
					 note_extent, d);
	else
		rc = rf_extent_walk_anon(r->addr, r->info.len, note_extent, d);
	if (rc != RF_OK)
		note_extent(d, 0, r->info.len);
}

/* Through the file where there is one: reading a hole through a shared mapping fills it. */
static uint64_t digest_block(struct digest_out *d, const struct rf_src_region *r, uint64_t at,
			     size_t len)
{
	if (!(d->has_data[d->next / 64] >> (d->next % 64) & 1))
		return rf_digest_zero(len);
	if (r->info.memfd < 0 ||
	    pread(r->info.memfd, d->copy, len, (off_t)(r->info.memfd_offset + at)) != (ssize_t)len)
		memcpy(d->copy, r->addr + at, len);
	return rf_digest_but(d->copy, len, &r->map.free, at / RF_PAGE_SIZE);
}

static int digest_region(struct digest_out *d, const struct rf_src_region *r)
{
	int rc = RF_OK;

	d->next = 0;
	d->nblocks = (r->info.len + RF_DIGEST_BLOCK - 1) / RF_DIGEST_BLOCK;
	d->has_data = calloc(d->nblocks / 64 + 1, sizeof(*d->has_data));
	if (!d->has_data)
		return rf_source_fail(d->src, RF_ERR_NO_MEMORY, "no memory for digests");
	find_blocks(d, r);
	for (uint64_t at = 0; rc == RF_OK && at < r->info.len; at += RF_DIGEST_BLOCK) {
		size_t len =
			r->info.len - at < RF_DIGEST_BLOCK ? r->info.len - at : RF_DIGEST_BLOCK;

		rc = put(d, digest_block(d, r, at, len));
		if (rc == RF_OK)
			rc = rf_source_check(d->src);
	}
	if (rc == RF_OK)
		rc = flush(d);
	free(d->has_data);
	return rc;
}

static int take_result(struct rf_source *src)
{
	struct rf_wire_digest_result res = {0};
	struct rf_frame f;
	int rc = rf_source_ask(src, RF_WIRE_DIGEST_END, NULL, 0, RF_WIRE_DIGEST_RESULT,
			       RF_SOURCE_ANSWER_TIMEOUT, &f);

	if (rc != RF_OK)
		return rc;
	if (rf_wire_get_digest_result(f.payload, f.len, &res) != RF_OK)
		rc = rf_source_fail(src, RF_ERR_PROTOCOL, "destination sent a malformed %s",
				    rf_wire_type_str(f.type));
	else if (!res.equal)
		rc = rf_source_fail(src, RF_ERR_VERIFY,
				    "memory differs at the destination: region %s, bytes %llu to "
				    "%llu; the guest stays here",
				    res.region < src->nregions ? src->regions[res.region].info.id
							       : "?",
				    (unsigned long long)res.block * RF_DIGEST_BLOCK,
				    (unsigned long long)(res.block + 1) * RF_DIGEST_BLOCK - 1);
	rf_frame_free(&f);
	return rc;
}

int rf_source_verify(struct rf_source *src)
{
	uint64_t start = rf_now_ns(src->clock);
	struct digest_out d = {.src = src};
	int rc = RF_ERR_NO_MEMORY;

	d.copy = malloc(RF_DIGEST_BLOCK);
	d.payload = malloc(RF_WIRE_MAX_PAYLOAD);
	if (!d.copy || !d.payload) {
		rf_source_fail(src, rc, "no memory for digests");
		goto free_buffers;
	}
	rc = RF_OK;
	for (d.region = 0; rc == RF_OK && d.region < src->nregions; d.region++)
		rc = digest_region(&d, &src->regions[d.region]);
	if (rc == RF_OK)
		rc = take_result(src);
	if (rc == RF_OK)
		atomic_store(&src->count.verified, 1);
	atomic_store(&src->count.verify_ms, rf_ns_to_ms(rf_now_ns(src->clock) - start));
free_buffers:
	free(d.payload);
	free(d.copy);
	return rc;
}
