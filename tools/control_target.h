/* SPDX-License-Identifier: BSD-3-Clause */
/* What a control socket controls, as functions; and requests done with them. */
#ifndef RF_TOOLS_CONTROL_TARGET_H
#define RF_TOOLS_CONTROL_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "tools/control_proto.h"

struct json_object;

/* What is controlled; what it cannot do is NULL but for status and cancel. All functions are called
 * from the control thread, while migrations run or before or after; they do not wait. Those that
 * may refuse say why in words. */
struct control_target {
	const char *side; /* "source", "destination" */
	unsigned n;	  /* migrations, with indices 0 … n - 1 */
	void *arg;
	/* Statistics and limits of one by QEMU's names. */
	struct json_object *(*status)(void *arg, unsigned i);
	/* Optional: adds what all of them share. */
	void (*describe)(void *arg, struct json_object *o);
	bool (*cancel)(void *arg, unsigned i, struct control_refusal *why);
	bool (*snapshot)(void *arg, const char *to, struct control_refusal *why);
	bool (*postcopy)(void *arg, unsigned i, struct control_refusal *why);
	/* index or CONTROL_ALL */
	bool (*set)(void *arg, int i, const struct control_settings *set,
		    struct control_refusal *why);
};

/* Does what a line asks for. The line to answer with, from malloc(), or NULL without memory.
 * *events: whether this client wants them. */
char *control_answer(const struct control_target *t, const char *line, size_t len, bool *events);

#endif
