/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/migration/peer.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/ctrl_peer.h"

void peer_open(struct peer *p, struct rf_mem_hub *hub)
{
	struct rf_transport_cfg cfg = {.max_lanes = RF_WIRE_MAX_LANES, .hub = hub};

	memset(p, 0, sizeof(*p));
	p->fd = p->listener = -1;
	p->in = malloc(RF_WIRE_MAX_PAYLOAD);
	p->out = malloc(RF_WIRE_MAX_PAYLOAD);
	assert_true(p->in && p->out);
	rf_wbuf_init(&p->b, p->out, RF_WIRE_MAX_PAYLOAD);
	assert_int_equal(rf_transport_open("mem", &cfg, &p->t), RF_OK);
}

void peer_hang_up(struct peer *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

void peer_close(struct peer *p)
{
	peer_hang_up(p);
	if (p->listener >= 0)
		close(p->listener);
	for (unsigned i = 0; i < p->nlanes; i++)
		rf_lane_close(&p->lanes[i]);
	rf_mr_deregister(&p->mr);
	rf_transport_close(&p->t);
	free(p->memory);
	free(p->in);
	free(p->out);
}

static void greet(struct peer *p)
{
	uint8_t mine[RF_WIRE_PREAMBLE_SIZE], theirs[RF_WIRE_PREAMBLE_SIZE];
	uint16_t major, minor;

	rf_wire_put_preamble(mine, RF_WIRE_MAJOR, p->minor ? p->minor : RF_WIRE_MINOR);
	raw_write(p->fd, mine, sizeof(mine));
	assert_true(raw_read(p->fd, theirs, sizeof(theirs)));
	assert_int_equal(rf_wire_get_preamble(theirs, &major, &minor), RF_OK);
}

int peer_raw(uint16_t port)
{
	return raw_connect(port);
}

void peer_connect(struct peer *p, uint16_t port)
{
	p->fd = raw_connect(port);
	greet(p);
}

int peer_socket(uint16_t *port)
{
	return raw_listen(1, port);
}

void peer_accept(struct peer *p)
{
	int one = 1;

	p->fd = accept(p->listener, NULL, NULL);
	assert_true(p->fd >= 0);
	setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	greet(p);
}

/* The other side may have closed already: then it has heard enough. */
void peer_bytes(struct peer *p, const void *data, size_t len)
{
	(void)!send(p->fd, data, len, MSG_NOSIGNAL);
}

void peer_send(struct peer *p, uint32_t type, const void *payload, uint32_t len)
{
	uint8_t h[RF_WIRE_FRAME_HEADER];

	rf_wire_put_header(h, type, len);
	peer_bytes(p, h, sizeof(h));
	if (len)
		peer_bytes(p, payload, len);
}

void peer_put(struct peer *p, uint32_t type)
{
	assert_false(p->b.overflow);
	peer_send(p, type, p->b.data, (uint32_t)p->b.len);
	p->b.len = 0;
}

static bool read_all(struct peer *p, void *to, size_t len)
{
	for (size_t got = 0; got < len;) {
		struct pollfd f = {.fd = p->fd, .events = POLLIN};
		ssize_t n;

		if (poll(&f, 1, PEER_PATIENCE) == 0)
			fail_msg("nothing came within %d ms", PEER_PATIENCE);
		n = recv(p->fd, (uint8_t *)to + got, len - got, 0);
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return true;
}

bool peer_recv_any(struct peer *p)
{
	uint8_t h[RF_WIRE_FRAME_HEADER];

	if (!read_all(p, h, sizeof(h)))
		return false;
	assert_int_equal(rf_wire_get_header(h, &p->type, &p->len), RF_OK);
	return read_all(p, p->in, p->len);
}

bool peer_recv(struct peer *p)
{
	do {
		if (!peer_recv_any(p))
			return false;
		if (p->type == RF_WIRE_PING && !p->mute)
			peer_send(p, RF_WIRE_PONG, p->in, p->len);
	} while (p->type == RF_WIRE_PING || p->type == RF_WIRE_PONG);
	return true;
}

void peer_expect(struct peer *p, uint32_t type)
{
	struct rf_wire_status st = {0};

	if (!peer_recv(p))
		fail_msg("the stream ended where %s was due", rf_wire_type_str(type));
	if (p->type == RF_WIRE_ERROR)
		(void)rf_wire_get_status(p->in, p->len, &st);
	if (p->type != type)
		fail_msg("%s (%s) came where %s was due", rf_wire_type_str(p->type), st.text,
			 rf_wire_type_str(type));
}

bool peer_drain(struct peer *p)
{
	while (peer_recv(p)) {
		if (p->type != RF_WIRE_ERROR)
			continue;
		peer_hang_up(p); /* its last frame: it need not wait for us */
		return true;
	}
	return false;
}
