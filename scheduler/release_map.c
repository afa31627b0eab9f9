/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/release_map.h"

#include <ramferry/err.h>

int rf_release_map_init(struct rf_release_map *m, const struct rf_bitmap *missing, uint64_t npages,
			uint64_t host, uint64_t unit)
{
	*m = (struct rf_release_map){
		.npages = npages,
		.host = host,
		.unit = unit,
		.nunits = (npages + unit - 1) / unit,
	};
	if (rf_bitmap_init(&m->held, npages / host) != RF_OK ||
	    rf_bitmap_init(&m->due, m->nunits) != RF_OK) {
		rf_release_map_fini(m);
		return RF_ERR_NO_MEMORY;
	}
	for (uint64_t w = 0; w < missing->nwords; w++) {
		uint64_t bits = rf_bitmap_word(missing, w);

		if (bits) /* words of zero cost no memory */
			rf_bitmap_store_word(&m->held, w, bits);
	}
	return RF_OK;
}

void rf_release_map_fini(struct rf_release_map *m)
{
	rf_bitmap_fini(&m->held);
	rf_bitmap_fini(&m->due);
	*m = (struct rf_release_map){0};
}

/* The host page that unit begins with. */
static uint64_t host_of(const struct rf_release_map *m, uint64_t unit)
{
	uint64_t page = unit * m->unit;

	return (page < m->npages ? page : m->npages) / m->host;
}

/* The first of units [from, end) of which something is held; end if there is none. */
static uint64_t find_held(const struct rf_release_map *m, uint64_t from, uint64_t end)
{
	uint64_t bit = rf_bitmap_find_set(&m->held, host_of(m, from), host_of(m, end));

	return bit == RF_BITMAP_NONE ? end : bit * m->host / m->unit;
}

/* Unit `from` is held; the next one that may not be. */
static uint64_t skip_held(const struct rf_release_map *m, uint64_t from)
{
	uint64_t bit = rf_bitmap_find_clear(&m->held, host_of(m, from), m->held.nbits);
	uint64_t unit = bit == RF_BITMAP_NONE ? m->nunits : bit * m->host / m->unit;

	return unit > from ? unit : from + 1;
}

int rf_release_map_landed(struct rf_release_map *m, uint64_t first, uint64_t count)
{
	uint64_t from = first / m->host, n = count / m->host, unit, end;

	if (first >= m->npages || !count || count > m->npages - first || first % m->host ||
	    count % m->host)
		return RF_ERR_PROTOCOL;
	if (rf_bitmap_find_clear(&m->held, from, from + n) != RF_BITMAP_NONE)
		return RF_ERR_PROTOCOL;
	rf_bitmap_clear_range(&m->held, from, n);
	/* Those the sweep has not come to are found by it. */
	end = (first + count + m->unit - 1) / m->unit;
	if (end > m->swept)
		end = m->swept;
	for (unit = first / m->unit; unit < end; unit++) {
		uint64_t held = find_held(m, unit, end);

		rf_bitmap_set_range(&m->due, unit, held - unit);
		m->ndue += held - unit;
		unit = held;
	}
	return RF_OK;
}

static void make_run(const struct rf_release_map *m, uint64_t unit, uint64_t n,
		     struct rf_page_run *run)
{
	run->first = unit * m->unit;
	run->count = n * m->unit;
	if (run->count > m->npages - run->first) /* the last unit may be a part of one */
		run->count = m->npages - run->first;
}

/* What was never held, in order. */
static bool sweep(struct rf_release_map *m, uint64_t most, struct rf_page_run *run)
{
	while (m->swept < m->nunits) {
		uint64_t from = m->swept;
		uint64_t end = m->nunits - from < most ? m->nunits : from + most;
		uint64_t held = find_held(m, from, end);

		if (held == from) { /* it is due when it has landed */
			m->swept = skip_held(m, from);
			continue;
		}
		m->swept = held;
		make_run(m, from, held - from, run);
		return true;
	}
	return false;
}

static bool take_due(struct rf_release_map *m, uint64_t most, struct rf_page_run *run)
{
	uint64_t from, to;

	if (!m->ndue)
		return false;
	from = rf_bitmap_find_set(&m->due, m->at, m->nunits);
	if (from == RF_BITMAP_NONE)
		from = rf_bitmap_find_set(&m->due, 0, m->nunits);
	to = rf_bitmap_find_clear(&m->due, from, m->nunits);
	if (to == RF_BITMAP_NONE)
		to = m->nunits;
	if (to - from > most)
		to = from + most;
	rf_bitmap_clear_range(&m->due, from, to - from);
	m->ndue -= to - from;
	m->at = to;
	make_run(m, from, to - from, run);
	return true;
}

bool rf_release_map_next(struct rf_release_map *m, uint64_t most, struct rf_page_run *run)
{
	uint64_t units = most / m->unit ? most / m->unit : 1;

	return take_due(m, units, run) || sweep(m, units, run);
}
