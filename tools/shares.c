/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/shares.h"

#include <stdlib.h>

#define MAX_POINTS (1u << 20)

void share_track_add(struct share_track *t, uint64_t now_ns, const struct rf_stats *st)
{
	struct share_point *grown;

	/* before the first byte it had no need of a share */
	if (st->status != RF_STATE_ACTIVE || !st->ram.transferred || t->n == MAX_POINTS)
		return;
	if (t->n == t->cap) {
		grown = realloc(t->points, (t->cap * 2 + 64) * sizeof(*grown));
		if (!grown)
			return;
		t->points = grown;
		t->cap = t->cap * 2 + 64;
	}
	t->points[t->n++] = (struct share_point){.ns = now_ns, .bytes = st->ram.transferred};
}

void share_track_fini(struct share_track *t)
{
	free(t->points);
	*t = (struct share_track){0};
}

double share_track_at(const struct share_track *t, uint64_t ns)
{
	const struct share_point *a, *b;
	unsigned i = 1;

	if (!t->n || ns <= t->points[0].ns)
		return t->n ? (double)t->points[0].bytes : 0;
	while (i < t->n && t->points[i].ns < ns)
		i++;
	if (i == t->n)
		return (double)t->points[t->n - 1].bytes;
	a = &t->points[i - 1];
	b = &t->points[i];
	return (double)a->bytes +
	       (double)(b->bytes - a->bytes) * (double)(ns - a->ns) / (double)(b->ns - a->ns);
}

bool shares_compute(const struct share_track *tracks, unsigned n, double *part, struct shares *out)
{
	uint64_t from = 0, to = UINT64_MAX;
	double sum = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct share_track *t = &tracks[i];

		if (t->n < 2)
			return false;
		if (t->points[0].ns > from)
			from = t->points[0].ns;
		if (t->points[t->n - 1].ns < to)
			to = t->points[t->n - 1].ns;
	}
	if (!n || from >= to)
		return false;
	for (unsigned i = 0; i < n; i++) {
		part[i] = share_track_at(&tracks[i], to) - share_track_at(&tracks[i], from);
		sum += part[i];
	}
	if (sum <= 0)
		return false;
	out->seconds = (double)(to - from) / 1e9;
	out->bandwidth = sum / out->seconds;
	for (unsigned i = 0; i < n; i++) {
		part[i] *= n / sum;
		if (!i || part[i] < out->least)
			out->least = part[i];
		if (!i || part[i] > out->most)
			out->most = part[i];
	}
	return true;
}
