/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/uffd_wp.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/kcompat.h"
#include "common/log.h"
#include "common/uffd.h"

#define OBJ "userfaultfd"

#define WP_FEATURES \
	(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_THREAD_ID)

static int handshake(int uffd, uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};

	return ioctl(uffd, UFFDIO_API, &api);
}

int rf_uffd_open_wp(int *fd, bool *anonymous)
{
	int u, rc = rf_uffd_open_full(&u);

	if (rc)
		return rc;
	*anonymous = handshake(u, WP_FEATURES | UFFD_FEATURE_WP_UNPOPULATED) == 0;
	if (!*anonymous && handshake(u, WP_FEATURES)) {
		rc = errno == EINVAL ? RF_ERR_UNSUPPORTED : RF_ERR_SYSTEM;
		rf_err_log(OBJ, "write protection of shared memory (Linux 5.19): %s",
			   strerror(errno));
		close(u);
		return rc;
	}
	*fd = u;
	return RF_OK;
}

int rf_uffd_wp_release(int fd, void *addr, uint64_t len)
{
	struct uffdio_writeprotect wp = {.range = {.start = (uintptr_t)addr, .len = len}};

	while (ioctl(fd, UFFDIO_WRITEPROTECT, &wp)) {
		if (errno == EAGAIN)
			continue; /* the mapping is being changed */
		rf_err_log(OBJ, "taking the write protection off %" PRIu64 " bytes at %p: %s", len,
			   addr, strerror(errno));
		return RF_ERR_SYSTEM;
	}
	return RF_OK;
}
