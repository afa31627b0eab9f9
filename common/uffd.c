/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/kcompat.h"
#include "common/log.h"

#define OBJ	     "userfaultfd"
#define SCAN_REGIONS 256 /* 6 KiB of stack; a scan that fills them goes on */

#define WP_ASYNC_FEATURES                                                                       \
	(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_PAGEFAULT_FLAG_WP | \
	 UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

/*
 * A full-mode userfaultfd without its API handshake, or -errno. Never UFFD_USER_MODE_ONLY: a
 * vCPU's access is the kernel's, and would end in SIGBUS.
 */
static int open_full_mode(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	int dev, saved;

	if (fd >= 0)
		return fd;
	saved = errno;
	/* The device is how an administrator grants it to a group without a capability. */
	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -saved;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	saved = errno;
	close(dev);
	return fd >= 0 ? fd : -saved;
}

/* Without a range to scan the call only tells whether it exists. */
static bool probe_pagemap_scan(void)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool works;

	if (fd < 0)
		return false;
	works = ioctl(fd, PAGEMAP_SCAN, &arg) >= 0;
	close(fd);
	return works;
}

void rf_uffd_probe(struct rf_uffd_features *f)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = open_full_mode();

	memset(f, 0, sizeof(*f));
	f->pagemap_scan = probe_pagemap_scan();
	if (fd < 0) {
		f->open_errno = -fd;
		return;
	}
	/* Asking for no feature makes the kernel list all it has. */
	if (ioctl(fd, UFFDIO_API, &api)) {
		f->open_errno = errno;
		close(fd);
		return;
	}
	close(fd);
	f->available = true;
	f->minor_shmem = api.features & UFFD_FEATURE_MINOR_SHMEM;
	f->minor_hugetlb = api.features & UFFD_FEATURE_MINOR_HUGETLBFS;
	f->missing_shmem = api.features & UFFD_FEATURE_MISSING_SHMEM;
	f->missing_hugetlb = api.features & UFFD_FEATURE_MISSING_HUGETLBFS;
	f->wp = api.features & UFFD_FEATURE_PAGEFAULT_FLAG_WP;
	f->wp_shmem_hugetlb = api.features & UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	f->wp_unpopulated = api.features & UFFD_FEATURE_WP_UNPOPULATED;
	f->wp_async = api.features & UFFD_FEATURE_WP_ASYNC;
	f->thread_id = api.features & UFFD_FEATURE_THREAD_ID;
}

int rf_uffd_open_full(int *fd)
{
	int u = open_full_mode();

	if (u == -EPERM || u == -EACCES) {
		rf_err_log(OBJ, "not permitted: needs root, CAP_SYS_PTRACE, access to "
				"/dev/userfaultfd or vm.unprivileged_userfaultfd=1");
		return RF_ERR_PERMISSION;
	}
	if (u == -ENOSYS) {
		rf_err_log(OBJ, "this kernel is built without it (CONFIG_USERFAULTFD)");
		return RF_ERR_UNSUPPORTED;
	}
	if (u < 0) {
		rf_err_log(OBJ, "cannot be opened: %s", strerror(-u));
		return RF_ERR_SYSTEM;
	}
	*fd = u;
	return RF_OK;
}

int rf_uffd_open_wp_async(int *fd)
{
	struct uffdio_api api = {.api = UFFD_API, .features = WP_ASYNC_FEATURES};
	int u, rc = rf_uffd_open_full(&u);

	if (rc)
		return rc;
	if (ioctl(u, UFFDIO_API, &api)) {
		rc = errno == EINVAL ? RF_ERR_UNSUPPORTED : RF_ERR_SYSTEM;
		rf_err_log(OBJ, "UFFDIO_API for asynchronous write protection (Linux 6.7): %s",
			   strerror(errno));
		close(u);
		return rc;
	}
	*fd = u;
	return RF_OK;
}

int rf_uffd_wp_watch(int fd, void *addr, uint64_t len)
{
	struct uffdio_register reg = {
		.range = {.start = (uintptr_t)addr, .len = len},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	if (ioctl(fd, UFFDIO_REGISTER, &reg) == 0)
		return RF_OK;
	rf_err_log(OBJ, "UFFDIO_REGISTER of %" PRIu64 " bytes at %p: %s", len, addr,
		   strerror(errno));
	return RF_ERR_SYSTEM;
}

int rf_uffd_wp_protect(int fd, void *addr, uint64_t len)
{
	struct uffdio_writeprotect wp = {
		.range = {.start = (uintptr_t)addr, .len = len},
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	if (ioctl(fd, UFFDIO_WRITEPROTECT, &wp) == 0)
		return RF_OK;
	rf_err_log(OBJ, "UFFDIO_WRITEPROTECT of %" PRIu64 " bytes at %p: %s", len, addr,
		   strerror(errno));
	return RF_ERR_SYSTEM;
}

int rf_uffd_wp_register(int fd, void *addr, uint64_t len)
{
	struct uffdio_range range = {.start = (uintptr_t)addr, .len = len};
	int rc = rf_uffd_wp_watch(fd, addr, len);

	if (rc != RF_OK)
		return rc;
	rc = rf_uffd_wp_protect(fd, addr, len);
	if (rc != RF_OK)
		ioctl(fd, UFFDIO_UNREGISTER, &range);
	return rc;
}

int rf_uffd_unregister(int fd, void *addr, uint64_t len)
{
	struct uffdio_range range = {.start = (uintptr_t)addr, .len = len};

	if (ioctl(fd, UFFDIO_UNREGISTER, &range)) {
		rf_err_log(OBJ, "UFFDIO_UNREGISTER of %" PRIu64 " bytes at %p: %s", len, addr,
			   strerror(errno));
		return RF_ERR_SYSTEM;
	}
	return RF_OK;
}

int rf_uffd_scan_written(int pagemap, void *addr, uint64_t len, rf_uffd_written_fn fn, void *arg)
{
	struct page_region found[SCAN_REGIONS];
	uint64_t at = (uintptr_t)addr, end = at + len;

	while (at < end) {
		/* CHECK_WPASYNC: on a range that is not registered the call then fails; without it
		 * it would report nothing for ever. */
		struct pm_scan_arg scan = {
			.size = sizeof(scan),
			.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
			.start = at,
			.end = end,
			.vec = (uintptr_t)found,
			.vec_len = SCAN_REGIONS,
			.category_mask = PAGE_IS_WRITTEN,
			.return_mask = PAGE_IS_WRITTEN,
		};
		int n = ioctl(pagemap, PAGEMAP_SCAN, &scan);

		if (n < 0) {
			rf_err_log(OBJ, "PAGEMAP_SCAN of %" PRIu64 " bytes at %p: %s%s", len, addr,
				   strerror(errno),
				   errno == EPERM ? " (not all of it is registered for WP_ASYNC)"
						  : "");
			return errno == ENOTTY ? RF_ERR_UNSUPPORTED : RF_ERR_SYSTEM;
		}
		/* These are protected again already: tell them before anything may fail. */
		for (int i = 0; i < n; i++)
			fn(arg, found[i].start, found[i].end);
		if (scan.walk_end <= at) {
			rf_err_log(OBJ, "PAGEMAP_SCAN makes no progress at %#" PRIx64, at);
			return RF_ERR_SYSTEM;
		}
		at = scan.walk_end;
	}
	return RF_OK;
}

int rf_uffd_scan_mapped(int pagemap, const void *addr, uint64_t len, rf_uffd_written_fn fn,
			void *arg)
{
	struct page_region found[SCAN_REGIONS];
	uint64_t at = (uintptr_t)addr, end = at + len;

	while (at < end) {
		struct pm_scan_arg scan = {
			.size = sizeof(scan),
			.start = at,
			.end = end,
			.vec = (uintptr_t)found,
			.vec_len = SCAN_REGIONS,
			.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
			.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		};
		int n = ioctl(pagemap, PAGEMAP_SCAN, &scan);

		if (n < 0 && errno == ENOTTY)
			return RF_ERR_UNSUPPORTED;
		if (n < 0 || scan.walk_end <= at) {
			rf_err_log(OBJ, "PAGEMAP_SCAN of %" PRIu64 " bytes at %p: %s", len, addr,
				   n < 0 ? strerror(errno) : "it makes no progress");
			return RF_ERR_SYSTEM;
		}
		for (int i = 0; i < n; i++)
			fn(arg, found[i].start, found[i].end);
		at = scan.walk_end;
	}
	return RF_OK;
}
