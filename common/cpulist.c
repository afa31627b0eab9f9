/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/cpulist.h"

#include <stdio.h>
#include <string.h>

#include <ramferry/err.h>

/* No strtoul: it takes blanks and signs. */
static int parse_number(const char **p, unsigned *n)
{
	*n = 0;
	if (**p < '0' || **p > '9')
		return RF_ERR_INVALID;
	for (; **p >= '0' && **p <= '9'; (*p)++) {
		*n = *n * 10 + (unsigned)(**p - '0');
		if (*n >= CPU_SETSIZE)
			return RF_ERR_INVALID;
	}
	return RF_OK;
}

int rf_cpulist_parse(const char *text, cpu_set_t *set)
{
	cpu_set_t found;
	unsigned first, last;

	CPU_ZERO(&found);
	for (;;) {
		if (parse_number(&text, &first))
			return RF_ERR_INVALID;
		last = first;
		if (*text == '-') {
			text++;
			if (parse_number(&text, &last) || last < first)
				return RF_ERR_INVALID;
		}
		for (unsigned cpu = first; cpu <= last; cpu++)
			CPU_SET(cpu, &found);
		if (*text == '\0')
			break;
		if (*text++ != ',')
			return RF_ERR_INVALID;
	}
	*set = found;
	return RF_OK;
}

char *rf_cpulist_format(const cpu_set_t *set, char *buf, size_t cap)
{
	static const char cut[] = "…";
	char item[32];
	size_t len = 0;

	buf[0] = '\0';
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		unsigned last = cpu;

		if (!CPU_ISSET(cpu, set))
			continue;
		while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
			last++;
		if (last > cpu)
			snprintf(item, sizeof(item), "%s%u-%u", len ? "," : "", cpu, last);
		else
			snprintf(item, sizeof(item), "%s%u", len ? "," : "", cpu);
		cpu = last;
		/* Room is kept for the mark, so that it fits behind the last whole item. */
		if (len + strlen(item) + sizeof(cut) > cap) {
			snprintf(buf + len, cap - len, "%s", cap - len >= sizeof(cut) ? cut : "");
			return buf;
		}
		memcpy(buf + len, item, strlen(item) + 1);
		len += strlen(item);
	}
	return buf;
}
