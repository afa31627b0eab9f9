/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peers for the tests of the control stream: a pair of streams over loopback, and raw sockets
 * that can say anything. Also a log sink that counts and keeps the last line.
 */
#ifndef RF_TESTS_CTRL_PEER_H
#define RF_TESTS_CTRL_PEER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/unit.h"

#include "common/clock.h"
#include "common/log.h"
#include "transport/ctrl.h"

#define SOON 20000 /* ms; a test that waits so long has failed */

static inline uint64_t test_ms(void)
{
	return rf_now_ns(&rf_clock_monotonic) / RF_NS_PER_MS;
}

/* ---- log ---- */

/* As the log has the version of this side. */
#define WORDS_OF(x) #x
#define WORDS(x)    WORDS_OF(x)
#define MINOR	    WORDS(RF_WIRE_MINOR)
#define VERSION	    WORDS(RF_WIRE_MAJOR) "." MINOR

struct log_lines {
	pthread_mutex_t lock;
	unsigned problems; /* errors and warnings */
	char last[512];
};
static struct log_lines test_log = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void test_log_sink(void *arg, enum rf_log_level level, const char *line)
{
	pthread_mutex_lock(&test_log.lock);
	if (level <= RF_LOG_WARN) {
		test_log.problems++;
		snprintf(test_log.last, sizeof(test_log.last), "%s", line);
	}
	pthread_mutex_unlock(&test_log.lock);
}

static inline int test_log_start(void **state)
{
	rf_log_set_sink(test_log_sink, NULL);
	rf_log_set_level(RF_LOG_DEBUG);
	test_log.problems = 0;
	test_log.last[0] = '\0';
	return 0;
}

static inline unsigned test_log_read(char last[512])
{
	unsigned n;

	pthread_mutex_lock(&test_log.lock);
	n = test_log.problems;
	memcpy(last, test_log.last, sizeof(test_log.last));
	pthread_mutex_unlock(&test_log.lock);
	return n;
}

/* Exactly one line so far, and it has these words in it. A thread may be just about to write it:
 * an error is to be seen a moment before its line. */
static inline void assert_one_line(const char *a, const char *b)
{
	uint64_t end = test_ms() + SOON;
	char last[512];
	unsigned n;

	while (!(n = test_log_read(last)) && test_ms() < end)
		usleep(500);
	if (n != 1 || !strstr(last, a) || !strstr(last, b) || strchr(last, '\n'))
		fail_msg("%u lines, last: %s", n, last);
}

/* ---- raw sockets ---- */

static inline struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline int raw_listen(int backlog, uint16_t *port)
{
	struct sockaddr_in sa = loopback(0);
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*port = ntohs(sa.sin_port);
	return fd;
}

static inline int raw_connect(uint16_t port)
{
	struct sockaddr_in sa = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static inline void raw_write(int fd, const void *data, size_t len)
{
	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* False at the end of the stream. */
static inline bool raw_read(int fd, void *data, size_t len)
{
	return recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

static inline void raw_greet(int fd, uint16_t major)
{
	uint8_t p[RF_WIRE_PREAMBLE_SIZE];

	rf_wire_put_preamble(p, major, RF_WIRE_MINOR);
	raw_write(fd, p, sizeof(p));
}

static inline void raw_frame(int fd, uint32_t type, const void *data, uint32_t len)
{
	uint8_t h[RF_WIRE_FRAME_HEADER];

	rf_wire_put_header(h, type, len);
	raw_write(fd, h, sizeof(h));
	if (len)
		raw_write(fd, data, len);
}

/* Closes with a reset. */
static inline void raw_reset(int fd)
{
	struct linger l = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	close(fd);
}

/* ---- streams ---- */

static inline struct rf_ctrl_cfg ctrl_cfg(const char *name, uint32_t idle)
{
	return (struct rf_ctrl_cfg){.connect_timeout = SOON, .idle_timeout = idle, .name = name};
}

/* A stream whose other end is a raw socket that has greeted. */
static inline struct rf_ctrl *ctrl_with_raw(uint32_t idle, int *raw)
{
	struct rf_ctrl_cfg cfg = ctrl_cfg("dest", idle);
	uint8_t p[RF_WIRE_PREAMBLE_SIZE];
	struct rf_ctrl_listener *l;
	struct rf_ctrl *c = NULL;

	assert_int_equal(rf_ctrl_listen(NULL, 0, &l), RF_OK);
	*raw = raw_connect(rf_ctrl_listener_port(l));
	raw_greet(*raw, RF_WIRE_MAJOR);
	assert_int_equal(rf_ctrl_accept(l, &cfg, SOON, -1, &c), RF_OK);
	assert_true(raw_read(*raw, p, sizeof(p)));
	rf_ctrl_listener_close(&l);
	return c;
}

struct connect_job {
	const char *host;
	uint16_t port;
	struct rf_ctrl_cfg cfg;
	int cancel_fd, r;
	struct rf_ctrl *out;
};

static inline void *run_connect(void *arg)
{
	struct connect_job *j = arg;

	j->r = rf_ctrl_connect(j->host, j->port, &j->cfg, j->cancel_fd, &j->out);
	return NULL;
}

/* Both ends of a stream. */
static inline void ctrl_pair(const char *host, uint32_t src_idle, uint32_t dst_idle,
			     struct rf_ctrl **src, struct rf_ctrl **dst)
{
	struct rf_ctrl_cfg cfg = ctrl_cfg("dest", dst_idle);
	struct connect_job j = {.cfg = ctrl_cfg("source", src_idle), .cancel_fd = -1};
	struct rf_ctrl_listener *l;
	pthread_t t;

	assert_int_equal(rf_ctrl_listen(host, 0, &l), RF_OK);
	j.host = host;
	j.port = rf_ctrl_listener_port(l);
	pthread_create(&t, NULL, run_connect, &j);
	assert_int_equal(rf_ctrl_accept(l, &cfg, SOON, -1, dst), RF_OK);
	pthread_join(t, NULL);
	assert_int_equal(j.r, RF_OK);
	*src = j.out;
	rf_ctrl_listener_close(&l);
}

/* A thread that makes an eventfd readable after a while. */
struct cancel_job {
	int fd;
	unsigned after_ms;
};

static inline void *cancel_later(void *arg)
{
	struct cancel_job *j = arg;

	usleep(j->after_ms * 1000);
	eventfd_write(j->fd, 1);
	return NULL;
}

#endif
