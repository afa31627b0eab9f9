/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/control.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/state.h"
#include "tools/common.h"
#include "tools/control_conn.h"
#include "tools/control_socket.h"

#define REPORTS 64 /* that wait for the control thread */
#define DEAF_MS 100

struct report {
	unsigned migration;
	bool state, round; /* which of them is new */
	struct rf_stats stats;
	struct json_object *statistics; /* NULL: those of stats */
};

/* What was last reported of a migration; owned by its thread. */
struct seen {
	enum rf_state state;
	uint64_t round;
};

struct control {
	/* fixed after start */
	struct control_target target;
	pthread_t thread;
	int wake_fd; /* eventfd: reports came, or stop */
	struct seen *seen;

	/* any thread */
	atomic_bool stop;

	/* lock */
	pthread_mutex_t lock;
	struct report reports[REPORTS];
	unsigned first, count;
	uint64_t dropped;

	/* control thread */
	struct control_socket socket;
	bool deaf; /* no descriptor was free for a client: not asked again at once */
	struct control_conn conns[CONTROL_CLIENTS];
};

static void wake(struct control *c)
{
	uint64_t one = 1;

	if (write(c->wake_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable all the same */
}

static void put_report(struct control *c, unsigned i, const struct rf_stats *st,
		       struct json_object *statistics)
{
	bool state, round, full;

	state = st->status != c->seen[i].state;
	round = st->round != c->seen[i].round && st->round;
	if (!state && !round) {
		json_object_put(statistics);
		return;
	}
	c->seen[i] = (struct seen){.state = st->status, .round = st->round};
	pthread_mutex_lock(&c->lock);
	full = c->count == REPORTS;
	if (!full)
		c->reports[(c->first + c->count++) % REPORTS] =
			(struct report){.migration = i,
					.state = state,
					.round = round,
					.stats = *st,
					.statistics = statistics};
	else
		c->dropped++;
	pthread_mutex_unlock(&c->lock);
	if (full)
		json_object_put(statistics);
	wake(c);
}

void control_report(struct control *c, unsigned i, const struct rf_stats *st)
{
	if (c)
		put_report(c, i, st, NULL);
}

void control_report_state(struct control *c, unsigned i, enum rf_state state,
			  struct json_object *statistics)
{
	const struct rf_stats st = {.size = sizeof(st), .status = state};

	if (c)
		put_report(c, i, &st, statistics);
	else
		json_object_put(statistics);
}

static void broadcast(struct control *c, const char *event, struct json_object *data)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		if (c->conns[i].fd >= 0 && c->conns[i].events)
			control_conn_event(&c->conns[i],
					   control_event_line(event, json_object_get(data)));
	json_object_put(data);
}

/* A change of state comes with its name; the last one with all that is known at the end. */
static void tell_state(struct control *c, const struct report *r)
{
	struct json_object *data = json_object_new_object();

	json_object_object_add(data, "migration", json_object_new_uint64(r->migration));
	json_object_object_add(data, "status",
			       json_object_new_string(rf_state_str(r->stats.status)));
	if (rf_state_is_over(r->stats.status))
		json_object_object_add(data, "statistics",
				       r->statistics ? json_object_get(r->statistics)
						     : stats_to_json(&r->stats));
	broadcast(c, "MIGRATION", data);
}

static void tell_round(struct control *c, const struct report *r)
{
	struct json_object *data = json_object_new_object();

	json_object_object_add(data, "migration", json_object_new_uint64(r->migration));
	json_object_object_add(data, "pass", json_object_new_uint64(r->stats.round));
	json_object_object_add(data, "remaining", json_object_new_uint64(r->stats.ram.remaining));
	json_object_object_add(data, "transferred",
			       json_object_new_uint64(r->stats.ram.transferred));
	json_object_object_add(data, "dirty-pages-rate",
			       json_object_new_uint64(r->stats.ram.dirty_pages_rate));
	broadcast(c, "MIGRATION_PASS", data);
}

static bool take_report(struct control *c, struct report *r, uint64_t *dropped)
{
	bool any;

	pthread_mutex_lock(&c->lock);
	any = c->count > 0;
	if (any) {
		*r = c->reports[c->first];
		c->first = (c->first + 1) % REPORTS;
		c->count--;
	}
	*dropped = c->dropped;
	c->dropped = 0;
	pthread_mutex_unlock(&c->lock);
	return any;
}

static void tell_reports(struct control *c)
{
	struct report r;
	uint64_t dropped;

	while (take_report(c, &r, &dropped)) {
		for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
			c->conns[i].lost += c->conns[i].events ? dropped : 0;
		if (r.round)
			tell_round(c, &r);
		if (r.state) /* behind it, for it may be the last word */
			tell_state(c, &r);
		json_object_put(r.statistics);
	}
}

static char *answer(void *arg, struct control_conn *conn, const char *line, size_t len)
{
	struct control *c = arg;

	return control_answer(&c->target, line, len, &conn->events);
}

/* One more than there is room for is told so, if its socket takes it. */
static void turn_away(int fd)
{
	struct control_refusal why = {.desc = "there are 16 clients already"};
	char *line = control_error_line(&why, NULL);

	if (line)
		(void)!send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
	free(line);
	close(fd);
}

static void take_client(struct control *c)
{
	int fd = accept4(c->socket.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	c->deaf = fd < 0;
	if (fd < 0)
		return;
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		if (c->conns[i].fd >= 0)
			continue;
		if (!control_conn_open(&c->conns[i], fd))
			close(fd);
		return;
	}
	turn_away(fd);
}

static void serve_client(struct control *c, struct control_conn *conn, short revents)
{
	if (!control_conn_serve(conn, answer, c) ||
	    (conn->ended && (revents & (POLLHUP | POLLERR))))
		control_conn_close(conn);
}

/* Sleeps until there is something to do; does it. */
static void turn(struct control *c)
{
	struct pollfd p[CONTROL_CLIENTS + 2];
	struct control_conn *of[CONTROL_CLIENTS];
	uint64_t count;
	nfds_t n = 0;

	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		struct control_conn *conn = &c->conns[i];

		if (conn->fd < 0)
			continue;
		of[n] = conn;
		p[n++] = (struct pollfd){.fd = conn->fd, .events = control_conn_wants(conn)};
	}
	p[n] = (struct pollfd){.fd = c->deaf ? -1 : c->socket.fd, .events = POLLIN};
	p[n + 1] = (struct pollfd){.fd = c->wake_fd, .events = POLLIN};
	if (poll(p, n + 2, c->deaf ? DEAF_MS : -1) < 0)
		return;
	c->deaf = false;
	if (p[n + 1].revents && read(c->wake_fd, &count, sizeof(count)) > 0)
		tell_reports(c);
	for (nfds_t i = 0; i < n; i++)
		if (p[i].revents || of[i]->out_len)
			serve_client(c, of[i], p[i].revents);
	if (p[n].revents)
		take_client(c);
}

static void *run_control(void *arg)
{
	struct control *c = arg;

	while (!atomic_load(&c->stop))
		turn(c);
	tell_reports(c);
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		if (c->conns[i].fd >= 0)
			(void)control_conn_serve(&c->conns[i], answer, c);
	return NULL;
}

/* Signals are for the other threads. */
static int start_thread(struct control *c)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&c->thread, NULL, run_control, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

static void free_control(struct control *c)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		control_conn_close(&c->conns[i]);
	control_socket_close(&c->socket);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	pthread_mutex_destroy(&c->lock);
	free(c->seen);
	free(c);
}

bool control_start(const char *prog, const char *path, const struct control_target *target,
		   struct control **out)
{
	struct control *c = calloc(1, sizeof(*c));
	int err = 0;

	if (!c) {
		fprintf(stderr, "%s: no memory\n", prog);
		return false;
	}
	c->target = *target;
	c->socket.fd = -1;
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		c->conns[i].fd = -1;
	pthread_mutex_init(&c->lock, NULL);
	c->seen = calloc(target->n, sizeof(*c->seen));
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!c->seen || c->wake_fd < 0)
		fprintf(stderr, "%s: no memory or descriptors: %s\n", prog, strerror(errno));
	else if (control_socket_listen(prog, path, &c->socket) == 0) {
		err = start_thread(c);
		if (!err) {
			*out = c;
			return true;
		}
		fprintf(stderr, "%s: no thread for the control socket: %s\n", prog, strerror(err));
	}
	free_control(c);
	return false;
}

void control_stop(struct control **cp)
{
	struct control *c = *cp;

	if (!c)
		return;
	*cp = NULL;
	atomic_store(&c->stop, true);
	wake(c);
	pthread_join(c->thread, NULL);
	free_control(c);
}
