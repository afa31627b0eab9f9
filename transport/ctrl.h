/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control stream: an ordered, framed byte stream over TCP with heartbeats and deadlines.
 *
 * Each stream has a reader thread of its own. It answers and sends heartbeats, so the stream
 * stays alive while its owner is busy, and queues the other frames (64 frames and 8 MiB; a full
 * queue stops the reading, not the heartbeats, and the peer's sends wait). rf_ctrl_send() may be
 * called from any thread.
 *
 * The peer closing between two frames is logged at debug only: the owner knows whether it may.
 *
 * On connect and accept both sides exchange the preamble first; a peer that is not ramferry or
 * speaks another major version is found out there.
 */
#ifndef RF_TRANSPORT_CTRL_H
#define RF_TRANSPORT_CTRL_H

#include <stddef.h>
#include <stdint.h>

#include "common/wire.h"

struct rf_ctrl;
struct rf_ctrl_listener;

struct rf_ctrl_cfg {
	uint32_t connect_timeout; /* ms for connect and preamble (default 10,000) */
	uint32_t idle_timeout;	  /* ms of silence after which the peer is dead (default 10,000);
				     a heartbeat goes out every quarter of it */
	const char *name;	  /* "source", "dest": for the log */
};

struct rf_frame {
	uint32_t type; /* enum rf_wire_type */
	uint32_t len;
	uint8_t *payload; /* owned by the receiver: rf_frame_free */
};
void rf_frame_free(struct rf_frame *f); /* frees the payload and zeroes *f */

/* Listens on host (name, IPv4, IPv6; NULL: loopback) and port (0: any). RF_ERR_BUSY,
 * RF_ERR_UNREACHABLE, RF_ERR_PERMISSION. */
int rf_ctrl_listen(const char *host, uint16_t port, struct rf_ctrl_listener **out);
uint16_t rf_ctrl_listener_port(const struct rf_ctrl_listener *l);
/* Next peer that gets the preamble right; one that says nothing does not keep others out.
 * timeout ms, 0: none. RF_ERR_TIMEOUT, RF_ERR_CANCELLED (cancel_fd readable); RF_ERR_NOT_RAMFERRY
 * (also after cfg->connect_timeout of silence), RF_ERR_VERSION: one peer was turned away and
 * logged at warn, the caller may accept again. cancel_fd -1: none. One thread. */
int rf_ctrl_accept(struct rf_ctrl_listener *l, const struct rf_ctrl_cfg *cfg, uint32_t timeout,
		   int cancel_fd, struct rf_ctrl **out);
void rf_ctrl_listener_close(struct rf_ctrl_listener **l);

/* Tries every address of host within cfg->connect_timeout, name look-up and preamble included,
 * and logs the failure that came furthest. RF_ERR_REFUSED, _UNREACHABLE, _TIMEOUT,
 * _NOT_RAMFERRY, _VERSION, _CANCELLED, _SYSTEM, _NO_MEMORY. */
int rf_ctrl_connect(const char *host, uint16_t port, const struct rf_ctrl_cfg *cfg, int cancel_fd,
		    struct rf_ctrl **out);

/* Addresses of this connection as numeric strings, without port. Live as long as c. */
const char *rf_ctrl_local_host(const struct rf_ctrl *c);
const char *rf_ctrl_peer_host(const struct rf_ctrl *c);
/* "127.0.0.1:4444", for logs. */
const char *rf_ctrl_peer(const struct rf_ctrl *c);

/* Minor number of the protocol version the peer speaks: what may be sent to it. */
uint16_t rf_ctrl_peer_minor(const struct rf_ctrl *c);

/* Changes cfg.idle_timeout (after the HELLO exchange); 0: the default. Any thread. */
void rf_ctrl_set_idle_timeout(struct rf_ctrl *c, uint32_t ms);

/* Sends one frame whole; blocks at most the idle timeout (and as long for each frame other threads
 * are sending before it). Any thread. Errors: RF_ERR_PEER_GONE, RF_ERR_TIMEOUT or what the stream
 * had died of; the stream is dead then, but what the peer sent before can still be received.
 * RF_ERR_INVALID: no such type, or over RF_WIRE_MAX_PAYLOAD; nothing was sent. */
int rf_ctrl_send(struct rf_ctrl *c, uint32_t type, const void *payload, uint32_t len);

/* Next frame, in order. timeout ms: 0: look only, -1: as long as the stream lives; RF_AGAIN if
 * none came in time. After the peer closed or died: what was queued first, then RF_ERR_PEER_GONE
 * (or RF_ERR_TIMEOUT, RF_ERR_PROTOCOL) for ever. One thread. An ERROR frame is handed out like any
 * other. */
int rf_ctrl_recv(struct rf_ctrl *c, struct rf_frame *f, int timeout);

/* eventfd, readable while a frame is queued or the stream is dead. For poll(); recv clears it. */
int rf_ctrl_fd(const struct rf_ctrl *c);

/* RF_OK while the stream lives, else why it died. Any thread. */
int rf_ctrl_error(const struct rf_ctrl *c);

/* How the stream ended, to go behind the peer's name: "closed the connection or died". For an owner
 * that got an error from it: it says so in its one line, unless the peer's last words are a better
 * reason. The stream itself logs nothing above debug. */
const char *rf_ctrl_why(const struct rf_ctrl *c);

/* Smoothed round trip of the heartbeats, ns; 0: not measured yet. Any thread. */
uint64_t rf_ctrl_rtt_ns(const struct rf_ctrl *c);

/* Payload and header bytes sent so far. Any thread. */
uint64_t rf_ctrl_sent_bytes(const struct rf_ctrl *c);

/* Shuts down, joins the reader, frees; no other thread may use the stream any more. Frames sent
 * before reach a living peer: close waits for it to take them, at most a second, and for about a
 * round trip when all is well. NULLs *cp; a pointer to NULL is fine. */
void rf_ctrl_close(struct rf_ctrl **cp);

#endif
