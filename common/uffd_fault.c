/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/uffd_fault.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <ramferry/err.h>
#include <ramferry/region.h>

#include "common/log.h"
#include "common/uffd.h"

#define OBJ	   "userfaultfd"
#define READ_BATCH 16u

#define FAULT_FEATURES                                                                            \
	(UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS | UFFD_FEATURE_MINOR_SHMEM | \
	 UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_THREAD_ID)

int rf_uffd_open_faults(int *fd)
{
	struct uffdio_api api = {.api = UFFD_API, .features = FAULT_FEATURES};
	int rc = rf_uffd_open_full(fd);

	if (rc)
		return rc;
	if (ioctl(*fd, UFFDIO_API, &api) == 0)
		return RF_OK;
	rc = errno == EINVAL ? RF_ERR_UNSUPPORTED : RF_ERR_SYSTEM;
	rf_err_log(OBJ, "minor faults of shared memory (Linux 5.14): %s", strerror(errno));
	close(*fd);
	*fd = -1;
	return rc;
}

int rf_uffd_arm(int fd, void *addr, uint64_t len, bool shared)
{
	struct uffdio_register reg = {
		.range = {.start = (uintptr_t)addr, .len = len},
		.mode = UFFDIO_REGISTER_MODE_MISSING | (shared ? UFFDIO_REGISTER_MODE_MINOR : 0),
	};

	if (ioctl(fd, UFFDIO_REGISTER, &reg) == 0)
		return RF_OK;
	rf_err_log(OBJ, "%" PRIu64 " bytes at %p cannot be registered: %s", len, addr,
		   strerror(errno));
	return RF_ERR_SYSTEM;
}

int rf_uffd_disarm(int fd, void *addr, uint64_t len)
{
	struct uffdio_range range = {.start = (uintptr_t)addr, .len = len};

	if (ioctl(fd, UFFDIO_UNREGISTER, &range) == 0)
		return RF_OK;
	rf_err_log(OBJ, "%" PRIu64 " bytes at %p cannot be unregistered: %s", len, addr,
		   strerror(errno));
	return RF_ERR_SYSTEM;
}

int rf_uffd_read_faults(int fd, struct rf_uffd_fault *out, unsigned n)
{
	struct uffd_msg msg[READ_BATCH];
	int got = 0;
	ssize_t len;

	len = read(fd, msg, (n < READ_BATCH ? n : READ_BATCH) * sizeof(*msg));
	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (len < 0) {
		rf_err_log(OBJ, "read: %s", strerror(errno));
		return RF_ERR_SYSTEM;
	}
	for (size_t i = 0; i < (size_t)len / sizeof(*msg); i++) {
		if (msg[i].event != UFFD_EVENT_PAGEFAULT)
			continue;
		out[got++] = (struct rf_uffd_fault){
			.addr = msg[i].arg.pagefault.address,
			.thread = msg[i].arg.pagefault.feat.ptid,
			.minor = msg[i].arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR,
		};
	}
	return got;
}

void rf_uffd_wake(int fd, uint64_t addr, uint64_t len)
{
	struct uffdio_range range = {.start = addr, .len = len};

	if (ioctl(fd, UFFDIO_WAKE, &range))
		rf_err_log(OBJ, "wake at 0x%" PRIx64 ": %s", addr, strerror(errno));
}

/* One ioctl. Returns 0 or the errno; *done: bytes it did. */
static int try_continue(int fd, uint64_t addr, const uint8_t *from, uint64_t len, uint64_t *done)
{
	struct uffdio_continue c = {.range = {.start = addr, .len = len}};
	int e = 0;

	(void)from;
	if (ioctl(fd, UFFDIO_CONTINUE, &c))
		e = errno;
	*done = c.mapped > 0 ? (uint64_t)c.mapped : 0;
	return e;
}

static int try_copy(int fd, uint64_t addr, const uint8_t *from, uint64_t len, uint64_t *done)
{
	struct uffdio_copy c = {.dst = addr, .src = (uintptr_t)from, .len = len};
	int e = 0;

	if (ioctl(fd, UFFDIO_COPY, &c))
		e = errno;
	*done = c.copy > 0 ? (uint64_t)c.copy : 0;
	return e;
}

/*
 * A range with a mapped page in it comes back in parts: EAGAIN with what was done before that
 * page, then EEXIST at it. EEXIST wakes nobody, so that is done here.
 */
static int
place(int fd, uint64_t addr, const uint8_t *from, uint64_t len, uint32_t page, uint64_t *existed,
      int (*try)(int fd, uint64_t addr, const uint8_t *from, uint64_t len, uint64_t *done))
{
	while (len) {
		uint64_t done;
		int e = try(fd, addr, from, len, &done);

		if (!e && !done)
			done = len;
		if (e == EEXIST) {
			rf_uffd_wake(fd, addr, page);
			++*existed;
			done = page;
		} else if (e == EFAULT && !done) {
			return RF_ERR_NOT_FOUND;
		} else if (e && e != EAGAIN && !done) {
			rf_err_log(OBJ, "page at 0x%" PRIx64 " cannot be placed: %s", addr,
				   strerror(e));
			return RF_ERR_SYSTEM;
		}
		addr += done;
		from += from ? done : 0;
		len -= done;
	}
	return RF_OK;
}

int rf_uffd_continue(int fd, uint64_t addr, uint64_t len, uint32_t page, uint64_t *existed)
{
	return place(fd, addr, NULL, len, page, existed, try_continue);
}

int rf_uffd_copy(int fd, uint64_t addr, const void *from, uint64_t len, uint32_t page,
		 uint64_t *existed)
{
	return place(fd, addr, from, len, page, existed, try_copy);
}

int rf_uffd_zero(int fd, uint64_t addr)
{
	struct uffdio_zeropage z = {.range = {.start = addr, .len = RF_PAGE_SIZE}};

	while (ioctl(fd, UFFDIO_ZEROPAGE, &z)) {
		if (errno == EAGAIN)
			continue;
		if (errno == EEXIST) { /* which wakes nobody */
			rf_uffd_wake(fd, addr, RF_PAGE_SIZE);
			return RF_OK;
		}
		rf_err_log(OBJ, "page of zeros at 0x%" PRIx64 ": %s", addr, strerror(errno));
		return RF_ERR_SYSTEM;
	}
	return RF_OK;
}
