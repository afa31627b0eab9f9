/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/control_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LOCK_TRIES 100 /* of 10 ms */
#define BACKLOG	   16

static int complain(const char *prog, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int complain(const char *prog, const char *path, const char *fmt, ...)
{
	char text[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "%s: control socket %s: %s\n", prog, path, text);
	return -1;
}

static int set_address(const char *prog, const char *path, struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!path[0])
		return complain(prog, "\"\"", "the path is empty");
	if (strlen(path) >= sizeof(a->sun_path))
		return complain(prog, path, "the path is longer than %zu bytes",
				sizeof(a->sun_path) - 1);
	memcpy(a->sun_path, path, strlen(path) + 1);
	return 0;
}

static int new_socket(int flags)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
}

/* Its directory, locked: two that find the same stale file do not take each other's away. */
static int lock_directory(const char *path)
{
	char copy[sizeof(((struct control_socket *)0)->path)];
	int fd;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK || i == LOCK_TRIES) {
			close(fd);
			return -1;
		}
		usleep(10000);
	}
	return fd;
}

/* A socket nobody listens at is what a killed process left. */
static int remove_stale(const char *prog, const struct sockaddr_un *a)
{
	const char *path = a->sun_path;
	struct stat st;
	int fd, rc;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : complain(prog, path, "%s", strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return complain(prog, path, "the file is there and is no socket");
	fd = new_socket(SOCK_NONBLOCK);
	if (fd < 0)
		return complain(prog, path, "socket: %s", strerror(errno));
	rc = connect(fd, (const struct sockaddr *)a, sizeof(*a));
	if (rc == 0 || errno == EAGAIN)
		rc = complain(prog, path, "another process listens there");
	else if (errno != ECONNREFUSED)
		rc = complain(prog, path, "%s", strerror(errno));
	else if (unlink(path) < 0)
		rc = complain(prog, path, "left over, and cannot be removed: %s", strerror(errno));
	else
		rc = 0;
	close(fd);
	return rc;
}

static int bind_and_listen(const char *prog, const struct sockaddr_un *a, struct control_socket *s)
{
	struct stat st;

	/* The mode of the socket becomes that of the file, so that it never had another. */
	if (fchmod(s->fd, 0600) < 0 || bind(s->fd, (const struct sockaddr *)a, sizeof(*a)) < 0)
		return complain(prog, a->sun_path, "%s", strerror(errno));
	memcpy(s->path, a->sun_path, sizeof(s->path));
	if (listen(s->fd, BACKLOG) < 0 || lstat(s->path, &st) < 0)
		return complain(prog, s->path, "%s", strerror(errno));
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	return 0;
}

int control_socket_listen(const char *prog, const char *path, struct control_socket *s)
{
	struct sockaddr_un a;
	int lock, rc;

	*s = (struct control_socket){.fd = -1};
	if (set_address(prog, path, &a) < 0)
		return -1;
	lock = lock_directory(path);
	if (lock < 0)
		return complain(prog, path, "its directory: %s", strerror(errno));
	s->fd = new_socket(SOCK_NONBLOCK);
	rc = s->fd < 0 ? complain(prog, path, "socket: %s", strerror(errno))
		       : remove_stale(prog, &a);
	if (rc == 0)
		rc = bind_and_listen(prog, &a, s);
	close(lock);
	if (rc < 0)
		control_socket_close(s);
	return rc;
}

void control_socket_close(struct control_socket *s)
{
	struct stat st;

	if (s->ino && lstat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino)
		unlink(s->path);
	if (s->fd >= 0)
		close(s->fd);
	*s = (struct control_socket){.fd = -1};
}

int control_socket_connect(const char *prog, const char *path)
{
	struct sockaddr_un a;
	int fd;

	if (set_address(prog, path, &a) < 0)
		return -1;
	fd = new_socket(0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	complain(prog, path, "%s",
		 errno == ECONNREFUSED ? "nobody listens there any more" : strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}
