/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/tracker.h"

#include <stddef.h>

#include "common/log.h"

static const struct rf_tracker_type *const builtin_types[] = {
	&rf_tracker_kvm_log_type, &rf_tracker_kvm_ring_type,   &rf_tracker_uffd_wp_type,
	&rf_tracker_manual_type,  &rf_tracker_soft_dirty_type,
};

static void report_outside(const struct rf_dirty_sink *sink, uint64_t first, uint64_t count)
{
	static struct rf_log_limit limit;

	rf_log_limited(&limit, RF_LOG_WARN, sink->region,
		       "tracker reports %llu pages from page %llu on, outside its %llu pages",
		       (unsigned long long)count, (unsigned long long)first,
		       (unsigned long long)sink->npages);
}

void rf_dirty_sink_run(struct rf_dirty_sink *sink, uint64_t first, uint64_t count)
{
	uint64_t room = first < sink->npages ? sink->npages - first : 0;

	if (count > room) {
		report_outside(sink, first + room, count - room);
		count = room;
	}
	if (!count)
		return;
	rf_bitmap_set_range(sink->bits, first, count);
	sink->reported += count;
}

/* The slow way, for a caller that broke the rule about first: still nothing is lost. */
static void report_bits(struct rf_dirty_sink *sink, uint64_t first, uint64_t word)
{
	for (; word; word &= word - 1) {
		uint64_t page = first + (unsigned)__builtin_ctzll(word);

		if (page < sink->npages)
			rf_dirty_sink_run(sink, page, 1);
	}
}

void rf_dirty_sink_words(struct rf_dirty_sink *sink, uint64_t first, const uint64_t *words,
			 uint64_t nwords)
{
	for (uint64_t i = 0; i < nwords; i++) {
		uint64_t word = words[i], page = first + 64 * i;

		if (!word)
			continue;
		if (page >= sink->npages || page < first) {
			report_outside(sink, page, 64 * (nwords - i));
			return;
		}
		if (first % 64) {
			report_bits(sink, page, word);
			continue;
		}
		if (sink->npages - page < 64)
			word &= (UINT64_C(1) << (sink->npages - page)) - 1;
		rf_bitmap_or_word(sink->bits, page / 64, word);
		sink->reported += (unsigned)__builtin_popcountll(word);
	}
}

void rf_tracker_delete(struct rf_tracker *t)
{
	if (!t || !t->ops)
		return;
	for (size_t i = 0; i < sizeof(builtin_types) / sizeof(builtin_types[0]); i++) {
		if (t->ops != &builtin_types[i]->ops)
			continue;
		t->ops->stop(t->self);
		builtin_types[i]->destroy(t->self);
		*t = (struct rf_tracker){0};
		return;
	}
	rf_err_log(t->ops->name, "not a built-in tracker: its owner has to free it");
}
