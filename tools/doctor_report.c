/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tools/doctor.h"

const char *check_status_str(enum check_status status)
{
	static const char *const words[] = {
		[CHECK_OK] = "ok",
		[CHECK_INFO] = "info",
		[CHECK_WARN] = "warn",
		[CHECK_FAIL] = "fail",
	};

	return words[status];
}

void report_add(struct report *r, enum check_status status, const char *name, const char *fmt, ...)
{
	struct check *c;
	va_list ap;

	if (r->n == REPORT_MAX)
		return;
	c = &r->checks[r->n++];
	c->status = status;
	c->remedy[0] = '\0';
	snprintf(c->name, sizeof(c->name), "%s", name);
	va_start(ap, fmt);
	vsnprintf(c->detail, sizeof(c->detail), fmt, ap);
	va_end(ap);
}

void report_remedy(struct report *r, const char *fmt, ...)
{
	struct check *c = &r->checks[r->n - 1];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->remedy, sizeof(c->remedy), fmt, ap);
	va_end(ap);
}

bool report_has(const struct report *r, enum check_status status)
{
	for (unsigned i = 0; i < r->n; i++)
		if (r->checks[i].status == status)
			return true;
	return false;
}

const struct check *report_find(const struct report *r, const char *name)
{
	for (unsigned i = 0; i < r->n; i++)
		if (!strcmp(r->checks[i].name, name))
			return &r->checks[i];
	return NULL;
}
