/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/msg.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "bench/say.h"
#include "common/clock.h"
#include "common/wire_io.h"

#define HEADER 8

void msg_init(struct msg *m, enum msg_type type)
{
	m->type = type;
	m->len = m->at = 0;
	m->bad = false;
}

static uint8_t *room(struct msg *m, uint32_t n)
{
	if (n > MSG_MAX - m->len) {
		m->bad = true;
		return NULL;
	}
	m->len += n;
	return m->data + m->len - n;
}

void msg_put_u64(struct msg *m, uint64_t v)
{
	uint8_t *p = room(m, 8);

	if (p)
		put_le64(p, v);
}

void msg_put_double(struct msg *m, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	msg_put_u64(m, bits);
}

void msg_put_bytes(struct msg *m, const void *p, uint32_t len)
{
	uint8_t *to;

	msg_put_u64(m, len);
	to = room(m, len);
	if (to)
		memcpy(to, p, len);
}

static const uint8_t *take(struct msg *m, uint64_t n)
{
	if (m->bad || n > m->len - m->at) {
		m->bad = true;
		return NULL;
	}
	m->at += (uint32_t)n;
	return m->data + m->at - n;
}

uint64_t msg_get_u64(struct msg *m)
{
	const uint8_t *p = take(m, 8);

	return p ? get_le64(p) : 0;
}

double msg_get_double(struct msg *m)
{
	uint64_t bits = msg_get_u64(m);
	double v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

uint32_t msg_get_bytes(struct msg *m, void *to, uint32_t cap)
{
	uint64_t len = msg_get_u64(m);
	const uint8_t *p = NULL;

	if (len > cap)
		m->bad = true;
	else
		p = take(m, len);
	if (!p)
		return 0;
	memcpy(to, p, len);
	return (uint32_t)len;
}

void msg_get_text(struct msg *m, char *text, uint32_t cap)
{
	uint32_t len = msg_get_bytes(m, text, cap - 1);

	text[len] = 0;
	/* It goes to a terminal. */
	for (uint32_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 127)
			text[i] = '?';
}

bool msg_end(const struct msg *m)
{
	return !m->bad && m->at == m->len;
}

int msg_send(int fd, const struct msg *m)
{
	uint8_t buf[HEADER + MSG_MAX];
	size_t len = HEADER + m->len;
	ssize_t n;

	put_le32(buf, m->type);
	put_le32(buf + 4, m->len);
	memcpy(buf + HEADER, m->data, m->len);
	for (size_t at = 0; at < len; at += (size_t)n) {
		n = send(fd, buf + at, len - at, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			n = 0;
		if (n < 0)
			return say_error("the peer is gone: %s", strerror(errno));
	}
	return 0;
}

void msg_send_error(int fd, const char *text)
{
	uint8_t buf[HEADER + 8 + 300];
	uint32_t len = (uint32_t)strnlen(text, 300);

	put_le32(buf, MSG_ERROR);
	put_le32(buf + 4, 8 + len);
	put_le64(buf + HEADER, len);
	memcpy(buf + HEADER + 8, text, len);
	/* so short that it fits or nobody reads */
	if (send(fd, buf, HEADER + 8 + len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

/* len bytes before the deadline (0: none). */
static int receive(int fd, uint8_t *to, size_t len, uint64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;
	int left;

	for (size_t at = 0; at < len; at += (size_t)n) {
		n = 0;
		left = deadline ? rf_ms_left(&rf_clock_monotonic, deadline) : -1;
		if (left == 0)
			return say_error("the peer says nothing");
		if (poll(&p, 1, left) <= 0)
			continue;
		n = recv(fd, to + at, len - at, 0);
		if (n == 0)
			return say_error("the peer has closed the connection");
		if (n < 0 && errno != EINTR)
			return say_error("the peer is gone: %s", strerror(errno));
		if (n < 0)
			n = 0;
	}
	return 0;
}

int msg_recv(int fd, struct msg *m, enum msg_type type, int timeout)
{
	uint64_t deadline =
		timeout < 0 ? 0 : rf_now_ns(&rf_clock_monotonic) + (uint64_t)timeout * RF_NS_PER_MS;
	uint8_t head[HEADER];
	char text[304];

	if (receive(fd, head, sizeof(head), deadline))
		return -1;
	msg_init(m, get_le32(head));
	if (get_le32(head + 4) > MSG_MAX || (m->type != (uint32_t)type && m->type != MSG_ERROR))
		return say_error("the peer at the other end is not a bench of ramferry, or of "
				 "another version");
	m->len = get_le32(head + 4);
	if (receive(fd, m->data, m->len, deadline))
		return -1;
	if (m->type != MSG_ERROR)
		return 0;
	msg_get_text(m, text, sizeof(text));
	return say_echo(text);
}
