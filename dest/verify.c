/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The destination's half of --verify: digests of the paused source's memory, in order of region
 * and block, are compared with what has landed. The guest does not run here if one differs or
 * is missing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/extent.h"
#include "common/log.h"
#include "dest/dest.h"

static int found_data(void *arg, uint64_t offset, uint64_t len)
{
	(void)offset;
	(void)len;
	*(bool *)arg = true;
	return 1;
}

/* Through the file, so that holes stay holes. */
static uint64_t digest_block(struct rf_dest *d, const struct rf_dst_region *r, uint64_t at,
			     size_t len)
{
	bool data = false;
	int rc = rf_extent_walk_file(r->memfd, at, len, found_data, &data);

	if (rc == RF_OK && !data)
		return rf_digest_zero(len);
	if (pread(r->memfd, d->copy, len, (off_t)at) != (ssize_t)len)
		memcpy(d->copy, r->landing + at, len);
	return r->free.nbits ? rf_digest_but(d->copy, len, &r->free, at / RF_PAGE_SIZE)
			     : rf_digest(d->copy, len);
}

static uint64_t blocks_of(const struct rf_dst_region *r)
{
	return (r->len + RF_DIGEST_BLOCK - 1) / RF_DIGEST_BLOCK;
}

/* The next digest belongs to the next block: skips to the next region at the end of one. */
static void advance(struct rf_dest *d)
{
	d->digest_block++;
	if (d->digest_block == blocks_of(d->by_source[d->digest_region])) {
		d->digest_region++;
		d->digest_block = 0;
	}
}

static void compare(struct rf_dest *d, uint64_t theirs)
{
	struct rf_dst_region *r = d->by_source[d->digest_region];
	uint64_t at = d->digest_block * RF_DIGEST_BLOCK;
	size_t len = r->len - at < RF_DIGEST_BLOCK ? r->len - at : RF_DIGEST_BLOCK;

	if (!d->differs && digest_block(d, r, at, len) != theirs) {
		d->differs = true;
		d->difference = (struct rf_wire_digest_result){
			.region = d->digest_region,
			.block = d->digest_block,
		};
	}
	advance(d);
}

int rf_dest_take_digest(struct rf_dest *d, const struct rf_frame *f)
{
	struct rf_wire_array a;

	if (rf_wire_get_digest(f->payload, f->len, &a) != RF_OK)
		return rf_dest_malformed(d, f->type);
	if (!(d->hello.flags & RF_HELLO_VERIFY) || d->digests_done)
		return rf_dest_fail(d, RF_ERR_PROTOCOL, "source sent a digest where it must not");
	if (!d->copy)
		d->copy = malloc(RF_DIGEST_BLOCK);
	if (!d->copy)
		return rf_dest_fail(d, RF_ERR_NO_MEMORY, "no memory for digests");
	for (uint32_t i = 0; i < a.count; i++) {
		if (d->digest_region >= d->nregions || a.region != d->digest_region ||
		    a.first + i != d->digest_block)
			return rf_dest_fail(d, RF_ERR_PROTOCOL, "source sent digests out of order");
		compare(d, rf_wire_digest_at(&a, i));
	}
	return RF_OK;
}

int rf_dest_take_digest_end(struct rf_dest *d, const struct rf_frame *f)
{
	struct rf_wbuf b;
	uint8_t buf[32];
	int rc;

	if (rf_wire_get_empty(f->payload, f->len) != RF_OK)
		return rf_dest_malformed(d, f->type);
	if (!(d->hello.flags & RF_HELLO_VERIFY) || d->digests_done ||
	    d->digest_region != d->nregions)
		return rf_dest_fail(d, RF_ERR_PROTOCOL, "source sent only a part of the digests");
	d->digests_done = true;
	d->difference.equal = !d->differs;
	rf_wbuf_init(&b, buf, sizeof(buf));
	rf_wire_put_digest_result(&b, &d->difference);
	rc = rf_dest_send(d, RF_WIRE_DIGEST_RESULT, buf, (uint32_t)b.len);
	if (rc != RF_OK)
		return rc;
	d->peer_told = d->differs;
	if (d->differs)
		return rf_dest_fail(d, RF_ERR_VERIFY,
				    "region %s differs from the source in bytes "
				    "%llu to %llu",
				    d->by_source[d->difference.region]->id,
				    (unsigned long long)d->difference.block * RF_DIGEST_BLOCK,
				    (unsigned long long)(d->difference.block + 1) *
						    RF_DIGEST_BLOCK -
					    1);
	atomic_store(&d->verified, 1);
	return RF_OK;
}
