/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/control_client.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/control_socket.h"

#define ANSWER_MS     10000 /* the control thread does nothing that takes time */
#define READ_SIZE     4096u
#define LINE_MAX_SIZE (16u << 20) /* no answer is that long */

bool control_client_open(struct control_client *c, const char *prog, const char *path)
{
	*c = (struct control_client){.prog = prog, .path = path};
	c->fd = control_socket_connect(prog, path);
	return c->fd >= 0;
}

void control_client_close(struct control_client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	free(c->buf);
	c->buf = NULL;
}

bool control_client_send(struct control_client *c, const char *command, struct json_object *args)
{
	struct json_object *o = json_object_new_object();
	const char *text;
	char *line = NULL;
	ssize_t n = -1;

	json_object_object_add(o, "execute", json_object_new_string(command));
	if (args)
		json_object_object_add(o, "arguments", args);
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	if (text && asprintf(&line, "%s\n", text) >= 0) {
		n = send(c->fd, line, strlen(line), MSG_NOSIGNAL);
		free(line);
	}
	json_object_put(o);
	if (n < 0)
		fprintf(stderr, "%s: %s: the process does not listen any more: %s\n", c->prog,
			c->path, strerror(errno));
	return n >= 0;
}

/* The line that is complete, or NULL. Valid until the next call. */
static char *take_line(struct control_client *c)
{
	char *line, *nl;

	if (!c->buf)
		return NULL;
	line = c->buf + c->taken;
	nl = memchr(line, '\n', c->len - c->taken);
	if (!nl)
		return NULL;
	*nl = 0;
	c->taken = (size_t)(nl + 1 - c->buf);
	return line;
}

/* Reads once; false at the end. */
static bool read_more(struct control_client *c)
{
	ssize_t n;

	if (c->taken) {
		c->len -= c->taken;
		memmove(c->buf, c->buf + c->taken, c->len);
		c->taken = 0;
	}
	if (c->len + READ_SIZE > c->cap) {
		char *grown =
			c->cap < LINE_MAX_SIZE ? realloc(c->buf, c->cap * 2 + READ_SIZE) : NULL;

		if (!grown)
			return false;
		c->buf = grown;
		c->cap = c->cap * 2 + READ_SIZE;
	}
	do
		n = recv(c->fd, c->buf + c->len, c->cap - c->len, 0);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return false;
	c->len += (size_t)n;
	return true;
}

struct json_object *control_client_next(struct control_client *c, int timeout, bool *end)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	struct json_object *o = NULL;
	char *line;

	*end = false;
	while (!o) {
		while (!(line = take_line(c))) {
			int n = poll(&p, 1, timeout);

			if (n == 0 || (n < 0 && errno == EINTR))
				return NULL;
			if (n < 0 || !read_more(c)) {
				*end = true;
				return NULL;
			}
		}
		o = json_tokener_parse(line);
	}
	return o;
}

struct json_object *control_client_ask(struct control_client *c, const char *command,
				       struct json_object *args)
{
	struct json_object *o, *found;
	bool end = false;

	if (!control_client_send(c, command, args))
		return NULL;
	while ((o = control_client_next(c, ANSWER_MS, &end))) {
		if (json_object_object_get_ex(o, "return", &found)) {
			json_object_get(found);
			json_object_put(o);
			return found;
		}
		if (json_object_object_get_ex(o, "error", &found)) {
			struct json_object *desc = json_object_object_get(found, "desc");

			fprintf(stderr, "%s: %s\n", c->prog,
				desc ? json_object_get_string(desc) : "refused");
			json_object_put(o);
			return NULL;
		}
		json_object_put(o);
	}
	fprintf(stderr, "%s: %s: %s\n", c->prog, c->path,
		end ? "the process ended" : "the process does not answer");
	return NULL;
}
