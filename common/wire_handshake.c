/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages by which two sides agree before memory moves, and what lanes carry. */
#include <assert.h>

#include "common/wire.h"
#include "common/wire_io.h"

#define LANE_MAGIC  0x4e4c4652u /* "RFLN" */
#define FENCE_MAGIC 0x4e464652u /* "RFFN" */
#define LANE_KINDS  2		/* bulk, urgent */

#define HELLO_SIZE	    (RF_SESSION_SIZE + 24)
#define HELLO_ACK_HEAD_SIZE 8
#define REGIONS_HEAD_SIZE   8
#define RUNG_HEAD_SIZE	    4

/* hello = session[16] flags:u32 regions:u32 chunk_size:u64 bulk_lanes:u16 urgent_lanes:u16
 *         link_timeout:u32 */
void rf_wire_put_hello(struct rf_wbuf *b, const struct rf_wire_hello *m)
{
	uint8_t *p = put_room(b, HELLO_SIZE);

	if (!p)
		return;
	memcpy(p, m->session, RF_SESSION_SIZE);
	p += RF_SESSION_SIZE;
	put_le32(p, m->flags);
	put_le32(p + 4, m->regions);
	put_le64(p + 8, m->chunk_size);
	put_le16(p + 16, m->bulk_lanes);
	put_le16(p + 18, m->urgent_lanes);
	put_le32(p + 20, m->link_timeout);
}

int rf_wire_get_hello(const void *p, size_t len, struct rf_wire_hello *m)
{
	struct reader r = reader_of(p, len);
	struct rf_wire_hello h;
	int rc;

	read_copy(&r, h.session, sizeof(h.session));
	h.flags = read_u32(&r);
	read_check(&r, !(h.flags & ~RF_HELLO_FLAGS));
	if (h.flags & RF_HELLO_SNAPSHOT)
		read_check(&r, !(h.flags & RF_HELLO_NO_SNAPSHOT));
	h.regions = read_u32(&r);
	if (h.flags & RF_HELLO_PROBE)
		read_check(&r, !h.regions);
	else
		read_check(&r, h.regions >= 1 && h.regions <= RF_MAX_REGIONS);
	h.chunk_size = read_u64(&r);
	read_check(&r, is_chunk_size(h.chunk_size));
	h.bulk_lanes = read_u16(&r);
	read_check(&r, h.bulk_lanes >= 1 && h.bulk_lanes <= RF_WIRE_MAX_LANES);
	h.urgent_lanes = read_u16(&r);
	read_check(&r, h.urgent_lanes <= (h.flags & RF_HELLO_SNAPSHOT ? 0 : RF_WIRE_MAX_LANES));
	h.link_timeout = read_u32(&r);
	read_check(&r, h.link_timeout > 0);
	rc = read_done(&r);
	if (rc == RF_OK)
		*m = h;
	return rc;
}

/* hello-ack = max_lanes:u16 nrungs:u16 link_timeout:u32 (rung:str){nrungs} */
void rf_wire_put_hello_ack(struct rf_wbuf *b, const struct rf_wire_hello_ack *m)
{
	size_t size = HELLO_ACK_HEAD_SIZE;
	uint8_t *p;

	assert(m->nrungs <= RF_WIRE_MAX_RUNGS);
	for (uint32_t i = 0; i < m->nrungs; i++)
		size += str_size(m->rungs[i], RF_WIRE_RUNG_SIZE);
	p = put_room(b, size);
	if (!p)
		return;
	put_le16(p, m->max_lanes);
	put_le16(p + 2, (uint16_t)m->nrungs);
	put_le32(p + 4, m->link_timeout);
	p += HELLO_ACK_HEAD_SIZE;
	for (uint32_t i = 0; i < m->nrungs; i++)
		p = put_str(p, m->rungs[i], RF_WIRE_RUNG_SIZE);
}

int rf_wire_get_hello_ack(const void *p, size_t len, struct rf_wire_hello_ack *m)
{
	struct reader r = reader_of(p, len);
	struct rf_wire_hello_ack a = {0};
	int rc;

	a.max_lanes = read_u16(&r);
	read_check(&r, a.max_lanes >= 1 && a.max_lanes <= RF_WIRE_MAX_LANES);
	a.nrungs = read_u16(&r);
	read_check(&r, a.nrungs >= 1 && a.nrungs <= RF_WIRE_MAX_RUNGS);
	a.link_timeout = read_u32(&r);
	read_check(&r, a.link_timeout > 0);
	for (uint32_t i = 0; !r.bad && i < a.nrungs; i++)
		read_str(&r, a.rungs[i], RF_WIRE_RUNG_SIZE, 1);
	rc = read_done(&r);
	if (rc == RF_OK)
		*m = a;
	return rc;
}

/* regions = first:u32 count:u32 (len:u64 page_size:u32 id:str){count} */
void rf_wire_begin_regions(struct rf_wbuf *b, uint32_t first)
{
	uint8_t *p;

	assert(b->len == 0); /* the count is kept at its place in the payload */
	p = put_room(b, REGIONS_HEAD_SIZE);
	if (!p)
		return;
	put_le32(p, first);
	put_le32(p + 4, 0);
}

int rf_wire_add_region(struct rf_wbuf *b, const struct rf_wire_region *r)
{
	size_t size = 12 + str_size(r->id, sizeof(r->id));
	size_t cap = b->cap < RF_WIRE_MAX_PAYLOAD ? b->cap : RF_WIRE_MAX_PAYLOAD;
	uint8_t *p;

	if (b->overflow || b->len > cap || size > cap - b->len)
		return RF_NO_RESOURCE;
	p = put_room(b, size);
	put_le64(p, r->len);
	put_le32(p + 8, r->page_size);
	put_str(p + 12, r->id, sizeof(r->id));
	put_le32(b->data + 4, get_le32(b->data + 4) + 1);
	return RF_OK;
}

static void read_region(struct reader *r, struct rf_wire_region *m)
{
	m->len = read_u64(r);
	m->page_size = read_u32(r);
	read_str(r, m->id, sizeof(m->id), 1);
	read_check(r, is_page_size(m->page_size) && m->len && m->len <= RF_WIRE_MAX_LEN &&
			      m->len % m->page_size == 0);
}

int rf_wire_get_regions(const void *p, size_t len,
			int (*fn)(void *arg, uint32_t index, const struct rf_wire_region *r),
			void *arg)
{
	struct reader r = reader_of(p, len), entries;
	struct rf_wire_region m;
	uint32_t first = read_u32(&r), count = read_u32(&r);
	int rc;

	read_check(&r, is_range(first, count, RF_MAX_REGIONS));
	entries = r;
	for (uint32_t i = 0; !r.bad && i < count; i++)
		read_region(&r, &m);
	rc = read_done(&r);
	for (uint32_t i = 0; rc == RF_OK && i < count; i++) {
		read_region(&entries, &m);
		rc = fn(arg, first + i, &m);
	}
	return rc;
}

/* rung = bulk_lanes:u16 urgent_lanes:u16 name:str */
void rf_wire_put_rung(struct rf_wbuf *b, const struct rf_wire_rung *m)
{
	uint8_t *p = put_room(b, RUNG_HEAD_SIZE + str_size(m->name, sizeof(m->name)));

	if (!p)
		return;
	put_le16(p, m->bulk_lanes);
	put_le16(p + 2, m->urgent_lanes);
	put_str(p + RUNG_HEAD_SIZE, m->name, sizeof(m->name));
}

int rf_wire_get_rung(const void *p, size_t len, struct rf_wire_rung *m)
{
	struct reader r = reader_of(p, len);
	struct rf_wire_rung g;
	int rc;

	g.bulk_lanes = read_u16(&r);
	read_check(&r, g.bulk_lanes >= 1 && g.bulk_lanes <= RF_WIRE_MAX_LANES);
	g.urgent_lanes = read_u16(&r);
	read_check(&r, g.urgent_lanes <= RF_WIRE_MAX_LANES);
	read_str(&r, g.name, sizeof(g.name), 1);
	rc = read_done(&r);
	if (rc == RF_OK)
		*m = g;
	return rc;
}

/* rung-offer = status, and if its err is 0: token[16] addr_len:u32 addr[addr_len] */
void rf_wire_put_rung_offer(struct rf_wbuf *b, const struct rf_wire_status *st,
			    const struct rf_wire_rung_offer *m)
{
	bool offer = st->err == RF_OK;
	uint8_t *p;

	assert(!offer || m->addr_len <= RF_WIRE_ADDR_SIZE);
	p = put_room(b, status_size(st) + (offer ? RF_TOKEN_SIZE + 4 + m->addr_len : 0));
	if (!p)
		return;
	p = put_status(p, st);
	if (!offer)
		return;
	memcpy(p, m->token, RF_TOKEN_SIZE);
	put_le32(p + RF_TOKEN_SIZE, m->addr_len);
	memcpy(p + RF_TOKEN_SIZE + 4, m->addr, m->addr_len);
}

int rf_wire_get_rung_offer(const void *p, size_t len, struct rf_wire_status *st,
			   struct rf_wire_rung_offer *m)
{
	struct reader r = reader_of(p, len);
	struct rf_wire_rung_offer o = {0};
	struct rf_wire_status s;
	int rc;

	read_status(&r, &s);
	if (!r.bad && s.err == RF_OK) {
		read_copy(&r, o.token, sizeof(o.token));
		o.addr_len = read_u32(&r);
		read_check(&r, o.addr_len >= 1 && o.addr_len <= RF_WIRE_ADDR_SIZE);
		if (!r.bad)
			read_copy(&r, o.addr, o.addr_len);
	}
	rc = read_done(&r);
	if (rc == RF_OK) {
		*st = s;
		*m = o;
	}
	return rc;
}

/* lane = magic:u32 token[16] kind:u8 zero:u8 index:u16 */
void rf_wire_put_lane(uint8_t out[RF_WIRE_LANE_SIZE], const struct rf_wire_lane *l)
{
	put_le32(out, LANE_MAGIC);
	memcpy(out + 4, l->token, RF_TOKEN_SIZE);
	out[20] = l->kind;
	out[21] = 0;
	put_le16(out + 22, l->index);
}

int rf_wire_get_lane(const void *p, size_t len, struct rf_wire_lane *l)
{
	const uint8_t *in = p;

	if (len < RF_WIRE_LANE_SIZE || get_le32(in) != LANE_MAGIC)
		return RF_ERR_PROTOCOL;
	if (in[20] >= LANE_KINDS || in[21] || get_le16(in + 22) >= RF_WIRE_MAX_LANES)
		return RF_ERR_PROTOCOL;
	memcpy(l->token, in + 4, RF_TOKEN_SIZE);
	l->kind = in[20];
	l->index = get_le16(in + 22);
	return RF_OK;
}

/* fence = magic:u32 zero:u32 value:u64 */
void rf_wire_put_fence(uint8_t out[RF_WIRE_FENCE_SIZE], uint64_t value)
{
	put_le32(out, FENCE_MAGIC);
	put_le32(out + 4, 0);
	put_le64(out + 8, value);
}

int rf_wire_get_fence(const void *p, size_t len, uint64_t *value)
{
	const uint8_t *in = p;

	if (len != RF_WIRE_FENCE_SIZE || get_le32(in) != FENCE_MAGIC || get_le32(in + 4))
		return RF_ERR_PROTOCOL;
	*value = get_le64(in + 8);
	return RF_OK;
}
