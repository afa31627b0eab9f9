/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <string.h>

#include "transport/inventory.h"
#include "transport/ofi/ofi.h"

/* True if the list "a, b" has the name. */
static bool is_listed(const char *list, const char *name, size_t len)
{
	for (const char *p = list; (p = strstr(p, name)); p++) {
		bool begins = p == list || p[-1] == ' ';

		if (begins && (p[len] == ',' || !p[len]))
			return true;
	}
	return false;
}

int rf_ofi_inventory(char *version, size_t version_cap, char *providers, size_t providers_cap)
{
	struct fi_info *list = NULL;
	size_t at = 0;

	snprintf(version, version_cap, "%u.%u", FI_MAJOR(fi_version()), FI_MINOR(fi_version()));
	providers[0] = '\0';
	if (fi_getinfo(RF_OFI_API, NULL, NULL, 0, NULL, &list) || !list)
		return RF_ERR_UNSUPPORTED;
	for (const struct fi_info *i = list; i && at < providers_cap; i = i->next) {
		const char *name = i->fabric_attr->prov_name;

		/* Layered ones ("tcp;ofi_rxm") are of the same provider. */
		if (strchr(name, ';') || is_listed(providers, name, strlen(name)))
			continue;
		at += (size_t)snprintf(providers + at, providers_cap - at, "%s%s", at ? ", " : "",
				       name);
	}
	fi_freeinfo(list);
	return RF_OK;
}
