/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lanes of FI_EP_MSG. The token travels as connection data: a stranger is rejected before an
 * endpoint is made for it, and the wait goes on.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "transport/ofi/ofi.h"

/* An event with the connection data behind it; providers pad it. */
union cm_event {
	struct fi_eq_cm_entry e;
	uint8_t bytes[sizeof(struct fi_eq_cm_entry) + 256];
};

static int map_cm_error(int err)
{
	switch (err) {
	case FI_ECONNREFUSED:
		return RF_ERR_REFUSED;
	case FI_ETIMEDOUT:
		return RF_ERR_TIMEOUT;
	case FI_EHOSTUNREACH:
	case FI_ENETUNREACH:
	case FI_EADDRNOTAVAIL:
		return RF_ERR_UNREACHABLE;
	default:
		/* the other end hung up while it was being set up */
		return RF_ERR_REFUSED;
	}
}

/* Our side's address with any port; all addresses where none was named. */
static void any_port(struct sockaddr *sa, bool any_host)
{
	if (sa->sa_family == AF_INET) {
		((struct sockaddr_in *)sa)->sin_port = 0;
		if (any_host)
			((struct sockaddr_in *)sa)->sin_addr.s_addr = INADDR_ANY;
	} else if (sa->sa_family == AF_INET6) {
		((struct sockaddr_in6 *)sa)->sin6_port = 0;
		if (any_host)
			((struct sockaddr_in6 *)sa)->sin6_addr = in6addr_any;
	}
}

int rf_ofi_msg_listen(struct rf_ofi *o, uint8_t *addr, uint32_t *addr_len)
{
	int rc, err;

	o->pep_info = fi_dupinfo(o->info);
	if (!o->pep_info)
		return RF_ERR_NO_MEMORY;
	if (o->pep_info->src_addr)
		any_port(o->pep_info->src_addr, o->any_host);
	err = rf_ofi_eq_open(o, &o->eq);
	if (err)
		return err;
	rc = fi_passive_ep(o->fabric, o->pep_info, &o->pep, NULL);
	if (!rc)
		rc = fi_pep_bind(o->pep, &o->eq->fid, 0);
	if (!rc)
		rc = fi_listen(o->pep);
	if (!rc)
		return rf_ofi_addr_get(o, &o->pep->fid, addr, addr_len);
	rf_err_log("ofi", "listening with provider %s: %s", o->base.provider, fi_strerror(-rc));
	if (rc == -FI_EADDRINUSE)
		return RF_ERR_BUSY;
	return rc == -FI_EADDRNOTAVAIL ? RF_ERR_UNREACHABLE : RF_ERR_SYSTEM;
}

void rf_ofi_msg_turn_away(struct rf_ofi *o)
{
	union cm_event ev;
	uint32_t event;

	/* tcp takes a step of a request at each read: several empty ones before none is left */
	for (unsigned empty = 0; empty < 4;) {
		if (fi_eq_read(o->eq, &event, &ev, sizeof(ev), 0) <= 0) {
			empty++;
		} else if (event == FI_CONNREQ) {
			fi_reject(o->pep, ev.e.info->handle, NULL, 0);
			fi_freeinfo(ev.e.info);
		}
	}
}

/* Waits until the lane is connected. */
static int finish(struct rf_ofi *o, struct rf_ofi_lane *l, const struct rf_ofi_wait *w)
{
	union cm_event ev;
	uint32_t event;
	size_t got;
	int cause = 0, err;

	err = rf_ofi_wait_event(w, o, l->eq, &event, &ev.e, sizeof(ev), &got, &cause);
	if (err == RF_ERR_SYSTEM) {
		rf_info("ofi", "lane %s: not connected: %s", l->base.name, fi_strerror(cause));
		return map_cm_error(cause);
	}
	if (err)
		return err;
	return event == FI_CONNECTED ? RF_OK : RF_ERR_REFUSED;
}

static int take_request(struct rf_ofi *o, struct fi_info *info, const struct rf_wire_lane *id,
			const struct rf_ofi_wait *w, struct rf_ofi_lane **out)
{
	fid_t handle = info->handle;
	struct rf_ofi_lane *l;
	int rc, err = rf_ofi_lane_new(o, info, id, &l);

	if (err) {
		fi_reject(o->pep, handle, NULL, 0);
		return err;
	}
	rc = fi_accept(l->ep, NULL, 0);
	if (rc) {
		rf_err_log("ofi", "lane %s: fi_accept: %s", l->base.name, fi_strerror(-rc));
		err = RF_ERR_SYSTEM;
	} else {
		err = finish(o, l, w);
	}
	if (err) {
		rf_ofi_lane_delete(l);
		return err;
	}
	*out = l;
	return RF_OK;
}

int rf_ofi_msg_accept(struct rf_ofi *o, const uint8_t *token, const struct rf_ofi_wait *w,
		      struct rf_ofi_lane **out)
{
	static struct rf_log_limit limit;
	union cm_event ev;
	struct rf_wire_lane id;
	uint32_t event;
	size_t got;
	int cause = 0, err;

	for (;;) {
		err = rf_ofi_wait_event(w, o, o->eq, &event, &ev.e, sizeof(ev), &got, &cause);
		if (err == RF_ERR_SYSTEM && cause) {
			rf_log_limited(&limit, RF_LOG_WARN, "ofi", "listener: %s",
				       fi_strerror(cause));
			continue;
		}
		if (err)
			return err;
		if (event != FI_CONNREQ)
			continue;
		got = got > sizeof(ev.e) ? got - sizeof(ev.e) : 0;
		/* providers may pad connection data, so only the front counts */
		if (got < RF_WIRE_LANE_SIZE ||
		    rf_wire_get_lane(ev.e.data, RF_WIRE_LANE_SIZE, &id) ||
		    !rf_token_equal(id.token, token)) {
			rf_log_limited(&limit, RF_LOG_WARN, "ofi",
				       "turned away a lane without this session's token");
			fi_reject(o->pep, ev.e.info->handle, NULL, 0);
			fi_freeinfo(ev.e.info);
			continue;
		}
		return take_request(o, ev.e.info, &id, w, out);
	}
}

/* An info for one connection: our address with any port, their address. */
static struct fi_info *connect_info(const struct rf_ofi *o, const uint8_t *addr, size_t len)
{
	struct fi_info *info = fi_dupinfo(o->info);

	if (!info)
		return NULL;
	if (info->src_addr)
		any_port(info->src_addr, false);
	free(info->dest_addr);
	info->dest_addr = malloc(len);
	if (!info->dest_addr) {
		fi_freeinfo(info);
		return NULL;
	}
	memcpy(info->dest_addr, addr, len);
	info->dest_addrlen = len;
	return info;
}

/*
 * `sockets` connects inside of fi_connect, with the kernel's patience of minutes. Trying the
 * address first keeps our time limit and our cancel fd; the listener drops a connection that says
 * nothing. RF_OK: somebody listens there.
 */
static int try_address(const struct sockaddr *sa, socklen_t len, const struct rf_ofi_wait *w)
{
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int cause = 0, err = RF_OK;
	socklen_t size = sizeof(cause);

	if (fd < 0)
		return RF_ERR_SYSTEM;
	if (connect(fd, sa, len))
		cause = errno;
	if (cause == EINPROGRESS) {
		err = rf_ofi_wait_out(w, fd);
		if (!err && getsockopt(fd, SOL_SOCKET, SO_ERROR, &cause, &size))
			cause = errno;
	}
	close(fd);
	return err ? err : cause ? map_cm_error(cause) : RF_OK;
}

int rf_ofi_msg_connect(struct rf_ofi *o, const uint8_t *addr, size_t addr_len,
		       const struct rf_wire_lane *id, const struct rf_ofi_wait *w,
		       struct rf_ofi_lane **out)
{
	uint8_t data[RF_WIRE_LANE_SIZE];
	struct rf_ofi_lane *l = NULL;
	int rc, err = RF_OK;

	if (o->blocking_connect)
		err = try_address((const struct sockaddr *)addr, (socklen_t)addr_len, w);
	if (err)
		return err;
	rf_wire_put_lane(data, id);
	err = rf_ofi_lane_new(o, connect_info(o, addr, addr_len), id, &l);
	if (err)
		return err;
	rc = fi_connect(l->ep, addr, data, sizeof(data));
	if (rc) {
		rf_info("ofi", "lane %s: fi_connect: %s", l->base.name, fi_strerror(-rc));
		err = map_cm_error(-rc);
	} else {
		err = finish(o, l, w);
	}
	if (err)
		rf_ofi_lane_delete(l);
	else
		*out = l;
	return err;
}
