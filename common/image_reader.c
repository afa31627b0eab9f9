/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/image_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/digest.h"
#include "common/log.h"

#define OBJ	     "snapshot file"
#define READ_AT_ONCE (64u << 10)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "maps are read as they are");

static int read_all(const struct rf_image_reader *r, void *to, uint64_t len, uint64_t offset)
{
	uint8_t *p = to;

	while (len) {
		ssize_t n = pread(r->fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			rf_err_log(OBJ, "%s: reading at offset %" PRIu64 ": %s", r->path, offset,
				   n ? strerror(errno) : "it ends there");
			return n ? RF_ERR_SYSTEM : RF_ERR_PROTOCOL;
		}
		p += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return RF_OK;
}

static int read_header(struct rf_image_reader *r)
{
	uint8_t header[RF_IMAGE_HEADER];
	char desc[160];
	struct stat st;
	int rc;

	if (fstat(r->fd, &st) || !S_ISREG(st.st_mode)) {
		rf_err_log(OBJ, "%s: it is no regular file", r->path);
		return RF_ERR_NOT_RAMFERRY;
	}
	if (st.st_size < RF_IMAGE_HEADER) {
		rf_err_log(OBJ, "%s: it is no snapshot of ramferry, or cut off", r->path);
		return RF_ERR_NOT_RAMFERRY;
	}
	rc = read_all(r, header, sizeof(header), 0);
	if (rc != RF_OK)
		return rc;
	rc = rf_image_get_header(header, (uint64_t)st.st_size, &r->img, desc, sizeof(desc));
	if (rc != RF_OK)
		rf_err_log(OBJ, "%s: %s", r->path, desc);
	return rc;
}

static int read_tables(struct rf_image_reader *r)
{
	uint8_t *tables = malloc(r->img.tables_len);
	char desc[400];
	int rc = RF_ERR_NO_MEMORY;

	r->img.regions = calloc(r->img.nregions, sizeof(*r->img.regions));
	r->order = calloc(r->img.norder + 1, sizeof(*r->order));
	r->state = malloc(r->img.state_len + 1);
	if (!tables || !r->img.regions || !r->order || !r->state)
		goto done;
	rc = read_all(r, tables, r->img.tables_len, RF_IMAGE_HEADER);
	if (rc != RF_OK)
		goto done;
	if (rf_digest(tables, r->img.tables_len) != r->img.tables_digest) {
		rf_err_log(OBJ, "%s: its tables are damaged", r->path);
		rc = RF_ERR_PROTOCOL;
		goto done;
	}
	rc = rf_image_get_tables(tables, &r->img, r->order, desc, sizeof(desc));
	if (rc != RF_OK)
		rf_err_log(OBJ, "%s: %s", r->path, desc);
	else
		memcpy(r->state, tables + r->img.state_offset, r->img.state_len);
done:
	free(tables);
	return rc;
}

/* What is zero is not written to: `to` is memory that costs nothing until then. */
static int read_sparse(struct rf_image_reader *r, uint8_t *to, uint64_t len, uint64_t offset)
{
	static const uint8_t zeros[RF_PAGE_SIZE];
	uint8_t buf[READ_AT_ONCE];
	int rc = RF_OK;

	for (uint64_t at = 0; rc == RF_OK && at < len; at += sizeof(buf)) {
		uint64_t n = len - at < sizeof(buf) ? len - at : sizeof(buf);

		rc = read_all(r, buf, n, offset + at);
		for (uint64_t i = 0; rc == RF_OK && i < n; i += RF_PAGE_SIZE) {
			uint64_t here = n - i < RF_PAGE_SIZE ? n - i : RF_PAGE_SIZE;

			if (memcmp(buf + i, zeros, here) != 0)
				memcpy(to + at + i, buf + i, here);
		}
	}
	return rc;
}

static int map_damaged(const struct rf_image_reader *r, uint32_t i, const char *which)
{
	rf_err_log(OBJ, "%s: region \"%s\": its %s is damaged", r->path, r->img.regions[i].id,
		   which);
	return RF_ERR_PROTOCOL;
}

static int read_maps(struct rf_image_reader *r, uint32_t i)
{
	const struct rf_image_region *info = &r->img.regions[i];
	uint64_t bitmap_len = (info->pages + 63) / 64 * 8, blocks_len = info->blocks * 8;
	void *blocks;
	int rc;

	if (rf_bitmap_init(&r->present[i], info->pages) != RF_OK)
		return RF_ERR_NO_MEMORY;
	blocks = mmap(NULL, blocks_len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (blocks == MAP_FAILED)
		return RF_ERR_NO_MEMORY;
	r->blocks[i] = blocks;
	rc = read_sparse(r, (uint8_t *)r->present[i].words, bitmap_len, info->bitmap_offset);
	if (rc == RF_OK)
		rc = read_sparse(r, blocks, blocks_len, info->blocks_offset);
	if (rc != RF_OK)
		return rc;
	if (rf_digest((const void *)r->present[i].words, bitmap_len) != info->bitmap_digest ||
	    (info->pages % 64 &&
	     rf_bitmap_word(&r->present[i], info->pages / 64) >> (info->pages % 64)))
		return map_damaged(r, i, "bitmap of pages");
	if (rf_digest(blocks, blocks_len) != info->blocks_digest)
		return map_damaged(r, i, "table of digests");
	return RF_OK;
}

static int open_path(struct rf_image_reader *r)
{
	int e;

	r->fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (r->fd >= 0)
		return RF_OK;
	e = errno;
	rf_err_log(OBJ, "%s: %s", r->path, strerror(e));
	return e == ENOENT ? RF_ERR_NOT_FOUND : e == EACCES ? RF_ERR_PERMISSION : RF_ERR_SYSTEM;
}

int rf_image_reader_open(const char *path, struct rf_image_reader **out)
{
	struct rf_image_reader *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return RF_ERR_NO_MEMORY;
	r->fd = -1;
	r->path = strdup(path);
	rc = r->path ? open_path(r) : RF_ERR_NO_MEMORY;
	if (rc == RF_OK)
		rc = read_header(r);
	if (rc == RF_OK)
		rc = read_tables(r);
	if (rc == RF_OK) {
		r->present = calloc(r->img.nregions, sizeof(*r->present));
		r->blocks = calloc(r->img.nregions, sizeof(*r->blocks));
		rc = r->present && r->blocks ? RF_OK : RF_ERR_NO_MEMORY;
	}
	for (uint32_t i = 0; rc == RF_OK && i < r->img.nregions; i++)
		rc = read_maps(r, i);
	if (rc != RF_OK)
		rf_image_reader_close(&r);
	else
		*out = r;
	return rc;
}

void rf_image_reader_close(struct rf_image_reader **rp)
{
	struct rf_image_reader *r = *rp;

	*rp = NULL;
	if (!r)
		return;
	for (uint32_t i = 0; i < r->img.nregions; i++) {
		if (r->present)
			rf_bitmap_fini(&r->present[i]);
		if (r->blocks && r->blocks[i])
			munmap(r->blocks[i], r->img.regions[i].blocks * 8);
	}
	free(r->present);
	free(r->blocks);
	free(r->img.regions);
	free(r->order);
	free(r->state);
	if (r->fd >= 0)
		close(r->fd);
	free(r->path);
	free(r);
}

bool rf_image_reader_has(const struct rf_image_reader *r, uint32_t region, uint64_t block)
{
	uint64_t first = block * RF_IMAGE_BLOCK_PAGES;

	return rf_bitmap_find_set(&r->present[region], first,
				  first + rf_image_block_pages(&r->img.regions[region], block)) !=
	       RF_BITMAP_NONE;
}

int rf_image_reader_block(const struct rf_image_reader *r, uint32_t region, uint64_t block,
			  uint8_t *out)
{
	const struct rf_image_region *info = &r->img.regions[region];
	uint64_t first = block * RF_IMAGE_BLOCK_PAGES, n = rf_image_block_pages(info, block);
	uint64_t digests[RF_IMAGE_BLOCK_PAGES] = {0};
	bool any = false;

	for (uint64_t i = 0; i < n;) {
		bool here = rf_bitmap_test(&r->present[region], first + i);
		uint64_t to = here ? rf_bitmap_find_clear(&r->present[region], first + i, first + n)
				   : rf_bitmap_find_set(&r->present[region], first + i, first + n);
		uint64_t count = (to == RF_BITMAP_NONE ? first + n : to) - first - i;
		int rc = RF_OK;

		if (here)
			rc = read_all(r, out + i * RF_PAGE_SIZE, count * RF_PAGE_SIZE,
				      info->data_offset + (first + i) * RF_PAGE_SIZE);
		else
			memset(out + i * RF_PAGE_SIZE, 0, count * RF_PAGE_SIZE);
		if (rc != RF_OK)
			return rc;
		for (; count; count--, i++)
			if (here)
				digests[i] = rf_image_page_digest(out + i * RF_PAGE_SIZE);
		any = any || here;
	}
	if ((any ? rf_image_block_digest(digests, n) : 0) == r->blocks[region][block])
		return RF_OK;
	rf_err_log(OBJ,
		   "%s: region \"%s\", 2 MiB at offset 0x%" PRIx64 ": damaged, the digest differs",
		   r->path, info->id, block * RF_IMAGE_BLOCK);
	return RF_ERR_VERIFY;
}
