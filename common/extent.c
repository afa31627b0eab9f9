/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/extent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <ramferry/err.h>
#include <ramferry/region.h>

#include "common/log.h"
#include "common/uffd.h"

#define OBJ "extent"

/* An entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst) */
#define PM_PRESENT (1ull << 63)
#define PM_SWAPPED (1ull << 62)
/*
 * What is "swapped" with this swap type is no data but a mark in the page table, e.g. of a write
 * protection of a page that was never touched (SWP_PTE_MARKER, the last of 32 types).
 * The kernel shows the type only to CAP_SYS_ADMIN; others see type 0, and send such pages.
 */
#define PM_SWAP_TYPE   0x1full
#define PM_SWAP_MARKER 0x1full

#define ENTRIES 1024 /* read at once: 8 KiB of stack, 4 MiB of memory */

int rf_extent_walk_file(int fd, uint64_t file_offset, uint64_t len, rf_extent_fn fn, void *arg)
{
	off_t at = (off_t)file_offset, end = (off_t)(file_offset + len);

	if (file_offset > INT64_MAX || len > INT64_MAX - file_offset)
		return RF_ERR_INVALID;
	while (at < end) {
		off_t data, hole;
		int rc;

		data = lseek(fd, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break; /* no data from here to the end of the file */
		hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (data >= 0 && hole < 0 && errno == ENXIO)
			break; /* cut off between the two calls */
		if (hole < 0) {
			if (errno == EINVAL || errno == ESPIPE || errno == EOPNOTSUPP)
				return RF_ERR_UNSUPPORTED;
			rf_err_log(OBJ, "lseek for data and holes: %s", strerror(errno));
			return RF_ERR_SYSTEM;
		}
		if (data >= end)
			break;
		if (hole == data) /* punched between the two calls: one page too many */
			hole += RF_PAGE_SIZE;
		if (hole > end)
			hole = end;
		rc = fn(arg, (uint64_t)data - file_offset, (uint64_t)(hole - data));
		if (rc)
			return rc;
		at = hole;
	}
	return RF_OK;
}

uint64_t rf_extent_hole_at(int fd, uint64_t offset, uint64_t len)
{
	off_t data = lseek(fd, (off_t)offset, SEEK_DATA);

	if (data < 0) /* nothing behind it, or no answer */
		return errno == ENXIO ? len : 0;
	if (data <= (off_t)offset)
		return 0;
	return (uint64_t)data - offset < len ? (uint64_t)data - offset : len;
}

static bool holds_data(uint64_t entry)
{
	if (entry & PM_PRESENT)
		return true;
	return (entry & PM_SWAPPED) && (entry & PM_SWAP_TYPE) != PM_SWAP_MARKER;
}

/* Neighbouring pages with data, not told yet. */
struct extent {
	uint64_t first, count;
};

/* Adds n pages from page `first`, with entries e; tells each extent that is complete. */
static int add_entries(struct extent *x, uint64_t first, const uint64_t *e, size_t n,
		       rf_extent_fn fn, void *arg)
{
	for (size_t i = 0; i < n; i++) {
		int rc;

		if (holds_data(e[i])) {
			if (!x->count)
				x->first = first + i;
			x->count++;
			continue;
		}
		if (!x->count)
			continue;
		rc = fn(arg, x->first * RF_PAGE_SIZE, x->count * RF_PAGE_SIZE);
		if (rc)
			return rc;
		x->count = 0;
	}
	return RF_OK;
}

/* A walk over page table entries. */
struct entry_walk {
	int fd;
	uint64_t base; /* page number of the range's begin */
	struct extent x;
	rf_extent_fn fn;
	void *arg;
	int rc;
};

static int read_entries(struct entry_walk *w, uint64_t at, uint64_t end)
{
	uint64_t e[ENTRIES];

	while (at < end) {
		uint64_t want = end - at < ENTRIES ? end - at : ENTRIES;
		ssize_t n = pread(w->fd, e, want * sizeof(e[0]),
				  (off_t)((w->base + at) * sizeof(e[0])));
		int rc;

		if (n < (ssize_t)sizeof(e[0])) {
			rf_err_log(OBJ, "reading /proc/self/pagemap: %s",
				   n < 0 ? strerror(errno) : "ended early");
			return RF_ERR_SYSTEM;
		}
		rc = add_entries(&w->x, at, e, (size_t)n / sizeof(e[0]), w->fn, w->arg);
		if (rc)
			return rc;
		at += (uint64_t)n / sizeof(e[0]);
	}
	return RF_OK;
}

/* What is between two mapped ranges is a hole. */
static void walk_mapped(void *arg, uint64_t start, uint64_t end)
{
	struct entry_walk *w = arg;
	uint64_t first = start / RF_PAGE_SIZE - w->base;

	if (w->rc == RF_OK && w->x.count && w->x.first + w->x.count != first) {
		w->rc = w->fn(w->arg, w->x.first * RF_PAGE_SIZE, w->x.count * RF_PAGE_SIZE);
		w->x.count = 0;
	}
	if (w->rc == RF_OK)
		w->rc = read_entries(w, first, end / RF_PAGE_SIZE - w->base);
}

int rf_extent_walk_anon(const void *addr, uint64_t len, rf_extent_fn fn, void *arg)
{
	struct entry_walk w = {.base = (uintptr_t)addr / RF_PAGE_SIZE, .fn = fn, .arg = arg};
	int fd, rc;

	if ((uintptr_t)addr % RF_PAGE_SIZE || len % RF_PAGE_SIZE)
		return RF_ERR_INVALID;
	if (sysconf(_SC_PAGESIZE) != RF_PAGE_SIZE)
		return RF_ERR_UNSUPPORTED; /* an entry would not be a page of ours */
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		rf_err_log(OBJ, "/proc/self/pagemap: %s", strerror(errno));
		return RF_ERR_SYSTEM;
	}
	w.fd = fd;
	/* Where nothing is mapped there is nothing to read: that spares 2 GiB of entries a TiB. */
	rc = rf_uffd_scan_mapped(fd, addr, len, walk_mapped, &w);
	if (rc == RF_ERR_UNSUPPORTED) /* all of it, then */
		rc = read_entries(&w, 0, len / RF_PAGE_SIZE);
	if (rc == RF_OK)
		rc = w.rc;
	if (rc == RF_OK && w.x.count)
		rc = fn(arg, w.x.first * RF_PAGE_SIZE, w.x.count * RF_PAGE_SIZE);
	close(fd);
	return rc;
}
