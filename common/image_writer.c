/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/image_writer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <ramferry/err.h>

#include "common/bitmap.h"
#include "common/digest.h"
#include "common/log.h"

/* Maps are arrays of numbers in the file as they are in memory. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "maps are written as they are");

#define OBJ	    "snapshot file"
#define PUT_AT_ONCE (64u << 10)

/*
 * Digests of pages are kept while their block is not complete, which is 4 KiB a block:
 *
 *   pages    |d d . d|. . . .|d d d d|     one row a block, memory is given back when complete
 *   noted       3       0       4          pages of which is known what they hold
 *   blocks      -       -       D
 */
struct writer_region {
	struct rf_bitmap present, touched;
	uint64_t *pages;
	uint16_t *noted;
	uint64_t *blocks;
	uint64_t npages, nblocks;
};

struct rf_image_writer {
	struct rf_image_io *io;
	struct rf_image img;
	struct writer_region *regions;
	struct rf_image_order *order;
	void *state; /* a copy */
	bool complete;
};

int rf_image_writer_open(const char *path, struct rf_image_writer **out)
{
	struct rf_image_writer *w = calloc(1, sizeof(*w));
	int rc = w ? rf_image_io_open(path, &w->io) : RF_ERR_NO_MEMORY;

	if (rc == RF_OK)
		*out = w;
	else
		free(w);
	return rc;
}

/* Zeroed memory that costs nothing until it is touched. */
static int map_lazily(uint64_t len, void **out)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return RF_ERR_NO_MEMORY;
	*out = p;
	return RF_OK;
}

static void unmap(void *p, uint64_t len)
{
	if (p)
		munmap(p, len);
}

static int make_maps(struct writer_region *r, const struct rf_image_region *info)
{
	r->npages = info->pages;
	r->nblocks = info->blocks;
	if (map_lazily(info->blocks * RF_IMAGE_BLOCK_PAGES * sizeof(*r->pages),
		       (void **)&r->pages) != RF_OK ||
	    map_lazily(info->blocks * sizeof(*r->noted), (void **)&r->noted) != RF_OK ||
	    map_lazily(info->blocks * sizeof(*r->blocks), (void **)&r->blocks) != RF_OK ||
	    rf_bitmap_init(&r->present, info->pages) != RF_OK ||
	    rf_bitmap_init(&r->touched, info->blocks) != RF_OK)
		return RF_ERR_NO_MEMORY;
	return RF_OK;
}

static void free_maps(struct writer_region *r)
{
	unmap(r->pages, r->nblocks * RF_IMAGE_BLOCK_PAGES * sizeof(*r->pages));
	unmap(r->noted, r->nblocks * sizeof(*r->noted));
	unmap(r->blocks, r->nblocks * sizeof(*r->blocks));
	rf_bitmap_fini(&r->present);
	rf_bitmap_fini(&r->touched);
}

static int lay_out(struct rf_image_writer *w, const struct rf_region *regions, unsigned n)
{
	uint64_t blocks = 0;

	w->img.nregions = n;
	for (unsigned i = 0; i < n; i++) {
		struct rf_image_region *r = &w->img.regions[i];

		memcpy(r->id, regions[i].id, sizeof(r->id));
		r->id[sizeof(r->id) - 1] = 0;
		r->len = regions[i].len;
		r->page_size = regions[i].page_size;
		blocks += r->len / RF_IMAGE_BLOCK + 1;
	}
	w->img.order_room = blocks < RF_IMAGE_MAX_ORDER ? (uint32_t)blocks : RF_IMAGE_MAX_ORDER;
	if (rf_image_layout(&w->img) == RF_OK)
		return RF_OK;
	rf_err_log(OBJ, "these regions or this device state (%llu bytes) do not go into a file",
		   (unsigned long long)w->img.state_len);
	return RF_ERR_INVALID;
}

int rf_image_writer_begin(struct rf_image_writer *w, const struct rf_region *regions, unsigned n,
			  const void *state, size_t state_len)
{
	int rc;

	w->img.state_len = state_len;
	w->img.regions = calloc(n, sizeof(*w->img.regions));
	w->regions = calloc(n, sizeof(*w->regions));
	w->state = malloc(state_len + 1);
	if (!w->img.regions || !w->regions || !w->state)
		return RF_ERR_NO_MEMORY;
	if (state_len)
		memcpy(w->state, state, state_len);
	rc = lay_out(w, regions, n);
	for (unsigned i = 0; rc == RF_OK && i < n; i++)
		rc = make_maps(&w->regions[i], &w->img.regions[i]);
	if (rc != RF_OK)
		return rc;
	w->order = calloc(w->img.order_room, sizeof(*w->order));
	return w->order ? rf_image_io_resize(w->io, w->img.file_len) : RF_ERR_NO_MEMORY;
}

static void complete_block(struct rf_image_writer *w, unsigned region, uint64_t block)
{
	struct writer_region *r = &w->regions[region];
	uint64_t *pages = r->pages + block * RF_IMAGE_BLOCK_PAGES;
	uint64_t first = block * RF_IMAGE_BLOCK_PAGES;
	uint64_t n = rf_image_block_pages(&w->img.regions[region], block);

	/* A block of zeros has digest 0 in the file, and takes no room there. */
	if (rf_bitmap_find_set(&r->present, first, first + n) == RF_BITMAP_NONE)
		return;
	r->blocks[block] = rf_image_block_digest(pages, n);
	/* A row is a page of memory; if it is not given back it only costs. */
	(void)madvise(pages, RF_IMAGE_BLOCK_PAGES * sizeof(*pages), MADV_DONTNEED);
}

static void note(struct rf_image_writer *w, unsigned region, uint64_t block, uint64_t n)
{
	struct writer_region *r = &w->regions[region];

	r->noted[block] = (uint16_t)(r->noted[block] + n);
	if (r->noted[block] == rf_image_block_pages(&w->img.regions[region], block))
		complete_block(w, region, block);
}

void rf_image_writer_page(struct rf_image_writer *w, unsigned region, uint64_t page,
			  const void *data)
{
	struct writer_region *r = &w->regions[region];

	r->pages[page] = rf_image_page_digest(data);
	rf_bitmap_set(&r->present, page);
	note(w, region, page / RF_IMAGE_BLOCK_PAGES, 1);
}

void rf_image_writer_absent(struct rf_image_writer *w, unsigned region, uint64_t first, uint64_t n)
{
	while (n) {
		uint64_t block = first / RF_IMAGE_BLOCK_PAGES;
		uint64_t here = (block + 1) * RF_IMAGE_BLOCK_PAGES - first;

		here = here < n ? here : n;
		note(w, region, block, here);
		first += here;
		n -= here;
	}
}

int rf_image_writer_write(struct rf_image_writer *w, unsigned region, uint64_t first,
			  const void *data, uint32_t len, void *token)
{
	return rf_image_io_write(w->io, w->img.regions[region].data_offset + first * RF_PAGE_SIZE,
				 data, len, token);
}

struct rf_image_io *rf_image_writer_io(struct rf_image_writer *w)
{
	return w->io;
}

void rf_image_writer_touched(struct rf_image_writer *w, unsigned region, uint64_t page)
{
	uint64_t block = page / RF_IMAGE_BLOCK_PAGES;

	if (w->img.norder == w->img.order_room ||
	    rf_bitmap_test_and_set(&w->regions[region].touched, block))
		return;
	w->order[w->img.norder++] =
		(struct rf_image_order){.region = region, .block = (uint32_t)block};
}

uint64_t rf_image_writer_len(const struct rf_image_writer *w)
{
	return w->img.file_len;
}

/* Writes `len` bytes, zero-filled to whole pages; pages of zeros stay holes. */
static int put_sparse(struct rf_image_writer *w, uint64_t offset, const void *from, uint64_t len)
{
	static const uint8_t zeros[RF_PAGE_SIZE];
	uint8_t *buf = aligned_alloc(RF_PAGE_SIZE, PUT_AT_ONCE);
	uint64_t at = 0;
	int rc = buf ? RF_OK : RF_ERR_NO_MEMORY;

	while (rc == RF_OK && at < len) {
		uint64_t n = 0, begin = at;

		while (at < len && n < PUT_AT_ONCE) {
			uint64_t here = len - at < RF_PAGE_SIZE ? len - at : RF_PAGE_SIZE;

			if (!memcmp((const uint8_t *)from + at, zeros, here))
				break;
			memset(buf + n, 0, RF_PAGE_SIZE);
			memcpy(buf + n, (const uint8_t *)from + at, here);
			at += here;
			n += RF_PAGE_SIZE;
		}
		if (n)
			rc = rf_image_io_put(w->io, offset + begin, buf, n);
		else
			at += RF_PAGE_SIZE;
	}
	free(buf);
	return rc;
}

static int put_maps(struct rf_image_writer *w, unsigned i)
{
	struct rf_image_region *info = &w->img.regions[i];
	struct writer_region *r = &w->regions[i];
	const void *words = (const void *)r->present.words;
	uint64_t len = (info->pages + 63) / 64 * 8;
	int rc;

	for (uint64_t b = 0; b < info->blocks; b++) /* those of which not all was said */
		if (r->noted[b] && r->noted[b] != rf_image_block_pages(info, b))
			complete_block(w, i, b);
	info->bitmap_digest = rf_digest(words, len);
	info->blocks_digest = rf_digest(r->blocks, info->blocks * sizeof(*r->blocks));
	rc = put_sparse(w, info->bitmap_offset, words, len);
	return rc ? rc : put_sparse(w, info->blocks_offset, r->blocks, info->blocks * 8);
}

static int put_tables(struct rf_image_writer *w)
{
	uint8_t *tables = calloc(1, w->img.tables_len);
	uint8_t *header = aligned_alloc(RF_PAGE_SIZE, RF_IMAGE_HEADER);
	int rc = tables && header ? RF_OK : RF_ERR_NO_MEMORY;

	if (rc == RF_OK) {
		rf_image_put_tables(&w->img, w->order, tables);
		memcpy(tables + w->img.state_offset, w->state, w->img.state_len);
		w->img.tables_digest = rf_digest(tables, w->img.tables_len);
		rf_image_put_header(&w->img, header);
		rc = put_sparse(w, RF_IMAGE_HEADER, tables, w->img.tables_len);
	}
	if (rc == RF_OK)
		rc = rf_image_io_put(w->io, 0, header, RF_IMAGE_HEADER);
	free(header);
	free(tables);
	return rc;
}

static int put_all(struct rf_image_writer *w)
{
	int rc = RF_OK;

	for (unsigned i = 0; rc == RF_OK && i < w->img.nregions; i++)
		rc = put_maps(w, i);
	return rc == RF_OK ? put_tables(w) : rc;
}

int rf_image_writer_complete(struct rf_image_writer *w)
{
	int rc = put_all(w);

	w->complete = rc == RF_OK;
	return rc == RF_OK ? rf_image_io_sync(w->io) : rc;
}

int rf_image_writer_finish(struct rf_image_writer *w)
{
	int rc = w->complete ? RF_OK : put_all(w);

	return rc == RF_OK ? rf_image_io_commit(w->io) : rc;
}

bool rf_image_writer_close(struct rf_image_writer **wp)
{
	struct rf_image_writer *w = *wp;
	bool idle;

	*wp = NULL;
	if (!w)
		return true;
	idle = rf_image_io_close(&w->io);
	for (unsigned i = 0; w->regions && i < w->img.nregions; i++)
		free_maps(&w->regions[i]);
	free(w->regions);
	free(w->img.regions);
	free(w->order);
	free(w->state);
	free(w);
	return idle;
}
