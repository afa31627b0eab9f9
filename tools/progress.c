/* SPDX-License-Identifier: BSD-3-Clause */
/* How a migration is shown while it runs: one line that moves on a terminal, a line a round
 * elsewhere. All on stderr; stdout is for results. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "common/size.h"
#include "tools/common.h"

#define BAR 20

void progress_init(struct progress *p, int index)
{
	*p = (struct progress){.tty = index < 0 && isatty(STDERR_FILENO), .index = index};
}

static void format_line(const struct rf_stats *st, char *out, size_t cap)
{
	char sent[32], left[32], dirty[32], expected[32] = "-";

	rf_size_format(st->ram.transferred, sent, sizeof(sent));
	rf_size_format(st->ram.remaining, left, sizeof(left));
	rf_size_format(st->ram.dirty_pages_rate * st->ram.page_size, dirty, sizeof(dirty));
	if (st->expected_downtime > 0 && isfinite(st->expected_downtime))
		snprintf(expected, sizeof(expected), "%.0f ms", st->expected_downtime);
	snprintf(out, cap, "round %llu  sent %s  left %s  dirty %s/s  %.2f Gb/s  downtime ~%s",
		 (unsigned long long)st->round, sent, left, dirty, st->ram.mbps / 1000, expected);
}

static void format_bar(const struct rf_stats *st, char *bar)
{
	double total = (double)(st->ram.total - st->ram.skipped * st->ram.page_size);
	double done = total > 0 ? 1 - (double)st->ram.remaining / total : 1;
	int n = done < 0 ? 0 : (int)(done * BAR);

	memset(bar, ' ', BAR);
	memset(bar, '=', (size_t)(n > BAR ? BAR : n));
	bar[BAR] = 0;
}

void progress_show(void *arg, const struct rf_stats *st)
{
	struct progress *p = arg;
	char line[256], bar[BAR + 1], which[16] = "";

	format_line(st, line, sizeof(line));
	if (p->index >= 0)
		snprintf(which, sizeof(which), "%d: ", p->index);
	if (p->tty) {
		format_bar(st, bar);
		fprintf(stderr, "\r\033[K[%s] %-9s %s", bar, rf_state_str(st->status), line);
		p->open = true;
	} else if (st->round != p->last_round && st->round > 1) {
		fprintf(stderr, "%s%s\n", which, line);
	} else if (st->status != p->last_state) {
		fprintf(stderr, "%sstate: %s\n", which, rf_state_str(st->status));
	}
	p->last_round = st->round;
	p->last_state = st->status;
}

void progress_end(struct progress *p)
{
	if (p->open)
		fprintf(stderr, "\n");
	p->open = false;
}
