/* SPDX-License-Identifier: BSD-3-Clause */
/* The public side of a snapshot: set-up, the run from beginning to end, tear-down. */
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

static const char *find_fault(const struct rf_snapshot_cfg *c)
{
	if (c->size != sizeof(*c))
		return "size is not sizeof(struct rf_snapshot_cfg)";
	if (c->guest.size != sizeof(c->guest))
		return "guest.size is not sizeof(struct rf_guest_ops)";
	if (!c->guest.pause || !c->guest.resume || !c->guest.save_state)
		return "guest.pause, resume or save_state is missing";
	if (!c->path || !c->path[0])
		return "path is missing";
	if ((unsigned)c->strategy > RF_SNAPSHOT_COPY)
		return "strategy is none of auto, queue, copy";
	if (c->fault_threads > RF_SNAP_FAULT_MAX)
		return "fault_threads is over 16";
	return NULL;
}

int rf_snapshot_make(const struct rf_snapshot_cfg *cfg, const struct rf_snap_sink *sink,
		     struct rf_snapshot **out)
{
	struct rf_snapshot *s = calloc(1, sizeof(*s));

	if (!s)
		return RF_ERR_NO_MEMORY;
	s->cfg = *cfg;
	s->sink = *sink;
	s->cfg.fault_threads = cfg->fault_threads ? cfg->fault_threads : 1;
	s->cfg.pool = cfg->pool ? cfg->pool : RF_SNAP_POOL_DEFAULT;
	s->cfg.sink_timeout = cfg->sink_timeout ? cfg->sink_timeout : RF_SNAP_TIMEOUT;
	s->is_zero = rf_zero_select();
	s->uffd = s->pagemap = -1;
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rf_snap_queue_init(&s->queue);
	rf_histogram_init(&s->latency);
	pthread_mutex_init(&s->lock, NULL);
	atomic_store(&s->status, RF_STATE_NONE);
	if (s->wake_fd >= 0 && s->stop_fd >= 0 && s->done_fd >= 0) {
		*out = s;
		return RF_OK;
	}
	rf_err_log(OBJ, "eventfd: %s", strerror(errno));
	s->sink = (struct rf_snap_sink){0}; /* stays the caller's */
	rf_snapshot_delete(&s);
	return RF_ERR_SYSTEM;
}

int rf_snapshot_new(const struct rf_snapshot_cfg *cfg, struct rf_snapshot **out)
{
	const char *fault = cfg ? find_fault(cfg) : "cfg is NULL";
	struct rf_snap_sink sink;
	int rc;

	if (fault) {
		rf_err_log(OBJ, "configuration: %s", fault);
		return RF_ERR_INVALID;
	}
	rc = rf_snap_file_new(cfg->path, &sink);
	if (rc == RF_OK)
		rc = rf_snapshot_make(cfg, &sink, out);
	if (rc != RF_OK)
		rf_snap_file_delete(&sink);
	return rc;
}

static const char *find_region_fault(const struct rf_snapshot *s, const struct rf_region *r)
{
	if (r->size != sizeof(*r))
		return "size is not sizeof(struct rf_region)";
	if (!r->id[0] || strnlen(r->id, sizeof(r->id)) == sizeof(r->id))
		return "it has no proper id";
	if (r->page_size != RF_PAGE_SIZE && r->page_size != 2u << 20 && r->page_size != 1u << 30)
		return "page_size is none of 4 KiB, 2 MiB, 1 GiB";
	if (!r->addr || !r->len || r->len % r->page_size || (uintptr_t)r->addr % r->page_size)
		return "address or length is not whole host pages";
	for (unsigned i = 0; i < s->nregions; i++)
		if (!strcmp(s->regions[i].info.id, r->id))
			return "there is one of this id already";
	return s->nregions == RF_MAX_REGIONS ? "there are too many" : NULL;
}

int rf_snapshot_add_region(struct rf_snapshot *s, const struct rf_region *region)
{
	struct rf_snap_region *grown;
	const char *fault;

	if (atomic_load(&s->ran))
		return RF_ERR_STATE;
	fault = find_region_fault(s, region);
	if (fault) {
		rf_err_log(OBJ, "region \"%.40s\": %s", region->id, fault);
		return RF_ERR_INVALID;
	}
	grown = realloc(s->regions, (s->nregions + 1) * sizeof(*grown));
	if (!grown)
		return RF_ERR_NO_MEMORY;
	s->regions = grown;
	grown[s->nregions++] = (struct rf_snap_region){.info = *region, .addr = region->addr};
	s->total += region->len;
	return RF_OK;
}

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

static int prepare(struct rf_snapshot *s)
{
	int rc;

	if (!s->nregions) {
		rf_err_log(OBJ, "it has no region");
		return RF_ERR_STATE;
	}
	rc = s->sink.ops->open(s->sink.self);
	if (rc == RF_OK)
		rc = rf_snap_save_init(s);
	if (rc == RF_OK)
		rc = make_pools(s);
	if (rc == RF_OK)
		rc = rf_uffd_open_wp(&s->uffd);
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
	pthread_mutex_lock(&s->lock);
	if (!s->error) {
		s->error = rc;
		snprintf(s->error_desc, sizeof(s->error_desc), "%s",
			 words[0] ? words : rf_err_str(rc));
	}
	pthread_mutex_unlock(&s->lock);
}

static int begin_sink(struct rf_snapshot *s)
{
	struct rf_region *infos = calloc(s->nregions, sizeof(*infos));
	int rc = infos ? RF_OK : RF_ERR_NO_MEMORY;

	for (unsigned i = 0; rc == RF_OK && i < s->nregions; i++)
		infos[i] = s->regions[i].info;
	if (rc == RF_OK)
		rc = s->sink.ops->begin(s->sink.self, infos, s->nregions, s->state, s->state_len);
	if (rc == RF_OK)
		atomic_store(&s->count.file_size, s->sink.ops->size(s->sink.self));
	free(infos);
	return rc;
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
	s->state = NULL;
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

void rf_snapshot_cancel(struct rf_snapshot *s)
{
	atomic_store(&s->cancelled, true);
	rf_snap_wake_saver(s);
}

static void fill_latency(struct rf_snapshot *s, struct rf_snapshot_stats *st)
{
	const struct rf_histogram *h = &s->latency;

	st->write_fault_latency = rf_histogram_mean(h) / 1e3;
	st->write_fault_latency_p50 = (double)rf_histogram_percentile(h, 50) / 1e3;
	st->write_fault_latency_p99 = (double)rf_histogram_percentile(h, 99) / 1e3;
	st->write_fault_latency_max = (double)atomic_load(&h->max) / 1e3;
	rf_histogram_pow2_us(h, st->write_fault_latency_dist, RF_LATENCY_BUCKETS);
}

void rf_snapshot_stats(struct rf_snapshot *s, struct rf_snapshot_stats *st)
{
	struct rf_snap_counters *c = &s->count;
	uint64_t begin = atomic_load(&c->begin_ns), end = atomic_load(&c->end_ns);

	if (st->size != sizeof(*st))
		return;
	*st = (struct rf_snapshot_stats){
		.size = sizeof(*st),
		.status = (enum rf_state)atomic_load(&s->status),
		.total = s->total,
		.remaining = atomic_load(&c->left) * RF_PAGE_SIZE,
		.pages_saved = atomic_load(&c->saved),
		.pages_zero = atomic_load(&c->zero),
		.saved_by_fault = atomic_load(&c->by_fault),
		.bytes_written = atomic_load(&c->written),
		.file_size = atomic_load(&c->file_size),
		.write_faults = atomic_load(&c->faults),
		.copied = atomic_load(&c->copied),
		.pool_size = s->cfg.strategy == RF_SNAPSHOT_QUEUE ? 0 : s->cfg.pool,
		.pause_time = rf_ns_to_ms(atomic_load(&c->pause_ns)),
		.protect_time = rf_ns_to_ms(atomic_load(&c->protect_ns)),
		.device_state = atomic_load(&c->state_len),
		.direct = atomic_load(&s->prepared) && rf_snap_file_direct(&s->sink),
	};
	if (!end)
		end = rf_now_ns(&rf_clock_monotonic);
	st->total_time = begin ? rf_ns_to_ms(end - begin) : 0;
	for (unsigned i = 0; i < 2 && atomic_load(&s->prepared); i++) {
		uint64_t high, full;

		if (!s->pools[i].page_size)
			continue;
		rf_snap_pool_usage(&s->pools[i], &high, &full);
		st->pool_high_water += high;
		st->pool_full += full;
	}
	fill_latency(s, st);
	pthread_mutex_lock(&s->lock);
	st->error = s->error;
	memcpy(st->error_desc, s->error_desc, sizeof(st->error_desc));
	pthread_mutex_unlock(&s->lock);
}

void rf_snapshot_delete(struct rf_snapshot **sp)
{
	struct rf_snapshot *s = sp ? *sp : NULL;

	if (!s)
		return;
	*sp = NULL;
	for (unsigned i = 0; i < 2; i++)
		rf_snap_pool_fini(&s->pools[i]);
	if (s->sink.ops)
		rf_snap_file_delete(&s->sink);
	rf_snap_queue_fini(&s->queue);
	pthread_mutex_destroy(&s->lock);
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	if (s->stop_fd >= 0)
		close(s->stop_fd);
	if (s->done_fd >= 0)
		close(s->done_fd);
	free(s->regions);
	free(s);
}
