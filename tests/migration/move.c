/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/migration/move.h"

#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/uffd.h"
#include "dest/dest.h"
#include "scheduler/source.h"

#define SOON 60 /* s; what takes longer hangs */

const char *mv_step_str(enum mv_step s)
{
	static const char *const names[MV_STEPS] = {
		[MV_NEVER] = "never",
		[MV_DST_SETUP] = "destination in setup",
		[MV_SRC_SETUP] = "source in setup",
		[MV_DST_ACTIVE] = "destination active",
		[MV_SRC_ACTIVE] = "source active",
		[MV_TRACKER_START] = "tracker start",
		[MV_HARVEST] = "harvest",
		[MV_SRC_PROGRESS] = "progress",
		[MV_PAUSE] = "pause",
		[MV_SRC_DEVICE] = "source in device",
		[MV_DST_DEVICE] = "destination in device",
		[MV_SAVE] = "save",
		[MV_LOAD] = "load",
		[MV_DST_RESUME] = "resume at the destination",
		[MV_SRC_RESUME] = "resume at the source",
		[MV_HINT_START] = "hints are taken",
	};

	return names[s];
}

/* ---- tracker: a script around a real one ---- */

static int start_tracker(void *self, const struct rf_region *regions, unsigned n)
{
	struct mv *m = self;
	int rc = mv_take_step(m, MV_TRACKER_START);

	return rc == RF_OK ? m->inner.ops->start(m->inner.self, regions, n) : rc;
}

/* Pages the script dirties before a harvest: some turn to data, some to zeros. */
static void dirty_some(struct mv *m)
{
	for (unsigned i = 0; i < 40; i++) {
		unsigned r = (unsigned)(next_random(&m->seed) % m->cfg.regions);

		mv_guest_write(m, r, next_random(&m->seed) % (m->cfg.len / PAGE), i % 3 == 0);
	}
}

static int harvest(void *self, unsigned region, struct rf_dirty_sink *sink)
{
	struct mv *m = self;
	int rc = RF_OK;

	if (region == 0) {
		bool paused;

		pthread_mutex_lock(&m->cpu);
		paused = m->paused;
		pthread_mutex_unlock(&m->cpu);
		if (atomic_fetch_add(&m->harvests, 1) < m->cfg.rounds && !paused &&
		    (!m->cfg.calm_at || m->src.throttle < m->cfg.calm_at))
			dirty_some(m);
		rc = mv_take_step(m, MV_HARVEST);
	}
	return rc == RF_OK ? m->inner.ops->harvest(m->inner.self, region, sink) : rc;
}

static void stop_tracker(void *self)
{
	struct mv *m = self;

	m->inner.ops->stop(m->inner.self);
}

static const struct rf_tracker_ops scripted_tracker = {
	.size = sizeof(struct rf_tracker_ops),
	.name = "scripted",
	.start = start_tracker,
	.harvest = harvest,
	.stop = stop_tracker,
};

/* ---- progress ---- */

static void src_progress(void *arg, const struct rf_stats *st)
{
	struct mv *m = arg;

	if (st->status == RF_STATE_SETUP)
		(void)mv_take_step(m, MV_SRC_SETUP);
	if (st->status == RF_STATE_ACTIVE)
		(void)mv_take_step(m, st->round ? MV_SRC_PROGRESS : MV_SRC_ACTIVE);
	if (st->status == RF_STATE_DEVICE)
		(void)mv_take_step(m, MV_SRC_DEVICE);
}

static void dst_progress(void *arg, const struct rf_stats *st)
{
	struct mv *m = arg;

	if (st->status == RF_STATE_SETUP)
		(void)mv_take_step(m, MV_DST_SETUP);
	if (st->status == RF_STATE_ACTIVE)
		(void)mv_take_step(m, MV_DST_ACTIVE);
	if (st->status == RF_STATE_DEVICE)
		(void)mv_take_step(m, MV_DST_DEVICE);
}

/* ---- both ends ---- */

static void fill_defaults(struct mv_cfg *c)
{
	c->transport = c->transport ? c->transport : "mem";
	c->host = c->host ? c->host : "127.0.0.1";
	c->regions = c->regions ? c->regions : 1;
	c->len = c->len ? c->len : 4 * MIB;
	c->state_len = c->state_len == MV_NO_STATE ? 0 : c->state_len ? c->state_len : 1000;
}

static void make_dest(struct mv *m)
{
	struct rf_dest_cfg cfg = {
		.size = sizeof(cfg),
		.host = m->cfg.host,
		.transport = m->cfg.transport,
		.provider = m->cfg.provider,
		.connect_timeout = m->cfg.connect_timeout,
		.link_timeout = m->cfg.link_timeout,
		.guest = mv_dst_ops,
		.guest_arg = m,
		.progress = dst_progress,
		.progress_arg = m,
	};

	assert_int_equal(rf_dest_new(&cfg, &m->dest), RF_OK);
	rf_dest_set_hub(m->dest, m->hub);
	if (m->cfg.who == MV_DST_ALONE) /* the peer the test plays is the only one */
		rf_dest_set_once(m->dest);
	for (unsigned i = m->cfg.regions; i-- > 0;) { /* another order than the source's */
		struct rf_dest_region r = {.size = sizeof(r), .page_size = m->regions[i].page_size};

		snprintf(r.id, sizeof(r.id), "ram%u", i);
		r.len = m->regions[i].len;
		m->regions[i].there.size = sizeof(m->regions[i].there);
		assert_int_equal(rf_dest_add_region(m->dest, &r, &m->regions[i].there), RF_OK);
	}
}

static void make_source(struct mv *m)
{
	struct rf_source_cfg cfg = {
		.size = sizeof(cfg),
		.host = m->cfg.host,
		.port = m->cfg.port ? m->cfg.port : rf_dest_port(m->dest),
		.transport = m->cfg.transport,
		.provider = m->cfg.provider,
		.bulk_lanes = m->cfg.lanes,
		.chunk_size = m->cfg.chunk_size,
		.piece_size = m->cfg.piece_size,
		.pin_all = m->cfg.pin_all,
		.verify = m->cfg.verify,
		.mode = m->cfg.mode,
		.free_hints = m->cfg.free_hints,
		.release_ram = m->cfg.release_ram,
		.postcopy_after = m->cfg.postcopy_after,
		.urgent_window = m->cfg.no_window ? UINT32_MAX : 0,
		.timeout = m->cfg.timeout,
		/* a guest that writes as fast as it can ends on a slow machine, too */
		.downtime_limit = m->cfg.writer ? 2000 : 0,
		.timeout_action = m->cfg.timeout_action,
		.auto_converge = m->cfg.auto_converge,
		.hot_in_order = m->cfg.hot_in_order,
		.max_bandwidth = m->cfg.max_bandwidth,
		.sync_interval = m->cfg.sync_interval ? m->cfg.sync_interval : RF_SYNC_OFF,
		.limiter = m->cfg.limiter,
		.connect_timeout = m->cfg.connect_timeout,
		.link_timeout = m->cfg.link_timeout,
		.guest = mv_src_ops,
		.guest_arg = m,
		.tracker = m->tracker,
		.progress = src_progress,
		.progress_arg = m,
	};

	/* With a writer nothing is ever all sent: then the estimate decides. */
	if (m->cfg.writer)
		cfg.guest.state_size = NULL;
	if (!m->cfg.throttle)
		cfg.guest.throttle = NULL;
	assert_int_equal(rf_source_new(&cfg, &m->source), RF_OK);
	rf_source_set_hub(m->source, m->hub);
	for (unsigned i = 0; i < m->cfg.regions; i++) {
		struct rf_region r = {
			.size = sizeof(r),
			.addr = m->regions[i].addr,
			.len = m->regions[i].len,
			.page_size = m->regions[i].page_size,
			.memfd = m->regions[i].memfd,
			.memfd_offset = m->regions[i].memfd_offset,
		};

		snprintf(r.id, sizeof(r.id), "ram%u", i);
		assert_int_equal(rf_source_add_region(m->source, &r), RF_OK);
	}
}

/* Source and destination of the regions that have huge pages, and their chunks. */
static void need_huge_pages(const struct mv_cfg *cfg)
{
	unsigned long long have = 0, huge = cfg->huge ? cfg->regions : cfg->regions / 2,
			   need = huge * (cfg->len / HUGE_PAGE) * 2;
	FILE *f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "r");
	char how[80];

	if (f && fscanf(f, "%llu", &have) != 1)
		have = 0;
	if (f)
		fclose(f);
	if (have >= need)
		return;
	snprintf(how, sizeof(how), "%llu free huge pages: sysctl vm.nr_hugepages=%llu", need,
		 need + 32);
	skip_case(cfg->name, how);
}

static void need_uffd(const char *name, int (*open_it)(int *fd), const char *how)
{
	int fd, rc;

	rf_log_set_level(RF_LOG_NONE);
	rc = open_it(&fd);
	rf_log_set_level(RF_LOG_WARN);
	if (rc != RF_OK)
		skip_case(name, how);
	close(fd);
}

void mv_need(const struct mv_cfg *cfg)
{
	struct mv_cfg full = *cfg;

	fill_defaults(&full);
	if (cfg->mixed || cfg->huge)
		need_huge_pages(&full);
	if (cfg->mode != RF_MODE_PRECOPY)
		need_uffd(cfg->name, rf_uffd_open_full, "the right to use userfaultfd (root)");
	if (cfg->tracker == MV_UFFD_WP)
		need_uffd(cfg->name, rf_uffd_open_wp_async,
			  "Linux 6.7 or later, and the right to use userfaultfd (root)");
}

void mv_open(struct mv *m, const struct mv_cfg *cfg)
{
	memset(m, 0, sizeof(*m));
	m->cfg = *cfg;
	fill_defaults(&m->cfg);
	while (!m->seed)
		assert_int_equal(getrandom(&m->seed, sizeof(m->seed), 0), sizeof(m->seed));
	assert_int_equal(m->cfg.tracker == MV_MANUAL ? rf_tracker_manual_new(&m->inner)
						     : rf_tracker_uffd_wp_new(&m->inner),
			 RF_OK);
	m->tracker = (struct rf_tracker){.ops = &scripted_tracker, .self = m};
	if (!strcmp(m->cfg.transport, "mem"))
		assert_int_equal(rf_mem_hub_new(&m->cfg.hub, &m->hub), RF_OK);
	mv_make_guest(m);
	make_dest(m);
	make_source(m);
}

void mv_close(struct mv *m)
{
	rf_source_delete(&m->source);
	rf_dest_delete(&m->dest);
	rf_tracker_delete(&m->inner);
	rf_mem_hub_delete(&m->hub);
	mv_free_guest(m);
}

void mv_set_hubs(struct rf_source *src, struct rf_dest *dst, struct rf_mem_hub *hub)
{
	if (src)
		rf_source_set_hub(src, hub);
	if (dst)
		rf_dest_set_hub(dst, hub);
}

static void *run_source(void *arg)
{
	struct mv *m = arg;

	m->src.rc = rf_source_run(m->source);
	atomic_store(&m->src.done, true);
	return NULL;
}

static void *run_dest(void *arg)
{
	struct mv *m = arg;

	m->dst.rc = rf_dest_run(m->dest);
	atomic_store(&m->dst.done, true);
	return NULL;
}

static void *make_steps(void *arg)
{
	struct mv *m = arg;

	while (!atomic_load(&m->stop_steps))
		if (!rf_mem_hub_step(m->hub))
			usleep(50);
	return NULL;
}

void mv_start(struct mv *m)
{
	if (m->cfg.hub.scripted)
		assert_int_equal(pthread_create(&m->step_thread, NULL, make_steps, m), 0);
	mv_start_writer(m);
	if (m->cfg.who != MV_SRC_ALONE)
		assert_int_equal(pthread_create(&m->dst_thread, NULL, run_dest, m), 0);
	if (m->cfg.who != MV_DST_ALONE)
		assert_int_equal(pthread_create(&m->src_thread, NULL, run_source, m), 0);
}

static void join_soon(pthread_t t, const char *who)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += SOON;
	if (pthread_timedjoin_np(t, NULL, &until))
		fail_msg("the %s hangs", who);
}

void mv_join(struct mv *m)
{
	if (m->cfg.who != MV_DST_ALONE)
		join_soon(m->src_thread, "source");
	m->src.stats.size = sizeof(m->src.stats);
	rf_source_stats(m->source, &m->src.stats);
	/* Not a byte was sent: nobody came to the destination, so nobody told it. */
	if (m->src.rc != RF_OK && !m->src.stats.ram.transferred)
		rf_dest_cancel(m->dest);
	if (m->cfg.who != MV_SRC_ALONE)
		join_soon(m->dst_thread, "destination");
	mv_stop_writer(m);
	atomic_store(&m->stop_steps, true);
	if (m->cfg.hub.scripted)
		pthread_join(m->step_thread, NULL);
	m->dst.stats.size = sizeof(m->dst.stats);
	rf_dest_stats(m->dest, &m->dst.stats);
}

void mv_run(struct mv *m)
{
	mv_start(m);
	mv_join(m);
	mv_check(m);
}
