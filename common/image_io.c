/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/image_io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ramferry/err.h>
#include <ramferry/region.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"

#define CLOSE_PATIENCE_MS 10000

/* A write on its way; in a list while it is none. */
struct write {
	void *token;
	uint32_t len;
	struct write *next;
};

struct rf_image_io {
	/* fixed after open */
	char *path, *dir;
	char *temp; /* its name for the time being; NULL: it has none */
	int fd, event;
	bool direct;
	struct io_uring ring;
	bool has_ring;

	struct write writes[RF_IMAGE_IO_DEPTH], *idle;
	unsigned inflight, queued; /* queued: of these, not submitted */
	bool committed;
};

static int open_error(const char *path, int e)
{
	rf_err_log("snapshot file", "%s: %s", path, strerror(e));
	return e == EACCES || e == EPERM || e == EROFS ? RF_ERR_PERMISSION
	       : e == ENOENT || e == ENOTDIR	       ? RF_ERR_NOT_FOUND
						       : RF_ERR_SYSTEM;
}

static int split_path(struct rf_image_io *io, const char *path)
{
	char *copy = strdup(path);
	struct stat st;

	io->path = strdup(path);
	io->dir = copy ? strdup(dirname(copy)) : NULL;
	free(copy);
	if (!io->path || !io->dir)
		return RF_ERR_NO_MEMORY;
	/* The rename at the end would replace a device, and say so only then. */
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		rf_err_log("snapshot file", "%s: it is there and is no regular file", path);
		return RF_ERR_INVALID;
	}
	return RF_OK;
}

/* Without a name, so that nothing is left whatever ends this process. */
static int open_file(struct rf_image_io *io)
{
	io->fd = open(io->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (io->fd >= 0)
		return RF_OK;
	if (errno != EOPNOTSUPP && errno != EISDIR)
		return open_error(io->dir, errno);
	if (asprintf(&io->temp, "%s/.ramferry-snapshot-XXXXXX", io->dir) < 0) {
		io->temp = NULL;
		return RF_ERR_NO_MEMORY;
	}
	io->fd = mkostemp(io->temp, O_CLOEXEC);
	if (io->fd >= 0)
		return RF_OK;
	free(io->temp);
	io->temp = NULL;
	return open_error(io->dir, errno);
}

/* Whether the file system takes writes of 4 KiB past the page cache: found out by one. */
static void try_direct(struct rf_image_io *io)
{
	static const uint8_t zeros[RF_PAGE_SIZE] __attribute__((aligned(4096)));
	int flags = fcntl(io->fd, F_GETFL);

	if (flags < 0 || fcntl(io->fd, F_SETFL, flags | O_DIRECT))
		return;
	io->direct = pwrite(io->fd, zeros, sizeof(zeros), 0) == (ssize_t)sizeof(zeros);
	if (!io->direct)
		fcntl(io->fd, F_SETFL, flags);
}

static int open_ring(struct rf_image_io *io)
{
	int rc = io_uring_queue_init(RF_IMAGE_IO_DEPTH, &io->ring, 0);

	if (rc < 0) {
		rf_err_log("snapshot file", "io_uring: %s%s", strerror(-rc),
			   rc == -EPERM || rc == -ENOSYS
				   ? "; it must be allowed here (kernel.io_uring_disabled, seccomp)"
				   : "");
		return rc == -ENOMEM ? RF_ERR_NO_MEMORY : RF_ERR_UNSUPPORTED;
	}
	io->has_ring = true;
	io->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (io->event < 0 || io_uring_register_eventfd(&io->ring, io->event) < 0) {
		rf_err_log("snapshot file", "eventfd of io_uring: %s", strerror(errno));
		return RF_ERR_SYSTEM;
	}
	return RF_OK;
}

int rf_image_io_open(const char *path, struct rf_image_io **out)
{
	struct rf_image_io *io = calloc(1, sizeof(*io));
	int rc;

	if (!io)
		return RF_ERR_NO_MEMORY;
	io->fd = io->event = -1;
	for (unsigned i = 0; i < RF_IMAGE_IO_DEPTH; i++) {
		io->writes[i].next = io->idle;
		io->idle = &io->writes[i];
	}
	rc = split_path(io, path);
	if (rc == RF_OK)
		rc = open_file(io);
	if (rc == RF_OK) {
		try_direct(io);
		rc = open_ring(io);
	}
	if (rc != RF_OK) {
		rf_image_io_close(&io);
		return rc;
	}
	*out = io;
	return RF_OK;
}

bool rf_image_io_direct(const struct rf_image_io *io)
{
	return io->direct;
}

int rf_image_io_resize(struct rf_image_io *io, uint64_t len)
{
	if (ftruncate(io->fd, (off_t)len) == 0)
		return RF_OK;
	rf_err_log("snapshot file", "%s: a length of %" PRIu64 ": %s", io->path, len,
		   strerror(errno));
	return RF_ERR_SYSTEM;
}

int rf_image_io_write(struct rf_image_io *io, uint64_t offset, const void *buf, uint32_t len,
		      void *token)
{
	struct write *w = io->idle;
	struct io_uring_sqe *sqe = w ? io_uring_get_sqe(&io->ring) : NULL;

	if (!sqe)
		return RF_NO_RESOURCE;
	io->idle = w->next;
	*w = (struct write){.token = token, .len = len};
	/* The fault point makes it a write that the kernel answers with an error. */
	io_uring_prep_write(sqe, rf_fault_point() ? -1 : io->fd, buf, len, offset);
	io_uring_sqe_set_data(sqe, w);
	io->inflight++;
	io->queued++;
	return RF_OK;
}

int rf_image_io_submit(struct rf_image_io *io)
{
	while (io->queued) {
		int n = io_uring_submit(&io->ring);

		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0) {
			rf_err_log("snapshot file", "%s: submitting: %s", io->path, strerror(-n));
			return RF_ERR_SYSTEM;
		}
		io->queued -= (unsigned)n;
	}
	return RF_OK;
}

int rf_image_io_poll(struct rf_image_io *io, void **tokens, unsigned cap)
{
	struct io_uring_cqe *cqe;
	uint64_t count;
	unsigned n = 0;
	int failed = 0;

	if (read(io->event, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return RF_ERR_SYSTEM;
	while (n < cap && io_uring_peek_cqe(&io->ring, &cqe) == 0) {
		struct write *w = io_uring_cqe_get_data(cqe);

		/* A regular file takes less than it is given only when it is full. */
		if (cqe->res != (int)w->len && !failed)
			failed = cqe->res < 0 ? -cqe->res : ENOSPC;
		tokens[n++] = w->token;
		w->next = io->idle;
		io->idle = w;
		io->inflight--;
		io_uring_cqe_seen(&io->ring, cqe);
	}
	if (!failed)
		return (int)n;
	rf_err_log("snapshot file", "%s: write: %s", io->path, strerror(failed));
	return RF_ERR_SYSTEM;
}

unsigned rf_image_io_inflight(const struct rf_image_io *io)
{
	return io->inflight;
}

int rf_image_io_fd(const struct rf_image_io *io)
{
	return io->event;
}

int rf_image_io_put(struct rf_image_io *io, uint64_t offset, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	while (len) {
		ssize_t n = rf_fault_point() ? (errno = EIO, -1)
					     : pwrite(io->fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			rf_err_log("snapshot file", "%s: write: %s", io->path,
				   n ? strerror(errno) : "nothing is taken");
			return RF_ERR_SYSTEM;
		}
		p += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return RF_OK;
}

/* A nameless file is linked under a name that is free, for a link replaces nothing. */
static int give_name(struct rf_image_io *io)
{
	char self[64];

	if (io->temp)
		return 0;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", io->fd);
	for (unsigned i = 0; i < 100; i++) {
		if (asprintf(&io->temp, "%s/.ramferry-snapshot-%ld-%u", io->dir, (long)getpid(),
			     i) < 0) {
			io->temp = NULL;
			errno = ENOMEM;
			return -1;
		}
		if (linkat(AT_FDCWD, self, AT_FDCWD, io->temp, AT_SYMLINK_FOLLOW) == 0)
			return 0;
		free(io->temp);
		io->temp = NULL;
		if (errno != EEXIST)
			return -1;
	}
	return -1;
}

static int sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd >= 0 ? fsync(fd) : -1;

	if (fd >= 0)
		close(fd);
	return rc;
}

int rf_image_io_sync(struct rf_image_io *io)
{
	if (fsync(io->fd) == 0)
		return RF_OK;
	rf_err_log("snapshot file", "%s: %s", io->path, strerror(errno));
	return RF_ERR_SYSTEM;
}

int rf_image_io_commit(struct rf_image_io *io)
{
	if (rf_fault_point()) {
		errno = EIO;
		goto failed;
	}
	if (fsync(io->fd) || give_name(io) || rename(io->temp, io->path))
		goto failed;
	io->committed = true;
	if (sync_dir(io->dir) == 0)
		return RF_OK;
failed:
	rf_err_log("snapshot file", "%s: %s", io->path, strerror(errno));
	return RF_ERR_SYSTEM;
}

/* Writes that were queued and never submitted are in nobody's hands. */
static bool drain(struct rf_image_io *io)
{
	uint64_t end = rf_now_ns(&rf_clock_monotonic) + CLOSE_PATIENCE_MS * RF_NS_PER_MS;

	io->inflight -= io->queued;
	while (io->inflight) {
		struct pollfd p = {.fd = io->event, .events = POLLIN};
		struct io_uring_cqe *cqe;
		int left = rf_ms_left(&rf_clock_monotonic, end);

		while (io_uring_peek_cqe(&io->ring, &cqe) == 0) {
			io_uring_cqe_seen(&io->ring, cqe);
			io->inflight--;
		}
		if (!io->inflight)
			break;
		if (!left)
			return false;
		(void)poll(&p, 1, left < 100 ? left : 100);
	}
	return true;
}

bool rf_image_io_close(struct rf_image_io **iop)
{
	struct rf_image_io *io = *iop;
	bool idle;

	*iop = NULL;
	if (!io)
		return true;
	if (io->temp && !io->committed)
		unlink(io->temp);
	idle = !io->has_ring || drain(io);
	if (!idle) { /* the kernel still has buffers; ending the ring would wait for them */
		rf_warn("snapshot file", "%s: %u writes do not end; their memory is kept", io->path,
			io->inflight);
		return false;
	}
	if (io->has_ring)
		io_uring_queue_exit(&io->ring);
	if (io->event >= 0)
		close(io->event);
	if (io->fd >= 0)
		close(io->fd);
	free(io->temp);
	free(io->path);
	free(io->dir);
	free(io);
	return idle;
}
