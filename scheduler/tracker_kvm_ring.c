/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tracker by KVM's dirty ring: each vCPU writes the pages it dirties into a ring of its
 * own. Whoever empties the rings (a harvest, or a vCPU thread whose ring is full) notes the
 * pages in `seen` and protects them again; a harvest hands out `seen` of its region.
 *
 *   vCPU ring 0 ─┐
 *   vCPU ring 1 ─┼─ reap, under the lock ─► seen, a bitmap a slot ─ harvest ─► sink
 *   vCPU ring 2 ─┘        then KVM_RESET_DIRTY_RINGS
 */
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/log.h"
#include "scheduler/tracker_kvm.h"

#define TRACKER_NAME "kvm-ring"

/* KVM_RESET_DIRTY_RINGS gives way to signals; so often it is called again. */
#define RESET_TRIES 1000

struct vcpu_ring {
	struct kvm_dirty_gfn *gfns; /* shared with KVM */
	uint32_t fetch;		    /* entries taken so far; wraps */
};

struct kvm_ring {
	/* fixed after new */
	struct rf_kvm_slots slots;
	uint32_t entries; /* of each ring, a power of two */
	unsigned nrings;
	struct vcpu_ring *rings;
	struct rf_bitmap *seen; /* a bitmap a slot, atomic */
	void (*kick)(void *arg);
	void *kick_arg;
	/* guarded by lock */
	pthread_mutex_t lock; /* also: rings' fetch */
	bool started;
};

static void note_entry(struct kvm_ring *k, uint32_t slot, uint64_t page)
{
	static struct rf_log_limit limit;

	for (unsigned i = 0; i < k->slots.n; i++) {
		if (k->slots.slot[i].slot != slot)
			continue;
		if (page < k->seen[i].nbits) {
			rf_bitmap_set(&k->seen[i], page);
			return;
		}
	}
	/* Another slot of the VMM's with logging on. It needs the reset all the same. */
	rf_log_limited(&limit, RF_LOG_DEBUG, TRACKER_NAME, "page %llu of slot %u is not tracked",
		       (unsigned long long)page, slot);
}

/* At most one ring's worth, so that a fast guest cannot keep it here. */
static uint32_t reap_ring(struct kvm_ring *k, struct vcpu_ring *ring)
{
	uint32_t taken = 0;

	for (; taken < k->entries; taken++) {
		struct kvm_dirty_gfn *gfn = &ring->gfns[ring->fetch & (k->entries - 1)];

		/* Pairs with KVM's release of the flag after slot and offset. */
		if (!(__atomic_load_n(&gfn->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY))
			break;
		note_entry(k, gfn->slot, gfn->offset);
		__atomic_store_n(&gfn->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		ring->fetch++;
	}
	return taken;
}

/* Called with the lock held. Pages are noted before they are protected again: a write between
 * the two is of a page that is noted already and not yet read. */
static int reap_all(struct kvm_ring *k)
{
	uint64_t taken = 0, reset = 0;

	for (unsigned i = 0; i < k->nrings; i++)
		taken += reap_ring(k, &k->rings[i]);
	for (unsigned try = 0; reset < taken; try++) {
		int rc = ioctl(k->slots.vm_fd, KVM_RESET_DIRTY_RINGS, 0);

		if (rc > 0) {
			reset += (unsigned)rc;
		} else if ((rc < 0 && errno != EINTR) || try > RESET_TRIES) {
			rf_err_log(TRACKER_NAME, "KVM_RESET_DIRTY_RINGS: %llu of %llu entries: %s",
				   (unsigned long long)reset, (unsigned long long)taken,
				   rc < 0 ? strerror(errno) : "no progress");
			return RF_ERR_SYSTEM;
		}
	}
	return RF_OK;
}

static void forget_seen(struct kvm_ring *k)
{
	for (unsigned i = 0; i < k->slots.n; i++)
		rf_bitmap_clear_range(&k->seen[i], 0, k->seen[i].nbits);
}

static int start_kvm_ring(void *self, const struct rf_region *regions, unsigned n)
{
	struct kvm_ring *k = self;
	int rc = RF_ERR_STATE;

	pthread_mutex_lock(&k->lock);
	if (k->started) {
		rf_err_log(TRACKER_NAME, "start: it is started already");
	} else {
		forget_seen(k);
		rc = rf_kvm_slots_start(&k->slots, regions, n);
		k->started = !rc;
	}
	pthread_mutex_unlock(&k->lock);
	return rc;
}

static void take_seen(struct kvm_ring *k, unsigned slot, struct rf_dirty_sink *sink)
{
	uint64_t first = k->slots.slot[slot].region_offset / RF_PAGE_SIZE;
	struct rf_bitmap *seen = &k->seen[slot];

	for (uint64_t w = 0; w < seen->nwords; w++) {
		if (!rf_bitmap_word(seen, w))
			continue;
		uint64_t word = rf_bitmap_take_word(seen, w, UINT64_MAX);
		rf_dirty_sink_words(sink, first + 64 * w, &word, 1);
	}
}

static int harvest_kvm_ring(void *self, unsigned region, struct rf_dirty_sink *sink)
{
	struct kvm_ring *k = self;
	int rc = RF_ERR_STATE;

	/* Without the lock: a vCPU that leaves with a full ring takes it. */
	if (k->kick)
		k->kick(k->kick_arg);
	pthread_mutex_lock(&k->lock);
	if (k->started)
		rc = reap_all(k);
	else
		rf_err_log(TRACKER_NAME, "harvest of region %u: not started", region);
	if (!rc)
		for (unsigned i = 0; i < k->slots.n; i++)
			if (k->slots.slot[i].region == region)
				take_seen(k, i, sink);
	pthread_mutex_unlock(&k->lock);
	return rc;
}

static void stop_kvm_ring(void *self)
{
	struct kvm_ring *k = self;

	pthread_mutex_lock(&k->lock);
	if (k->started) {
		rf_kvm_slots_stop(&k->slots);
		/* What is left in the rings would otherwise fill them at the next start. */
		reap_all(k);
		forget_seen(k);
		k->started = false;
	}
	pthread_mutex_unlock(&k->lock);
}

static void destroy_kvm_ring(void *self)
{
	struct kvm_ring *k = self;

	for (unsigned i = 0; i < k->nrings; i++)
		munmap(k->rings[i].gfns, (size_t)k->entries * sizeof(struct kvm_dirty_gfn));
	if (k->seen)
		for (unsigned i = 0; i < k->slots.n; i++)
			rf_bitmap_fini(&k->seen[i]);
	free(k->seen);
	free(k->rings);
	rf_kvm_slots_fini(&k->slots);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

const struct rf_tracker_type rf_tracker_kvm_ring_type = {
	.ops = {.size = sizeof(struct rf_tracker_ops),
		.name = TRACKER_NAME,
		.start = start_kvm_ring,
		.harvest = harvest_kvm_ring,
		.stop = stop_kvm_ring},
	.destroy = destroy_kvm_ring,
};

static int map_rings(struct kvm_ring *k, const struct rf_kvm_tracker_cfg *cfg)
{
	off_t offset = (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * sysconf(_SC_PAGESIZE);

	k->rings = calloc(cfg->nvcpus, sizeof(*k->rings));
	if (!k->rings)
		return RF_ERR_NO_MEMORY;
	for (; k->nrings < cfg->nvcpus; k->nrings++) {
		void *p = mmap(NULL, cfg->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			       cfg->vcpu_fds[k->nrings], offset);

		if (p == MAP_FAILED) {
			rf_err_log(TRACKER_NAME,
				   "ring of vCPU %u: %s (KVM_CAP_DIRTY_LOG_RING is to be enabled "
				   "with %u bytes before the first vCPU is made)",
				   k->nrings, strerror(errno), cfg->ring_bytes);
			return RF_ERR_UNSUPPORTED;
		}
		k->rings[k->nrings].gfns = p;
	}
	return RF_OK;
}

static int make_seen(struct kvm_ring *k)
{
	int rc = RF_OK;

	k->seen = calloc(k->slots.n ? k->slots.n : 1, sizeof(*k->seen));
	if (!k->seen)
		return RF_ERR_NO_MEMORY;
	for (unsigned i = 0; !rc && i < k->slots.n; i++)
		rc = rf_bitmap_init(&k->seen[i], rf_kvm_slot_pages(&k->slots.slot[i]));
	return rc;
}

int rf_tracker_kvm_ring_new(const struct rf_kvm_tracker_cfg *cfg, struct rf_tracker *out)
{
	uint32_t entries = cfg->ring_bytes / sizeof(struct kvm_dirty_gfn);
	struct kvm_ring *k;
	int rc;

	if (!entries || (entries & (entries - 1)) || !cfg->nvcpus || !cfg->vcpu_fds) {
		rf_err_log(TRACKER_NAME, "configuration: ring_bytes or vcpu_fds is wrong");
		return RF_ERR_INVALID;
	}
	k = calloc(1, sizeof(*k));
	if (!k) {
		rf_err_log(TRACKER_NAME, "no memory");
		return RF_ERR_NO_MEMORY;
	}
	pthread_mutex_init(&k->lock, NULL);
	k->entries = entries;
	k->kick = cfg->kick;
	k->kick_arg = cfg->kick_arg;
	rc = rf_kvm_slots_init(&k->slots, cfg);
	if (!rc)
		rc = map_rings(k, cfg);
	if (!rc)
		rc = make_seen(k);
	if (rc) {
		if (rc == RF_ERR_NO_MEMORY)
			rf_err_log(TRACKER_NAME, "no memory");
		destroy_kvm_ring(k);
		return rc;
	}
	*out = (struct rf_tracker){.ops = &rf_tracker_kvm_ring_type.ops, .self = k};
	return RF_OK;
}

int rf_tracker_kvm_ring_full(struct rf_tracker *t)
{
	struct kvm_ring *k;
	int rc;

	if (!t || t->ops != &rf_tracker_kvm_ring_type.ops)
		return RF_ERR_INVALID;
	k = t->self;
	pthread_mutex_lock(&k->lock);
	rc = reap_all(k);
	pthread_mutex_unlock(&k->lock);
	return rc;
}
