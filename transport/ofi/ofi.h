/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Backend ofi: lanes on libfabric endpoints. Inside of transport/ofi/.
 *
 *   ofi.c           open, close, the ops table
 *   ofi_provider.c  what to ask libfabric for, rungs, capabilities
 *   ofi_addr.c      addresses on the control stream
 *   ofi_wait.c      waiting for one event with a deadline and a cancel fd
 *   ofi_endpoint.c  a lane's endpoint, queues, buffers and fd
 *   ofi_msg.c       connecting FI_EP_MSG lanes (the provider's connection manager)
 *   ofi_rdm.c       connecting FI_EP_RDM lanes (an exchange of addresses by messages)
 *   ofi_mr.c        registration, and stopping lanes for it
 *   ofi_post.c      writes, sends, fences
 *   ofi_poll.c      completions, errors, going to sleep
 *
 * One fabric and two domains, one for each kind of lane, so that nothing a provider locks per
 * domain is shared by urgent and bulk. In libfabric up to 1.17 `tcp` progresses an endpoint only
 * in calls on its own completion queue; from 1.18 on all endpoints of a domain progress together.
 */
#ifndef RF_TRANSPORT_OFI_H
#define RF_TRANSPORT_OFI_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include "transport/ops.h"

#define RF_OFI_API	 FI_VERSION(1, 15)
#define RF_OFI_DEPTH	 64u	     /* writes and sends a lane may have outstanding */
#define RF_OFI_RECVS	 64u	     /* receives kept posted */
#define RF_OFI_MAX_MSG	 4096u	     /* bytes of a message */
#define RF_OFI_MAX_WRITE (16u << 20) /* bytes of a write */
#define RF_OFI_TICK_MS	 1	     /* providers without an fd: how long a sleep may last */
#define RF_OFI_ADDR_SIZE (RF_WIRE_ADDR_SIZE - 8) /* bytes of a provider's address */

/* Messages of the backend itself on FI_EP_RDM, told apart by their remote completion data. */
enum rf_ofi_ctl {
	RF_OFI_HELLO = 1, /* to the listening endpoint: rf_wire_lane, the lane's address */
	RF_OFI_READY,	  /* to the lane: the address of the other end */
	RF_OFI_REFUSED,	  /* to the lane: wrong token */
	RF_OFI_BYE,	  /* the other end was closed */
};

/* What a completion's context points to. */
struct rf_ofi_slot {
	struct fi_context2 ctx; /* first; the provider's scratch where it asks for FI_CONTEXT */
	bool rx;
	bool ctl;      /* tx: a message of our own, its completion is not told */
	bool done;     /* tx: a write that waits for those before it to be told */
	enum rf_op op; /* tx: WRITE or SEND */
	uint32_t bytes;
	uint8_t *buf; /* RF_OFI_MAX_MSG of the lane's buffers; tx: only sends use it */
};

struct rf_ofi {
	struct rf_transport base;
	/* fixed after open */
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain[RF_LANE_KINDS];
	bool msg;	       /* FI_EP_MSG; else FI_EP_RDM */
	bool ordered;	       /* a send arrives behind the writes posted before it */
	bool any_host;	       /* no local_host was given */
	bool blocking_connect; /* fi_connect does not return until it is connected */
	uint32_t window;       /* most bytes posted on a lane, unless it is one post; 0: any */
	uint32_t link_timeout;
	char *peer_host;
	/* listening: the thread that listens and accepts */
	struct fi_info *pep_info; /* sockets keeps pointers into it */
	struct fid_pep *pep;
	struct fid_eq *eq;
	struct rf_ofi_lane *front; /* FI_EP_RDM: where hellos come to */
	/*
	 * Registration stops all lanes of the transport for a moment (rf_ofi_mr.c): who holds
	 * gate and then the lock of each lane is alone with the provider.
	 * Lock order: gate, a lane's lock.
	 */
	pthread_mutex_t gate;
	_Atomic bool gate_shut;
	struct rf_ofi_lane *lanes; /* guarded by gate */
};

struct rf_ofi_lane {
	struct rf_lane base;
	/* fixed once it is up */
	struct fi_info *info; /* its own; sockets keeps pointers into it */
	struct fid_cq *cq;
	struct fid_eq *eq;     /* FI_EP_MSG */
	struct fid_av *av;     /* FI_EP_RDM */
	fi_addr_t peer;	       /* FI_EP_RDM */
	int wake_fd;	       /* eventfd: deregistration ended the lane */
	int timer_fd;	       /* stands in for a queue without an fd; -1: not needed */
	uint8_t *bufs;	       /* messages: sends, then receives */
	char peer_name[64];    /* for messages */
	struct fid_mr *buf_mr; /* FI_MR_LOCAL */
	void *buf_desc;
	bool listed;		  /* in rf_ofi.lanes */
	struct rf_ofi_lane *next; /* guarded by gate */
	/* taken for every call into the provider; by another thread only to register */
	pthread_mutex_t lock;
	struct fid_ep *ep; /* NULL: deregistration closed it */
	bool ended;	   /* by deregistration: nothing may move it any more */
	/* owner thread */
	struct rf_ofi_slot tx[RF_OFI_DEPTH], rx[RF_OFI_RECVS];
	struct rf_ofi_slot *free_tx[RF_OFI_DEPTH];
	unsigned nfree;
	struct rf_ofi_slot *used_rx[RF_OFI_RECVS]; /* handed out or not posted yet */
	unsigned nused;
	unsigned writes; /* outstanding */
	uint64_t posted; /* bytes of writes and sends outstanding */
	/* the writes among them, in the order they were posted; told in this order, too */
	struct rf_ofi_slot *order[RF_OFI_DEPTH];
	uint32_t order_head, order_tail;
	/* unordered providers: a fence waits here until `writes` is 0 */
	bool fence_waits;
	uint64_t fence_value;
	struct fi_cq_data_entry peeked; /* by arm, for the next poll */
	bool has_peeked;
	bool peer_gone; /* FI_EP_RDM: it said so */
	uint64_t
		quiet_since; /* ns; first poll that found nothing though something is outstanding */
	unsigned empty_polls;
};

static inline struct rf_ofi *rf_ofi(const struct rf_transport *t)
{
	return (struct rf_ofi *)t;
}

static inline struct rf_ofi_lane *rf_ofi_lane(const struct rf_lane *l)
{
	return (struct rf_ofi_lane *)l;
}

static inline struct rf_ofi *rf_ofi_of(const struct rf_ofi_lane *l)
{
	return (struct rf_ofi *)l->base.t;
}

/* ofi_provider.c */
/* Finds an endpoint type of `provider` that can do all we need, MSG before RDM. `why` says what
 * is missing. The caller frees *info with fi_freeinfo. */
int rf_ofi_provider_find(const char *provider, const struct rf_transport_cfg *cfg,
			 struct fi_info **info, char *why, size_t why_size);
int rf_ofi_provider_rungs(const char *provider, char rungs[][RF_WIRE_RUNG_SIZE], unsigned max);
void rf_ofi_provider_caps(const struct fi_info *info, struct rf_transport_caps *caps);
bool rf_ofi_provider_ordered(const struct fi_info *info);
uint32_t rf_ofi_provider_window(const struct fi_info *info);

/* ofi_addr.c */
/* "10.0.0.1:4711" or the provider's own words for the peer of a connected endpoint. */
void rf_ofi_addr_peer(const struct rf_ofi *o, struct fid_ep *ep, char *out, size_t size);
/* Address of an endpoint or passive endpoint as bytes for the control stream. */
int rf_ofi_addr_get(const struct rf_ofi *o, struct fid *fid, uint8_t *addr, uint32_t *addr_len);
/* Checks bytes that came from the peer and copies the provider's part of them to out. */
int rf_ofi_addr_parse(const struct rf_ofi *o, const uint8_t *addr, uint32_t addr_len,
		      uint8_t out[RF_OFI_ADDR_SIZE], size_t *out_len);

/* ofi_wait.c */
struct rf_ofi_wait {
	uint64_t deadline; /* ns */
	int cancel_fd;
};
void rf_ofi_wait_init(struct rf_ofi_wait *w, uint32_t timeout, int cancel_fd);
/* Sleeps until the queue may have something (fd; -1: for a tick). RF_ERR_TIMEOUT,
 * RF_ERR_CANCELLED. */
int rf_ofi_wait_sleep(const struct rf_ofi_wait *w, struct fid_fabric *fabric, struct fid *queue,
		      int fd);
/* Sleeps until a socket that connects has an outcome. As above. */
int rf_ofi_wait_out(const struct rf_ofi_wait *w, int fd);
int rf_ofi_wait_fd(struct fid *queue); /* its fd or -1 */
/* Next event of eq. RF_ERR_SYSTEM: *err is what the provider reported (FI_E…), 0 if the queue
 * itself is broken. */
int rf_ofi_wait_event(const struct rf_ofi_wait *w, struct rf_ofi *o, struct fid_eq *eq,
		      uint32_t *event, struct fi_eq_cm_entry *e, size_t size, size_t *got,
		      int *err);
int rf_ofi_eq_open(struct rf_ofi *o, struct fid_eq **eq);

/* ofi_endpoint.c */
/* Takes info over, also when it fails. */
int rf_ofi_lane_new(struct rf_ofi *o, struct fi_info *info, const struct rf_wire_lane *id,
		    struct rf_ofi_lane **out);
/* Called when it is connected: finds out the peer's name, and deregistration now knows it. */
void rf_ofi_lane_up(struct rf_ofi_lane *l);
void rf_ofi_lane_delete(struct rf_ofi_lane *l);

/* ofi_msg.c, ofi_rdm.c */
int rf_ofi_msg_listen(struct rf_ofi *o, uint8_t *addr, uint32_t *addr_len);
void rf_ofi_msg_turn_away(struct rf_ofi *o); /* those who still wait to be accepted */
int rf_ofi_msg_accept(struct rf_ofi *o, const uint8_t *token, const struct rf_ofi_wait *w,
		      struct rf_ofi_lane **out);
int rf_ofi_msg_connect(struct rf_ofi *o, const uint8_t *addr, size_t addr_len,
		       const struct rf_wire_lane *id, const struct rf_ofi_wait *w,
		       struct rf_ofi_lane **out);
int rf_ofi_rdm_listen(struct rf_ofi *o, uint8_t *addr, uint32_t *addr_len);
int rf_ofi_rdm_accept(struct rf_ofi *o, const uint8_t *token, const struct rf_ofi_wait *w,
		      struct rf_ofi_lane **out);
int rf_ofi_rdm_connect(struct rf_ofi *o, const uint8_t *addr, size_t addr_len,
		       const struct rf_wire_lane *id, const struct rf_ofi_wait *w,
		       struct rf_ofi_lane **out);
void rf_ofi_rdm_bye(struct rf_ofi_lane *l);

/* ofi_mr.c */
int rf_ofi_mr_register(struct rf_transport *t, void *addr, size_t len, enum rf_access access,
		       struct rf_mr **out);
void rf_ofi_mr_deregister(struct rf_mr *mr);
void *rf_ofi_mr_desc(const struct rf_mr *mr, enum rf_lane_kind kind);

/* ofi_post.c */
int rf_ofi_post_recvs(struct rf_ofi_lane *l); /* gives used receives back to the provider */
int rf_ofi_post_ctl(struct rf_ofi_lane *l, fi_addr_t to, uint64_t ctl, const void *data,
		    size_t len);
int rf_ofi_lane_write(struct rf_lane *l, const struct rf_write *w, unsigned n);
int rf_ofi_lane_fence(struct rf_lane *l, uint64_t value);
int rf_ofi_lane_send(struct rf_lane *l, const void *data, uint32_t len);
int rf_ofi_lane_write_imm(struct rf_lane *l, const struct rf_write *w, uint32_t imm);
/* Sends a waiting fence if its time has come. Lock held. */
void rf_ofi_post_waiting_fence(struct rf_ofi_lane *l);

/* ofi_poll.c */
int rf_ofi_lane_poll(struct rf_lane *l, struct rf_completion *c, unsigned n);
int rf_ofi_lane_arm(struct rf_lane *l);
/* Reads the error a CQ has and kills the lane with it. Lock held. */
int rf_ofi_poll_error(struct rf_ofi_lane *l);
/* Looks whether the connection has ended; kills the lane then. Lock held. */
void rf_ofi_poll_events(struct rf_ofi_lane *l);
/* What a provider's error (FI_E…) of a post or a completion means for the lane. */
int rf_ofi_poll_map(int err);
void rf_ofi_poll_release(struct rf_ofi_lane *l, struct rf_ofi_slot *s);

/* The owner's way to the provider; waits while a registration goes on. */
static inline void rf_ofi_lane_enter(struct rf_ofi_lane *l)
{
	struct rf_ofi *o = rf_ofi_of(l);

	/* Not to take the lock again before the thread that waits for it. */
	if (atomic_load_explicit(&o->gate_shut, memory_order_relaxed)) {
		pthread_mutex_lock(&o->gate);
		pthread_mutex_unlock(&o->gate);
	}
	pthread_mutex_lock(&l->lock);
}

static inline void rf_ofi_lane_leave(struct rf_ofi_lane *l)
{
	pthread_mutex_unlock(&l->lock);
}

#endif
