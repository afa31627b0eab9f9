/* SPDX-License-Identifier: BSD-3-Clause */
/* The same rows as words: --help and a table for the docs. */
#include <inttypes.h>
#include <string.h>

#include "common/opts.h"
#include "common/size.h"

#define LEFT_SIZE 96
#define LEFT_MAX  34 /* a longer left column has a line of its own */

static bool is_number(const struct rf_opt *o)
{
	return o->type == RF_OPT_TYPE_UINT || o->type == RF_OPT_TYPE_SIZE ||
	       o->type == RF_OPT_TYPE_DURATION;
}

static bool is_on_by_default(const struct rf_opt *o)
{
	return o->type == RF_OPT_TYPE_BOOL && o->def && !strcmp(o->def, "yes");
}

/* "-m, --memory SIZE"; letters stand in a column of their own. */
static int format_left(const struct rf_opt *o, char buf[LEFT_SIZE])
{
	const char *value = o->type == RF_OPT_TYPE_CHOICE && !o->value ? o->choices : o->value;
	char letter[] = "    ";

	if (o->letter)
		memcpy(letter, (char[]){'-', o->letter, ','}, 3);
	if (o->type == RF_OPT_TYPE_BOOL)
		value = NULL;
	else if (!value)
		value = "VALUE";
	return snprintf(buf, LEFT_SIZE, "%s--%s%s%s%s", letter, is_on_by_default(o) ? "[no-]" : "",
			o->name, value ? " " : "", value ? value : "");
}

static void format_number(const struct rf_opt *o, uint64_t v, char buf[32])
{
	if (o->type == RF_OPT_TYPE_SIZE)
		rf_size_format(v, buf, 32);
	else
		snprintf(buf, 32, "%" PRIu64 "%s", v, o->type == RF_OPT_TYPE_DURATION ? " ms" : "");
}

/* "1 to 16", "at least 1"; empty if all is allowed. */
static void format_range(const struct rf_opt *o, char buf[80])
{
	char low[32], high[32];

	buf[0] = '\0';
	if (!is_number(o))
		return;
	format_number(o, o->min, low);
	format_number(o, o->max, high);
	if (o->max)
		snprintf(buf, 80, "%s to %s", low, high);
	else if (o->min)
		snprintf(buf, 80, "at least %s", low);
}

void rf_opts_help(const struct rf_opt *table, FILE *f)
{
	char left[LEFT_SIZE], range[80];
	int width = 0;

	for (const struct rf_opt *o = table; o->type != RF_OPT_TYPE_END; o++) {
		int n = o->type == RF_OPT_TYPE_GROUP ? 0 : format_left(o, left);

		if (n > width && n <= LEFT_MAX)
			width = n;
	}
	for (const struct rf_opt *o = table; o->type != RF_OPT_TYPE_END; o++) {
		bool def = o->def && o->type != RF_OPT_TYPE_BOOL;

		if (o->type == RF_OPT_TYPE_GROUP) {
			fprintf(f, "%s%s:\n", o == table ? "" : "\n", o->name);
			continue;
		}
		if (format_left(o, left) > width)
			fprintf(f, "  %s\n  %*s  ", left, width, "");
		else
			fprintf(f, "  %-*s  ", width, left);
		format_range(o, range);
		fprintf(f, "%s%s", o->doc, def || *range ? " (" : "");
		if (def)
			fprintf(f, "default %s%s", o->def, *range ? ", " : "");
		fprintf(f, "%s%s\n", range, def || *range ? ")" : "");
	}
}

/* A bar would end the table's cell. */
static void put_cell(const char *text, FILE *f)
{
	for (; *text; text++) {
		if (*text == '|')
			fputc('\\', f);
		fputc(*text, f);
	}
}

void rf_opts_markdown(const struct rf_opt *table, FILE *f)
{
	static const char head[] = "| option | default | meaning |\n|---|---|---|\n";
	bool open = false;

	for (const struct rf_opt *o = table; o->type != RF_OPT_TYPE_END; o++) {
		char left[LEFT_SIZE], range[80];
		const char *text = left;

		if (o->type == RF_OPT_TYPE_GROUP) {
			fprintf(f, "%s### %s\n\n%s", open ? "\n" : "", o->name, head);
			open = true;
			continue;
		}
		if (!open)
			fputs(head, f);
		open = true;
		format_left(o, left);
		while (*text == ' ') /* there is no letter */
			text++;
		format_range(o, range);
		fputs("| `", f);
		put_cell(text, f);
		fprintf(f, "` | %s | ", o->def ? o->def : "");
		put_cell(o->doc, f);
		if (*range)
			fprintf(f, " (%s)", range);
		fputs(" |\n", f);
	}
}
