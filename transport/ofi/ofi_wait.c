/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting for one event while lanes are set up: with a deadline and a way to cancel. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "transport/ofi/ofi.h"

/* A provider with manual progress moves only when it is asked to. */
#define PROGRESS_MS 20

void rf_ofi_wait_init(struct rf_ofi_wait *w, uint32_t timeout, int cancel_fd)
{
	w->deadline = rf_now_ns(&rf_clock_monotonic) + timeout * RF_NS_PER_MS;
	w->cancel_fd = cancel_fd;
}

int rf_ofi_wait_fd(struct fid *queue)
{
	int fd = -1;

	if (fi_control(queue, FI_GETWAIT, &fd))
		return -1;
	return fd;
}

int rf_ofi_wait_sleep(const struct rf_ofi_wait *w, struct fid_fabric *fabric, struct fid *queue,
		      int fd)
{
	/* poll() skips negative fds */
	struct pollfd p[2] = {{.fd = w->cancel_fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
	int left = rf_ms_left(&rf_clock_monotonic, w->deadline);
	int ms = fd < 0 ? RF_OFI_TICK_MS : PROGRESS_MS;

	if (!left)
		return RF_ERR_TIMEOUT;
	if (fd >= 0 && fi_trywait(fabric, &queue, 1) != FI_SUCCESS)
		ms = 0;
	if (poll(p, 2, ms < left ? ms : left) < 0 && errno != EINTR) {
		rf_err_log("ofi", "poll: %s", strerror(errno));
		return RF_ERR_SYSTEM;
	}
	return p[0].revents ? RF_ERR_CANCELLED : RF_OK;
}

int rf_ofi_wait_out(const struct rf_ofi_wait *w, int fd)
{
	struct pollfd p[2] = {{.fd = w->cancel_fd, .events = POLLIN},
			      {.fd = fd, .events = POLLOUT}};
	int left;

	while ((left = rf_ms_left(&rf_clock_monotonic, w->deadline)) > 0) {
		if (poll(p, 2, left) < 0 && errno != EINTR)
			return RF_ERR_SYSTEM;
		if (p[0].revents)
			return RF_ERR_CANCELLED;
		if (p[1].revents)
			return RF_OK;
	}
	return RF_ERR_TIMEOUT;
}

int rf_ofi_wait_event(const struct rf_ofi_wait *w, struct rf_ofi *o, struct fid_eq *eq,
		      uint32_t *event, struct fi_eq_cm_entry *e, size_t size, size_t *got, int *err)
{
	int fd = rf_ofi_wait_fd(&eq->fid), rc;
	struct fi_eq_err_entry ee;
	ssize_t n;

	for (;;) {
		n = fi_eq_read(eq, event, e, size, 0);
		if (n >= 0) {
			*got = (size_t)n;
			return RF_OK;
		}
		if (n == -FI_EAVAIL) {
			memset(&ee, 0, sizeof(ee));
			if (fi_eq_readerr(eq, &ee, 0) < 0)
				ee.err = FI_EIO;
			*err = ee.err < 0 ? -ee.err : ee.err;
			return RF_ERR_SYSTEM;
		}
		if (n != -FI_EAGAIN && n != -FI_EINTR) {
			rf_err_log("ofi", "fi_eq_read: %s", fi_strerror((int)-n));
			*err = 0;
			return RF_ERR_SYSTEM;
		}
		rc = rf_ofi_wait_sleep(w, o->fabric, &eq->fid, fd);
		if (rc)
			return rc;
	}
}

int rf_ofi_eq_open(struct rf_ofi *o, struct fid_eq **eq)
{
	struct fi_eq_attr attr = {.size = 64, .wait_obj = FI_WAIT_FD};
	int rc = fi_eq_open(o->fabric, &attr, eq, NULL);

	if (rc == -FI_ENOSYS || rc == -FI_EINVAL) {
		attr.wait_obj = FI_WAIT_NONE;
		rc = fi_eq_open(o->fabric, &attr, eq, NULL);
	}
	if (rc) {
		rf_err_log("ofi", "fi_eq_open: %s", fi_strerror(-rc));
		return RF_ERR_SYSTEM;
	}
	return RF_OK;
}
