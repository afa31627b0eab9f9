/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/size.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <ramferry/err.h>

#define MAX_FRACTION_DIGITS 18 /* 10^18 fits in 64 bits, and times 2^60 in 128 */

static const char size_letters[] = "KMGTPE";

/* A number as it is written: whole + num / den. */
struct decimal {
	uint64_t whole, num, den;
};

/* Reads "12" or "12.5"; *text is moved behind it. Refuses what does not start with a digit. */
static bool read_decimal(const char **text, struct decimal *d)
{
	const char *p = *text;
	unsigned digits = 0;

	*d = (struct decimal){.den = 1};
	if (!isdigit((unsigned char)*p))
		return false;
	for (; isdigit((unsigned char)*p); p++) {
		if (__builtin_mul_overflow(d->whole, 10, &d->whole) ||
		    __builtin_add_overflow(d->whole, (uint64_t)(*p - '0'), &d->whole))
			return false;
	}
	if (*p == '.') {
		for (p++; isdigit((unsigned char)*p); p++) {
			if (++digits > MAX_FRACTION_DIGITS)
				return false;
			d->num = d->num * 10 + (uint64_t)(*p - '0');
			d->den *= 10;
		}
		if (!digits)
			return false;
	}
	*text = p;
	return true;
}

/* d * unit if that is a whole number up to 2^63 - 1. Exact, no floating point. */
static int scale(const struct decimal *d, uint64_t unit, uint64_t *out)
{
	unsigned __int128 fraction = (unsigned __int128)d->num * unit;
	unsigned __int128 sum;

	if (fraction % d->den)
		return RF_ERR_INVALID;
	sum = (unsigned __int128)d->whole * unit + fraction / d->den;
	if (sum > INT64_MAX)
		return RF_ERR_INVALID;
	*out = (uint64_t)sum;
	return RF_OK;
}

int rf_size_parse(const char *text, uint64_t *bytes)
{
	uint64_t unit = 1;
	const char *letter;
	struct decimal d;

	if (!text || !read_decimal(&text, &d))
		return RF_ERR_INVALID;
	letter = *text ? strchr(size_letters, toupper((unsigned char)*text)) : NULL;
	if (letter) {
		unit <<= 10 * (letter - size_letters + 1);
		text++;
		if (!strcasecmp(text, "iB"))
			text += 2;
	}
	if (!strcasecmp(text, "B"))
		text++;
	return *text ? RF_ERR_INVALID : scale(&d, unit, bytes);
}

int rf_duration_parse(const char *text, uint64_t default_unit_ms, uint64_t *ms)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	struct decimal d;

	if (!text || !read_decimal(&text, &d))
		return RF_ERR_INVALID;
	if (!*text)
		return scale(&d, default_unit_ms, ms);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (!strcmp(text, units[i].name))
			return scale(&d, units[i].ms, ms);
	}
	return RF_ERR_INVALID;
}

char *rf_size_format(uint64_t bytes, char *buf, size_t cap)
{
	unsigned shift = 0;

	/* What rounds to 1024.0 of a unit is 1 of the next one. */
	while (shift < 60 && (double)bytes / (double)(1ull << shift) >= (shift ? 1023.95 : 1024))
		shift += 10;
	if (!shift)
		snprintf(buf, cap, "%u B", (unsigned)bytes);
	else if (bytes & ((1ull << shift) - 1))
		snprintf(buf, cap, "%.1f %ciB", (double)bytes / (double)(1ull << shift),
			 size_letters[shift / 10 - 1]);
	else
		snprintf(buf, cap, "%u %ciB", (unsigned)(bytes >> shift),
			 size_letters[shift / 10 - 1]);
	return buf;
}
