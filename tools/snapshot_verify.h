/* SPDX-License-Identifier: BSD-3-Clause */
/* A copy of the guest taken while it is paused, to compare a snapshot file with. */
#ifndef RF_TOOLS_SNAPSHOT_VERIFY_H
#define RF_TOOLS_SNAPSHOT_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ramferry/region.h>

struct paused_copy {
	uint8_t *memory;
	uint64_t len;
	void *state;
	size_t state_len;
};

/* The guest is paused. Holes stay holes. False, with a line on stderr. */
bool paused_copy_take(struct paused_copy *c, const struct rf_region *ram, const void *state,
		      size_t state_len);
/* Whether the file holds just that; desc says where it does not. */
bool paused_copy_equals(const struct paused_copy *c, const char *path, char *desc, size_t cap);
void paused_copy_free(struct paused_copy *c);

#endif
