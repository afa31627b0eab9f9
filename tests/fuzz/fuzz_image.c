/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzer of the snapshot file's header and tables: arbitrary bytes, with their digests put right,
 * for a digest only keeps accidents out. What is accepted is encoded again and must be the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/digest.h"
#include "common/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADER_FIELDS 48 /* bytes of the header that say something; its digest follows */

static void fail(const char *what)
{
	fprintf(stderr, "fuzz_image: %s\n", what);
	abort();
}

static void check_header(const struct rf_image *img, const uint8_t *in)
{
	uint8_t out[RF_IMAGE_HEADER];

	rf_image_put_header(img, out);
	if (memcmp(in, out, HEADER_FIELDS + 8) != 0)
		fail("the header is not the same");
}

/* Each page's place must be in the file, and no two places the same. */
static void check_layout(const struct rf_image *img)
{
	uint64_t end = RF_IMAGE_HEADER + img->tables_len;

	for (uint32_t i = 0; i < img->nregions; i++) {
		const struct rf_image_region *r = &img->regions[i];

		if (r->bitmap_offset < end || r->blocks_offset < r->bitmap_offset + r->pages / 8)
			fail("maps overlap");
		end = r->blocks_offset + r->blocks * 8;
	}
	for (uint32_t i = 0; i < img->nregions; i++) {
		const struct rf_image_region *r = &img->regions[i];

		if (r->data_offset < end || r->data_offset + r->len > img->file_len)
			fail("data overlap");
		end = r->data_offset + r->len;
	}
}

static void check_tables(struct rf_image *img, const uint8_t *tables)
{
	struct rf_image_order *order = calloc(img->norder + 1, sizeof(*order));
	uint8_t *out = malloc(img->state_offset + 1);
	char desc[400] = "";

	img->regions = calloc(img->nregions, sizeof(*img->regions));
	if (!order || !out || !img->regions)
		abort();
	switch (rf_image_get_tables(tables, img, order, desc, sizeof(desc))) {
	case RF_OK:
		check_layout(img);
		rf_image_put_tables(img, order, out);
		/* entries there is room for and that are not used may hold anything */
		if (memcmp(tables, out, img->order_offset + (uint64_t)img->norder * 8) != 0)
			fail("the tables are not the same");
		break;
	case RF_ERR_PROTOCOL:
		if (!desc[0])
			fail("refused without a word");
		break;
	default:
		fail("neither accepted nor refused");
	}
	free(img->regions);
	free(order);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t header[RF_IMAGE_HEADER] = {0};
	uint64_t file_len, digest;
	struct rf_image img;
	uint8_t *tables;
	char desc[160];

	if (size < HEADER_FIELDS)
		return 0;
	memcpy(header, data, HEADER_FIELDS);
	digest = rf_digest(header, HEADER_FIELDS);
	memcpy(header + HEADER_FIELDS, &digest, sizeof(digest));
	memcpy(&file_len, header + 16, sizeof(file_len));
	if (rf_image_get_header(header, file_len, &img, desc, sizeof(desc)) != RF_OK)
		return 0;
	check_header(&img, header);
	data += HEADER_FIELDS;
	size -= HEADER_FIELDS;
	if (img.state_offset > size)
		return 0;
	/* of just its size, so that a read past its end shows */
	tables = malloc(img.state_offset);
	if (!tables)
		abort();
	memcpy(tables, data, img.state_offset);
	check_tables(&img, tables);
	free(tables);
	return 0;
}
