/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * State of a migration: a const table of legal moves and one function that makes them. An
 * illegal move is refused and logged in release builds too; every move is logged at debug.
 * The table of moves is in state.c and drawn in docs/architecture.md.
 */
#ifndef RF_COMMON_STATE_H
#define RF_COMMON_STATE_H

#include <stdatomic.h>
#include <stdbool.h>

#include <ramferry/stats.h>

struct rf_state_cell {
	_Atomic int now;  /* enum rf_state */
	const char *name; /* for the log: "source", "dest" */
};

void rf_state_init(struct rf_state_cell *c, const char *name);
enum rf_state rf_state_get(const struct rf_state_cell *c);
bool rf_state_legal(enum rf_state from, enum rf_state to);
/* Completed, failed or cancelled: nothing comes after it. */
bool rf_state_is_over(enum rf_state s);

/* Moves from `from` to `to` if the state is `from` (compare and swap) and the move is legal.
 * RF_ERR_STATE otherwise; the caller looks again. Any thread. */
int rf_state_move(struct rf_state_cell *c, enum rf_state from, enum rf_state to);

#endif
