/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages about memory and device state: keys, zero runs, digests, state. */
#include <assert.h>

#include "common/wire.h"
#include "common/wire_io.h"

#define ZERO_HEAD_SIZE	 8
#define DIGEST_HEAD_SIZE 16
#define STATE_HEAD_SIZE	 16
#define DIGEST_BLOCK	 (2u << 20) /* common/digest.h */
#define MAX_BLOCKS	 (RF_WIRE_MAX_LEN / DIGEST_BLOCK)

/*
 * The rest of the payload as entries of `size` bytes: at least one, no odd end. len is not bound
 * to RF_WIRE_MAX_PAYLOAD here, so the count is checked not to be cut to 32 bits.
 */
static void read_entries(struct reader *r, size_t size, struct rf_wire_array *m)
{
	size_t n = r->left / size;

	read_check(r, n && n <= UINT32_MAX && r->left % size == 0);
	m->count = (uint32_t)n;
	m->entries = read_bytes(r, r->left);
}

static int finish_array(const struct reader *r, const struct rf_wire_array *a,
			struct rf_wire_array *m)
{
	int rc = read_done(r);

	if (rc == RF_OK)
		*m = *a;
	return rc;
}

static const uint8_t *entry_at(const struct rf_wire_array *m, uint32_t i, size_t size)
{
	assert(i < m->count);
	return m->entries + (size_t)i * size;
}

/* key-req = (region:u32 chunk:u32)+ */
void rf_wire_put_chunk(struct rf_wbuf *b, const struct rf_wire_chunk *c)
{
	uint8_t *p = put_room(b, RF_WIRE_CHUNK_SIZE);

	if (!p)
		return;
	put_le32(p, c->region);
	put_le32(p + 4, c->chunk);
}

void rf_wire_chunk_at(const struct rf_wire_array *m, uint32_t i, struct rf_wire_chunk *c)
{
	const uint8_t *p = entry_at(m, i, RF_WIRE_CHUNK_SIZE);

	c->region = get_le32(p);
	c->chunk = get_le32(p + 4);
}

int rf_wire_get_key_req(const void *p, size_t len, struct rf_wire_array *m)
{
	struct reader r = reader_of(p, len);
	struct rf_wire_array a = {0};

	read_entries(&r, RF_WIRE_CHUNK_SIZE, &a);
	for (uint32_t i = 0; !r.bad && i < a.count; i++) {
		struct rf_wire_chunk c;

		rf_wire_chunk_at(&a, i, &c);
		read_check(&r, c.region < RF_MAX_REGIONS && c.chunk < WIRE_MAX_CHUNKS);
	}
	return finish_array(&r, &a, m);
}

/* key = (region:u32 chunk:u32 base:u64 bulk_key:u64 urgent_key:u64)+ */
void rf_wire_put_key(struct rf_wbuf *b, const struct rf_wire_key *k)
{
	uint8_t *p = put_room(b, RF_WIRE_KEY_SIZE);

	if (!p)
		return;
	put_le32(p, k->region);
	put_le32(p + 4, k->chunk);
	put_le64(p + 8, k->base);
	put_le64(p + 16, k->key[0]);
	put_le64(p + 24, k->key[1]);
}

void rf_wire_key_at(const struct rf_wire_array *m, uint32_t i, struct rf_wire_key *k)
{
	const uint8_t *p = entry_at(m, i, RF_WIRE_KEY_SIZE);

	k->region = get_le32(p);
	k->chunk = get_le32(p + 4);
	k->base = get_le64(p + 8);
	k->key[0] = get_le64(p + 16);
	k->key[1] = get_le64(p + 24);
}

int rf_wire_get_keys(const void *p, size_t len, struct rf_wire_array *m)
{
	struct reader r = reader_of(p, len);
	struct rf_wire_array a = {0};

	read_entries(&r, RF_WIRE_KEY_SIZE, &a);
	for (uint32_t i = 0; !r.bad && i < a.count; i++) {
		struct rf_wire_key k;

		rf_wire_key_at(&a, i, &k);
		read_check(&r, k.region < RF_MAX_REGIONS && k.chunk < WIRE_MAX_CHUNKS);
	}
	return finish_array(&r, &a, m);
}

/* zero = region:u32 reserved:u32 (first:u64 count:u64)+ */
void rf_wire_begin_zero(struct rf_wbuf *b, uint32_t region)
{
	uint8_t *p = put_room(b, ZERO_HEAD_SIZE);

	if (!p)
		return;
	put_le32(p, region);
	put_le32(p + 4, 0);
}

void rf_wire_put_run(struct rf_wbuf *b, const struct rf_wire_run *r)
{
	uint8_t *p = put_room(b, RF_WIRE_RUN_SIZE);

	if (!p)
		return;
	put_le64(p, r->first);
	put_le64(p + 8, r->count);
}

void rf_wire_run_at(const struct rf_wire_array *m, uint32_t i, struct rf_wire_run *r)
{
	const uint8_t *p = entry_at(m, i, RF_WIRE_RUN_SIZE);

	r->first = get_le64(p);
	r->count = get_le64(p + 8);
}

int rf_wire_get_zero(const void *p, size_t len, struct rf_wire_array *m)
{
	struct reader r = reader_of(p, len);
	struct rf_wire_array a = {0};

	a.region = read_u32(&r);
	read_check(&r, a.region < RF_MAX_REGIONS);
	read_check(&r, read_u32(&r) == 0);
	read_entries(&r, RF_WIRE_RUN_SIZE, &a);
	for (uint32_t i = 0; !r.bad && i < a.count; i++) {
		struct rf_wire_run run;

		rf_wire_run_at(&a, i, &run);
		read_check(&r, is_range(run.first, run.count, WIRE_MAX_PAGES));
	}
	return finish_array(&r, &a, m);
}

/* digest = region:u32 reserved:u32 first:u64 (digest:u64)+ */
void rf_wire_begin_digest(struct rf_wbuf *b, uint32_t region, uint64_t first)
{
	uint8_t *p = put_room(b, DIGEST_HEAD_SIZE);

	if (!p)
		return;
	put_le32(p, region);
	put_le32(p + 4, 0);
	put_le64(p + 8, first);
}

int rf_wire_get_digest(const void *p, size_t len, struct rf_wire_array *m)
{
	struct reader r = reader_of(p, len);
	struct rf_wire_array a = {0};

	a.region = read_u32(&r);
	read_check(&r, a.region < RF_MAX_REGIONS);
	read_check(&r, read_u32(&r) == 0);
	a.first = read_u64(&r);
	read_entries(&r, RF_WIRE_DIGEST_SIZE, &a);
	read_check(&r, is_range(a.first, a.count, MAX_BLOCKS));
	return finish_array(&r, &a, m);
}

uint64_t rf_wire_digest_at(const struct rf_wire_array *m, uint32_t i)
{
	return get_le64(entry_at(m, i, RF_WIRE_DIGEST_SIZE));
}

/* digest-result = equal:u32 region:u32 block:u64, the last two 0 if equal */
void rf_wire_put_digest_result(struct rf_wbuf *b, const struct rf_wire_digest_result *m)
{
	uint8_t *p = put_room(b, 16);

	if (!p)
		return;
	put_le32(p, m->equal);
	put_le32(p + 4, m->equal ? 0 : m->region);
	put_le64(p + 8, m->equal ? 0 : m->block);
}

int rf_wire_get_digest_result(const void *p, size_t len, struct rf_wire_digest_result *m)
{
	struct reader r = reader_of(p, len);
	struct rf_wire_digest_result d;
	uint32_t equal = read_u32(&r);
	int rc;

	read_check(&r, equal <= 1);
	d.equal = equal;
	d.region = read_u32(&r);
	d.block = read_u64(&r);
	read_check(&r, d.region < RF_MAX_REGIONS && d.block < MAX_BLOCKS);
	read_check(&r, !equal || (!d.region && !d.block));
	rc = read_done(&r);
	if (rc == RF_OK)
		*m = d;
	return rc;
}

/* state = total:u64 offset:u64 data[]; a state of no bytes is one message without data */
void rf_wire_put_state(struct rf_wbuf *b, uint64_t total, uint64_t offset, const void *data,
		       uint32_t len)
{
	uint8_t *p = put_room(b, STATE_HEAD_SIZE + (size_t)len);

	if (!p)
		return;
	put_le64(p, total);
	put_le64(p + 8, offset);
	if (len)
		memcpy(p + STATE_HEAD_SIZE, data, len);
}

int rf_wire_get_state(const void *p, size_t len, struct rf_wire_state *m)
{
	struct reader r = reader_of(p, len);
	struct rf_wire_state s;
	int rc;

	s.total = read_u64(&r);
	s.offset = read_u64(&r);
	read_check(&r, s.total <= RF_WIRE_MAX_STATE && r.left <= RF_WIRE_MAX_STATE);
	s.len = (uint32_t)r.left;
	s.data = read_bytes(&r, r.left);
	read_check(&r, s.total ? is_range(s.offset, s.len, s.total) : !s.offset && !s.len);
	rc = read_done(&r);
	if (rc == RF_OK)
		*m = s;
	return rc;
}
