/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a backend fills in: one static const table, every slot filled (a slot it cannot serve
 * points to a function of the exact type that returns RF_ERR_UNSUPPORTED). transport.c checks
 * the table once at open, and arguments and fault points at every call, so backends need not.
 *
 * A backend's objects begin with the common part below.
 */
#ifndef RF_TRANSPORT_OPS_H
#define RF_TRANSPORT_OPS_H

#include "transport/transport.h"

struct rf_transport_ops {
	const char *name; /* "ofi" */

	/* rungs this backend has now, e.g. "ofi:tcp", best first; logs why one is left out */
	int (*rungs)(const char *provider, char rungs[][RF_WIRE_RUNG_SIZE], unsigned max);
	/* detail: what follows the colon in the rung's name, or "" */
	int (*open)(const char *detail, const struct rf_transport_cfg *cfg,
		    struct rf_transport **out);
	void (*close)(struct rf_transport *t);
	int (*listen)(struct rf_transport *t, uint8_t *addr, uint32_t *addr_len);
	int (*accept)(struct rf_transport *t, const uint8_t *token, uint32_t timeout, int cancel_fd,
		      struct rf_lane **out);
	int (*connect)(struct rf_transport *t, const uint8_t *addr, uint32_t addr_len,
		       const struct rf_wire_lane *id, uint32_t timeout, int cancel_fd,
		       struct rf_lane **out);

	int (*mr_register)(struct rf_transport *t, void *addr, size_t len, enum rf_access access,
			   struct rf_mr **out);
	void (*mr_deregister)(struct rf_mr *mr);

	int (*lane_write)(struct rf_lane *l, const struct rf_write *w, unsigned n);
	int (*lane_fence)(struct rf_lane *l, uint64_t value);
	int (*lane_send)(struct rf_lane *l, const void *data, uint32_t len);
	int (*lane_write_imm)(struct rf_lane *l, const struct rf_write *w, uint32_t imm);
	int (*lane_poll)(struct rf_lane *l, struct rf_completion *c, unsigned n);
	int (*lane_arm)(struct rf_lane *l);
	void (*lane_close)(struct rf_lane *l);
};

/* Head of every backend's transport. Fixed after open. */
struct rf_transport {
	const struct rf_transport_ops *ops;
	struct rf_transport_caps caps;
	char provider[32];
	const struct rf_topology *topology; /* or NULL */
	int node;			    /* the NIC's, for memory of lanes; -1: anywhere */
	/* counted by the front door, any thread: what must be gone before close */
	_Atomic unsigned lanes, mrs;
};

/* Head of every backend's registration. Fixed after register. */
struct rf_mr {
	struct rf_transport *t;
	uint8_t *addr;
	size_t len;
	enum rf_access access;
	struct rf_remote_key key;
};

/* Head of every backend's lane. */
struct rf_lane {
	/* fixed after connect or accept */
	struct rf_transport *t;
	enum rf_lane_kind kind;
	unsigned index;
	int fd; /* to sleep on */
	char name[24];
	/* owner thread */
	uint64_t inflight;    /* bytes of writes posted, not completed */
	int error;	      /* RF_OK while it lives */
	char error_desc[192]; /* why it died */
};

extern const struct rf_transport_ops rf_mem_ops;
extern const struct rf_transport_ops rf_ofi_ops;
#ifdef RF_HAVE_VERBS
extern const struct rf_transport_ops rf_verbs_ops;
#endif

/* What every backend begins a lane with: transport, kind, index and name. */
void rf_lane_init(struct rf_lane *l, struct rf_transport *t, const struct rf_wire_lane *id);

/* Whole pages for a lane's messages and queues, on the NIC's node where that is known. Set to
 * anything. NULL: no memory. */
void *rf_lane_memory_new(const struct rf_transport *t, size_t len);
void rf_lane_memory_free(const struct rf_transport *t, void *p, size_t len); /* NULL is fine */

/* Compares in constant time. */
bool rf_token_equal(const uint8_t a[RF_TOKEN_SIZE], const uint8_t b[RF_TOKEN_SIZE]);

/* Kills the lane: keeps the first error and its words, logs them once. Returns err. */
int rf_lane_fail(struct rf_lane *l, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
