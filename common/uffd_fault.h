/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * userfaultfd as a destination uses it in postcopy: faults of the guest view are read, and pages
 * are placed by UFFDIO_CONTINUE (the page is in the memfd) or UFFDIO_COPY (from a buffer).
 */
#ifndef RF_COMMON_UFFD_FAULT_H
#define RF_COMMON_UFFD_FAULT_H

#include <stdbool.h>
#include <stdint.h>

struct rf_uffd_fault {
	uint64_t addr;	 /* as touched, not aligned */
	uint32_t thread; /* of the faulting thread, 0 if the kernel does not tell */
	bool minor;	 /* the page is in the file already */
};

/* Opens a full-mode userfaultfd for MISSING and MINOR faults of shmem and hugetlb, non-blocking.
 * RF_ERR_PERMISSION, RF_ERR_UNSUPPORTED (Linux 5.14 is needed), logged. */
int rf_uffd_open_faults(int *fd);

/* Arms [addr, addr + len): from now on a touch of a page that is not mapped waits. shared: a file
 * is behind it, and pages that are in the file wait too. */
int rf_uffd_arm(int fd, void *addr, uint64_t len, bool shared);
/* Ends that. Whoever still waits is woken and takes the page as the file has it. */
int rf_uffd_disarm(int fd, void *addr, uint64_t len);

/* Reads up to n faults without blocking; how many, 0 if there are none, or RF_ERR_SYSTEM. */
int rf_uffd_read_faults(int fd, struct rf_uffd_fault *out, unsigned n);

/*
 * Maps pages of the file into [addr, addr + len), whole host pages, skipping those that are
 * mapped already, and wakes who waits there. *existed counts the skipped ones (host pages of
 * `page` bytes). RF_ERR_NOT_FOUND: a page is not in the file.
 */
int rf_uffd_continue(int fd, uint64_t addr, uint64_t len, uint32_t page, uint64_t *existed);

/* The same by copying from `from`. */
int rf_uffd_copy(int fd, uint64_t addr, const void *from, uint64_t len, uint32_t page,
		 uint64_t *existed);

/* Maps a page of zeros where none is, and wakes who waits. Not for huge pages. */
int rf_uffd_zero(int fd, uint64_t addr);

/* Wakes who waits in [addr, addr + len). */
void rf_uffd_wake(int fd, uint64_t addr, uint64_t len);

#endif
