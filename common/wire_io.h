/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Little-endian readers and writers of the wire files. A reader never goes past its end: the
 * first read that would marks it bad, and from then on every read gives zero. A decoder reads
 * all fields and looks at the mark once, at the end.
 */
#ifndef RF_COMMON_WIRE_IO_H
#define RF_COMMON_WIRE_IO_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/wire.h"

/* What an index may be at most, whatever the migration: more cannot be meant. */
#define WIRE_MAX_PAGES	(RF_WIRE_MAX_LEN / RF_PAGE_SIZE)
#define WIRE_MIN_CHUNK	(1u << 20)
#define WIRE_MAX_CHUNK	(1u << 30)
#define WIRE_MAX_CHUNKS (RF_WIRE_MAX_LEN / WIRE_MIN_CHUNK)

static inline uint16_t get_le16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static inline uint32_t get_le32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t get_le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static inline void put_le16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_le32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_le64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

struct reader {
	const uint8_t *p;
	size_t left;
	bool bad;
};

static inline struct reader reader_of(const void *p, size_t len)
{
	return (struct reader){.p = p, .left = len};
}

/* The next n bytes, or NULL. */
static inline const uint8_t *read_bytes(struct reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->bad || n > r->left) {
		r->bad = true;
		return NULL;
	}
	if (n) /* p may be NULL when there is nothing */
		r->p += n;
	r->left -= n;
	return p;
}

static inline uint16_t read_u16(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 2);

	return p ? get_le16(p) : 0;
}

static inline uint32_t read_u32(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 4);

	return p ? get_le32(p) : 0;
}

static inline uint64_t read_u64(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 8);

	return p ? get_le64(p) : 0;
}

static inline void read_copy(struct reader *r, void *to, size_t n)
{
	const uint8_t *p = read_bytes(r, n);

	if (p)
		memcpy(to, p, n);
}

/* A string: len:u16 bytes[len], without NUL on the wire; min <= len < cap. The rest of out is
 * zeroed, so that equal strings are equal structs. */
static inline void read_str(struct reader *r, char *out, size_t cap, size_t min)
{
	size_t len = read_u16(r);
	const uint8_t *p;

	if (len < min || len >= cap)
		r->bad = true;
	p = read_bytes(r, len);
	if (!p || (len && memchr(p, '\0', len))) {
		r->bad = true;
		return;
	}
	memset(out, 0, cap);
	memcpy(out, p, len);
}

/* What is not as it must be. */
static inline void read_check(struct reader *r, bool right)
{
	if (!right)
		r->bad = true;
}

/* All was there and nothing is left over. */
static inline int read_done(const struct reader *r)
{
	return r->bad || r->left ? RF_ERR_PROTOCOL : RF_OK;
}

/* err is RF_OK or an error, of this version or another; never an answer above zero. */
static inline void read_status(struct reader *r, struct rf_wire_status *st)
{
	st->err = (int32_t)read_u32(r);
	read_check(r, st->err <= 0 && st->err > -1000);
	read_str(r, st->text, sizeof(st->text), 0);
}

/*
 * Room for n more bytes, or NULL and overflow. Messages take all their room at once, so that
 * one that does not fit leaves nothing behind.
 */
static inline uint8_t *put_room(struct rf_wbuf *b, size_t n)
{
	uint8_t *p;

	if (b->overflow || n > b->cap - b->len) {
		b->overflow = true;
		return NULL;
	}
	p = b->data + b->len;
	b->len += n;
	return p;
}

static inline size_t str_size(const char *s, size_t cap)
{
	return 2 + strnlen(s, cap - 1);
}

/* Returns where the next field goes. */
static inline uint8_t *put_str(uint8_t *p, const char *s, size_t cap)
{
	size_t len = strnlen(s, cap - 1);

	put_le16(p, (uint16_t)len);
	memcpy(p + 2, s, len);
	return p + 2 + len;
}

static inline size_t status_size(const struct rf_wire_status *st)
{
	return 4 + str_size(st->text, sizeof(st->text));
}

static inline uint8_t *put_status(uint8_t *p, const struct rf_wire_status *st)
{
	put_le32(p, (uint32_t)st->err);
	return put_str(p + 4, st->text, sizeof(st->text));
}

static inline bool is_page_size(uint32_t size)
{
	return size == 4096 || size == 2u << 20 || size == 1u << 30;
}

static inline bool is_chunk_size(uint64_t size)
{
	return size >= WIRE_MIN_CHUNK && size <= WIRE_MAX_CHUNK && !(size & (size - 1));
}

/* [first, first + count) is not empty and ends at or before max. */
static inline bool is_range(uint64_t first, uint64_t count, uint64_t max)
{
	return count && first < max && count <= max - first;
}

#endif
