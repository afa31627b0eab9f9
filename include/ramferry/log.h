/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file log.h
 * Where ramferry's messages go. The sink and the level are the only mutable globals of the
 * library (shared by all migrations of the process).
 */
#ifndef RAMFERRY_LOG_H
#define RAMFERRY_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

enum rf_log_level {
	RF_LOG_NONE = 0,
	RF_LOG_ERROR = 1,
	RF_LOG_WARN = 2,
	RF_LOG_INFO = 3,
	RF_LOG_DEBUG = 4,
	RF_LOG_TRACE = 5,
};

/**
 * Receives one finished message.
 * @param arg    what was given to rf_log_set_sink().
 * @param level  its level.
 * @param line   the text, without time and without a newline; valid during the call.
 * Threads: called from any thread, also at the same time; must not call into ramferry.
 */
typedef void (*rf_log_sink_fn)(void *arg, enum rf_log_level level, const char *line);

/**
 * Replaces the sink. The default one writes "ramferry: level: line" to stderr.
 * @param sink  NULL restores the default.
 * @param arg   handed to every call; the caller keeps it alive until the sink is replaced and
 *              no thread of the library logs any more.
 * Threads: any, but not while a migration runs.
 */
void rf_log_set_sink(rf_log_sink_fn sink, void *arg);

/** Sets the level up to which messages are made (default RF_LOG_WARN). Any thread. */
void rf_log_set_level(enum rf_log_level level);

/** The level in force. Any thread. */
enum rf_log_level rf_log_get_level(void);

/**
 * Level by its name: "none", "error", "warn", "info", "debug", "trace".
 * @return RF_OK, or RF_ERR_INVALID for another name (then *level is unchanged).
 */
int rf_log_level_parse(const char *name, enum rf_log_level *level);

#ifdef __cplusplus
}
#endif
#endif
