/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/state.h"

#include <ramferry/err.h>

#include "common/log.h"

#define TO(s) (1u << RF_STATE_##s)

/* State → its name in QEMU and the states it may move to. Whoever adds a move redraws
 * docs/architecture.md. */
static const struct {
	const char *name;
	unsigned next;
} states[RF_STATE_COUNT] = {
	[RF_STATE_NONE] = {"none", TO(SETUP)},
	[RF_STATE_SETUP] = {"setup", TO(ACTIVE) | TO(CANCELLING) | TO(FAILED)},
	[RF_STATE_ACTIVE] = {"active", TO(PRE_SWITCHOVER) | TO(DEVICE) | TO(POSTCOPY_ACTIVE) |
					       TO(CANCELLING) | TO(FAILED)},
	[RF_STATE_PRE_SWITCHOVER] = {"pre-switchover", TO(DEVICE) | TO(CANCELLING) | TO(FAILED)},
	/* No way back to active: a guest that was paused to switch over is not paused twice. */
	[RF_STATE_DEVICE] = {"device",
			     TO(COMPLETED) | TO(POSTCOPY_ACTIVE) | TO(CANCELLING) | TO(FAILED)},
	/* From here on the guest may run on the destination: it cannot be cancelled any more. */
	[RF_STATE_POSTCOPY_ACTIVE] = {"postcopy-active",
				      TO(POSTCOPY_PAUSED) | TO(COMPLETED) | TO(FAILED)},
	[RF_STATE_POSTCOPY_PAUSED] = {"postcopy-paused", TO(POSTCOPY_RECOVER) | TO(FAILED)},
	[RF_STATE_POSTCOPY_RECOVER] = {"postcopy-recover",
				       TO(POSTCOPY_ACTIVE) | TO(POSTCOPY_PAUSED) | TO(FAILED)},
	[RF_STATE_COMPLETED] = {"completed", 0},
	[RF_STATE_FAILED] = {"failed", 0},
	/* Failed: the source guest could not be set going again. */
	[RF_STATE_CANCELLING] = {"cancelling", TO(CANCELLED) | TO(FAILED)},
	[RF_STATE_CANCELLED] = {"cancelled", 0},
};

static bool is_state(enum rf_state s)
{
	return (unsigned)s < RF_STATE_COUNT;
}

const char *rf_state_str(enum rf_state state)
{
	return is_state(state) ? states[state].name : "unknown";
}

void rf_state_init(struct rf_state_cell *c, const char *name)
{
	atomic_init(&c->now, RF_STATE_NONE);
	c->name = name;
}

enum rf_state rf_state_get(const struct rf_state_cell *c)
{
	return (enum rf_state)atomic_load(&c->now);
}

bool rf_state_legal(enum rf_state from, enum rf_state to)
{
	return is_state(from) && is_state(to) && (states[from].next & (1u << to));
}

bool rf_state_is_over(enum rf_state s)
{
	return is_state(s) && !states[s].next;
}

int rf_state_move(struct rf_state_cell *c, enum rf_state from, enum rf_state to)
{
	int expected = from;

	if (!rf_state_legal(from, to)) {
		rf_err_log(c->name, "illegal move %s -> %s refused", rf_state_str(from),
			   rf_state_str(to));
		return RF_ERR_STATE;
	}
	if (!atomic_compare_exchange_strong(&c->now, &expected, to)) {
		/* No error: another thread was first, the caller decides anew. */
		rf_debug(c->name, "move %s -> %s came too late, state is %s", rf_state_str(from),
			 rf_state_str(to), rf_state_str((enum rf_state)expected));
		return RF_ERR_STATE;
	}
	rf_debug(c->name, "%s -> %s", rf_state_str(from), rf_state_str(to));
	return RF_OK;
}
