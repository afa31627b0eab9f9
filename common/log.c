/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/clock.h"

#define LINE_SIZE     1024
#define LIMIT_EACH_NS RF_NS_PER_SEC

static const char *const level_names[] = {
	[RF_LOG_NONE] = "none", [RF_LOG_ERROR] = "error", [RF_LOG_WARN] = "warn",
	[RF_LOG_INFO] = "info", [RF_LOG_DEBUG] = "debug", [RF_LOG_TRACE] = "trace",
};
#define LEVELS (sizeof(level_names) / sizeof(level_names[0]))

static void write_stderr(void *arg, enum rf_log_level level, const char *line);

_Atomic int rf_log_level_now = RF_LOG_WARN;
static _Atomic(rf_log_sink_fn) sink_now = write_stderr;
static void *_Atomic sink_arg;
_Thread_local struct rf_log_capture *rf_log_capture_now;

/* One write per line, so that lines of several threads and processes do not mix. */
static void write_stderr(void *arg, enum rf_log_level level, const char *line)
{
	char out[LINE_SIZE + 32]; /* room for the prefix */
	const char *p = out;
	int len = snprintf(out, sizeof(out), "ramferry: %s: %s\n", level_names[level], line);

	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, p, (size_t)len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nobody is left to tell */
		p += n;
		len -= (int)n;
	}
}

void rf_log_set_sink(rf_log_sink_fn sink, void *arg)
{
	/* The argument first: a thread that logs meanwhile must not meet a new sink with an old
	 * argument. (The other way about is for the caller to rule out, see the header.) */
	atomic_store(&sink_arg, sink ? arg : NULL);
	atomic_store(&sink_now, sink ? sink : write_stderr);
}

void rf_log_set_level(enum rf_log_level level)
{
	if ((int)level < RF_LOG_NONE)
		level = RF_LOG_NONE;
	if ((int)level > RF_LOG_TRACE)
		level = RF_LOG_TRACE;
	atomic_store_explicit(&rf_log_level_now, level, memory_order_relaxed);
}

enum rf_log_level rf_log_get_level(void)
{
	return (enum rf_log_level)atomic_load_explicit(&rf_log_level_now, memory_order_relaxed);
}

int rf_log_level_parse(const char *name, enum rf_log_level *level)
{
	if (!name || !level)
		return RF_ERR_INVALID;
	for (size_t i = 0; i < LEVELS; i++) {
		if (!strcmp(name, level_names[i])) {
			*level = (enum rf_log_level)i;
			return RF_OK;
		}
	}
	return RF_ERR_INVALID;
}

/*
 * Words of a peer end up in messages: what is not printable must neither start a new line nor
 * reach a terminal. Bytes over 127 stay, for UTF-8.
 */
void rf_log_make_printable(char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < ' ' || *s == 127)
			*s = '?';
	}
}

void rf_log_capture_begin(struct rf_log_capture *c)
{
	c->outer = rf_log_capture_now;
	c->text[0] = '\0';
	rf_log_capture_now = c;
}

void rf_log_capture_end(struct rf_log_capture *c)
{
	rf_log_capture_now = c->outer;
}

static void keep_words(struct rf_log_capture *c, const char *words)
{
	if (!c->text[0])
		snprintf(c->text, sizeof(c->text), "%.*s", (int)sizeof(c->text) - 1, words);
}

void rf_log_msg(enum rf_log_level level, const char *obj, const char *fmt, ...)
{
	static const char cut[] = " ...";
	int saved = errno, len = 0, n;
	char line[LINE_SIZE];
	va_list ap;

	if ((int)level <= RF_LOG_NONE || (int)level > RF_LOG_TRACE || !rf_log_on(level))
		return;
	line[0] = '\0';
	if (obj)
		len = snprintf(line, sizeof(line), "%s: ", obj);
	if (len < 0 || (size_t)len >= sizeof(line))
		len = (int)strlen(line);
	errno = saved; /* for %m */
	va_start(ap, fmt);
	n = vsnprintf(line + len, sizeof(line) - (size_t)len, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n >= sizeof(line) - (size_t)len)
		memcpy(line + sizeof(line) - sizeof(cut), cut, sizeof(cut));
	rf_log_make_printable(line);
	if (level == RF_LOG_ERROR && rf_log_capture_now) {
		keep_words(rf_log_capture_now, line + len);
		level = RF_LOG_DEBUG;
	}
	if (rf_log_on(level))
		atomic_load (&sink_now)(atomic_load(&sink_arg), level, line);
	errno = saved;
}

bool rf_log_limit_pass(struct rf_log_limit *l, uint64_t *dropped)
{
	uint64_t now = rf_now_ns(&rf_clock_monotonic);
	uint64_t next = atomic_load_explicit(&l->next_ns, memory_order_relaxed);

	/* Of threads that come at once the one that moves next_ns speaks. */
	if (now < next ||
	    !atomic_compare_exchange_strong(&l->next_ns, &next, now + LIMIT_EACH_NS)) {
		atomic_fetch_add_explicit(&l->dropped, 1, memory_order_relaxed);
		return false;
	}
	*dropped = atomic_exchange(&l->dropped, 0);
	return true;
}
