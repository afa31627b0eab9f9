/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lazy restore: the guest runs while its memory comes in. A page that is missing stops whoever
 * touches it until its block has been read, compared with its digest and placed.
 *
 * If the file turns out to be damaged before the guest runs, everything is disarmed, so that
 * load_state comes to its end, and the guest is not started. Afterwards nothing is: those who
 * touch what is missing wait for good.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/uffd_fault.h"
#include "dest/restore.h"

#define OBJ	       "restore"
#define FAULTS_AT_ONCE 16
#define LOOK_AGAIN_US  1000

static void disarm_all(struct rf_restore *r)
{
	for (uint32_t i = 0; i < r->file->img.nregions; i++) {
		struct rf_restore_mem *m = &r->mem[i];

		if (m->armed)
			(void)rf_uffd_disarm(r->uffd, m->addr, m->info.len);
		m->armed = false;
	}
}

/* With the words of this thread. Nobody who waits may be left waiting while that is no harm. */
static void fail(struct rf_restore *r, int rc, const char *words)
{
	rf_restore_keep_error(r, rc, words);
	pthread_mutex_lock(&r->lock);
	if (!r->guest_runs)
		disarm_all(r);
	pthread_mutex_unlock(&r->lock);
}

/* Whether a host page has anything but zeros in the file. */
static bool page_present(const struct rf_restore *r, uint32_t region, uint64_t page)
{
	uint64_t small = r->mem[region].info.page_size / RF_PAGE_SIZE;

	return rf_bitmap_find_set(&r->file->present[region], page * small, (page + 1) * small) !=
	       RF_BITMAP_NONE;
}

/* Runs of host pages that are present, from buf. */
static int place_block(struct rf_restore *r, uint32_t region, uint64_t block, const uint8_t *buf)
{
	struct rf_restore_mem *m = &r->mem[region];
	uint64_t size = m->info.page_size, per_block = RF_IMAGE_BLOCK / size;
	uint64_t base = block * per_block, existed = 0;
	uint64_t n = (m->info.len / size) - base;
	int rc = RF_OK;

	n = n < per_block ? n : per_block;
	for (uint64_t i = 0; rc == RF_OK && i < n;) {
		uint64_t from = i;

		while (i < n && page_present(r, region, base + i))
			i++;
		if (i == from) {
			i++;
			continue;
		}
		rc = rf_uffd_copy(r->uffd, (uintptr_t)m->addr + (base + from) * size,
				  buf + from * size, (i - from) * size, (uint32_t)size, &existed);
	}
	return rc;
}

/* Whoever claims it, does it. */
static int load_block(struct rf_restore *r, uint32_t region, uint64_t block, uint8_t *buf,
		      bool *mine)
{
	struct rf_restore_mem *m = &r->mem[region];
	int rc;

	*mine = !rf_bitmap_test_and_set(&m->claimed, block);
	if (!*mine)
		return RF_OK;
	rc = rf_restore_read(r, region, block, buf);
	if (rc == RF_OK)
		rc = place_block(r, region, block, buf);
	if (rc == RF_OK)
		rf_bitmap_set(&m->placed, block);
	return rc;
}

/* ---- faults ---- */

static int answer_zero(struct rf_restore *r, const struct rf_restore_mem *m, uint64_t addr,
		       uint8_t *buf)
{
	uint64_t existed;

	if (m->info.page_size == RF_PAGE_SIZE)
		return rf_uffd_zero(r->uffd, addr);
	memset(buf, 0, m->info.page_size);
	return rf_uffd_copy(r->uffd, addr, buf, m->info.page_size, m->info.page_size, &existed);
}

static int answer(struct rf_restore *r, uint32_t region, uint64_t page, uint8_t *buf)
{
	struct rf_restore_mem *m = &r->mem[region];
	uint64_t size = m->info.page_size, addr = (uintptr_t)m->addr + page * size;
	uint64_t block = page * size / RF_IMAGE_BLOCK;
	bool mine;
	int rc;

	if (!page_present(r, region, page))
		return answer_zero(r, m, addr, buf);
	rc = load_block(r, region, block, buf, &mine);
	atomic_fetch_add(&r->blocks_faulted, mine);
	/* Whoever else has claimed it wakes the guest when it places the page; if it has done so
	 * before, the guest need only look again. */
	if (rc == RF_OK && !mine && rf_bitmap_test(&m->placed, block))
		rf_uffd_wake(r->uffd, addr, size);
	return rc;
}

static int answer_fault(struct rf_restore *r, uint64_t addr, uint8_t *buf)
{
	uint64_t since = rf_now_ns(&rf_clock_monotonic);
	int rc = RF_OK;

	atomic_fetch_add(&r->faults, 1);
	for (uint32_t i = 0; i < r->file->img.nregions; i++) {
		const struct rf_restore_mem *m = &r->mem[i];
		uint64_t begin = (uintptr_t)m->addr;

		if (addr >= begin && addr - begin < m->info.len)
			rc = answer(r, i, (addr - begin) / m->info.page_size, buf);
	}
	rf_histogram_add(&r->latency, rf_now_ns(&rf_clock_monotonic) - since);
	return rc;
}

static void *fault_thread(void *arg)
{
	struct rf_restore *r = arg;
	struct pollfd p[] = {
		{.fd = r->uffd, .events = POLLIN},
		{.fd = r->stop_fd, .events = POLLIN},
	};
	uint8_t *buf = aligned_alloc(RF_PAGE_SIZE, RF_IMAGE_BLOCK);
	struct rf_log_capture words;
	int rc = buf ? RF_OK : RF_ERR_NO_MEMORY;

	pthread_setname_np(pthread_self(), "rf-rest-fault");
	rf_log_capture_begin(&words);
	while (rc == RF_OK) {
		struct rf_uffd_fault f[FAULTS_AT_ONCE];
		int n;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			break;
		n = rf_uffd_read_faults(r->uffd, f, FAULTS_AT_ONCE);
		rc = n < 0 ? n : RF_OK;
		for (int i = 0; rc == RF_OK && i < n; i++)
			rc = answer_fault(r, f[i].addr, buf);
	}
	rf_log_capture_end(&words);
	if (rc != RF_OK)
		fail(r, rc, words.text);
	free(buf);
	return NULL;
}

/* ---- the run ---- */

static int arm(struct rf_restore *r)
{
	int rc = rf_uffd_open_faults(&r->uffd);

	for (uint32_t i = 0; rc == RF_OK && i < r->file->img.nregions; i++) {
		struct rf_restore_mem *m = &r->mem[i];
		uint64_t blocks = r->file->img.regions[i].blocks;

		if (m->info.page_size > RF_IMAGE_BLOCK) {
			rf_err_log(OBJ, "region \"%s\": pages of 1 GiB are restored eagerly only",
				   m->info.id);
			return RF_ERR_UNSUPPORTED;
		}
		if (rf_bitmap_init(&m->claimed, blocks) != RF_OK ||
		    rf_bitmap_init(&m->placed, blocks) != RF_OK)
			return RF_ERR_NO_MEMORY;
		rc = rf_uffd_arm(r->uffd, m->addr, m->info.len, false);
		m->armed = rc == RF_OK;
	}
	return rc;
}

static int start_fault_thread(struct rf_restore *r, pthread_t *t)
{
	sigset_t all, old;
	int e;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	e = pthread_create(t, NULL, fault_thread, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!e)
		return RF_OK;
	rf_err_log(OBJ, "thread: %s", strerror(e));
	return RF_ERR_SYSTEM;
}

static int load(struct rf_restore *r, uint32_t region, uint64_t block, uint8_t *buf)
{
	bool mine;
	int rc = rf_restore_error(r);

	return rc == RF_OK ? load_block(r, region, block, buf, &mine) : rc;
}

/* First what the guest wrote to first when it ran, then the rest. */
static int load_rest(struct rf_restore *r)
{
	const struct rf_image *img = &r->file->img;
	uint8_t *buf = aligned_alloc(RF_PAGE_SIZE, RF_IMAGE_BLOCK);
	int rc = buf ? RF_OK : RF_ERR_NO_MEMORY;

	for (uint32_t i = 0; rc == RF_OK && i < img->norder; i++) {
		const struct rf_image_order *o = &r->file->order[i];

		if (rf_image_reader_has(r->file, o->region, o->block))
			rc = load(r, o->region, o->block, buf);
	}
	for (uint32_t i = 0; i < img->nregions; i++)
		for (uint64_t b = 0; rc == RF_OK && b < img->regions[i].blocks; b++)
			if (rf_image_reader_has(r->file, i, b))
				rc = load(r, i, b, buf);
	free(buf);
	/* The last ones may still be in the fault thread's hands. */
	for (uint32_t i = 0; i < img->nregions; i++)
		while (rc == RF_OK &&
		       rf_bitmap_count(&r->mem[i].placed) != rf_bitmap_count(&r->mem[i].claimed)) {
			usleep(LOOK_AGAIN_US);
			rc = rf_restore_error(r);
		}
	return rc;
}

/* From here on a thread that waits for a page waits until it is there. */
static int let_run(struct rf_restore *r)
{
	int rc = r->cfg.guest.load_state(r->cfg.guest_arg, r->file->state, r->file->img.state_len);

	if (rc != RF_OK)
		return rc;
	pthread_mutex_lock(&r->lock);
	rc = r->error;
	r->guest_runs = rc == RF_OK;
	pthread_mutex_unlock(&r->lock);
	return rc == RF_OK ? rf_restore_start_guest(r) : rc;
}

int rf_restore_lazy(struct rf_restore *r)
{
	bool threaded = false;
	pthread_t t;
	int rc = arm(r);

	if (rc == RF_OK) {
		rc = start_fault_thread(r, &t);
		threaded = rc == RF_OK;
	}
	if (rc == RF_OK)
		rc = let_run(r);
	if (rc == RF_OK && (rc = load_rest(r)) != RF_OK) {
		struct rf_log_capture *words = rf_log_capture_now;

		rf_restore_keep_error(r, RF_ERR_GUEST_LOST, words ? words->text : "");
		rc = RF_ERR_GUEST_LOST;
	}
	if (threaded) {
		if (eventfd_write(r->stop_fd, 1))
			rf_err_log(OBJ, "eventfd: %s", strerror(errno));
		pthread_join(t, NULL);
	}
	if (rc == RF_ERR_GUEST_LOST)
		return rc; /* armed for good */
	pthread_mutex_lock(&r->lock);
	disarm_all(r);
	pthread_mutex_unlock(&r->lock);
	return rc;
}
