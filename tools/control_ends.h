/* SPDX-License-Identifier: BSD-3-Clause */
/* Sources and destinations as targets of a control socket. */
#ifndef RF_TOOLS_CONTROL_ENDS_H
#define RF_TOOLS_CONTROL_ENDS_H

#include <ramferry/dest.h>
#include <ramferry/source.h>

#include "tools/control_target.h"

/* The sources of a process; outlives the control thread. */
struct control_sources {
	struct rf_source **sources;
	unsigned n;
	enum rf_mode mode;	    /* of all of them */
	struct rf_limiter *limiter; /* that they share; NULL: none */
};
void control_target_sources(struct control_target *t, struct control_sources *s);

struct control_dests {
	struct rf_dest **dests;
	unsigned n;
};
void control_target_dests(struct control_target *t, struct control_dests *d);

#endif
