/* SPDX-License-Identifier: BSD-3-Clause */
/* A snapshot from beginning to end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/uffd.h"
#include "common/uffd_wp.h"
#include "scheduler/snapshot.h"

#define OBJ	    "snapshot"
#define PROGRESS_MS 100

/* One pool for each page size there is, both of the same size. */
static int make_pools(struct rf_snapshot *s)
{
	static const uint32_t sizes[] = {RF_PAGE_SIZE, 2u << 20};
	bool used[2] = {false};
	uint64_t bytes;

	if (s->cfg.strategy == RF_SNAPSHOT_QUEUE)
		return RF_OK;
	for (unsigned i = 0; i < s->nregions; i++)
		for (unsigned k = 0; k < 2; k++)
			if (s->regions[i].info.page_size == sizes[k]) {
				s->regions[i].pool = &s->pools[k];
				used[k] = true;
			}
	bytes = s->cfg.pool / (used[0] && used[1] ? 2 : 1);
	for (unsigned k = 0; k < 2; k++)
		if (used[k] && rf_snap_pool_init(&s->pools[k], bytes, sizes[k]) != RF_OK)
			return RF_ERR_NO_MEMORY;
	return RF_OK;
}

static int open_sink(struct rf_snapshot *s)
{
	s->infos = calloc(s->nregions, sizeof(*s->infos));
	if (!s->infos)
		return RF_ERR_NO_MEMORY;
	for (unsigned i = 0; i < s->nregions; i++)
		s->infos[i] = s->regions[i].info;
	return s->sink.ops->open(s->sink.self, s->infos, s->nregions);
}

/* What the sink is given to write is in there. */
static int tell_memory(struct rf_snapshot *s)
{
	int rc = s->sink.ops->memory(s->sink.self, s->buf_mem,
				     (uint64_t)RF_SNAP_BUFS * RF_SNAP_PIECE);

	for (unsigned i = 0; rc == RF_OK && i < 2; i++) {
		struct rf_snap_pool *p = &s->pools[i];

		if (p->nbufs)
			rc = s->sink.ops->memory(s->sink.self, p->mem, p->nbufs * p->page_size);
	}
	return rc;
}

static int prepare(struct rf_snapshot *s)
{
	int rc;

	if (!s->nregions) {
		rf_err_log(OBJ, "it has no region");
		return RF_ERR_STATE;
	}
	rc = open_sink(s);
	if (rc == RF_OK)
		rc = rf_snap_save_init(s);
	if (rc == RF_OK)
		rc = make_pools(s);
	if (rc == RF_OK)
		rc = tell_memory(s);
	if (rc == RF_OK)
		rc = rf_uffd_open_wp(&s->uffd, &s->anonymous);
	if (rc != RF_OK)
		return rc;
	s->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (s->pagemap < 0) {
		rf_err_log(OBJ, "/proc/self/pagemap: %s", strerror(errno));
		return RF_ERR_SYSTEM;
	}
	return rf_snap_watch(s);
}

/* ---- the saver's thread ---- */

static void keep_error(struct rf_snapshot *s, int rc, const char *words)
{
	const char *why = s->sink.ops->why(s->sink.self);

	words = why ? why : words;
	pthread_mutex_lock(&s->lock);
	if (!s->error) {
		s->error = rc;
		snprintf(s->error_desc, sizeof(s->error_desc), "%s",
			 words[0] ? words : rf_err_str(rc));
	}
	pthread_mutex_unlock(&s->lock);
}

static void tell_what_comes(struct rf_snapshot *s, unsigned i)
{
	const struct rf_snap_region *r = &s->regions[i];
	uint64_t per_unit = r->unit / RF_PAGE_SIZE, all = r->info.len / RF_PAGE_SIZE, u = 0;

	for (; (u = rf_bitmap_find_set(&r->units, u, r->units.nbits)) != RF_BITMAP_NONE; u++) {
		uint64_t first = u * per_unit;

		s->sink.ops->expect(s->sink.self, i, first,
				    all - first < per_unit ? all - first : per_unit);
	}
}

static int begin_sink(struct rf_snapshot *s)
{
	int rc = s->sink.ops->begin(s->sink.self, s->state, s->state_len);

	if (rc != RF_OK)
		return rc;
	atomic_store(&s->count.file_size, s->sink.ops->size(s->sink.self));
	for (unsigned i = 0; i < s->nregions; i++)
		tell_what_comes(s, i);
	return RF_OK;
}

static void *saver_thread(void *arg)
{
	struct rf_snapshot *s = arg;
	struct rf_log_capture words;
	int rc;

	pthread_setname_np(pthread_self(), "rf-snap-save");
	rf_log_capture_begin(&words);
	rc = begin_sink(s);
	if (rc == RF_OK)
		rc = rf_snap_save(s);
	/* Failed or done: nothing keeps the guest waiting from here on, least of all the sink. */
	rf_snap_fault_stop(s);
	rf_snap_unprotect(s);
	if (rc == RF_OK)
		rc = s->sink.ops->commit(s->sink.self);
	rf_log_capture_end(&words);
	if (rc != RF_OK)
		keep_error(s, rc, words.text);
	if (eventfd_write(s->done_fd, 1))
		rf_err_log(OBJ, "eventfd: %s", strerror(errno));
	return NULL;
}

/* ---- the run ---- */

static void report_progress(struct rf_snapshot *s)
{
	struct rf_snapshot_stats st = {.size = sizeof(st)};

	if (!s->cfg.progress)
		return;
	rf_snapshot_stats(s, &st);
	s->cfg.progress(s->cfg.progress_arg, &st);
}

/* What needs the guest to stand still. It is resumed in any case. */
static int freeze(struct rf_snapshot *s, uint64_t *began)
{
	uint64_t t;
	int rc = s->cfg.guest.pause(s->cfg.guest_arg);

	if (rc != RF_OK)
		return rc;
	*began = rf_now_ns(&rf_clock_monotonic);
	rc = s->cfg.guest.save_state(s->cfg.guest_arg, &s->state, &s->state_len);
	atomic_store(&s->count.state_len, rc == RF_OK ? s->state_len : 0);
	t = rf_now_ns(&rf_clock_monotonic);
	if (rc == RF_OK)
		rc = rf_snap_protect(s);
	if (rc != RF_OK)
		rf_snap_unprotect(s); /* or resume might wait for a page nobody serves */
	atomic_store(&s->count.protect_ns, rf_now_ns(&rf_clock_monotonic) - t);
	return rc;
}

static int start_saver(struct rf_snapshot *s, pthread_t *saver)
{
	sigset_t all, old;
	int e;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	e = pthread_create(saver, NULL, saver_thread, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!e)
		return RF_OK;
	rf_err_log(OBJ, "thread: %s", strerror(e));
	return RF_ERR_SYSTEM;
}

/* The saver runs before the guest is resumed: resuming may itself write to guest memory. */
static int take(struct rf_snapshot *s)
{
	struct pollfd done = {.fd = s->done_fd, .events = POLLIN};
	uint64_t began = 0;
	pthread_t saver;
	bool saving;
	int rc = rf_snap_fault_start(s), resumed = RF_OK;

	if (rc != RF_OK)
		return rc;
	rc = freeze(s, &began);
	saving = rc == RF_OK && (rc = start_saver(s, &saver)) == RF_OK;
	if (!saving)
		rf_snap_unprotect(s);
	if (began) {
		resumed = s->cfg.guest.resume(s->cfg.guest_arg);
		atomic_store(&s->count.pause_ns, rf_now_ns(&rf_clock_monotonic) - began);
	}
	if (resumed != RF_OK) {
		keep_error(s, resumed, "the guest could not be resumed");
		rf_snapshot_cancel(s);
	}
	while (saving && poll(&done, 1, PROGRESS_MS) <= 0)
		report_progress(s);
	if (saving)
		pthread_join(saver, NULL);
	return rc == RF_OK ? resumed : rc;
}

/* What the sink or its writes still use is not freed. */
static void tear_down(struct rf_snapshot *s)
{
	bool idle;

	if (s->nfault_threads)
		rf_snap_fault_stop(s);
	rf_snap_unprotect(s);
	idle = s->sink.ops->close(s->sink.self);
	if (idle)
		free(s->buf_mem);
	else /* left where they are */
		s->pools[0].mem = s->pools[1].mem = NULL;
	s->buf_mem = NULL;
	for (unsigned i = 0; i < s->nregions; i++) {
		rf_bitmap_fini(&s->regions[i].units);
		rf_bitmap_fini(&s->regions[i].todo);
	}
	if (s->uffd >= 0)
		close(s->uffd);
	if (s->pagemap >= 0)
		close(s->pagemap);
	s->uffd = s->pagemap = -1;
	free(s->state);
	free(s->infos);
	s->state = NULL;
	s->infos = NULL;
}

static int finish(struct rf_snapshot *s, int rc, const char *words)
{
	if (rc != RF_OK)
		keep_error(s, rc, words);
	pthread_mutex_lock(&s->lock);
	rc = s->error;
	pthread_mutex_unlock(&s->lock);
	atomic_store(&s->count.end_ns, rf_now_ns(&rf_clock_monotonic));
	atomic_store(&s->status, rc == RF_OK		  ? RF_STATE_COMPLETED
				 : rc == RF_ERR_CANCELLED ? RF_STATE_CANCELLED
							  : RF_STATE_FAILED);
	if (rc == RF_ERR_CANCELLED)
		rf_info(OBJ, "%s", s->error_desc);
	else if (rc != RF_OK)
		rf_err_log(OBJ, "%s", s->error_desc);
	report_progress(s);
	return rc;
}

int rf_snapshot_run(struct rf_snapshot *s)
{
	struct rf_log_capture words;
	int rc;

	if (atomic_exchange(&s->ran, true))
		return RF_ERR_STATE;
	atomic_store(&s->count.begin_ns, rf_now_ns(&rf_clock_monotonic));
	atomic_store(&s->status, RF_STATE_SETUP);
	rf_log_capture_begin(&words);
	rc = prepare(s);
	if (rc == RF_OK) {
		atomic_store(&s->prepared, true);
		atomic_store(&s->status, RF_STATE_ACTIVE);
		rc = take(s);
	}
	tear_down(s);
	rf_log_capture_end(&words);
	return finish(s, rc, words.text);
}
