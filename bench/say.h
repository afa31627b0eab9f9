/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One line for what goes wrong. Errors the library logs are kept back and become the reason in
 * that line.
 */
#ifndef RF_BENCH_SAY_H
#define RF_BENCH_SAY_H

/* Names this program, or this thread of it, in its lines. The string must stay. */
void say_as(const char *name);
/* From now on the library's errors are kept; others go to stderr. */
void say_catch_log(void);
/* "name: text" and, if the library logged an error, ": " and that. Returns -1. */
int say_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same with words for code where the library logged nothing. */
int say_code(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The peer gave up and said why: not said again if both sides are here. Returns -1. */
int say_echo(const char *text);
void say_both_here(void);
/* The last line said by this thread without the name, for the peer; "" if none. */
const char *say_last(void);
#endif
