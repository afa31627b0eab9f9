/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/wire_postcopy.h"

#include <assert.h>

#include "common/wire_io.h"

#define AS_BITMAP     1u
#define ANNOUNCE_ZERO 1u

/* Calls fn for every run of set bits; words as in rf_wire_put_missing(). */
static int walk_words(uint64_t count, uint64_t (*word)(const void *at, uint64_t w), const void *at,
		      int (*fn)(void *arg, uint64_t first, uint64_t n), void *arg)
{
	uint64_t nwords = (count + 63) / 64, start = 0;
	bool in_run = false;
	int rc;

	for (uint64_t w = 0; w < nwords; w++) {
		uint64_t v = word(at, w);

		if (v == (in_run ? UINT64_MAX : 0))
			continue;
		for (unsigned b = 0; b < 64; b++) {
			bool set = v >> b & 1;

			if (set && !in_run) {
				start = w * 64 + b;
			} else if (!set && in_run) {
				rc = fn(arg, start, w * 64 + b - start);
				if (rc)
					return rc;
			}
			in_run = set;
		}
	}
	return in_run ? fn(arg, start, count - start) : 0;
}

static uint64_t native_word(const void *at, uint64_t w)
{
	return ((const uint64_t *)at)[w];
}

static uint64_t wire_word(const void *at, uint64_t w)
{
	return get_le64((const uint8_t *)at + w * 8);
}

static int count_run(void *arg, uint64_t first, uint64_t n)
{
	(void)first;
	(void)n;
	++*(uint64_t *)arg;
	return 0;
}

struct run_writer {
	uint8_t *p;
	uint64_t base;
};

static int write_run(void *arg, uint64_t first, uint64_t n)
{
	struct run_writer *w = arg;

	put_le64(w->p, w->base + first);
	put_le64(w->p + 8, n);
	w->p += RF_WIRE_RUN_SIZE;
	return 0;
}

/* missing = region:u32 flags:u32 first:u64 count:u64 n:u32 zero:u32, then runs or words */
bool rf_wire_put_missing(struct rf_wbuf *b, uint32_t region, uint64_t first, uint64_t count,
			 const uint64_t *words)
{
	uint64_t nwords = (count + 63) / 64, runs = 0;
	struct run_writer rw = {.base = first};
	bool bitmap;
	uint8_t *p;

	assert(first % 64 == 0 && count <= RF_WIRE_MISSING_MAX);
	walk_words(count, native_word, words, count_run, &runs);
	if (!runs)
		return false;
	bitmap = nwords * 8 < runs * RF_WIRE_RUN_SIZE;
	p = put_room(b, RF_WIRE_MISSING_HEAD + (bitmap ? nwords * 8 : runs * RF_WIRE_RUN_SIZE));
	if (!p)
		return false;
	put_le32(p, region);
	put_le32(p + 4, bitmap ? AS_BITMAP : 0);
	put_le64(p + 8, first);
	put_le64(p + 16, count);
	put_le32(p + 24, (uint32_t)(bitmap ? nwords : runs));
	put_le32(p + 28, 0);
	rw.p = p + RF_WIRE_MISSING_HEAD;
	if (!bitmap)
		walk_words(count, native_word, words, write_run, &rw);
	for (uint64_t w = 0; bitmap && w < nwords; w++)
		put_le64(rw.p + w * 8, words[w]);
	return true;
}

/* Runs are ascending, apart, and inside; a bitmap has no bit past its end. */
static bool data_is_sane(const struct rf_wire_missing *m)
{
	uint64_t end = m->first;

	if (m->bitmap) {
		unsigned tail = m->count % 64;

		return m->n == (m->count + 63) / 64 &&
		       (!tail || !(wire_word(m->data, m->n - 1) >> tail));
	}
	for (uint32_t i = 0; i < m->n; i++) {
		uint64_t first = get_le64(m->data + (size_t)i * RF_WIRE_RUN_SIZE);
		uint64_t count = get_le64(m->data + (size_t)i * RF_WIRE_RUN_SIZE + 8);

		if (first < end || !is_range(first, count, m->first + m->count))
			return false;
		end = first + count;
	}
	return m->n > 0;
}

int rf_wire_get_missing(const void *p, size_t len, struct rf_wire_missing *m)
{
	struct reader r = reader_of(p, len);
	struct rf_wire_missing v = {.region = read_u32(&r)};
	uint32_t flags = read_u32(&r);

	v.first = read_u64(&r);
	v.count = read_u64(&r);
	v.n = read_u32(&r);
	v.bitmap = flags & AS_BITMAP;
	read_check(&r, read_u32(&r) == 0 && !(flags & ~AS_BITMAP) && v.first % 64 == 0 &&
			       v.count <= RF_WIRE_MISSING_MAX &&
			       is_range(v.first, v.count, WIRE_MAX_PAGES));
	v.data = read_bytes(&r, (size_t)v.n * (v.bitmap ? 8 : RF_WIRE_RUN_SIZE));
	if (read_done(&r) != RF_OK || !data_is_sane(&v))
		return RF_ERR_PROTOCOL;
	*m = v;
	return RF_OK;
}

struct shifted {
	int (*fn)(void *arg, uint64_t first, uint64_t count);
	void *arg;
	uint64_t base;
};

static int call_shifted(void *arg, uint64_t first, uint64_t count)
{
	struct shifted *s = arg;

	return s->fn(s->arg, s->base + first, count);
}

int rf_wire_walk_missing(const struct rf_wire_missing *m,
			 int (*fn)(void *arg, uint64_t first, uint64_t count), void *arg)
{
	struct shifted s = {.fn = fn, .arg = arg, .base = m->first};

	if (m->bitmap)
		return walk_words(m->count, wire_word, m->data, call_shifted, &s);
	for (uint32_t i = 0; i < m->n; i++) {
		const uint8_t *p = m->data + (size_t)i * RF_WIRE_RUN_SIZE;
		int rc = fn(arg, get_le64(p), get_le64(p + 8));

		if (rc)
			return rc;
	}
	return 0;
}

void rf_wire_put_request(uint8_t out[RF_WIRE_REQUEST_SIZE], const struct rf_wire_request *r)
{
	put_le32(out, RF_LANE_MSG_REQUEST);
	put_le32(out + 4, r->region);
	put_le64(out + 8, r->page);
	put_le32(out + 16, r->slot);
	put_le32(out + 20, 0);
}

int rf_wire_get_request(const void *p, size_t len, struct rf_wire_request *r)
{
	struct reader in = reader_of(p, len);
	struct rf_wire_request v;

	read_check(&in, read_u32(&in) == RF_LANE_MSG_REQUEST);
	v.region = read_u32(&in);
	v.page = read_u64(&in);
	v.slot = read_u32(&in);
	read_check(&in, read_u32(&in) == 0 && v.slot < RF_WIRE_MAX_SLOTS &&
				v.page < WIRE_MAX_PAGES && v.region < RF_MAX_REGIONS);
	if (read_done(&in) != RF_OK)
		return RF_ERR_PROTOCOL;
	*r = v;
	return RF_OK;
}

void rf_wire_put_zero_answer(uint8_t out[RF_WIRE_ZERO_SIZE], uint32_t slot)
{
	put_le32(out, RF_LANE_MSG_ZERO);
	put_le32(out + 4, slot);
}

int rf_wire_get_zero_answer(const void *p, size_t len, uint32_t *slot)
{
	struct reader in = reader_of(p, len);
	uint32_t v;

	read_check(&in, read_u32(&in) == RF_LANE_MSG_ZERO);
	v = read_u32(&in);
	read_check(&in, v < RF_WIRE_MAX_SLOTS);
	if (read_done(&in) != RF_OK)
		return RF_ERR_PROTOCOL;
	*slot = v;
	return RF_OK;
}

void rf_wire_put_announce(uint8_t out[RF_WIRE_ANNOUNCE_SIZE], const struct rf_wire_announce *a)
{
	put_le32(out, RF_LANE_MSG_ANNOUNCE);
	put_le32(out + 4, a->region);
	put_le32(out + 8, a->zero ? ANNOUNCE_ZERO : 0);
	put_le64(out + 12, a->first);
	put_le64(out + 20, a->count);
}

int rf_wire_get_announce(const void *p, size_t len, struct rf_wire_announce *a)
{
	struct reader in = reader_of(p, len);
	struct rf_wire_announce v;
	uint32_t flags;

	read_check(&in, read_u32(&in) == RF_LANE_MSG_ANNOUNCE);
	v.region = read_u32(&in);
	flags = read_u32(&in);
	v.zero = flags & ANNOUNCE_ZERO;
	v.first = read_u64(&in);
	v.count = read_u64(&in);
	read_check(&in, !(flags & ~ANNOUNCE_ZERO) && v.region < RF_MAX_REGIONS &&
				is_range(v.first, v.count, WIRE_MAX_PAGES));
	if (read_done(&in) != RF_OK)
		return RF_ERR_PROTOCOL;
	*a = v;
	return RF_OK;
}
