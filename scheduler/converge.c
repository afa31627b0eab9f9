/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/converge.h"

#include <math.h>

const char *rf_converge_action_str(enum rf_converge_action a)
{
	static const char *const names[] = {
		[RF_CONVERGE_ITERATE] = "iterate",
		[RF_CONVERGE_SWITCH_OVER] = "switch over",
		[RF_CONVERGE_POSTCOPY] = "go postcopy",
		[RF_CONVERGE_GIVE_UP] = "give up",
	};

	return a < sizeof(names) / sizeof(*names) ? names[a] : "unknown";
}

void rf_converge_decide(const struct rf_converge_in *in, struct rf_converge_out *out)
{
	double todo = (double)(in->remaining + in->device_state);

	if (in->bandwidth > 0)
		out->expected_downtime = in->fixed_ms + todo / in->bandwidth * 1e3;
	else /* without a measured bandwidth only an empty rest is a known quantity */
		out->expected_downtime = in->remaining ? INFINITY : in->fixed_ms;

	if (in->remaining == 0 || out->expected_downtime <= in->downtime_limit)
		out->action = RF_CONVERGE_SWITCH_OVER;
	else if (in->may_postcopy && ((in->postcopy_after && in->round >= in->postcopy_after) ||
				      in->stalled >= RF_CONVERGE_STALLED))
		out->action = RF_CONVERGE_POSTCOPY;
	else if (in->timeout && in->elapsed_ms >= in->timeout)
		out->action = RF_CONVERGE_GIVE_UP;
	else
		out->action = RF_CONVERGE_ITERATE;
}

void rf_rate_add(struct rf_rate *r, uint64_t bytes, double seconds)
{
	double keep = exp2(-(double)bytes / RF_RATE_HORIZON);

	if (!bytes || seconds <= 0)
		return;
	r->bytes = r->bytes * keep + (double)bytes;
	r->seconds = r->seconds * keep + seconds;
}

double rf_rate_get(const struct rf_rate *r)
{
	return r->seconds > 0 ? r->bytes / r->seconds : 0;
}
