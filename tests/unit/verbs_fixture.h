/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A lane on a device that only notes what is posted and hands out the completions it is told to.
 * Posting and polling are inline calls through the context's table; what are real symbols of
 * libibverbs (registration, ibv_modify_qp) is defined here instead.
 */
#ifndef RF_TESTS_VERBS_FIXTURE_H
#define RF_TESTS_VERBS_FIXTURE_H

#include <errno.h>

#include "tests/unit/unit.h"

#include <ramferry/log.h>

#include "transport/verbs/verbs.h"

#define FAKE_MAX 4096

struct fake_post {
	uint64_t wr_id;
	enum ibv_wr_opcode opcode;
	unsigned flags;
	uint64_t addr, remote;
	uint32_t len, lkey, rkey, imm;
	uint8_t bytes[64]; /* begin of a send, as it was when posted */
	unsigned call;	   /* which ibv_post_send it came with */
};

struct fake {
	struct ibv_context ctx;
	struct ibv_qp qp;
	struct ibv_cq cq;
	struct ibv_mr buf_mr;
	struct rf_verbs v;
	struct rf_verbs_lane l;
	struct rf_mr *mr; /* of mem */
	uint8_t *mem;
	struct fake_post posts[FAKE_MAX];
	unsigned nposts, calls, stops;
	int post_rc; /* what ibv_post_send returns next, once */
	enum ibv_port_state port_state;
	uint64_t recvs[FAKE_MAX];
	unsigned nrecvs;
	struct ibv_wc wc[FAKE_MAX];
	unsigned wc_from, wc_to;
};

#define FAKE_MEM (16u << 20)

static struct fake fake;
static int fake_reg_errno; /* how the next registration fails */
static unsigned fake_reg_access;

static int fake_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	int rc = fake.post_rc;

	fake.post_rc = 0;
	*bad = wr;
	if (rc)
		return rc;
	fake.calls++;
	for (; wr; wr = wr->next) {
		struct fake_post *p = &fake.posts[fake.nposts++ % FAKE_MAX];

		assert_int_equal(wr->num_sge, 1);
		*p = (struct fake_post){
			.wr_id = wr->wr_id,
			.opcode = wr->opcode,
			.flags = wr->send_flags,
			.addr = wr->sg_list->addr,
			.remote = wr->wr.rdma.remote_addr,
			.len = wr->sg_list->length,
			.lkey = wr->sg_list->lkey,
			.rkey = wr->wr.rdma.rkey,
			.imm = wr->imm_data,
			.call = fake.calls,
		};
		if (wr->opcode == IBV_WR_SEND)
			memcpy(p->bytes, (void *)(uintptr_t)p->addr, p->len < 64 ? p->len : 64);
	}
	return 0;
}

static int fake_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	for (; wr; wr = wr->next)
		fake.recvs[fake.nrecvs++ % FAKE_MAX] = wr->wr_id;
	return 0;
}

static int fake_poll_cq(struct ibv_cq *cq, int n, struct ibv_wc *wc)
{
	int got = 0;

	while (got < n && fake.wc_from != fake.wc_to)
		wc[got++] = fake.wc[fake.wc_from++ % FAKE_MAX];
	return got;
}

int ibv_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	fake.stops += attr->qp_state == IBV_QPS_ERR;
	return 0;
}

#undef ibv_query_port
int ibv_query_port(struct ibv_context *context, uint8_t port, struct _compat_ibv_port_attr *attr)
{
	((struct ibv_port_attr *)attr)->state = fake.port_state;
	return 0;
}

#undef ibv_reg_mr
struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t len, int access)
{
	struct ibv_mr *mr;

	fake_reg_access = (unsigned)access;
	if (fake_reg_errno) {
		errno = fake_reg_errno;
		return NULL;
	}
	mr = calloc(1, sizeof(*mr));
	mr->lkey = 11;
	mr->rkey = 22;
	return mr;
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova,
				unsigned access)
{
	return ibv_reg_mr(pd, addr, len, (int)access);
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	free(mr);
	return 0;
}

/* A device that has `inline_size` inline and takes `depth` posts. */
static inline void fake_open(enum rf_lane_kind kind, uint32_t depth, uint32_t inline_size)
{
	const struct rf_wire_lane id = {.kind = (uint8_t)kind, .index = 3};
	struct rf_verbs_lane *l = &fake.l;

	memset(&fake, 0, sizeof(fake));
	fake.ctx.ops.post_send = fake_post_send;
	fake.ctx.ops.post_recv = fake_post_recv;
	fake.ctx.ops.poll_cq = fake_poll_cq;
	fake.qp.context = fake.cq.context = &fake.ctx;
	fake.buf_mr.lkey = 33;
	fake.port_state = IBV_PORT_ACTIVE;
	fake.v.ctx = &fake.ctx;
	fake.v.base.ops = &rf_verbs_ops;
	fake.v.base.caps = (struct rf_transport_caps){.depth = depth,
						      .max_write = FAKE_MEM,
						      .max_msg = RF_VERBS_MAX_MSG,
						      .imm_bytes = 4};
	fake.v.inline_size = inline_size;
	fake.v.timing = rf_verbs_timing_of(1000);
	fake.v.silence_ms = 3600000;
	rf_lane_init(&l->base, &fake.v.base, &id);
	l->qp = &fake.qp;
	l->cq = &fake.cq;
	l->buf_mr = &fake.buf_mr;
	l->tx = calloc(depth, sizeof(*l->tx));
	l->bufs = calloc(RF_VERBS_SENDS + RF_VERBS_RECVS, RF_VERBS_MAX_MSG);
	snprintf(l->peer, sizeof(l->peer), "10.9.0.2");
	for (unsigned i = 0; i < RF_VERBS_RECVS; i++) {
		l->rx[i].rx = true;
		l->rx[i].buf = l->bufs + (size_t)(RF_VERBS_SENDS + i) * RF_VERBS_MAX_MSG;
		l->used_rx[i] = &l->rx[i];
	}
	l->nused = RF_VERBS_RECVS;
	assert_int_equal(rf_verbs_post_recvs(l), RF_OK);
	fake.mem = malloc(FAKE_MEM);
	assert_int_equal(rf_mr_register(&fake.v.base, fake.mem, FAKE_MEM, RF_ACCESS_LOCAL_READ,
					&fake.mr),
			 RF_OK);
}

static inline void fake_close(void)
{
	rf_mr_deregister(&fake.mr);
	free(fake.l.tx);
	free(fake.l.bufs);
	free(fake.mem);
}

static const struct rf_remote_key fake_key = {.base = 0x100000, .key = {77, 88}};

static inline struct rf_write fake_write(uint64_t off, uint32_t len)
{
	return (struct rf_write){.src = fake.mem + off,
				 .src_mr = fake.mr,
				 .dst = &fake_key,
				 .dst_off = off,
				 .len = len};
}

/* The device completes the i-th post. */
static inline void fake_complete(unsigned i, enum ibv_wc_status status)
{
	fake.wc[fake.wc_to++ % FAKE_MAX] =
		(struct ibv_wc){.wr_id = fake.posts[i % FAKE_MAX].wr_id, .status = status};
}

/* A message, or an immediate, arrives in the i-th receive that was posted. */
static inline void fake_receive(unsigned i, const void *data, uint32_t len)
{
	struct rf_verbs_slot *s = (struct rf_verbs_slot *)(uintptr_t)fake.recvs[i % FAKE_MAX];

	memcpy(s->buf, data, len);
	fake.wc[fake.wc_to++ % FAKE_MAX] =
		(struct ibv_wc){.wr_id = (uintptr_t)s, .opcode = IBV_WC_RECV, .byte_len = len};
}

#endif
