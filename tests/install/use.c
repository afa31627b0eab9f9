/* SPDX-License-Identifier: BSD-3-Clause */
/* What a user of the installed library may look like, as small as it gets. */
#include <ramferry/ramferry.h>
#include <stdio.h>

int main(void)
{
	struct rf_stats stats = {.size = sizeof(stats), .status = RF_STATE_NONE};

	puts(rf_version());
	return rf_state_str(stats.status) && rf_err_str(RF_OK) ? 0 : 1;
}
