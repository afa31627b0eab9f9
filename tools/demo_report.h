/* SPDX-License-Identifier: BSD-3-Clause */
/* What `demo` makes of the reports of its two processes. */
#ifndef RF_TOOLS_DEMO_REPORT_H
#define RF_TOOLS_DEMO_REPORT_H

#include <stdbool.h>

struct json_object;

/*
 * Puts what the destination knows into the source's report (dest may be NULL) and prints it for
 * people. True if every guest arrived and all its memory is right; verify: digests were asked for.
 */
bool demo_report(bool verify, struct json_object *source, struct json_object *dest);

#endif
