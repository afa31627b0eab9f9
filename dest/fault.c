/* SPDX-License-Identifier: BSD-3-Clause */
#include "dest/fault.h"

#include <stdlib.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/uffd_fault.h"
#include "dest/postcopy.h"

#define FAULT_BATCH 16u

static uint64_t now_ns(void)
{
	return rf_now_ns(&rf_clock_monotonic);
}

static void count_blocked(struct rf_dst_fault *f, uint32_t thread, uint64_t ns)
{
	unsigned i;

	for (i = 0; i < f->nblocked && f->blocked[i].thread != thread; i++)
		;
	if (i == f->nblocked && i < RF_DST_FAULT_THREADS)
		f->blocked[f->nblocked++].thread = thread;
	if (i == f->nblocked)
		return;
	f->blocked[i].ns += ns;
	f->blocked[i].faults++;
}

/* ---- asking ---- */

static void send_request(struct rf_dst_fault *f, uint32_t slot)
{
	struct rf_dst_slot *s = &f->slots[slot];
	const struct rf_dst_pages *p = &f->post->pages[s->region];
	struct rf_wire_request r = {
		.region = s->region,
		.page = s->page << p->shift >> __builtin_ctz(RF_PAGE_SIZE),
		.slot = slot,
	};
	uint8_t msg[RF_WIRE_REQUEST_SIZE];
	int rc;

	rf_wire_put_request(msg, &r);
	rc = rf_lane_send(f->lane, msg, sizeof(msg));
	if (rc == RF_NO_RESOURCE)
		return; /* again in the next pass */
	if (rc != RF_OK)
		return; /* the poller tells of a dead lane */
	s->sent = true;
	s->sent_ns = now_ns();
	f->unsent--;
	rf_histogram_add(&f->part_request, s->sent_ns - s->read_ns);
	atomic_fetch_add_explicit(&f->requests, 1, memory_order_relaxed);
}

static void close_slot(struct rf_dst_fault *f, uint32_t slot)
{
	struct rf_dst_slot *s = &f->slots[slot];
	uint64_t now = now_ns();

	rf_histogram_add(&f->latency, now - s->read_ns);
	count_blocked(f, s->thread, now - s->read_ns);
	if (!s->sent)
		f->unsent--;
	s->open = false;
	f->free_slots[f->nfree++] = slot;
	f->nopen--;
}

static void open_slot(struct rf_dst_fault *f, uint32_t region, uint64_t page,
		      const struct rf_uffd_fault *fault, uint64_t read_ns)
{
	uint32_t slot = f->free_slots[--f->nfree];

	f->slots[slot] = (struct rf_dst_slot){
		.open = true,
		.region = region,
		.page = page,
		.thread = fault->thread,
		.read_ns = read_ns,
	};
	f->nopen++;
	f->unsent++;
	send_request(f, slot);
}

/* Pages that came over a bulk lane: whoever placed them could not close our slot. */
static bool reap_slots(struct rf_dst_fault *f)
{
	bool any = false;

	for (uint32_t i = 0, seen = 0; seen < f->nopen && i < RF_WIRE_MAX_SLOTS; i++) {
		struct rf_dst_slot *s = &f->slots[i];

		if (!s->open)
			continue;
		seen++;
		if (!rf_bitmap_test(&f->post->pages[s->region].placed, s->page))
			continue;
		close_slot(f, i);
		seen--;
		any = true;
	}
	return any;
}

/* ---- faults ---- */

/* Without a word to the source. */
static int place_free(struct rf_dst_fault *f, struct rf_dst_pages *p, uint64_t page,
		      const struct rf_uffd_fault *fault, uint64_t read_ns)
{
	int rc = rf_dst_pages_place_zero(p, page);
	uint64_t ns = now_ns() - read_ns;

	atomic_fetch_add_explicit(&f->free_faults, 1, memory_order_relaxed);
	rf_histogram_add(&f->free_latency, ns);
	count_blocked(f, fault->thread, ns);
	return rc;
}

static int take_fault(struct rf_dst_fault *f, const struct rf_uffd_fault *fault, uint64_t read_ns)
{
	uint32_t region;
	uint64_t page;
	struct rf_dst_pages *p = rf_dst_postcopy_find(f->post, fault->addr, &region, &page);

	if (!p)
		return rf_dst_postcopy_fail(f->post, RF_ERR_STATE,
					    "a fault outside of all regions at 0x%llx",
					    (unsigned long long)fault->addr);
	atomic_fetch_add_explicit(&f->faults, 1, memory_order_relaxed);
	switch (rf_dst_pages_fault(p, page)) {
	case RF_DST_FAULT_WAKE:
		atomic_fetch_add_explicit(&f->wakes, 1, memory_order_relaxed);
		rf_uffd_wake(f->uffd, fault->addr & ~(((uint64_t)1 << p->shift) - 1),
			     (uint64_t)1 << p->shift);
		return RF_OK;
	case RF_DST_FAULT_PLACE:
		atomic_fetch_add_explicit(&p->count->local, 1, memory_order_relaxed);
		return rf_dst_pages_place(p, page, 1);
	case RF_DST_FAULT_ZERO:
		return place_free(f, p, page, fault, read_ns);
	case RF_DST_FAULT_WAIT:
		atomic_fetch_add_explicit(&f->waits, 1, memory_order_relaxed);
		return RF_OK;
	case RF_DST_FAULT_REQUEST:
	default:
		open_slot(f, region, page, fault, read_ns);
		return RF_OK;
	}
}

/* Only as many faults as there are slots are read: the others wait in the kernel, in order. */
static bool take_faults(struct rf_dst_fault *f)
{
	struct rf_uffd_fault faults[FAULT_BATCH];
	unsigned room = f->nfree < FAULT_BATCH ? f->nfree : FAULT_BATCH;
	uint64_t read_ns;
	int n = room ? rf_uffd_read_faults(f->uffd, faults, room) : 0;

	if (n < 0) {
		rf_dst_postcopy_fail(f->post, n, "page faults cannot be read");
		return false;
	}
	read_ns = n ? now_ns() : 0;
	for (int i = 0; i < n; i++) {
		int rc = take_fault(f, &faults[i], read_ns);

		if (rc != RF_OK) {
			rf_dst_postcopy_fail(f->post, rc, "a page cannot be placed");
			return false;
		}
	}
	return n > 0;
}

static bool work(void *arg)
{
	struct rf_dst_fault *f = arg;
	bool any;

	if (rf_dst_postcopy_failed(f->post))
		return false;
	any = take_faults(f);
	for (uint32_t i = 0; f->unsent && i < RF_WIRE_MAX_SLOTS; i++)
		if (f->slots[i].open && !f->slots[i].sent)
			send_request(f, i);
	if (f->nopen && atomic_exchange(&f->post->nudged[f->index], false))
		any |= reap_slots(f);
	return any;
}

/* ---- answers ---- */

static int land_answer(struct rf_dst_fault *f, uint32_t slot, bool zero)
{
	struct rf_dst_slot *s = &f->slots[slot];
	struct rf_dst_pages *p;
	uint64_t came = now_ns();
	bool urgent;
	int rc;

	if (slot >= RF_WIRE_MAX_SLOTS || !s->open || !s->sent)
		return rf_dst_postcopy_fail(f->post, RF_ERR_PROTOCOL,
					    "source answered a request nobody made (slot %u)",
					    slot);
	p = &f->post->pages[s->region];
	rf_histogram_add(&f->part_wire, came - s->sent_ns);
	if (zero) {
		uint64_t small = (uint64_t)1 << p->shift >> __builtin_ctz(RF_PAGE_SIZE);

		rc = rf_dst_region_clear(p->region, s->page * small, small);
		if (rc != RF_OK)
			return rf_dst_postcopy_fail(f->post, rc, "a page cannot be cleared");
	}
	if (!rf_dst_pages_land(p, s->page, &urgent))
		return rf_dst_postcopy_fail(f->post, RF_ERR_PROTOCOL,
					    "source sent a page twice (region %s, page %llu)",
					    p->region->id, (unsigned long long)s->page);
	rc = rf_dst_pages_place(p, s->page, 1);
	if (rc != RF_OK)
		return rf_dst_postcopy_fail(f->post, rc, "a page cannot be placed");
	rf_histogram_add(&f->part_place, now_ns() - came);
	close_slot(f, slot);
	rf_dst_postcopy_landed(f->post, 1);
	return RF_OK;
}

static void take_completions(void *arg, struct rf_lane *l, const struct rf_completion *c,
			     unsigned n)
{
	struct rf_dst_fault *f = arg;
	uint32_t slot;

	(void)l;
	for (unsigned i = 0; i < n && !rf_dst_postcopy_failed(f->post); i++) {
		if (c[i].op == RF_OP_IMM && !(c[i].value & RF_IMM_MORE)) {
			land_answer(f, (uint32_t)c[i].value, false);
		} else if (c[i].op == RF_OP_RECV) {
			if (rf_wire_get_zero_answer(c[i].data, c[i].len, &slot) == RF_OK)
				land_answer(f, slot, true);
			else
				rf_dst_postcopy_fail(f->post, RF_ERR_PROTOCOL,
						     "source sent a malformed answer");
		}
	}
}

static void lane_failed(void *arg, struct rf_lane *l, int err)
{
	struct rf_dst_fault *f = arg;

	rf_dst_postcopy_fail(f->post, err, "%s", rf_lane_error(l));
}

int rf_dst_fault_start(struct rf_dst_fault *f, struct rf_dst_postcopy *post, unsigned index,
		       int uffd, struct rf_lane *lane)
{
	static const struct rf_poller_ops ops = {
		.completions = take_completions,
		.lane_failed = lane_failed,
		.work = work,
	};
	struct rf_poller_cfg cfg = {
		.name = "fault",
		.ops = &ops,
		.arg = f,
		.extra_fd = uffd,
		.has_extra_fd = true,
	};
	int rc;

	*f = (struct rf_dst_fault){.post = post, .index = index, .uffd = uffd, .lane = lane};
	rf_histogram_init(&f->latency);
	rf_histogram_init(&f->part_request);
	rf_histogram_init(&f->part_wire);
	rf_histogram_init(&f->part_place);
	rf_histogram_init(&f->free_latency);
	f->slots = calloc(RF_WIRE_MAX_SLOTS, sizeof(*f->slots));
	f->free_slots = calloc(RF_WIRE_MAX_SLOTS, sizeof(*f->free_slots));
	if (!f->slots || !f->free_slots) {
		rf_dst_fault_fini(f);
		return RF_ERR_NO_MEMORY;
	}
	while (f->nfree < RF_WIRE_MAX_SLOTS) {
		f->free_slots[f->nfree] = RF_WIRE_MAX_SLOTS - 1 - f->nfree;
		f->nfree++;
	}
	rf_poll_plan_next(post->plan, &cfg);
	rc = rf_poller_new(&cfg, &f->lane, 1, &f->poller);
	if (rc != RF_OK)
		rf_dst_fault_fini(f);
	return rc;
}

void rf_dst_fault_stop(struct rf_dst_fault *f)
{
	rf_poller_delete(&f->poller, &f->stats);
	rf_lane_close(&f->lane);
}

void rf_dst_fault_fini(struct rf_dst_fault *f)
{
	free(f->slots);
	free(f->free_slots);
	f->slots = NULL;
	f->free_slots = NULL;
}

void rf_dst_fault_nudge(struct rf_dst_fault *f)
{
	if (!atomic_exchange(&f->post->nudged[f->index], true) && f->poller)
		rf_poller_wake(f->poller);
}
