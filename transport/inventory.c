/* SPDX-License-Identifier: BSD-3-Clause */
/* For builds without libibverbs. */
#include "transport/inventory.h"

#include <ramferry/err.h>

#ifndef RF_HAVE_VERBS
int rf_verbs_inventory(struct rf_verbs_port *ports, unsigned max)
{
	return RF_ERR_UNSUPPORTED;
}

bool rf_verbs_cm_works(void)
{
	return false;
}
#endif
