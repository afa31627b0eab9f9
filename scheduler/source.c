/* SPDX-License-Identifier: BSD-3-Clause */
/* The public side of a source: set-up, run from beginning to end, tear-down. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.h"
#include "scheduler/source.h"

/* What decides when and how it ends. */
static const char *find_policy_fault(const struct rf_source_cfg *c)
{
	if ((unsigned)c->timeout_action > RF_TIMEOUT_SWITCH)
		return "timeout_action is none of cancel, postcopy, switch";
	if (c->timeout_action == RF_TIMEOUT_POSTCOPY && c->mode != RF_MODE_HYBRID)
		return "timeout_action postcopy needs mode hybrid";
	if (c->release_ram && c->mode == RF_MODE_PRECOPY)
		return "release_ram needs mode postcopy or hybrid";
	if (c->cpu_throttle_initial > 99 || c->cpu_throttle_increment > 99 ||
	    c->max_cpu_throttle > 99)
		return "a throttle is over 99 percent";
	if (c->auto_converge && !c->guest.throttle)
		return "auto_converge needs guest.throttle";
	return NULL;
}

static const char *find_fault(const struct rf_source_cfg *c)
{
	if (c->size != sizeof(*c))
		return "size is not sizeof(struct rf_source_cfg)";
	if (c->guest.size != sizeof(c->guest))
		return "guest.size is not sizeof(struct rf_guest_ops)";
	if (!c->host || !c->host[0])
		return "host is missing";
	if (!c->guest.pause || !c->guest.resume || !c->guest.save_state)
		return "guest.pause, resume or save_state is missing";
	if (!c->tracker.ops || c->tracker.ops->size != sizeof(*c->tracker.ops))
		return "tracker is missing";
	if (c->bulk_lanes > RF_WIRE_MAX_LANES || c->urgent_lanes > RF_WIRE_MAX_LANES)
		return "bulk_lanes or urgent_lanes is over 16";
	if ((unsigned)c->mode > RF_MODE_HYBRID)
		return "mode is none of precopy, postcopy, hybrid";
	if (c->chunk_size && (c->chunk_size & (c->chunk_size - 1) || c->chunk_size < 1u << 20 ||
			      c->chunk_size > 1u << 30))
		return "chunk_size is no power of two from 1 MiB to 1 GiB";
	if (c->piece_size && (c->piece_size < RF_PAGE_SIZE || c->piece_size > 16u << 20))
		return "piece_size is not from 4 KiB to 16 MiB";
	return find_policy_fault(c);
}

static void fill_defaults(struct rf_source_cfg *c)
{
	if (!c->bulk_lanes)
		c->bulk_lanes = 1;
	if (c->mode == RF_MODE_PRECOPY)
		c->urgent_lanes = 0;
	else if (!c->urgent_lanes)
		c->urgent_lanes = 1;
	if (!c->urgent_window)
		c->urgent_window = 64u << 10;
	if (!c->chunk_size)
		c->chunk_size = 64u << 20;
	if (!c->piece_size)
		c->piece_size = 1u << 20;
	if (!c->downtime_limit)
		c->downtime_limit = RF_SOURCE_DOWNTIME_LIMIT;
	if (!c->cpu_throttle_initial)
		c->cpu_throttle_initial = 20;
	if (!c->cpu_throttle_increment)
		c->cpu_throttle_increment = 10;
	if (!c->max_cpu_throttle)
		c->max_cpu_throttle = 99;
	if (!c->hint_wait)
		c->hint_wait = 100;
	if (!c->connect_timeout)
		c->connect_timeout = 10000;
	if (!c->link_timeout)
		c->link_timeout = 10000;
}

static int copy_strings(struct rf_source *src)
{
	const struct rf_source_cfg *c = &src->cfg;

	src->host = strdup(c->host);
	src->transport = strdup(c->transport ? c->transport : "auto");
	src->provider = c->provider ? strdup(c->provider) : NULL;
	src->poll_mode = strdup(c->poll_mode ? c->poll_mode : "adaptive");
	src->poll_cpus = c->poll_cpus ? strdup(c->poll_cpus) : NULL;
	if (!src->host || !src->transport || (c->provider && !src->provider) || !src->poll_mode ||
	    (c->poll_cpus && !src->poll_cpus))
		return RF_ERR_NO_MEMORY;
	return RF_OK;
}

int rf_source_make(const struct rf_source_cfg *cfg, struct rf_source **out)
{
	struct rf_source *src = calloc(1, sizeof(*src));

	if (!src)
		return RF_ERR_NO_MEMORY;
	src->cfg = *cfg;
	src->clock = &rf_clock_monotonic;
	fill_defaults(&src->cfg);
	atomic_store(&src->limits.max_bandwidth, src->cfg.max_bandwidth);
	atomic_store(&src->limits.max_postcopy_bandwidth, src->cfg.max_postcopy_bandwidth);
	atomic_store(&src->limits.downtime_limit, src->cfg.downtime_limit);
	rf_bulk_init(&src->bulk, RF_BULK_WINDOW);
	pthread_mutex_init(&src->lock, NULL);
	rf_first_error_init(&src->failure, &src->lock);
	rf_hints_init(&src->hints);
	rf_state_init(&src->state, "source");
	src->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	src->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&src->urgent.lock, NULL);
	src->zero_buf = malloc(RF_WIRE_MAX_PAYLOAD);
	if (copy_strings(src) != RF_OK || src->cancel_fd < 0 || src->wake_fd < 0 ||
	    !src->zero_buf) {
		rf_err_log("source", "no memory or descriptors: %s", strerror(errno));
		rf_source_delete(&src);
		return RF_ERR_NO_MEMORY;
	}
	rf_wbuf_init(&src->zeros, src->zero_buf, RF_WIRE_MAX_PAYLOAD);
	*out = src;
	return RF_OK;
}

int rf_source_new(const struct rf_source_cfg *cfg, struct rf_source **out)
{
	const char *fault = cfg ? find_fault(cfg) : "cfg is NULL";

	if (fault) {
		rf_err_log("source", "configuration: %s", fault);
		return RF_ERR_INVALID;
	}
	return rf_source_make(cfg, out);
}

int rf_source_add_region(struct rf_source *src, const struct rf_region *region)
{
	struct rf_src_region *grown;
	int rc;

	if (atomic_load(&src->ran)) {
		rf_err_log("source",
			   "region \"%.*s\" comes too late: the set of regions is fixed once a "
			   "migration has begun; take it out of the guest, or cancel and begin "
			   "again with it on both sides",
			   RF_REGION_ID_SIZE - 1, region->id);
		return RF_ERR_STATE;
	}
	if (src->nregions == RF_MAX_REGIONS) {
		rf_err_log("source", "more than %u regions", RF_MAX_REGIONS);
		return RF_ERR_INVALID;
	}
	for (uint32_t i = 0; i < src->nregions; i++) {
		if (!strncmp(src->regions[i].info.id, region->id, RF_REGION_ID_SIZE)) {
			rf_err_log("source", "region \"%s\" is there twice", region->id);
			return RF_ERR_INVALID;
		}
	}
	grown = realloc(src->regions, (src->nregions + 1) * sizeof(*grown));
	if (!grown)
		return RF_ERR_NO_MEMORY;
	src->regions = grown;
	rc = rf_src_region_init(&grown[src->nregions], region);
	if (rc == RF_OK)
		src->nregions++;
	return rc;
}

uint64_t rf_source_hint_epoch(struct rf_source *src)
{
	return rf_hints_epoch(&src->hints);
}

int rf_source_hint_free(struct rf_source *src, unsigned region, uint64_t start, uint64_t len,
			uint64_t epoch)
{
	uint64_t avoided;
	int rc = rf_hints_free(&src->hints, region, start, len, epoch, &avoided);

	atomic_fetch_sub_explicit(&src->count.remaining, avoided * RF_PAGE_SIZE,
				  memory_order_relaxed);
	return rc;
}

void rf_source_set_hub(struct rf_source *src, struct rf_mem_hub *hub)
{
	src->hub = hub;
}

static int migrate(struct rf_source *src)
{
	int rc;

	rf_source_set_state(src, RF_STATE_SETUP);
	if (!src->nregions)
		return rf_source_fail(src, RF_ERR_INVALID, "there is no region to move");
	rc = rf_source_connect(src);
	atomic_store(&src->count.setup_ms, rf_ns_to_ms(rf_now_ns(src->clock) - src->start_ns));
	if (rc != RF_OK)
		return rc;
	rf_source_set_state(src, RF_STATE_ACTIVE);
	rc = src->cfg.mode == RF_MODE_POSTCOPY ? RF_IN_PROGRESS : rf_source_precopy(src);
	if (rc == RF_IN_PROGRESS)
		return rf_source_postcopy(src);
	return rc == RF_OK ? rf_source_switch_over(src) : rc;
}

void rf_source_say_goodbye(struct rf_source *src, int err)
{
	struct rf_wire_status st = {.err = err};
	uint8_t buf[RF_WIRE_TEXT_SIZE + 16];
	struct rf_wbuf b;

	if (!src->ctrl || rf_ctrl_error(src->ctrl) != RF_OK || err == RF_ERR_PEER_FAILED)
		return;
	if (err == RF_ERR_CANCELLED) {
		(void)rf_ctrl_send(src->ctrl, RF_WIRE_CANCEL, NULL, 0);
		return;
	}
	memcpy(st.text, src->failure.desc, sizeof(st.text));
	st.text[sizeof(st.text) - 1] = 0;
	rf_wbuf_init(&b, buf, sizeof(buf));
	rf_wire_put_status(&b, &st);
	(void)rf_ctrl_send(src->ctrl, RF_WIRE_ERROR, buf, (uint32_t)b.len);
}

/* The guest goes on here, unless the destination may have been told to run. */
static int roll_back(struct rf_source *src, int err)
{
	if (src->told_to_run) {
		if (atomic_load(&src->count.postcopy))
			rf_err_log(
				"source",
				"the link was lost in postcopy: the guest at %s lacks pages that "
				"are here; it stays paused here",
				src->host);
		else
			rf_err_log("source",
				   "the destination was told to run and the link was lost: the "
				   "guest stays paused here, look for it at %s",
				   src->host);
		return rf_first_error_amount_to(&src->failure, RF_ERR_UNKNOWN_OUTCOME);
	}
	if (src->paused && src->cfg.guest.resume(src->cfg.guest_arg) != RF_OK)
		rf_err_log("source", "the guest cannot be resumed");
	src->paused = false;
	return err;
}

/* A guest that has moved is told there; one whose fate is not known is told by nobody. */
static void end_hints(struct rf_source *src, int err)
{
	rf_hints_close(&src->hints);
	if (src->hinting && err != RF_OK && err != RF_ERR_UNKNOWN_OUTCOME &&
	    src->cfg.guest.free_hint_done)
		src->cfg.guest.free_hint_done(src->cfg.guest_arg);
	src->hinting = false;
}

static void finish(struct rf_source *src, int err)
{
	if (err == RF_ERR_CANCELLED) {
		rf_source_set_state(src, RF_STATE_CANCELLING);
		rf_source_set_state(src, RF_STATE_CANCELLED);
	} else {
		rf_source_set_state(src, err == RF_OK ? RF_STATE_COMPLETED : RF_STATE_FAILED);
	}
}

int rf_source_run(struct rf_source *src)
{
	int rc;

	if (atomic_exchange(&src->ran, true))
		return RF_ERR_STATE;
	src->start_ns = rf_now_ns(src->clock);
	rf_limiter_join(src->cfg.limiter, &src->share);
	if (src->cfg.timeout)
		src->deadline_ns = src->start_ns + src->cfg.timeout * RF_NS_PER_MS;
	rc = migrate(src);
	rf_source_end_throttle(src);
	if (rc != RF_OK) {
		rf_source_say_goodbye(src, rc);
		rc = roll_back(src, rc);
	}
	end_hints(src, rc);
	rf_source_finish_stats(src, rc);
	rf_source_disconnect(src);
	if (rc == RF_OK)
		rf_source_release_rest(src);
	if (src->tracking)
		src->cfg.tracker.ops->stop(src->cfg.tracker.self);
	src->tracking = false;
	rf_limiter_leave(&src->share);
	finish(src, rc);
	return rc;
}

void rf_source_cancel(struct rf_source *src)
{
	uint64_t one = 1;

	atomic_store(&src->cancelled, true);
	if (write(src->cancel_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable all the same */
}

void rf_source_start_postcopy(struct rf_source *src)
{
	uint64_t one = 1;

	if (src->cfg.mode != RF_MODE_HYBRID)
		return;
	atomic_store(&src->go_postcopy, true);
	if (write(src->wake_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable all the same */
}

void rf_source_delete(struct rf_source **srcp)
{
	struct rf_source *src = *srcp;

	if (!src)
		return;
	rf_source_end_release(src);
	for (uint32_t i = 0; i < src->nregions; i++)
		rf_src_region_fini(&src->regions[i]);
	free(src->regions);
	rf_sync_fini(&src->sync);
	free(src->tracked);
	free(src->zero_buf);
	if (src->cancel_fd >= 0)
		close(src->cancel_fd);
	if (src->wake_fd >= 0)
		close(src->wake_fd);
	pthread_mutex_destroy(&src->urgent.lock);
	free(src->urgents);
	pthread_mutex_destroy(&src->lock);
	rf_hints_fini(&src->hints);
	free(src->host);
	free(src->transport);
	free(src->provider);
	free(src->poll_mode);
	free(src->poll_cpus);
	free(src);
	*srcp = NULL;
}
