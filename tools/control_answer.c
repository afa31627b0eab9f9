/* SPDX-License-Identifier: BSD-3-Clause */
/* One request to a target, done or refused. */
#include <json-c/json.h>
#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "tools/control_target.h"

static struct json_object *status_of(const struct control_target *t, int migration)
{
	struct json_object *o = json_object_new_object(), *all = json_object_new_array();

	json_object_object_add(o, "side", json_object_new_string(t->side));
	json_object_object_add(o, "pid", json_object_new_int64(getpid()));
	json_object_object_add(o, "time",
			       json_object_new_uint64(rf_now_ns(&rf_clock_monotonic) /
						      RF_NS_PER_MS));
	for (unsigned i = 0; i < t->n; i++) {
		struct json_object *one;

		if (migration != CONTROL_ALL && migration != (int)i)
			continue;
		one = t->status(t->arg, i);
		json_object_object_add(one, "migration", json_object_new_uint64(i));
		json_object_array_add(all, one);
	}
	if (t->describe)
		t->describe(t->arg, o);
	json_object_object_add(o, "migrations", all);
	return o;
}

/* To one, or to all it applies to: then one that takes it is enough. */
static bool apply(const struct control_target *t, const struct control_request *req,
		  struct control_refusal *why)
{
	bool (*fn)(void *arg, unsigned i, struct control_refusal *why) =
		req->command == CONTROL_CANCEL ? t->cancel : t->postcopy;
	bool any = false;

	if (!fn) {
		snprintf(why->desc, sizeof(why->desc), "only a source can go over to postcopy");
		return false;
	}
	if (req->migration != CONTROL_ALL)
		return fn(t->arg, (unsigned)req->migration, why);
	for (unsigned i = 0; i < t->n; i++)
		any = fn(t->arg, i, why) || any;
	return any;
}

static bool set(const struct control_target *t, const struct control_request *req,
		struct control_refusal *why)
{
	if (t->set)
		return t->set(t->arg, req->migration, &req->set, why);
	snprintf(why->desc, sizeof(why->desc), "a %s has no settings to change", t->side);
	return false;
}

static bool perform(const struct control_target *t, const struct control_request *req, bool *events,
		    struct json_object **ret, struct control_refusal *why)
{
	if (req->migration != CONTROL_ALL && (unsigned)req->migration >= t->n) {
		snprintf(why->desc, sizeof(why->desc), "there is no migration %d; there are %u",
			 req->migration, t->n);
		return false;
	}
	switch (req->command) {
	case CONTROL_STATUS:
		*ret = status_of(t, req->migration);
		return true;
	case CONTROL_CANCEL:
	case CONTROL_POSTCOPY:
		return apply(t, req, why);
	case CONTROL_SET:
		return set(t, req, why);
	case CONTROL_SNAPSHOT:
		if (t->snapshot)
			return t->snapshot(t->arg, req->to, why);
		snprintf(why->desc, sizeof(why->desc), "only 'ramferry snapshot' takes snapshots");
		return false;
	default:
		*events = req->on;
		return true;
	}
}

char *control_answer(const struct control_target *t, const char *line, size_t len, bool *events)
{
	struct control_request req;
	struct control_refusal why;
	struct json_object *ret = NULL;
	char *reply;

	if (control_parse(line, len, &req, &why) && perform(t, &req, events, &ret, &why))
		reply = control_return_line(ret ? ret : json_object_new_object(), req.id);
	else
		reply = control_error_line(&why, req.id);
	control_request_fini(&req);
	return reply;
}
