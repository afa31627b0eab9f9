/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Backend verbs: one RC queue pair a lane, connected by librdmacm. Inside of transport/verbs/.
 *
 *   verbs.c          open, close, the ops table
 *   verbs_device.c   rungs, which device serves an address, what it can do
 *   verbs_addr.c     addresses, as text and on the control stream
 *   verbs_cm.c       events of the connection manager, with a deadline and a cancel fd
 *   verbs_connect.c  listen, accept, connect
 *   verbs_qp.c       a lane's queues and its queue pair's states
 *   verbs_lane.c     a lane's buffers, its one fd, its beginning and end
 *   verbs_mr.c       registration
 *   verbs_post.c     writes, sends, fences
 *   verbs_poll.c     completions
 *   verbs_event.c    what comes beside them: disconnects, device events, the clock; sleeping
 *   verbs_error.c    what errors mean, in words and as enum rf_err
 *   verbs_timing.c   ack timeout and retries
 *
 * The queue pair is not librdmacm's (id->qp stays NULL): it and the memory belong to a device
 * context of our own. librdmacm has one context a device for the whole process, and whoever reads
 * asynchronous events there takes them from everybody else, such as the VMM's own RDMA devices.
 * It also lets us set what librdmacm does not: how soon a sender asks again after "no receive
 * posted" (its value is 655 ms).
 */
#ifndef RF_TRANSPORT_VERBS_H
#define RF_TRANSPORT_VERBS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include "transport/ops.h"
#include "transport/verbs/verbs_timing.h"

#define RF_VERBS_DEPTH	      256u	  /* writes and sends a lane may have outstanding */
#define RF_VERBS_SENDS	      64u	  /* of these, sends too long to be inline */
#define RF_VERBS_RECVS	      64u	  /* receives kept posted */
#define RF_VERBS_MAX_MSG      4096u	  /* bytes of a message */
#define RF_VERBS_MAX_WRITE    (16u << 20) /* bytes of a write */
#define RF_VERBS_INLINE	      64u	  /* bytes we ask the device to take inline */
#define RF_VERBS_CHAIN	      32u	  /* work requests of one doorbell */
#define RF_VERBS_SIGNAL_EVERY 16u	  /* at most this many posts without a completion */
#define RF_VERBS_SIGNAL_BYTES (1u << 20)  /* and about this many bytes */
#define RF_VERBS_RNR_TIMER    12u	  /* 0.64 ms; ibv_qp_attr.min_rnr_timer */
#define RF_VERBS_URGENT_TOS   0xb8u	  /* expedited forwarding: the network's urgent class */
#define RF_VERBS_ADDR_SIZE    20u
#define RF_VERBS_HOST_SIZE    64u

/* What a completion's wr_id points to. */
struct rf_verbs_slot {
	bool rx;
	bool buffered; /* tx: a send that holds one of the send buffers */
	enum rf_op op; /* tx: WRITE or SEND */
	uint32_t bytes;
	uint8_t *buf; /* rx */
};

struct rf_verbs {
	struct rf_transport base;
	/* fixed after open */
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	uint8_t port;
	bool odp;
	uint32_t inline_size;
	uint32_t silence_ms;
	struct rf_verbs_timing timing;
	struct sockaddr_storage local; /* port 0; family 0: any address */
	char *peer_host;
	/* listening: the thread that listens and accepts */
	struct rdma_event_channel *requests;
	struct rdma_cm_id *listener;
	/* set by whoever reads the device's events: it failed or was removed */
	_Atomic bool gone;
	pthread_mutex_t lock;	     /* of the list and of reading events */
	struct rf_verbs_lane *lanes; /* guarded by lock */
};

/*
 * The send queue is a ring, and so are its slots and the buffers of sends:
 *
 *        tail          head            head - tail <= caps.depth
 *   ┌─────┬─────────────┬───────────┐  A signalled completion of slot i ends all from tail to i:
 *   │ free│ posted      │ free      │  an RC queue pair completes in order. The last post of every
 *   └─────┴─────────────┴───────────┘  batch is signalled, so that none is forgotten.
 */
struct rf_verbs_lane {
	struct rf_lane base;
	/* fixed once it is up */
	struct rdma_event_channel *events;
	struct rdma_cm_id *id;
	struct ibv_comp_channel *wakeups;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	uint8_t *bufs; /* RF_VERBS_SENDS, then RF_VERBS_RECVS messages */
	struct ibv_mr *buf_mr;
	int wake_fd;  /* eventfd: another lane's thread read an event that is for this one */
	int timer_fd; /* bounds a sleep while something is outstanding */
	char peer[RF_VERBS_HOST_SIZE];
	bool connected;
	bool listed;
	struct rf_verbs_lane *next; /* guarded by rf_verbs.lock */
	_Atomic int async;	    /* IBV_EVENT_… + 1 of its queue pair, 0: none. Any thread */
	/* owner thread */
	struct rf_verbs_slot *tx; /* caps.depth */
	uint64_t head, tail;	  /* of tx, counting on */
	uint64_t send_head, send_tail;
	unsigned unsignalled; /* posts since the last signalled one */
	uint64_t unsignalled_bytes;
	struct rf_verbs_slot rx[RF_VERBS_RECVS];
	struct rf_verbs_slot *used_rx[RF_VERBS_RECVS]; /* handed out or not posted yet */
	unsigned nused;
	struct {
		uint32_t writes, sends;
		uint64_t bytes;
	} done;		      /* completed, not told yet */
	struct ibv_wc peeked; /* by arm, for the next poll */
	bool has_peeked;
	bool armed; /* the queue will raise an event */
	bool timer_set;
	uint64_t quiet_since; /* ns; since when nothing completed though something is posted */
	unsigned empty_polls;
};

static inline struct rf_verbs *rf_verbs(const struct rf_transport *t)
{
	return (struct rf_verbs *)t;
}

static inline struct rf_verbs_lane *rf_verbs_lane(const struct rf_lane *l)
{
	return (struct rf_verbs_lane *)l;
}

static inline struct rf_verbs *rf_verbs_of(const struct rf_verbs_lane *l)
{
	return (struct rf_verbs *)l->base.t;
}

/* verbs_device.c */
int rf_verbs_rungs(const char *provider, char rungs[][RF_WIRE_RUNG_SIZE], unsigned max);
/* Opens the device that serves cfg's addresses: fills in ctx, port, local. Logs why not. */
int rf_verbs_device_open(struct rf_verbs *v, const struct rf_transport_cfg *cfg);
int rf_verbs_device_caps(struct rf_verbs *v);

/* verbs_addr.c */
int rf_verbs_addr_resolve(const char *host, struct sockaddr_storage *out);
void rf_verbs_addr_text(const struct sockaddr *sa, char text[RF_VERBS_HOST_SIZE]);
/* family:u8 (4, 6) zero:u8 port:u16 address[16] */
void rf_verbs_addr_put(const struct sockaddr *sa, uint8_t addr[RF_VERBS_ADDR_SIZE]);
/* Checks bytes that came from the peer. */
int rf_verbs_addr_get(const struct rf_verbs *v, const uint8_t *addr, uint32_t len,
		      struct sockaddr_storage *out);

/* verbs_cm.c */
struct rf_verbs_wait {
	uint64_t deadline; /* ns */
	int cancel_fd;
};
/* An event of the connection manager, copied and acknowledged. */
struct rf_verbs_cm_event {
	enum rdma_cm_event_type type;
	int status;
	struct rdma_cm_id *id;
	uint32_t data_len;
	uint8_t data[RF_WIRE_LANE_SIZE];
};
void rf_verbs_wait_init(struct rf_verbs_wait *w, uint32_t timeout, int cancel_fd);
int rf_verbs_wait_left(const struct rf_verbs_wait *w);
struct rdma_event_channel *rf_verbs_cm_channel(void); /* non-blocking; NULL and errno */
/* RF_OK, RF_AGAIN if there is none now, RF_ERR_SYSTEM. */
int rf_verbs_cm_read(struct rdma_event_channel *ch, struct rf_verbs_cm_event *e);
/* Waits. RF_ERR_TIMEOUT, RF_ERR_CANCELLED, RF_ERR_SYSTEM. */
int rf_verbs_cm_wait(struct rdma_event_channel *ch, const struct rf_verbs_wait *w,
		     struct rf_verbs_cm_event *e);
/* Waits for `want`; another event is an error: logged with the lane's name, returned. */
int rf_verbs_cm_expect(struct rdma_event_channel *ch, const struct rf_verbs_wait *w,
		       enum rdma_cm_event_type want, const char *lane, const char *peer);

/* verbs_connect.c */
int rf_verbs_listen(struct rf_transport *t, uint8_t *addr, uint32_t *addr_len);
int rf_verbs_accept(struct rf_transport *t, const uint8_t *token, uint32_t timeout, int cancel_fd,
		    struct rf_lane **out);
int rf_verbs_connect(struct rf_transport *t, const uint8_t *addr, uint32_t addr_len,
		     const struct rf_wire_lane *id, uint32_t timeout, int cancel_fd,
		     struct rf_lane **out);

/* verbs_qp.c */
/* A queue pair on cq for `depth` posts, with as much of inline_size as the device has. */
struct ibv_qp *rf_verbs_qp_new(struct rf_verbs *v, struct ibv_cq *cq, uint32_t depth,
			       uint32_t *inline_size);
int rf_verbs_qp_open(struct rf_verbs_lane *l);	/* comp channel, CQ, QP */
int rf_verbs_qp_init(struct rf_verbs_lane *l);	/* to INIT: receives may be posted */
int rf_verbs_qp_ready(struct rf_verbs_lane *l); /* to RTR and RTS */
void rf_verbs_qp_stop(struct rf_verbs_lane *l); /* to ERR: all posts are flushed */
void rf_verbs_qp_close(struct rf_verbs_lane *l);

/* verbs_lane.c */
int rf_verbs_lane_new(struct rf_verbs *v, const struct rf_wire_lane *id,
		      struct rf_verbs_lane **out);
/* Its queues, once l->id knows device and port; receives are posted. */
int rf_verbs_lane_open(struct rf_verbs_lane *l);
void rf_verbs_lane_list(struct rf_verbs_lane *l);
void rf_verbs_lane_delete(struct rf_verbs_lane *l);
void rf_verbs_lane_close(struct rf_lane *lane);

/* verbs_mr.c */
/* Does the device offer on-demand paging for what we do, RDMA writes on RC queue pairs? */
bool rf_verbs_mr_odp(struct ibv_context *ctx);
int rf_verbs_mr_register(struct rf_transport *t, void *addr, size_t len, enum rf_access access,
			 struct rf_mr **out);
void rf_verbs_mr_deregister(struct rf_mr *mr);
/* ibv_reg_mr with our explanation of its failures. what: "guest memory", … */
int rf_verbs_mr_reg(struct rf_verbs *v, void *addr, size_t len, int access, const char *what,
		    struct ibv_mr **out);
uint32_t rf_verbs_mr_lkey(const struct rf_mr *mr);

/* verbs_post.c */
int rf_verbs_post_recvs(struct rf_verbs_lane *l); /* gives used receives back */
int rf_verbs_lane_write(struct rf_lane *l, const struct rf_write *w, unsigned n);
int rf_verbs_lane_fence(struct rf_lane *l, uint64_t value);
int rf_verbs_lane_send(struct rf_lane *l, const void *data, uint32_t len);
int rf_verbs_lane_write_imm(struct rf_lane *l, const struct rf_write *w, uint32_t imm);

/* verbs_poll.c */
int rf_verbs_lane_poll(struct rf_lane *l, struct rf_completion *c, unsigned n);

/* verbs_event.c */
int rf_verbs_lane_arm(struct rf_lane *l);
/* Looks at everything but completions. May fail the lane. */
void rf_verbs_event_look(struct rf_verbs_lane *l);
void rf_verbs_event_clock(struct rf_verbs_lane *l);
int rf_verbs_event_open(struct rf_verbs_lane *l); /* l->base.fd and what is behind it */
void rf_verbs_event_close(struct rf_verbs_lane *l);

/* verbs_error.c */
int rf_verbs_error_of_wc(enum ibv_wc_status status);
const char *rf_verbs_error_wc_words(enum ibv_wc_status status);
/* What a CM event that was not expected means, in words. */
int rf_verbs_error_of_cm(enum rdma_cm_event_type type, int status, char *words, size_t size);
int rf_verbs_error_of_errno(int err);
bool rf_verbs_error_port_down(const struct rf_verbs *v);
/* Fails the lane by a bad completion. */
void rf_verbs_error_fail(struct rf_verbs_lane *l, const struct ibv_wc *wc);

#endif
