/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "transport/poller.h"

/* With fewer, a spinning poller takes the place of who it waits for. */
#define FEW_CORES 2

static const char *const mode_names[RF_POLL_MODES] = {
	[RF_POLL_ADAPTIVE] = "adaptive",
	[RF_POLL_BUSY] = "busy",
	[RF_POLL_EVENT] = "event",
};

const char *rf_poll_mode_str(enum rf_poll_mode mode)
{
	return (unsigned)mode < RF_POLL_MODES ? mode_names[mode] : "unknown";
}

int rf_poll_mode_parse(const char *name, enum rf_poll_mode *mode)
{
	for (int i = 0; i < RF_POLL_MODES; i++) {
		if (!strcmp(name, mode_names[i])) {
			*mode = (enum rf_poll_mode)i;
			return RF_OK;
		}
	}
	return RF_ERR_INVALID;
}

enum rf_poll_mode rf_poll_mode_fit(enum rf_poll_mode wanted, unsigned cores, bool spin,
				   const char **why)
{
	*why = NULL;
	if (!spin && wanted != RF_POLL_EVENT) {
		*why = "the provider's own thread needs the CPU to make progress";
		return RF_POLL_EVENT;
	}
	if (wanted == RF_POLL_BUSY && cores && cores <= FEW_CORES) {
		*why = "there are too few cores to give one away";
		return RF_POLL_ADAPTIVE;
	}
	return wanted;
}
