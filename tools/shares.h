/* SPDX-License-Identifier: BSD-3-Clause */
/* Who got how much of a bandwidth while several migrations were in precopy at once. */
#ifndef RF_TOOLS_SHARES_H
#define RF_TOOLS_SHARES_H

#include <stdbool.h>
#include <stdint.h>

#include <ramferry/stats.h>

/* What one of them had sent at points of time; filled by its thread. */
struct share_track {
	struct share_point {
		uint64_t ns, bytes;
	} * points;
	unsigned n, cap;
};

/* The time in which all of them were in precopy. */
struct shares {
	double seconds;
	double bandwidth;   /* bytes a second, of all */
	double least, most; /* of one, as part of the mean */
};

/* Call whenever there are statistics. Only states in which bulk is sent count. */
void share_track_add(struct share_track *t, uint64_t now_ns, const struct rf_stats *st);
void share_track_fini(struct share_track *t);

/* Bytes sent at that time, between the points. */
double share_track_at(const struct share_track *t, uint64_t ns);

/* False if there was no such time. part[i]: of the mean. */
bool shares_compute(const struct share_track *tracks, unsigned n, double *part, struct shares *out);

#endif
