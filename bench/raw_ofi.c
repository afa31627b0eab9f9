/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/raw_ofi.h"

#include <stdio.h>

#include "common/log.h"

int raw_ofi_post_recv(struct raw_lane *l, unsigned i)
{
	ssize_t rc = fi_recv(l->ep, &l->msg[i], sizeof(l->msg[i]), NULL, 0, &l->ctx[i]);

	if (rc)
		rf_err_log("raw", "fi_recv: %s", fi_strerror((int)-rc));
	return rc ? RF_ERR_SYSTEM : RF_OK;
}

static ssize_t write_one(struct raw *r, unsigned lane, uint64_t off, uint32_t len, uint64_t flags,
			 uint64_t imm)
{
	struct iovec iov = {.iov_base = r->base.src + off, .iov_len = len};
	struct fi_rma_iov rma = {
		.addr = r->base.peer.base + off,
		.len = len,
		.key = r->base.peer.key[0],
	};
	void *desc = fi_mr_desc(r->src_mr);
	struct fi_msg_rma msg = {
		.msg_iov = &iov,
		.desc = &desc,
		.iov_count = 1,
		.rma_iov = &rma,
		.rma_iov_count = 1,
		.context = &r->ctx[r->next_ctx],
		.data = imm,
	};
	ssize_t rc = fi_writemsg(r->lane[lane].ep, &msg, r->flags | flags);

	if (!rc)
		r->next_ctx = (r->next_ctx + 1) % BENCH_MAX_DEPTH;
	return rc;
}

static int post_failed(struct raw *r, const char *what, ssize_t rc)
{
	if (rc == -FI_EAGAIN)
		return RF_NO_RESOURCE;
	snprintf(r->why, sizeof(r->why), "%s: %s", what, fi_strerror((int)-rc));
	return RF_ERR_LANE;
}

static int write_raw(struct engine *e, unsigned lane, const uint64_t *off, unsigned n, uint32_t len)
{
	struct raw *r = raw_of(e);
	ssize_t rc;

	for (unsigned i = 0; i < n; i++) {
		rc = write_one(r, lane, off[i], len, i + 1 < n ? FI_MORE : 0, 0);
		if (rc)
			return i ? (int)i : post_failed(r, "fi_writemsg", rc);
	}
	return (int)n;
}

static int write_imm(struct engine *e, unsigned lane, uint64_t off, uint32_t len, uint32_t imm)
{
	ssize_t rc = write_one(raw_of(e), lane, off, len, FI_REMOTE_CQ_DATA, imm);

	return rc ? post_failed(raw_of(e), "fi_writemsg", rc) : RF_OK;
}

static int fence(struct engine *e, unsigned lane, uint64_t value)
{
	struct raw *r = raw_of(e);
	struct raw_lane *l = &r->lane[lane];
	ssize_t rc;

	l->fence = value;
	rc = fi_send(l->ep, &l->fence, sizeof(l->fence), NULL, 0, &r->ctx[r->next_ctx]);
	return rc ? post_failed(r, "fi_send", rc) : RF_OK;
}

static int take_error(struct raw *r, struct raw_lane *l)
{
	struct fi_cq_err_entry e = {0};

	fi_cq_readerr(l->cq, &e, 0);
	return post_failed(r, "completion", -e.err);
}

/* Index of the receive a completion belongs to. */
static unsigned recv_of(const struct raw_lane *l, const struct fi_cq_data_entry *c)
{
	return (unsigned)((const struct fi_context2 *)c->op_context - l->ctx);
}

static int poll_raw(struct engine *e, unsigned lane, struct engine_seen *seen)
{
	struct raw *r = raw_of(e);
	struct raw_lane *l = &r->lane[lane];
	struct fi_cq_data_entry c[16];
	ssize_t n = fi_cq_read(l->cq, c, sizeof(c) / sizeof(*c));
	int rc = RF_OK;

	if (n == -FI_EAGAIN || n == 0)
		return RF_AGAIN;
	if (n < 0)
		return n == -FI_EAVAIL ? take_error(r, l) : post_failed(r, "fi_cq_read", n);
	for (ssize_t i = 0; i < n && !rc; i++) {
		if (c[i].flags & FI_REMOTE_WRITE) {
			seen->imms++;
			seen->imm = c[i].data;
			if (r->info->mode & FI_RX_CQ_DATA)
				rc = raw_ofi_post_recv(l, recv_of(l, &c[i]));
		} else if (c[i].flags & FI_RECV) {
			unsigned k = recv_of(l, &c[i]);

			seen->fences++;
			seen->fence = l->msg[k];
			rc = raw_ofi_post_recv(l, k);
		} else if (c[i].flags & FI_WRITE) {
			seen->writes++;
		}
	}
	return rc;
}

static int arm(struct engine *e, unsigned lane)
{
	struct raw *r = raw_of(e);
	struct fid *queue = &r->lane[lane].cq->fid;

	return fi_trywait(r->fabric, &queue, 1) ? RF_AGAIN : RF_OK;
}

static int fd_of(struct engine *e, unsigned lane)
{
	return raw_of(e)->lane[lane].fd;
}

static const char *why(struct engine *e, unsigned lane)
{
	return raw_of(e)->why;
}

const struct engine_ops engine_raw_ofi = {
	.open = raw_ofi_open,
	.close = raw_ofi_close,
	.listen = raw_ofi_listen,
	.accept = raw_ofi_accept,
	.connect = raw_ofi_connect,
	.add_memory = raw_ofi_add_memory,
	.write = write_raw,
	.write_imm = write_imm,
	.fence = fence,
	.poll = poll_raw,
	.arm = arm,
	.fd = fd_of,
	.why = why,
};
