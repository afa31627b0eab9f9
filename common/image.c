/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/image.h"

#include <endian.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/digest.h"

static const char magic[8] = "RFIMAGE\n";

/* Fields of the header: where each begins. */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 8,
	AT_NREGIONS = 12,
	AT_FILE_LEN = 16,
	AT_STATE_LEN = 24,
	AT_NORDER = 32,
	AT_ORDER_ROOM = 36,
	AT_TABLES_DIGEST = 40,
	AT_DIGEST = 48, /* of all before */
};
/* And of a row of the region table. */
enum {
	AT_LEN = 256,
	AT_PAGE_SIZE = 264,
	AT_RESERVED = 268,
	AT_BITMAP_DIGEST = 272,
	AT_BLOCKS_DIGEST = 280,
};

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static int say(int rc, char *desc, size_t cap, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static int say(int rc, char *desc, size_t cap, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(desc, cap, fmt, ap);
	va_end(ap);
	return rc;
}

static uint64_t round_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) / to * to;
}

static bool region_fits(const struct rf_image_region *r)
{
	return (r->page_size == RF_PAGE_SIZE || r->page_size == 2u << 20 ||
		r->page_size == 1u << 30) &&
	       r->len && r->len <= RF_IMAGE_MAX_LEN && r->len % r->page_size == 0;
}

int rf_image_layout(struct rf_image *img)
{
	uint64_t at;

	if (!img->nregions || img->nregions > RF_IMAGE_MAX_REGIONS ||
	    img->state_len > RF_IMAGE_MAX_STATE || img->order_room > RF_IMAGE_MAX_ORDER ||
	    img->norder > img->order_room)
		return RF_ERR_INVALID;
	img->order_offset = (uint64_t)img->nregions * RF_IMAGE_REGION;
	img->state_offset = img->order_offset + (uint64_t)img->order_room * 8;
	img->tables_len = img->state_offset + img->state_len;
	at = RF_IMAGE_HEADER + round_up(img->tables_len, RF_PAGE_SIZE);
	for (uint32_t i = 0; i < img->nregions; i++) {
		struct rf_image_region *r = &img->regions[i];

		if (!region_fits(r))
			return RF_ERR_INVALID;
		r->pages = r->len / RF_PAGE_SIZE;
		r->blocks = round_up(r->len, RF_IMAGE_BLOCK) / RF_IMAGE_BLOCK;
		r->bitmap_offset = at;
		at += round_up((r->pages + 63) / 64 * 8, RF_PAGE_SIZE);
		r->blocks_offset = at;
		at += round_up(r->blocks * 8, RF_PAGE_SIZE);
	}
	img->data_offset = at = round_up(at, RF_IMAGE_BLOCK);
	for (uint32_t i = 0; i < img->nregions; i++) {
		img->regions[i].data_offset = at;
		at += round_up(img->regions[i].len, RF_IMAGE_BLOCK);
	}
	img->file_len = at;
	return RF_OK;
}

void rf_image_put_header(const struct rf_image *img, uint8_t *out)
{
	memset(out, 0, RF_IMAGE_HEADER);
	memcpy(out + AT_MAGIC, magic, sizeof(magic));
	put32(out + AT_VERSION, RF_IMAGE_VERSION);
	put32(out + AT_NREGIONS, img->nregions);
	put64(out + AT_FILE_LEN, img->file_len);
	put64(out + AT_STATE_LEN, img->state_len);
	put32(out + AT_NORDER, img->norder);
	put32(out + AT_ORDER_ROOM, img->order_room);
	put64(out + AT_TABLES_DIGEST, img->tables_digest);
	put64(out + AT_DIGEST, rf_digest(out, AT_DIGEST));
}

int rf_image_get_header(const uint8_t *in, uint64_t file_len, struct rf_image *img, char *desc,
			size_t cap)
{
	if (memcmp(in + AT_MAGIC, magic, sizeof(magic)) != 0)
		return say(RF_ERR_NOT_RAMFERRY, desc, cap, "it is no snapshot of ramferry");
	if (get32(in + AT_VERSION) != RF_IMAGE_VERSION)
		return say(RF_ERR_VERSION, desc, cap,
			   "its format has version %" PRIu32 ", this program reads version %u",
			   get32(in + AT_VERSION), RF_IMAGE_VERSION);
	if (get64(in + AT_DIGEST) != rf_digest(in, AT_DIGEST))
		return say(RF_ERR_PROTOCOL, desc, cap, "its header is damaged");
	*img = (struct rf_image){
		.nregions = get32(in + AT_NREGIONS),
		.state_len = get64(in + AT_STATE_LEN),
		.norder = get32(in + AT_NORDER),
		.order_room = get32(in + AT_ORDER_ROOM),
		.tables_digest = get64(in + AT_TABLES_DIGEST),
		.file_len = get64(in + AT_FILE_LEN),
	};
	if (img->file_len != file_len)
		return say(RF_ERR_PROTOCOL, desc, cap,
			   "it has %" PRIu64 " bytes where %" PRIu64
			   " were written: cut off or added to",
			   file_len, img->file_len);
	if (!img->nregions || img->nregions > RF_IMAGE_MAX_REGIONS)
		return say(RF_ERR_PROTOCOL, desc, cap, "%" PRIu32 " regions in its header",
			   img->nregions);
	if (img->state_len > RF_IMAGE_MAX_STATE || img->order_room > RF_IMAGE_MAX_ORDER ||
	    img->norder > img->order_room)
		return say(RF_ERR_PROTOCOL, desc, cap, "impossible lengths in its header");
	img->order_offset = (uint64_t)img->nregions * RF_IMAGE_REGION;
	img->state_offset = img->order_offset + (uint64_t)img->order_room * 8;
	img->tables_len = img->state_offset + img->state_len;
	if (RF_IMAGE_HEADER + img->tables_len > file_len)
		return say(RF_ERR_PROTOCOL, desc, cap, "its tables do not fit into it");
	return RF_OK;
}

void rf_image_put_tables(const struct rf_image *img, const struct rf_image_order *order,
			 uint8_t *out)
{
	memset(out, 0, img->state_offset);
	for (uint32_t i = 0; i < img->nregions; i++) {
		const struct rf_image_region *r = &img->regions[i];
		uint8_t *row = out + (uint64_t)i * RF_IMAGE_REGION;

		snprintf((char *)row, RF_REGION_ID_SIZE, "%s", r->id);
		put64(row + AT_LEN, r->len);
		put32(row + AT_PAGE_SIZE, r->page_size);
		put64(row + AT_BITMAP_DIGEST, r->bitmap_digest);
		put64(row + AT_BLOCKS_DIGEST, r->blocks_digest);
	}
	for (uint32_t i = 0; i < img->norder; i++) {
		put32(out + img->order_offset + (uint64_t)i * 8, order[i].region);
		put32(out + img->order_offset + (uint64_t)i * 8 + 4, order[i].block);
	}
}

/* A name, and nothing behind its end. */
static bool id_good(const uint8_t *row)
{
	size_t n = strnlen((const char *)row, RF_REGION_ID_SIZE);

	if (!n || n == RF_REGION_ID_SIZE)
		return false;
	for (size_t i = 0; i < RF_REGION_ID_SIZE; i++)
		if (i < n ? row[i] < ' ' || row[i] > '~' : row[i])
			return false;
	return true;
}

static int get_region(const uint8_t *row, struct rf_image *img, uint32_t i, char *desc, size_t cap)
{
	struct rf_image_region *r = &img->regions[i];

	memset(r, 0, sizeof(*r));
	if (!id_good(row))
		return say(RF_ERR_PROTOCOL, desc, cap, "region %" PRIu32 " has no proper name", i);
	memcpy(r->id, row, sizeof(r->id));
	r->len = get64(row + AT_LEN);
	r->page_size = get32(row + AT_PAGE_SIZE);
	r->bitmap_digest = get64(row + AT_BITMAP_DIGEST);
	r->blocks_digest = get64(row + AT_BLOCKS_DIGEST);
	if (!region_fits(r) || get32(row + AT_RESERVED))
		return say(RF_ERR_PROTOCOL, desc, cap,
			   "region \"%s\": impossible length %" PRIu64 " or page size %" PRIu32,
			   r->id, r->len, r->page_size);
	for (uint32_t k = 0; k < i; k++)
		if (!strcmp(img->regions[k].id, r->id))
			return say(RF_ERR_PROTOCOL, desc, cap, "region \"%s\" is there twice",
				   r->id);
	return RF_OK;
}

int rf_image_get_tables(const uint8_t *in, struct rf_image *img, struct rf_image_order *order,
			char *desc, size_t cap)
{
	uint64_t file_len = img->file_len;

	for (uint32_t i = 0; i < img->nregions; i++) {
		int rc = get_region(in + (uint64_t)i * RF_IMAGE_REGION, img, i, desc, cap);

		if (rc)
			return rc;
	}
	if (rf_image_layout(img) != RF_OK || img->file_len != file_len)
		return say(RF_ERR_PROTOCOL, desc, cap,
			   "its regions do not add up to its %" PRIu64 " bytes", file_len);
	for (uint32_t i = 0; i < img->norder; i++) {
		const uint8_t *p = in + img->order_offset + (uint64_t)i * 8;

		order[i] = (struct rf_image_order){.region = get32(p), .block = get32(p + 4)};
		if (order[i].region >= img->nregions ||
		    order[i].block >= img->regions[order[i].region].blocks)
			return say(RF_ERR_PROTOCOL, desc, cap,
				   "entry %" PRIu32 " of its order names no block", i);
	}
	return RF_OK;
}

uint64_t rf_image_page_digest(const void *page)
{
	return rf_digest(page, RF_PAGE_SIZE);
}

uint64_t rf_image_block_digest(const uint64_t *pages, uint64_t n)
{
	return rf_digest(pages, n * sizeof(*pages));
}
