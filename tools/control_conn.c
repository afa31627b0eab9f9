/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/control_conn.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

bool control_conn_open(struct control_conn *c, int fd)
{
	*c = (struct control_conn){.fd = -1};
	c->in = malloc(CONTROL_LINE_MAX);
	if (!c->in)
		return false;
	c->fd = fd;
	return true;
}

void control_conn_close(struct control_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->in);
	free(c->out);
	*c = (struct control_conn){.fd = -1};
}

static bool is_full(const struct control_conn *c)
{
	return c->out_len >= CONTROL_OUT_MAX;
}

short control_conn_wants(const struct control_conn *c)
{
	short events = 0;

	if (!c->ended && !is_full(c))
		events |= POLLIN;
	if (c->out_len)
		events |= POLLOUT;
	return events;
}

/* Takes over line; false without memory. */
static bool append(struct control_conn *c, char *line)
{
	size_t len = strlen(line);
	char *grown;

	if (c->out_len + len > c->out_cap) {
		grown = realloc(c->out, c->out_len + len);
		if (!grown) {
			free(line);
			return false;
		}
		c->out = grown;
		c->out_cap = c->out_len + len;
	}
	memcpy(c->out + c->out_len, line, len);
	c->out_len += len;
	free(line);
	return true;
}

bool control_conn_flush(struct control_conn *c)
{
	size_t sent = 0;

	while (sent < c->out_len) {
		ssize_t n =
			send(c->fd, c->out + sent, c->out_len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0)
			return false;
		sent += (size_t)n;
	}
	c->out_len -= sent;
	if (sent && c->out_len)
		memmove(c->out, c->out + sent, c->out_len);
	return true;
}

static bool answer_line(struct control_conn *c, const char *line, size_t len,
			control_answer_fn *answer, void *arg)
{
	char *reply = answer(arg, c, line, len);

	return reply && append(c, reply);
}

/* Answers the complete lines of what came, as long as there is room for answers. */
static bool answer_lines(struct control_conn *c, control_answer_fn *answer, void *arg)
{
	const char *at = c->in, *end = c->in + c->in_len, *nl;
	bool ok = true;

	while (ok && !is_full(c) && (nl = memchr(at, '\n', (size_t)(end - at)))) {
		ok = answer_line(c, at, (size_t)(nl - at), answer, arg);
		at = nl + 1;
	}
	c->in_len = (size_t)(end - at);
	memmove(c->in, at, c->in_len);
	return ok;
}

static bool has_line(const struct control_conn *c)
{
	return memchr(c->in, '\n', c->in_len);
}

/* The rest of such a line is not read: what follows could not be told from it. */
static bool refuse_long_line(struct control_conn *c)
{
	struct control_refusal why = {.desc = "a line is longer than 4096 bytes"};
	char *line = control_error_line(&why, NULL);

	c->ended = true;
	c->in_len = 0;
	return line && append(c, line);
}

/* What came before the end counts as a line. */
static bool end_input(struct control_conn *c, control_answer_fn *answer, void *arg)
{
	bool ok = !c->in_len || answer_line(c, c->in, c->in_len, answer, arg);

	c->ended = true;
	c->in_len = 0;
	return ok;
}

/* Reads once; false: the client is gone. */
static bool read_some(struct control_conn *c, control_answer_fn *answer, void *arg)
{
	ssize_t n;

	if (c->ended || is_full(c) || c->in_len == CONTROL_LINE_MAX)
		return true;
	n = recv(c->fd, c->in + c->in_len, CONTROL_LINE_MAX - c->in_len, MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK;
	if (!n)
		return has_line(c) || end_input(c, answer, arg);
	c->in_len += (size_t)n;
	return true;
}

bool control_conn_serve(struct control_conn *c, control_answer_fn *answer, void *arg)
{
	if (!control_conn_flush(c) || !read_some(c, answer, arg))
		return false;
	/* Until all lines are answered, or the client has to take some of the answers first. */
	do {
		if (!answer_lines(c, answer, arg))
			return false;
		if (c->in_len == CONTROL_LINE_MAX && !has_line(c) && !refuse_long_line(c))
			return false;
		if (!control_conn_flush(c))
			return false;
	} while (has_line(c) && !is_full(c));
	/* Who has ended but wants events stays until the socket breaks. */
	return !c->ended || c->out_len || c->events;
}

static char *lost_line(uint64_t n)
{
	struct json_object *data = json_object_new_object();

	json_object_object_add(data, "count", json_object_new_uint64(n));
	return control_event_line("EVENTS_LOST", data);
}

void control_conn_event(struct control_conn *c, char *line)
{
	char *lost;

	if (!c->events || !line || is_full(c)) {
		c->lost += c->events;
		free(line);
		return;
	}
	if (c->lost) {
		lost = lost_line(c->lost);
		if (lost && append(c, lost))
			c->lost = 0;
	}
	if (!append(c, line))
		c->lost++;
}
