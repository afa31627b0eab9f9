/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file of a snapshot: a guest's memory at one instant and its device state. A page's place in
 * the file follows from its number alone, so pages are written in any order, once, and what is
 * zero stays a hole:
 *
 *   0            header          4 KiB: lengths, digests, its own digest
 *   4 KiB        tables          regions | order of the first writes | device state
 *   maps         per region      bitmap of pages present | digest of each block of 2 MiB
 *   data         per region      its pages, at their offsets; begins at a multiple of 2 MiB
 *
 * All numbers are little-endian. What is read from a file is checked before it is used: each
 * offset is computed from the lengths, and those must add up to the size of the file.
 */
#ifndef RF_COMMON_IMAGE_H
#define RF_COMMON_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include <ramferry/region.h>

#define RF_IMAGE_VERSION     1u
#define RF_IMAGE_HEADER	     4096u
#define RF_IMAGE_BLOCK	     (2u << 20) /* has one digest, and is what lazy restore reads at once */
#define RF_IMAGE_BLOCK_PAGES (RF_IMAGE_BLOCK / RF_PAGE_SIZE)
#define RF_IMAGE_REGION	     288u /* bytes of a row of the region table */
#define RF_IMAGE_MAX_REGIONS RF_MAX_REGIONS
#define RF_IMAGE_MAX_STATE   (256u << 20)
#define RF_IMAGE_MAX_ORDER   65536u
#define RF_IMAGE_MAX_LEN     (1ull << 46) /* of a region: 64 TiB */

struct rf_image_region {
	char id[RF_REGION_ID_SIZE];
	uint64_t len;
	uint32_t page_size;
	uint64_t bitmap_digest, blocks_digest; /* of the two maps as they are in the file */
	/* computed */
	uint64_t pages, blocks;
	uint64_t bitmap_offset, blocks_offset, data_offset;
};

/* Blocks in the order in which the guest first wrote to them: what a restore reads first. */
struct rf_image_order {
	uint32_t region, block;
};

struct rf_image {
	uint32_t nregions;
	uint64_t state_len;
	uint32_t norder, order_room; /* entries used, entries there is room for */
	uint64_t tables_digest;
	/* computed */
	uint64_t order_offset, state_offset; /* in the tables */
	uint64_t tables_len, data_offset, file_len;
	struct rf_image_region *regions; /* nregions; the caller's */
};

/* Computes offsets and lengths from nregions, their len, state_len and order_room. RF_ERR_INVALID
 * if one is out of range (not logged). */
int rf_image_layout(struct rf_image *img);

/* Header: out has RF_IMAGE_HEADER bytes. */
void rf_image_put_header(const struct rf_image *img, uint8_t *out);
/*
 * Fills all of *img that the header has, regions excepted. desc says what is wrong:
 * RF_ERR_NOT_RAMFERRY no snapshot, RF_ERR_VERSION, RF_ERR_PROTOCOL damaged or cut off.
 * file_len: how long the file is.
 */
int rf_image_get_header(const uint8_t *in, uint64_t file_len, struct rf_image *img, char *desc,
			size_t cap);

/* Tables but the device state: out has img->state_offset bytes. order: norder entries. */
void rf_image_put_tables(const struct rf_image *img, const struct rf_image_order *order,
			 uint8_t *out);
/*
 * in: img->state_offset bytes. Fills img->regions (room for nregions) and order (room for
 * norder), and computes the layout. RF_ERR_PROTOCOL and desc.
 */
int rf_image_get_tables(const uint8_t *in, struct rf_image *img, struct rf_image_order *order,
			char *desc, size_t cap);

/* Digest of a page, and of a block from those of its pages, 0 for a page that is not present. */
uint64_t rf_image_page_digest(const void *page);
uint64_t rf_image_block_digest(const uint64_t *pages, uint64_t n);

/* Pages of a block: fewer in the last one of a region. */
static inline uint64_t rf_image_block_pages(const struct rf_image_region *r, uint64_t block)
{
	uint64_t left = r->pages - block * RF_IMAGE_BLOCK_PAGES;

	return left < RF_IMAGE_BLOCK_PAGES ? left : RF_IMAGE_BLOCK_PAGES;
}

#endif
