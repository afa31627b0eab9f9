/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/say.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <ramferry/err.h>
#include <ramferry/log.h>

static _Thread_local const char *name = "bench";
static bool both_here; /* set before there is a second thread */
static _Thread_local char logged[400], last[400];

void say_as(const char *n)
{
	name = n;
}

static void take_log(void *arg, enum rf_log_level level, const char *line)
{
	(void)arg;
	if (level == RF_LOG_ERROR)
		snprintf(logged, sizeof(logged), "%s", line);
	else
		fprintf(stderr, "%s: %s\n", name, line);
}

void say_catch_log(void)
{
	rf_log_set_sink(take_log, NULL);
}

static int say(const char *reason, const char *fmt, va_list ap)
{
	int n = vsnprintf(last, sizeof(last), fmt, ap);

	if (n >= 0 && (size_t)n < sizeof(last) && reason[0])
		snprintf(last + n, sizeof(last) - (size_t)n, ": %s", reason);
	logged[0] = 0;
	fprintf(stderr, "%s: %s\n", name, last);
	return -1;
}

int say_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(logged, fmt, ap);
	va_end(ap);
	return -1;
}

int say_code(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(logged[0] ? logged : rf_err_str(code), fmt, ap);
	va_end(ap);
	return -1;
}

void say_both_here(void)
{
	both_here = true;
}

int say_echo(const char *text)
{
	return both_here ? -1 : say_error("the peer gave up: %s", text);
}

const char *say_last(void)
{
	return last;
}
