/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/opts.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/size.h"

#define NAME_SIZE 64 /* of an option, with its "no-" and NUL */

/* One parsing of one command line. */
struct parser {
	const struct rf_opt *table;
	const char *prog;
	int argc;
	char **argv;
	int at; /* next argument */
	void *out;
	FILE *err;
};

static bool is_option(const struct rf_opt *o)
{
	return o->type != RF_OPT_TYPE_GROUP;
}

__attribute__((format(printf, 2, 3))) static int refuse(const struct parser *p, const char *fmt,
							...)
{
	va_list ap;

	if (!p->err)
		return RF_ERR_INVALID;
	fprintf(p->err, "%s: ", p->prog);
	va_start(ap, fmt);
	vfprintf(p->err, fmt, ap);
	va_end(ap);
	fputc('\n', p->err);
	return RF_ERR_INVALID;
}

/* A number or a size of the row's kind as its reader would write it. */
static const char *show(const struct rf_opt *o, uint64_t v, char buf[32])
{
	if (o->type == RF_OPT_TYPE_SIZE)
		return rf_size_format(v, buf, 32);
	snprintf(buf, 32, "%" PRIu64 "%s", v, o->type == RF_OPT_TYPE_DURATION ? "ms" : "");
	return buf;
}

static int parse_uint(const char *text, uint64_t *v)
{
	char *end;

	if (!isdigit((unsigned char)*text)) /* strtoull takes blanks and signs */
		return RF_ERR_INVALID;
	errno = 0;
	*v = strtoull(text, &end, 10);
	return *end || errno ? RF_ERR_INVALID : RF_OK;
}

static int set_number(const struct parser *p, const struct rf_opt *o, const char *text)
{
	char low[32], high[32];
	uint64_t v = 0;

	switch (o->type) {
	case RF_OPT_TYPE_SIZE:
		if (rf_size_parse(text, &v))
			return refuse(p, "--%s: \"%s\" is not a size (use e.g. 512M, 4G)", o->name,
				      text);
		break;
	case RF_OPT_TYPE_DURATION:
		if (rf_duration_parse(text, o->unit ? o->unit : 1, &v))
			return refuse(p, "--%s: \"%s\" is not a duration (use e.g. 500ms, 30s, 2m)",
				      o->name, text);
		break;
	default:
		if (parse_uint(text, &v))
			return refuse(p, "--%s: \"%s\" is not a number", o->name, text);
		break;
	}
	if (v < o->min && !o->max)
		return refuse(p, "--%s: %s is too small (use %s or more)", o->name, text,
			      show(o, o->min, low));
	if (v < o->min || (o->max && v > o->max))
		return refuse(p, "--%s: %s is out of range (use %s to %s)", o->name, text,
			      show(o, o->min, low), show(o, o->max, high));
	memcpy((char *)p->out + o->offset, &v, sizeof(v));
	return RF_OK;
}

static int set_choice(const struct parser *p, const struct rf_opt *o, const char *text)
{
	size_t len = strlen(text);

	for (const char *c = o->choices; c; c = strchr(c, '|')) {
		c += *c == '|';
		if (len && strcspn(c, "|") == len && !memcmp(c, text, len)) {
			memcpy((char *)p->out + o->offset, &text, sizeof(text));
			return RF_OK;
		}
	}
	return refuse(p, "--%s: \"%s\" is not one of %s", o->name, text, o->choices);
}

static int set_value(const struct parser *p, const struct rf_opt *o, const char *text)
{
	switch (o->type) {
	case RF_OPT_TYPE_BOOL:
		assert(!strcmp(text, "yes") || !strcmp(text, "no"));
		*(bool *)((char *)p->out + o->offset) = !strcmp(text, "yes");
		return RF_OK;
	case RF_OPT_TYPE_STRING:
		memcpy((char *)p->out + o->offset, &text, sizeof(text));
		return RF_OK;
	case RF_OPT_TYPE_CHOICE:
		return set_choice(p, o, text);
	default:
		return set_number(p, o, text);
	}
}

static int set_defaults(const struct parser *p)
{
	for (const struct rf_opt *o = p->table; o->type != RF_OPT_TYPE_END; o++) {
		int rc = RF_OK;

		if (!is_option(o))
			continue;
		if (o->def)
			rc = set_value(p, o, o->def);
		else if (o->type == RF_OPT_TYPE_BOOL)
			*(bool *)((char *)p->out + o->offset) = false;
		else /* a number or a pointer, of the same size */
			memset((char *)p->out + o->offset, 0, sizeof(uint64_t));
		if (rc)
			return rc;
	}
	return RF_OK;
}

/* Edits (insert, delete, replace) from a to b; names are short. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[NAME_SIZE];
	size_t nb = strlen(b);

	assert(nb < NAME_SIZE);
	for (size_t j = 0; j <= nb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; *a; a++, i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned best = diagonal + (*a != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[nb];
}

static int refuse_unknown(const struct parser *p, const char *name)
{
	const struct rf_opt *nearest = NULL;
	/* Up to a third of its letters may differ, else the guess would be a riddle. */
	unsigned best = (unsigned)strlen(name) / 3 + 1;

	if (strlen(name) < NAME_SIZE) {
		for (const struct rf_opt *o = p->table; o->type != RF_OPT_TYPE_END; o++) {
			unsigned d = is_option(o) ? distance(name, o->name) : best + 1;

			if (d < best) {
				best = d;
				nearest = o;
			}
		}
	}
	if (nearest)
		return refuse(p, "--%s: unknown option (did you mean --%s?)", name, nearest->name);
	return refuse(p, "--%s: unknown option (see --help)", name);
}

/* A BOOL may be written with "no-" before its name; *no tells. */
static const struct rf_opt *find_long(const struct parser *p, const char *name, bool *no)
{
	*no = false;
	for (const struct rf_opt *o = p->table; o->type != RF_OPT_TYPE_END; o++) {
		if (is_option(o) && !strcmp(o->name, name))
			return o;
	}
	if (strncmp(name, "no-", 3))
		return NULL;
	*no = true;
	for (const struct rf_opt *o = p->table; o->type != RF_OPT_TYPE_END; o++) {
		if (o->type == RF_OPT_TYPE_BOOL && !strcmp(o->name, name + 3))
			return o;
	}
	return NULL;
}

static int take_value(struct parser *p, const struct rf_opt *o, const char *value)
{
	if (!value && p->at >= p->argc)
		return refuse(p, "--%s: needs a value (see --help)", o->name);
	return set_value(p, o, value ? value : p->argv[p->at++]);
}

static int parse_long(struct parser *p, const char *text)
{
	const char *value = strchr(text, '=');
	size_t len = value ? (size_t)(value - text) : strlen(text);
	const struct rf_opt *o;
	char name[NAME_SIZE];
	bool no;

	if (len >= sizeof(name))
		return refuse(p, "--%.*s...: unknown option (see --help)", NAME_SIZE / 2, text);
	memcpy(name, text, len);
	name[len] = '\0';
	value = value ? value + 1 : NULL;
	o = find_long(p, name, &no);
	if (!o)
		return refuse_unknown(p, name);
	if (o->type != RF_OPT_TYPE_BOOL)
		return take_value(p, o, value);
	if (value)
		return refuse(p, "--%s: takes no value (use --%s or --no-%s)", name, o->name,
			      o->name);
	return set_value(p, o, no ? "no" : "yes");
}

/* "-x", "-x value" or "-xvalue"; text is behind the dash. */
static int parse_short(struct parser *p, const char *text)
{
	for (const struct rf_opt *o = p->table; o->type != RF_OPT_TYPE_END; o++) {
		if (!is_option(o) || o->letter != *text)
			continue;
		if (o->type != RF_OPT_TYPE_BOOL)
			return take_value(p, o, text[1] ? text + 1 : NULL);
		if (!text[1])
			return set_value(p, o, "yes");
	}
	return refuse(p, "-%s: unknown option (see --help)", text);
}

int rf_opts_parse(const struct rf_opt *table, const char *prog, int argc, char **argv, void *out,
		  const char **pos, unsigned npos_max, unsigned *npos, FILE *err)
{
	struct parser p = {table, prog, argc, argv, 1, out, err};
	bool only_positional = false;
	unsigned n = 0;
	int rc = set_defaults(&p);

	while (rc == RF_OK && p.at < argc) {
		const char *arg = argv[p.at++];

		if (only_positional || arg[0] != '-' || !arg[1]) {
			if (n == npos_max)
				return refuse(&p, "\"%s\": unexpected argument (see --help)", arg);
			pos[n++] = arg;
		} else if (!strcmp(arg, "--")) {
			only_positional = true;
		} else if (arg[1] == '-') {
			rc = parse_long(&p, arg + 2);
		} else {
			rc = parse_short(&p, arg + 1);
		}
	}
	if (rc == RF_OK && npos)
		*npos = n;
	return rc;
}
