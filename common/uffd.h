/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * userfaultfd and PAGEMAP_SCAN. The only place that includes <linux/userfaultfd.h>; what the
 * build machine's headers lack is defined in kcompat.h and probed at run time.
 */
#ifndef RF_COMMON_UFFD_H
#define RF_COMMON_UFFD_H

#include <stdbool.h>
#include <stdint.h>

/* What the kernel offers, asked once (rf_uffd_probe). */
struct rf_uffd_features {
	bool available; /* a full-mode userfaultfd can be made by this process */
	int open_errno; /* why not */
	bool minor_shmem, minor_hugetlb, missing_shmem, missing_hugetlb;
	bool wp, wp_shmem_hugetlb, wp_unpopulated, wp_async, thread_id;
	bool pagemap_scan;
};
void rf_uffd_probe(struct rf_uffd_features *f);

/*
 * Opens a full-mode userfaultfd, non-blocking and close-on-exec, before its API handshake.
 * RF_ERR_PERMISSION, RF_ERR_UNSUPPORTED, RF_ERR_SYSTEM, logged.
 */
int rf_uffd_open_full(int *fd);

/*
 * Opens a full-mode userfaultfd (syscall, then /dev/userfaultfd), non-blocking and
 * close-on-exec, for asynchronous write protection. RF_ERR_PERMISSION, RF_ERR_UNSUPPORTED.
 */
int rf_uffd_open_wp_async(int *fd);

/* Registers [addr, addr + len) for write protection: what is touched from then on counts as
 * written until it is protected. */
int rf_uffd_wp_watch(int fd, void *addr, uint64_t len);
/* Protects part of what is registered. Makes page tables for all of it: 2 MiB a GiB. */
int rf_uffd_wp_protect(int fd, void *addr, uint64_t len);
/* Both. */
int rf_uffd_wp_register(int fd, void *addr, uint64_t len);
int rf_uffd_unregister(int fd, void *addr, uint64_t len);

/*
 * Reports pages of [addr, addr + len) written since they were last protected and protects them
 * again in the same step. pagemap is /proc/PID/pagemap. fn gets addresses.
 */
typedef void (*rf_uffd_written_fn)(void *arg, uint64_t start, uint64_t end);
int rf_uffd_scan_written(int pagemap, void *addr, uint64_t len, rf_uffd_written_fn fn, void *arg);

/*
 * Reports what has an entry in a page table, be it present, swapped or only a mark. Changes
 * nothing, makes no page tables, and passes over those that are not there: a terabyte of nothing
 * takes microseconds. RF_ERR_UNSUPPORTED before Linux 6.7, not logged.
 */
int rf_uffd_scan_mapped(int pagemap, const void *addr, uint64_t len, rf_uffd_written_fn fn,
			void *arg);

#endif
