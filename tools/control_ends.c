/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/control_ends.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/state.h"
#include "tools/common.h"

static bool refuse(struct control_refusal *why, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static bool refuse(struct control_refusal *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->desc, sizeof(why->desc), fmt, ap);
	va_end(ap);
	return false;
}

/* It takes no orders any more. */
static bool is_over(enum rf_state s)
{
	return s == RF_STATE_CANCELLING || rf_state_is_over(s);
}

/* Is there anything left to stop? */
static bool may_cancel(unsigned i, enum rf_state s, struct control_refusal *why)
{
	if (is_over(s))
		return refuse(why, "migration %u is over: %s", i, rf_state_str(s));
	if (s == RF_STATE_POSTCOPY_ACTIVE || s == RF_STATE_POSTCOPY_PAUSED ||
	    s == RF_STATE_POSTCOPY_RECOVER)
		return refuse(why,
			      "migration %u is in postcopy: each side has a part of the guest, "
			      "it cannot be cancelled",
			      i);
	return true;
}

static struct rf_stats source_stats(struct control_sources *s, unsigned i)
{
	struct rf_stats st = {.size = sizeof(st)};

	rf_source_stats(s->sources[i], &st);
	return st;
}

static struct json_object *source_status(void *arg, unsigned i)
{
	struct rf_stats st = source_stats(arg, i);

	return stats_to_json(&st);
}

static bool cancel_source(void *arg, unsigned i, struct control_refusal *why)
{
	struct control_sources *s = arg;

	if (!may_cancel(i, source_stats(s, i).status, why))
		return false;
	rf_source_cancel(s->sources[i]);
	return true;
}

static bool start_postcopy(void *arg, unsigned i, struct control_refusal *why)
{
	struct control_sources *s = arg;
	enum rf_state state = source_stats(s, i).status;

	if (s->mode != RF_MODE_HYBRID)
		return refuse(why, "the source was started without --mode hybrid");
	if (state > RF_STATE_ACTIVE)
		return refuse(why, "migration %u is past precopy: %s", i, rf_state_str(state));
	rf_source_start_postcopy(s->sources[i]);
	return true;
}

static bool set_one(struct rf_source *src, const struct control_settings *set, bool shared,
		    struct control_refusal *why)
{
	/* the one that can be refused comes first: all are changed or none */
	if (set->given[CONTROL_THROTTLE] &&
	    rf_source_set_throttle(src, (unsigned)set->value[CONTROL_THROTTLE]) != RF_OK)
		return refuse(why, "this guest cannot be throttled");
	if (set->given[CONTROL_MAX_BANDWIDTH] && !shared)
		rf_source_set_max_bandwidth(src, set->value[CONTROL_MAX_BANDWIDTH]);
	if (set->given[CONTROL_MAX_POSTCOPY_BANDWIDTH])
		rf_source_set_max_postcopy_bandwidth(src,
						     set->value[CONTROL_MAX_POSTCOPY_BANDWIDTH]);
	if (set->given[CONTROL_DOWNTIME_LIMIT])
		rf_source_set_downtime_limit(src, (uint32_t)set->value[CONTROL_DOWNTIME_LIMIT]);
	return true;
}

static bool set_sources(void *arg, int index, const struct control_settings *set,
			struct control_refusal *why)
{
	struct control_sources *s = arg;
	bool shared = s->limiter && index == CONTROL_ALL;
	unsigned done = 0;

	for (unsigned i = 0; i < s->n; i++) {
		enum rf_state state = source_stats(s, i).status;

		if (index != CONTROL_ALL && index != (int)i)
			continue;
		if (is_over(state))
			refuse(why, "migration %u is over: %s", i, rf_state_str(state));
		else if (!set_one(s->sources[i], set, shared, why))
			return false;
		else
			done++;
	}
	/* What is said to all is the bandwidth of all. */
	if (done && shared && set->given[CONTROL_MAX_BANDWIDTH])
		rf_limiter_set(s->limiter, set->value[CONTROL_MAX_BANDWIDTH]);
	return done > 0;
}

static void describe_sources(void *arg, struct json_object *o)
{
	const struct control_sources *s = arg;

	if (s->limiter)
		json_object_object_add(o, "max-bandwidth",
				       json_object_new_uint64(rf_limiter_get(s->limiter)));
}

void control_target_sources(struct control_target *t, struct control_sources *s)
{
	*t = (struct control_target){
		.side = "source",
		.n = s->n,
		.arg = s,
		.status = source_status,
		.cancel = cancel_source,
		.postcopy = start_postcopy,
		.set = set_sources,
		.describe = describe_sources,
	};
}

static struct rf_stats dest_stats(struct control_dests *d, unsigned i)
{
	struct rf_stats st = {.size = sizeof(st)};

	rf_dest_stats(d->dests[i], &st);
	return st;
}

static struct json_object *dest_status(void *arg, unsigned i)
{
	struct rf_stats st = dest_stats(arg, i);

	return stats_to_json(&st);
}

static bool cancel_dest(void *arg, unsigned i, struct control_refusal *why)
{
	struct control_dests *d = arg;

	if (!may_cancel(i, dest_stats(d, i).status, why))
		return false;
	rf_dest_cancel(d->dests[i]);
	return true;
}

void control_target_dests(struct control_target *t, struct control_dests *d)
{
	*t = (struct control_target){
		.side = "destination",
		.n = d->n,
		.arg = d,
		.status = dest_status,
		.cancel = cancel_dest,
	};
}
