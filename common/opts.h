/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Command-line options as rows of a table: name, value, default, words. The rows drive
 * parsing, --help and the generated docs. The idea is UCX's configuration tables.
 *
 *   static const struct rf_opt opts[] = {
 *           RF_OPT_SIZE(struct cfg, memory, "memory", 'm', "SIZE", "256M", "guest memory"),
 *           RF_OPT_END,
 *   };
 */
#ifndef RF_COMMON_OPTS_H
#define RF_COMMON_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum rf_opt_type {
	RF_OPT_TYPE_END,
	RF_OPT_TYPE_GROUP,    /* a heading in --help */
	RF_OPT_TYPE_BOOL,     /* bool; --x sets it, --no-x clears it; no value */
	RF_OPT_TYPE_UINT,     /* uint64_t with min, max */
	RF_OPT_TYPE_SIZE,     /* uint64_t bytes, rf_size_parse, with min, max */
	RF_OPT_TYPE_DURATION, /* uint64_t ms, rf_duration_parse with a default unit of `unit` ms */
	RF_OPT_TYPE_STRING,   /* const char *, points into argv or the default */
	RF_OPT_TYPE_CHOICE,   /* const char *, one of `choices` ("a|b|c") */
};

struct rf_opt {
	enum rf_opt_type type;
	char letter;	     /* short option or 0 */
	const char *name;    /* without dashes; GROUP: the heading */
	const char *value;   /* word for the value in --help: "SIZE" */
	const char *def;     /* default as text, parsed by the same code; NULL: zero;
			      * BOOL: "yes" or "no" */
	const char *doc;     /* one line, no full stop */
	const char *choices; /* CHOICE */
	size_t offset;	     /* of the field in the caller's struct */
	uint64_t min, max;   /* UINT, SIZE, DURATION; max 0: no limit */
	uint64_t unit;	     /* DURATION: ms of a bare number */
};

/*
 * Rows. A field of another type than the row's does not compile. More members may follow:
 * RF_OPT_UINT(struct cfg, lanes, "lanes", 0, "N", "1", "bulk lanes", .min = 1, .max = 16)
 */
#define RF_OPT_OFFSET(s, field, ftype)        \
	(offsetof(s, field) +                 \
	 0 * sizeof(_Generic(((s *)0)->field, \
			     ftype : 0))) /* NOLINT(bugprone-macro-parentheses) */
#define RF_OPT_ROW(kind, s, field, ftype, n, l, v, d, words, ...)                                 \
	{                                                                                         \
		.type = RF_OPT_TYPE_##kind, .name = (n), .letter = (l), .value = (v), .def = (d), \
		.doc = (words), .offset = RF_OPT_OFFSET(s, field, ftype), ##__VA_ARGS__           \
	}
#define RF_OPT_BOOL(s, field, name, letter, def, doc) \
	RF_OPT_ROW(BOOL, s, field, bool, name, letter, NULL, def, doc)
#define RF_OPT_UINT(s, field, name, letter, value, def, doc, ...) \
	RF_OPT_ROW(UINT, s, field, uint64_t, name, letter, value, def, doc, ##__VA_ARGS__)
#define RF_OPT_SIZE(s, field, name, letter, value, def, doc, ...) \
	RF_OPT_ROW(SIZE, s, field, uint64_t, name, letter, value, def, doc, ##__VA_ARGS__)
#define RF_OPT_DURATION(s, field, name, letter, value, def, doc, unit_ms, ...)                     \
	RF_OPT_ROW(DURATION, s, field, uint64_t, name, letter, value, def, doc, .unit = (unit_ms), \
		   ##__VA_ARGS__)
#define RF_OPT_STRING(s, field, name, letter, value, def, doc) \
	RF_OPT_ROW(STRING, s, field, const char *, name, letter, value, def, doc)
#define RF_OPT_CHOICE(s, field, name, letter, list, def, doc) \
	RF_OPT_ROW(CHOICE, s, field, const char *, name, letter, NULL, def, doc, .choices = (list))

#define RF_OPT_GROUP(title)                                \
	{                                                  \
		.type = RF_OPT_TYPE_GROUP, .name = (title) \
	}
#define RF_OPT_END                      \
	{                               \
		.type = RF_OPT_TYPE_END \
	}

/*
 * Fills *out from the defaults, then from argv[1 …]. "--name=value", "--name value", "-x value",
 * "-xvalue"; "--" ends options; the last one given counts. Positional arguments are collected into
 * pos (up to npos_max, more is an error). An error is one line on `err`: what, where, what to do;
 * RF_ERR_INVALID.
 * --help is not handled here: give it a BOOL row and call rf_opts_help.
 */
int rf_opts_parse(const struct rf_opt *table, const char *prog, int argc, char **argv, void *out,
		  const char **pos, unsigned npos_max, unsigned *npos, FILE *err);

void rf_opts_help(const struct rf_opt *table, FILE *f);	    /* two aligned columns */
void rf_opts_markdown(const struct rf_opt *table, FILE *f); /* a table for docs/ */

#endif
