/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the control stream: what its files share.
 *
 *   ctrl_resolve.c  name → addresses, with a deadline
 *   ctrl_connect.c  source: addresses → connected socket, preamble ──┐
 *   ctrl_listen.c   destination: listener, preamble ─────────────────┴► rf_ctrl_start
 *   ctrl.c          a stream's life, sending
 *   ctrl_reader.c   its reader thread: frames, heartbeats, liveness
 */
#ifndef RF_TRANSPORT_CTRL_IMPL_H
#define RF_TRANSPORT_CTRL_IMPL_H

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/clock.h"
#include "common/log.h"
#include "transport/ctrl.h"
#include "transport/frame_queue.h"

#define RF_CTRL_DEFAULT_TIMEOUT 10000u /* ms, of both kinds */
#define RF_CTRL_HOST_SIZE	64     /* numeric address with scope */
#define RF_CTRL_PEER_SIZE	80     /* "[address]:port" */
#define RF_CTRL_BEAT_SIZE	(RF_WIRE_FRAME_HEADER + 8)
#define RF_CTRL_WHY_SIZE	160
#define RF_CTRL_PINGS		8 /* heartbeats whose answer is still of use */

/* What is known of a connection before its stream starts. */
struct rf_ctrl_addrs {
	uint16_t peer_minor; /* of the protocol version the peer speaks */
	char local_host[RF_CTRL_HOST_SIZE];
	char peer_host[RF_CTRL_HOST_SIZE];
	char peer[RF_CTRL_PEER_SIZE];
};

/*
 * Lock order: tx_lock and queue.lock are never held together. The reader takes tx_lock only by
 * trylock: an owner may hold it while it waits for the peer to read, and the peer's reader
 * must not wait for ours.
 */
struct rf_ctrl {
	/* fixed after start */
	int fd;
	int wake_fd; /* eventfd: the reader looks around again */
	pthread_t reader;
	struct rf_ctrl_addrs addrs;
	char obj[RF_CTRL_PEER_SIZE + 32]; /* "source: 127.0.0.1:4444", for the log */

	/* any thread */
	_Atomic int error; /* the first one stays; set under fail_lock, after why */
	_Atomic bool closing;
	_Atomic uint64_t idle_ns;
	_Atomic uint64_t rtt_ns;
	_Atomic uint64_t sent_bytes;
	_Atomic uint64_t last_tx_ns;
	_Atomic bool tx_wanted; /* the reader found tx_lock taken: wake it after unlock */

	pthread_mutex_t fail_lock;
	char why[RF_CTRL_WHY_SIZE]; /* not changed once error is set */

	struct rf_frame_queue queue;

	pthread_mutex_t tx_lock;
	/* guarded by tx_lock: rest of a heartbeat, must go out before anything else */
	uint8_t tail[RF_CTRL_BEAT_SIZE];
	size_t tail_len;

	/* reader thread */
	uint8_t header[RF_WIRE_FRAME_HEADER];
	size_t got; /* bytes of the present frame, header included */
	struct rf_frame frame;
	uint64_t last_rx_ns, last_ping_ns;
	uint64_t ping_seq, pong_seq;	   /* last sent, last answered */
	uint64_t ping_ns[RF_CTRL_PINGS];   /* when, by seq % RF_CTRL_PINGS */
	uint64_t pong_value;		   /* to echo; only the newest one is of use */
	bool pong_due, tail_left, tx_busy; /* tx_busy: wait for the wake-up, not for POLLOUT */
};

/* Takes the socket over in any case; what is not given in cfg has its default. */
int rf_ctrl_start(int fd, const struct rf_ctrl_cfg *cfg, const struct rf_ctrl_addrs *addrs,
		  struct rf_ctrl **out);
void *rf_ctrl_reader(void *ctrl); /* thread function */

/* Kills the stream, wakes who waits on it and keeps the words for rf_ctrl_why(), unless it is dead
 * or closing already. Any thread. */
void rf_ctrl_fail(struct rf_ctrl *c, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Under tx_lock: writes what it can of the tail without waiting. */
void rf_ctrl_flush_tail(struct rf_ctrl *c);

/* ---- sockets ---- */

/* poll() of one fd until the deadline (0: none). RF_OK, RF_ERR_TIMEOUT, RF_ERR_CANCELLED
 * (cancel_fd readable), RF_ERR_SYSTEM. */
int rf_ctrl_wait(int fd, short events, uint64_t deadline_ns, int cancel_fd);

/* Numeric address of a sockaddr, without port; an IPv4 address mapped into IPv6 as IPv4. */
void rf_ctrl_host_str(const struct sockaddr_storage *sa, char host[RF_CTRL_HOST_SIZE]);
/* With port: "127.0.0.1:4444", "[::1]:4444". */
void rf_ctrl_addr_str(const struct sockaddr_storage *sa, char str[RF_CTRL_PEER_SIZE]);
uint16_t rf_ctrl_sockaddr_port(const struct sockaddr_storage *sa);
void rf_ctrl_addrs_of(int fd, struct rf_ctrl_addrs *a);

/* Reads more of a preamble, `got` bytes of which are there. RF_OK: whole and right; RF_AGAIN;
 * RF_ERR_NOT_RAMFERRY (as soon as a byte differs, or the peer closes), RF_ERR_VERSION. */
int rf_ctrl_read_preamble(int fd, uint8_t in[RF_WIRE_PREAMBLE_SIZE], size_t *got, uint16_t *major,
			  uint16_t *minor);
/* 16 bytes on a fresh socket always fit. */
int rf_ctrl_send_preamble(int fd); /* RF_ERR_PEER_GONE */

/*
 * Addresses of a host name; flags: AI_…. The resolver cannot be interrupted: past the deadline
 * it is left behind on a thread of its own. RF_ERR_UNREACHABLE (*why says why, a constant
 * string), RF_ERR_TIMEOUT, RF_ERR_CANCELLED, RF_ERR_NO_MEMORY, RF_ERR_SYSTEM. Ends with
 * freeaddrinfo().
 */
int rf_ctrl_resolve(const char *host, uint16_t port, int flags, uint64_t deadline_ns, int cancel_fd,
		    struct addrinfo **out, const char **why);

#endif
