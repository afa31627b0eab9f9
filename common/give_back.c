/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/give_back.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <ramferry/err.h>

#include "common/extent.h"

#ifndef MADV_DONTNEED_LOCKED /* Linux 5.18 */
#define MADV_DONTNEED_LOCKED 24
#endif

#define BLOCK 512u /* what st_blocks counts */

static int result_of(int err)
{
	switch (err) {
	case EPERM:
	case EACCES:
		return RF_ERR_PERMISSION;
	case EINVAL:
	case EOPNOTSUPP:
	case ENODEV:
	case ESPIPE:
		return RF_ERR_UNSUPPORTED;
	default:
		return RF_ERR_SYSTEM;
	}
}

static int punch(int fd, uint64_t offset, uint64_t len, uint64_t *bytes)
{
	struct stat before, after;
	int rc;

	if (fstat(fd, &before) < 0)
		return result_of(errno);
	do
		rc = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
			       (off_t)len);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return result_of(errno);
	if (!fstat(fd, &after) && after.st_blocks < before.st_blocks)
		*bytes = (uint64_t)(before.st_blocks - after.st_blocks) * BLOCK;
	return RF_OK;
}

static int add_extent(void *arg, uint64_t offset, uint64_t len)
{
	(void)offset;
	*(uint64_t *)arg += len;
	return 0;
}

/* Shared memory without a descriptor, then private memory, locked or not. */
static int drop(void *addr, uint64_t len)
{
	static const int advice[] = {MADV_REMOVE, MADV_DONTNEED_LOCKED, MADV_DONTNEED};
	int rc = RF_OK;

	for (unsigned i = 0; i < sizeof(advice) / sizeof(*advice); i++) {
		if (!madvise(addr, len, advice[i]))
			return RF_OK;
		rc = result_of(errno);
	}
	return rc;
}

int rf_give_back(void *addr, uint64_t len, int fd, uint64_t offset, uint64_t *bytes)
{
	uint64_t held = 0;
	int rc;

	*bytes = 0;
	if (fd >= 0)
		return punch(fd, offset, len, bytes);
	if (rf_extent_walk_anon(addr, len, add_extent, &held) != RF_OK)
		held = len; /* it cannot be told */
	rc = drop(addr, len);
	if (rc == RF_OK)
		*bytes = held;
	return rc;
}
