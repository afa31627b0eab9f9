/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Logging inside the library. The function that decides an error logs it, once, with the name
 * of its object; the others pass the code on.
 *
 *   rf_err_log("lane bulk/0", "no completion for %u ms", ms);
 *   → "ramferry: error: lane bulk/0: no completion for 2000 ms"
 */
#ifndef RF_COMMON_LOG_H
#define RF_COMMON_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <ramferry/log.h>

extern _Atomic int rf_log_level_now;

/*
 * Keeps what this thread would log as an error: for who tries several ways in turn and tells of
 * each why it did not work. The first error of a capture stays, without its object; at debug the
 * errors are logged all the same. Captures nest, the innermost gets the words. End it on the
 * thread that began it.
 */
struct rf_log_capture {
	struct rf_log_capture *outer;
	char text[256]; /* "" if there was no error */
};
extern _Thread_local struct rf_log_capture *rf_log_capture_now;
void rf_log_capture_begin(struct rf_log_capture *c);
void rf_log_capture_end(struct rf_log_capture *c);

static inline bool rf_log_on(enum rf_log_level level)
{
	return (int)level <= atomic_load_explicit(&rf_log_level_now, memory_order_relaxed) ||
	       (level == RF_LOG_ERROR && rf_log_capture_now);
}

/* obj: the object's name, or NULL. errno is kept. Use the macros below. */
void rf_log_msg(enum rf_log_level level, const char *obj, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Replaces what would start a new line or reach a terminal. Done to every message; for words of a
 * peer that are kept elsewhere, too. */
void rf_log_make_printable(char *s);

#define rf_log(level, obj, ...)                                  \
	do {                                                     \
		if (rf_log_on(level))                            \
			rf_log_msg((level), (obj), __VA_ARGS__); \
	} while (0)

#define rf_err_log(obj, ...) rf_log(RF_LOG_ERROR, obj, __VA_ARGS__)
#define rf_warn(obj, ...)    rf_log(RF_LOG_WARN, obj, __VA_ARGS__)
#define rf_info(obj, ...)    rf_log(RF_LOG_INFO, obj, __VA_ARGS__)
#define rf_debug(obj, ...)   rf_log(RF_LOG_DEBUG, obj, __VA_ARGS__)
#define rf_trace(obj, ...)   rf_log(RF_LOG_TRACE, obj, __VA_ARGS__)

/* State of one rate-limited place: at most one message a second; the next one that passes
 * says how many were left out. Static or in an object; zero-initialised. */
struct rf_log_limit {
	_Atomic uint64_t next_ns;
	_Atomic uint64_t dropped;
};

bool rf_log_limit_pass(struct rf_log_limit *l, uint64_t *dropped);

#define rf_log_limited(limit, level, obj, fmt, ...)                                        \
	do {                                                                               \
		uint64_t dropped_;                                                         \
		if (!rf_log_on(level) || !rf_log_limit_pass((limit), &dropped_))           \
			break;                                                             \
		if (dropped_)                                                              \
			rf_log_msg((level), (obj), fmt " (%llu more since the last time)", \
				   ##__VA_ARGS__, (unsigned long long)dropped_);           \
		else                                                                       \
			rf_log_msg((level), (obj), fmt, ##__VA_ARGS__);                    \
	} while (0)

#endif
