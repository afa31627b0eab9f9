/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/bulk.h"

#include <string.h>

void rf_bulk_init(struct rf_bulk *b, uint64_t window)
{
	*b = (struct rf_bulk){.window = window};
}

bool rf_bulk_has_room(const struct rf_bulk *b, uint32_t len)
{
	return b->nbatch < RF_BULK_BATCH && (!b->nbatch || b->batch_bytes + len <= b->window / 2);
}

void rf_bulk_add(struct rf_bulk *b, const struct rf_write *w)
{
	b->batch[b->nbatch++] = *w;
	b->batch_bytes += w->len;
}

struct rf_lane *rf_bulk_idlest(const struct rf_bulk *b)
{
	struct rf_lane *best = b->lanes[0];

	for (unsigned i = 1; i < b->nlanes; i++)
		if (rf_lane_inflight(b->lanes[i]) < rf_lane_inflight(best))
			best = b->lanes[i];
	return best;
}

/* How many writes of the batch fit into the lane's window; one always does on an idle lane. */
static unsigned fit_window(const struct rf_bulk *b, const struct rf_lane *lane)
{
	uint64_t inflight = rf_lane_inflight(lane);
	unsigned n;

	for (n = 0; n < b->nbatch; n++) {
		if (inflight && inflight + b->batch[n].len > b->window)
			break;
		inflight += b->batch[n].len;
	}
	return n;
}

static void drop_posted(struct rf_bulk *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		b->batch_bytes -= b->batch[i].len;
	b->nbatch -= n;
	memmove(b->batch, b->batch + n, b->nbatch * sizeof(*b->batch));
}

int rf_bulk_post(struct rf_bulk *b)
{
	while (b->nbatch) {
		struct rf_lane *lane = rf_bulk_idlest(b);
		unsigned n = fit_window(b, lane);
		int rc = n ? rf_lane_write(lane, b->batch, n) : RF_NO_RESOURCE;

		if (rc < 0)
			return rc;
		drop_posted(b, (unsigned)rc);
	}
	return RF_OK;
}

int rf_bulk_fence(struct rf_bulk *b, uint64_t value)
{
	if (b->fence != value) {
		b->fence = value;
		b->fenced = 0;
	}
	while (b->fenced < b->nlanes) {
		int rc = rf_lane_fence(b->lanes[b->fenced], value);

		if (rc != RF_OK)
			return rc;
		b->fenced++;
	}
	return RF_OK;
}

int rf_bulk_poll(struct rf_bulk *b)
{
	struct rf_completion c[16];
	int total = 0;

	for (unsigned i = 0; i < b->nlanes; i++) {
		int n = rf_lane_poll(b->lanes[i], c, sizeof(c) / sizeof(*c));

		if (n < 0)
			return n;
		for (int k = 0; k < n; k++)
			if (c[k].op == RF_OP_WRITE) {
				b->completed += c[k].bytes;
				b->done[i] += c[k].bytes;
			}
		total += n;
	}
	return total;
}

uint64_t rf_bulk_inflight(const struct rf_bulk *b)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < b->nlanes; i++)
		sum += rf_lane_inflight(b->lanes[i]);
	return sum;
}

const struct rf_lane *rf_bulk_dead_lane(const struct rf_bulk *b)
{
	for (unsigned i = 0; i < b->nlanes; i++)
		if (rf_lane_error(b->lanes[i])[0])
			return b->lanes[i];
	return NULL;
}

void rf_bulk_close(struct rf_bulk *b)
{
	for (unsigned i = 0; i < b->nlanes; i++)
		rf_lane_close(&b->lanes[i]);
	b->nlanes = 0;
	b->nbatch = 0;
	b->batch_bytes = 0;
}
