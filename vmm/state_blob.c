/* SPDX-License-Identifier: BSD-3-Clause */
#include "vmm/state_blob.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/log.h"

#define BLOB_NAME    "guest state"
#define BLOB_MAGIC   0x4d564652u /* "RFVM" */
#define BLOB_VERSION 1u

static void put_u16(unsigned char *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static void put_u32(unsigned char *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static void put_u64(unsigned char *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static uint16_t get_u16(const unsigned char *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t get_u32(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get_u64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* FNV-1a. Tells of damage on the way; a peer that means harm is met by the checks after it. */
static uint64_t digest(const unsigned char *p, size_t len)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	return h;
}

static unsigned char *grow(struct rf_blob_writer *w, size_t more)
{
	unsigned char *data;

	if (w->failed)
		return NULL;
	if (w->len + more > w->cap) {
		size_t cap = 2 * w->cap + more;

		data = realloc(w->data, cap);
		if (!data) {
			w->failed = true;
			return NULL;
		}
		w->data = data;
		w->cap = cap;
	}
	data = w->data + w->len;
	w->len += more;
	return data;
}

void rf_blob_begin(struct rf_blob_writer *w)
{
	*w = (struct rf_blob_writer){0};
	grow(w, RF_BLOB_HEADER);
}

void rf_blob_put(struct rf_blob_writer *w, uint16_t tag, uint16_t vcpu, const void *data,
		 uint32_t len)
{
	unsigned char *p = grow(w, RF_BLOB_SECTION_HEAD + (size_t)len);

	if (!p)
		return;
	put_u16(p, tag);
	put_u16(p + 2, vcpu);
	put_u32(p + 4, len);
	memcpy(p + RF_BLOB_SECTION_HEAD, data, len);
}

int rf_blob_finish(struct rf_blob_writer *w, const struct rf_blob_machine *m, void **buf,
		   size_t *len)
{
	unsigned char *h = w->data;
	size_t body = w->len - RF_BLOB_HEADER;

	if (w->failed) {
		rf_err_log(BLOB_NAME, "no memory");
		rf_blob_drop(w);
		return RF_ERR_NO_MEMORY;
	}
	put_u32(h, BLOB_MAGIC);
	put_u32(h + 4, BLOB_VERSION);
	put_u32(h + 8, m->kind);
	put_u32(h + 12, m->vcpus);
	put_u64(h + 16, m->memory);
	put_u64(h + 24, body);
	put_u64(h + 32, digest(h + RF_BLOB_HEADER, body));
	*buf = w->data;
	*len = w->len;
	*w = (struct rf_blob_writer){0};
	return RF_OK;
}

void rf_blob_drop(struct rf_blob_writer *w)
{
	free(w->data);
	*w = (struct rf_blob_writer){0};
}

static int check_machine(const struct rf_blob_machine *got, const struct rf_blob_machine *want)
{
	if (got->kind != want->kind) {
		rf_err_log(BLOB_NAME, "the source is a guest of another kind (%u, here %u)",
			   got->kind, want->kind);
		return RF_ERR_MISMATCH;
	}
	if (got->vcpus != want->vcpus) {
		rf_err_log(BLOB_NAME, "the source has %u vCPUs, this guest %u", got->vcpus,
			   want->vcpus);
		return RF_ERR_MISMATCH;
	}
	if (got->memory != want->memory) {
		rf_err_log(BLOB_NAME, "the source has %llu bytes of memory, this guest %llu",
			   (unsigned long long)got->memory, (unsigned long long)want->memory);
		return RF_ERR_MISMATCH;
	}
	return RF_OK;
}

int rf_blob_machine(const void *buf, size_t len, struct rf_blob_machine *got)
{
	const unsigned char *h = buf;

	if (!buf || len < RF_BLOB_HEADER || get_u32(h) != BLOB_MAGIC) {
		rf_err_log(BLOB_NAME, "%zu bytes that are not the state of a built-in guest", len);
		return RF_ERR_PROTOCOL;
	}
	if (get_u32(h + 4) != BLOB_VERSION) {
		rf_err_log(BLOB_NAME, "version %u, known is %u", get_u32(h + 4), BLOB_VERSION);
		return RF_ERR_PROTOCOL;
	}
	if (get_u64(h + 24) != len - RF_BLOB_HEADER ||
	    get_u64(h + 32) != digest(h + RF_BLOB_HEADER, len - RF_BLOB_HEADER)) {
		rf_err_log(BLOB_NAME, "cut off or damaged (%zu bytes)", len);
		return RF_ERR_PROTOCOL;
	}
	*got = (struct rf_blob_machine){get_u32(h + 8), get_u32(h + 12), get_u64(h + 16)};
	return RF_OK;
}

int rf_blob_open(const void *buf, size_t len, const struct rf_blob_machine *want,
		 const unsigned char **body, size_t *body_len)
{
	struct rf_blob_machine got;
	int rc = rf_blob_machine(buf, len, &got);

	if (!rc)
		rc = check_machine(&got, want);
	if (rc)
		return rc;
	*body = (const unsigned char *)buf + RF_BLOB_HEADER;
	*body_len = len - RF_BLOB_HEADER;
	return RF_OK;
}

int rf_blob_next(const unsigned char **p, size_t *left, struct rf_blob_section *s)
{
	if (!*left)
		return RF_AGAIN;
	if (*left < RF_BLOB_SECTION_HEAD || get_u32(*p + 4) > *left - RF_BLOB_SECTION_HEAD) {
		rf_err_log(BLOB_NAME, "a section is cut off");
		return RF_ERR_PROTOCOL;
	}
	s->tag = get_u16(*p);
	s->vcpu = get_u16(*p + 2);
	s->len = get_u32(*p + 4);
	s->data = *p + RF_BLOB_SECTION_HEAD;
	*p += RF_BLOB_SECTION_HEAD + s->len;
	*left -= RF_BLOB_SECTION_HEAD + (size_t)s->len;
	return RF_OK;
}
