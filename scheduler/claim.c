/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/claim.h"

static void publish(struct rf_bulk_current *c, uint32_t region, uint64_t first, uint64_t end)
{
	uint32_t seq = atomic_load_explicit(&c->seq, memory_order_relaxed);

	atomic_store(&c->seq, seq + 1);
	atomic_store(&c->region, region);
	atomic_store(&c->first, first);
	atomic_store(&c->end, end);
	atomic_store(&c->seq, seq + 2);
}

void rf_bulk_current_set(struct rf_bulk_current *c, uint32_t region, uint64_t first, uint64_t end)
{
	atomic_store(&c->boost, false);
	publish(c, region, first, end);
}

bool rf_bulk_current_clear(struct rf_bulk_current *c)
{
	publish(c, 0, 0, 0);
	return atomic_exchange(&c->boost, false);
}

bool rf_bulk_current_has(const struct rf_bulk_current *c, uint32_t region, uint64_t page)
{
	for (;;) {
		uint32_t before = atomic_load(&c->seq);
		bool has = atomic_load(&c->region) == region && page >= atomic_load(&c->first) &&
			   page < atomic_load(&c->end);

		if (!(before & 1) && atomic_load(&c->seq) == before)
			return has;
	}
}

enum rf_claim_result rf_claim_urgent(struct rf_bitmap *claims, uint64_t bit,
				     struct rf_bulk_current *current, uint32_t region,
				     uint64_t page)
{
	if (rf_bitmap_test_and_clear(claims, bit))
		return RF_CLAIM_WON;
	if (!rf_bulk_current_has(current, region, page))
		return RF_CLAIM_SENT;
	atomic_store(&current->boost, true);
	/* It may have been finished just before: then nobody would look at the boost any more. */
	return rf_bulk_current_has(current, region, page) ? RF_CLAIM_BOOST : RF_CLAIM_SENT;
}
