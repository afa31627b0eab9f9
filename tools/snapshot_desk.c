/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/snapshot_desk.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/state.h"
#include "tools/common.h"

static bool is_address(const char *to)
{
	const char *colon = strrchr(to, ':');

	return colon && colon[1] && !strchr(to, '/') &&
	       strspn(colon + 1, "0123456789") == strlen(colon + 1);
}

bool snapshot_to_parse(const char *text, struct snapshot_to *to, char *why, size_t cap)
{
	unsigned long port;

	*to = (struct snapshot_to){0};
	if (!text[0] || strlen(text) >= sizeof(to->text)) {
		snprintf(why, cap, "to is empty or too long");
		return false;
	}
	snprintf(to->text, sizeof(to->text), "%s", text);
	if (!is_address(text))
		return true;
	port = strtoul(strrchr(text, ':') + 1, NULL, 10);
	if (!port || port > 65535 || strlen(text) >= sizeof(to->host)) {
		snprintf(why, cap, "\"%.60s\" is no address: a host and a port from 1 to 65535",
			 text);
		return false;
	}
	return parse_host_port("ramferry snapshot", text, to->host, sizeof(to->host), &to->port);
}

bool snapshot_desk_init(struct snapshot_desk *d, bool hold)
{
	*d = (struct snapshot_desk){.hold = hold, .last.size = sizeof(d->last)};
	pthread_mutex_init(&d->lock, NULL);
	d->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (d->wake_fd < 0)
		perror("ramferry snapshot: eventfd");
	return d->wake_fd >= 0;
}

void snapshot_desk_fini(struct snapshot_desk *d)
{
	if (d->wake_fd >= 0)
		close(d->wake_fd);
	pthread_mutex_destroy(&d->lock);
}

bool snapshot_desk_wait(struct snapshot_desk *d, const volatile sig_atomic_t *stop,
			struct snapshot_to *to)
{
	bool asked = false;
	uint64_t count;

	while (!asked && !*stop) {
		if (read(d->wake_fd, &count, sizeof(count)) < 0 && errno != EINTR)
			return false;
		pthread_mutex_lock(&d->lock);
		asked = d->asked;
		*to = d->to;
		pthread_mutex_unlock(&d->lock);
	}
	return asked && !*stop;
}

void snapshot_desk_begin(struct snapshot_desk *d, struct rf_snapshot *s,
			 const struct snapshot_to *to)
{
	pthread_mutex_lock(&d->lock);
	d->now = s;
	d->to = *to;
	d->asked = true;
	pthread_mutex_unlock(&d->lock);
}

void snapshot_desk_end(struct snapshot_desk *d, struct rf_snapshot_stats *st)
{
	pthread_mutex_lock(&d->lock);
	rf_snapshot_stats(d->now, &d->last);
	d->now = NULL;
	d->asked = false;
	*st = d->last;
	pthread_mutex_unlock(&d->lock);
}

void snapshot_desk_fail(struct snapshot_desk *d, const char *why, struct rf_snapshot_stats *st)
{
	pthread_mutex_lock(&d->lock);
	d->last = (struct rf_snapshot_stats){.size = sizeof(d->last), .status = RF_STATE_FAILED};
	snprintf(d->last.error_desc, sizeof(d->last.error_desc), "%s", why);
	d->asked = false;
	*st = d->last;
	pthread_mutex_unlock(&d->lock);
}

/* ---- as a target ---- */

static struct json_object *desk_status(void *arg, unsigned i)
{
	struct snapshot_desk *d = arg;
	struct rf_snapshot_stats st = {.size = sizeof(st)};
	struct snapshot_to to;

	(void)i;
	pthread_mutex_lock(&d->lock);
	if (d->now)
		rf_snapshot_stats(d->now, &st);
	/* Over is what the desk is done with: then the next one may be asked for. */
	if (d->now && !rf_state_is_over(st.status))
		d->last = st;
	st = d->last;
	to = d->to;
	pthread_mutex_unlock(&d->lock);
	return snapshot_report_json(&st, &to);
}

static bool refuse(struct control_refusal *why, const char *words)
{
	snprintf(why->desc, sizeof(why->desc), "%s", words);
	return false;
}

static bool cancel_now(void *arg, unsigned i, struct control_refusal *why)
{
	struct snapshot_desk *d = arg;
	bool any;

	(void)i;
	pthread_mutex_lock(&d->lock);
	any = d->now;
	if (any)
		rf_snapshot_cancel(d->now);
	pthread_mutex_unlock(&d->lock);
	return any || refuse(why, "no snapshot is being taken");
}

static bool ask_for(void *arg, const char *text, struct control_refusal *why)
{
	struct snapshot_desk *d = arg;
	struct snapshot_to to;
	bool busy;

	if (!d->hold)
		return refuse(why, "it was started without --hold, for one snapshot only");
	if (!snapshot_to_parse(text, &to, why->desc, sizeof(why->desc))) {
		/* The client's words may be in it, cut in the middle of a character. */
		for (char *c = why->desc; *c; c++)
			if (*c < ' ' || *c > '~')
				*c = '?';
		return false;
	}
	pthread_mutex_lock(&d->lock);
	busy = d->asked;
	if (!busy) {
		d->asked = true;
		d->to = to;
		d->last = (struct rf_snapshot_stats){.size = sizeof(d->last),
						     .status = RF_STATE_SETUP};
	}
	pthread_mutex_unlock(&d->lock);
	if (busy)
		return refuse(why, "a snapshot is being taken");
	if (eventfd_write(d->wake_fd, 1))
		return refuse(why, "eventfd");
	return true;
}

void control_target_desk(struct control_target *t, struct snapshot_desk *d)
{
	*t = (struct control_target){
		.side = "snapshot",
		.n = 1,
		.arg = d,
		.status = desk_status,
		.cancel = cancel_now,
		.snapshot = ask_for,
	};
}
