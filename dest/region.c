/* SPDX-License-Identifier: BSD-3-Clause */
#include "dest/region.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/extent.h"
#include "common/log.h"
#include "common/wire.h"

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

static const char *find_fault(const struct rf_dest_region *s)
{
	if (s->size != sizeof(*s))
		return "size field is not sizeof(struct rf_dest_region)";
	if (!s->id[0] || !memchr(s->id, 0, sizeof(s->id)))
		return "id is empty or not terminated";
	if (s->page_size != RF_PAGE_SIZE && s->page_size != 2u << 20 && s->page_size != 1u << 30)
		return "page_size is none of 4096, 2 MiB, 1 GiB";
	if ((unsigned)s->placement > RF_PLACEMENT_COPY)
		return "placement is none of continue, copy";
	if (!s->len || s->len % s->page_size || s->len > RF_WIRE_MAX_LEN)
		return "len is zero, too large or no multiple of page_size";
	return NULL;
}

static unsigned memfd_flags(uint32_t page_size)
{
	unsigned shift = (unsigned)__builtin_ctz(page_size);

	return MFD_CLOEXEC |
	       (page_size == RF_PAGE_SIZE ? 0 : MFD_HUGETLB | shift << MFD_HUGE_SHIFT);
}

static uint8_t *map_view(const struct rf_dst_region *r, const char *what)
{
	/* Huge pages are reserved: one that is not there would be a SIGBUS in the middle. */
	int reserve = r->page_size > RF_PAGE_SIZE ? 0 : MAP_NORESERVE;
	void *p = mmap(NULL, r->len, PROT_READ | PROT_WRITE, MAP_SHARED | reserve, r->memfd, 0);

	if (p != MAP_FAILED)
		return p;
	rf_err_log("dest", "region %s: %s of %llu bytes cannot be mapped: %s%s", r->id, what,
		   (unsigned long long)r->len, strerror(errno),
		   r->page_size > RF_PAGE_SIZE ? "; are there enough free huge pages?" : "");
	return NULL;
}

/* Memory of the guest's own; as above, not populated. */
static uint8_t *map_private(const struct rf_dst_region *r)
{
	unsigned shift = (unsigned)__builtin_ctz(r->page_size);
	int huge = (int)(MAP_HUGETLB | shift << MAP_HUGE_SHIFT);
	int more = r->page_size > RF_PAGE_SIZE ? huge : MAP_NORESERVE;
	void *p = mmap(NULL, r->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | more, -1,
		       0);

	if (p != MAP_FAILED)
		return p;
	rf_err_log("dest", "region %s: %llu bytes of private memory: %s%s", r->id,
		   (unsigned long long)r->len, strerror(errno),
		   r->page_size > RF_PAGE_SIZE ? "; are there enough free huge pages?" : "");
	return NULL;
}

int rf_dst_region_init(struct rf_dst_region *r, const struct rf_dest_region *spec)
{
	const char *fault = find_fault(spec);

	if (fault) {
		rf_err_log("dest", "region \"%.*s\": %s", RF_REGION_ID_SIZE - 1, spec->id, fault);
		return RF_ERR_INVALID;
	}
	*r = (struct rf_dst_region){
		.len = spec->len,
		.page_size = spec->page_size,
		.copied = spec->placement == RF_PLACEMENT_COPY,
	};
	memcpy(r->id, spec->id, sizeof(r->id));
	r->memfd = memfd_create("ramferry-guest", memfd_flags(r->page_size));
	if (r->memfd < 0 || ftruncate(r->memfd, (off_t)r->len) < 0) {
		rf_err_log("dest", "region %s: memory file of %llu bytes: %s%s", r->id,
			   (unsigned long long)r->len, strerror(errno),
			   errno == EMFILE ? "; each region needs one, raise ulimit -n" : "");
		rf_dst_region_fini(r);
		return RF_ERR_SYSTEM;
	}
	r->landing = map_view(r, "landing view");
	if (r->landing)
		r->guest_view = r->copied ? map_private(r) : map_view(r, "guest view");
	if (!r->guest_view) {
		rf_dst_region_fini(r);
		return RF_ERR_NO_MEMORY;
	}
	return RF_OK;
}

void rf_dst_region_abandon(struct rf_dst_region *r)
{
	free(r->chunks);
	r->chunks = NULL;
	rf_bitmap_fini(&r->free);
}

void rf_dst_region_fini(struct rf_dst_region *r)
{
	rf_dst_region_abandon(r);
	if (r->guest_view)
		munmap(r->guest_view, r->len);
	if (r->landing)
		munmap(r->landing, r->len);
	if (r->memfd >= 0)
		close(r->memfd);
	r->guest_view = NULL;
	r->landing = NULL;
	r->memfd = -1;
}

int rf_dst_region_make_chunks(struct rf_dst_region *r, uint64_t chunk_size)
{
	r->chunk_size = chunk_size;
	r->nchunks = (r->len + chunk_size - 1) / chunk_size;
	r->chunks = calloc(r->nchunks, sizeof(*r->chunks));
	return r->chunks ? RF_OK : RF_ERR_NO_MEMORY;
}

int rf_dst_region_key(struct rf_dst_region *r, struct rf_transport *t, uint64_t chunk,
		      struct rf_remote_key *key)
{
	uint64_t at = chunk * r->chunk_size;
	uint64_t len = r->len - at < r->chunk_size ? r->len - at : r->chunk_size;

	if (!r->chunks[chunk]) {
		int rc = rf_mr_register(t, r->landing + at, len, RF_ACCESS_REMOTE_WRITE,
					&r->chunks[chunk]);

		if (rc != RF_OK)
			return rc;
	}
	rf_mr_key(r->chunks[chunk], key);
	return RF_OK;
}

void rf_dst_region_deregister(struct rf_dst_region *r)
{
	for (uint64_t i = 0; r->chunks && i < r->nchunks; i++)
		rf_mr_deregister(&r->chunks[i]);
}

uint64_t rf_dst_region_resident(const struct rf_dst_region *r)
{
	struct stat st;

	/* st_blocks counts 512 bytes, whatever the page size */
	return r->memfd >= 0 && fstat(r->memfd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static int copy_extent(void *arg, uint64_t offset, uint64_t len)
{
	const struct rf_dst_region *r = arg;

	memcpy(r->guest_view + offset, r->landing + offset, len);
	return 0;
}

int rf_dst_region_copy_all(struct rf_dst_region *r)
{
	int rc = rf_extent_walk_file(r->memfd, 0, r->len, copy_extent, r);

	if (rc == RF_ERR_UNSUPPORTED) /* the file cannot tell holes */
		rc = copy_extent(r, 0, r->len);
	return rc;
}

void rf_dst_region_drop_landing(struct rf_dst_region *r)
{
	if (r->landing)
		munmap(r->landing, r->len);
	r->landing = NULL;
	/* The descriptor stays: other threads may ask how much is there. */
	if (ftruncate(r->memfd, 0) < 0)
		rf_warn("dest", "region %s: memory file: %s", r->id, strerror(errno));
}

static int clear_extent(void *arg, uint64_t offset, uint64_t len)
{
	memset((uint8_t *)arg + offset, 0, len);
	return 0;
}

int rf_dst_region_clear(struct rf_dst_region *r, uint64_t first, uint64_t count)
{
	uint8_t *at = r->landing + first * RF_PAGE_SIZE;
	int rc = rf_extent_walk_file(r->memfd, first * RF_PAGE_SIZE, count * RF_PAGE_SIZE,
				     clear_extent, at);

	if (rc == RF_ERR_UNSUPPORTED) /* the file cannot tell holes: clear all of it */
		rc = clear_extent(at, 0, count * RF_PAGE_SIZE);
	return rc;
}

int rf_dst_region_note_free(struct rf_dst_region *r, uint64_t first, uint64_t count)
{
	if (!r->free.nbits && rf_bitmap_init(&r->free, r->len / RF_PAGE_SIZE) != RF_OK)
		return RF_ERR_NO_MEMORY;
	rf_bitmap_set_range(&r->free, first, count);
	return RF_OK;
}

bool rf_dst_region_is_free(const struct rf_dst_region *r, uint64_t first, uint64_t count)
{
	return r->free.nbits &&
	       rf_bitmap_find_clear(&r->free, first, first + count) == RF_BITMAP_NONE;
}
