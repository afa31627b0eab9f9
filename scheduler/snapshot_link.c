/* SPDX-License-Identifier: BSD-3-Clause */
/* The sink that is a destination: how it begins and ends. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/log.h"
#include "scheduler/snapshot_link.h"

static int watch(struct rf_snap_link *k, int fd)
{
	struct epoll_event e = {.events = EPOLLIN};

	return epoll_ctl(k->epoll, EPOLL_CTL_ADD, fd, &e);
}

static int make_waiting(struct rf_snap_link *k)
{
	struct rf_source *src = k->src;
	bool ok;

	k->epoll = epoll_create1(EPOLL_CLOEXEC);
	ok = k->epoll >= 0 && watch(k, rf_ctrl_fd(src->ctrl)) == 0;
	for (unsigned i = 0; ok && i < src->bulk.nlanes; i++)
		ok = watch(k, rf_lane_fd(src->bulk.lanes[i])) == 0;
	return ok ? RF_OK : rf_source_fail(src, RF_ERR_SYSTEM, "epoll: %s", strerror(errno));
}

static int open_link(void *self, const struct rf_region *regions, unsigned n)
{
	struct rf_snap_link *k = self;
	struct rf_source *src = k->src;
	const struct rf_transport_caps *caps;
	int rc = RF_OK;

	src->start_ns = rf_now_ns(src->clock);
	for (unsigned i = 0; rc == RF_OK && i < n; i++)
		rc = rf_source_add_region(src, &regions[i]);
	if (rc == RF_OK)
		rc = rf_source_connect(src);
	if (rc == RF_OK)
		rc = make_waiting(k);
	if (rc != RF_OK)
		return rc;
	caps = rf_transport_caps(src->t);
	k->depth = caps->depth;
	k->piece = src->cfg.piece_size < caps->max_write ? src->cfg.piece_size : caps->max_write;
	for (unsigned i = 0; i < src->bulk.nlanes; i++) {
		k->rings[i].tokens = calloc(k->depth, sizeof(*k->rings[i].tokens));
		if (!k->rings[i].tokens)
			return RF_ERR_NO_MEMORY;
	}
	return RF_OK;
}

static int note_memory(void *self, void *at, uint64_t len)
{
	struct rf_snap_link *k = self;
	struct rf_snap_memory *m = &k->memory[k->nmemory];

	*m = (struct rf_snap_memory){.at = at, .len = len};
	m->mrs = calloc((len + RF_SNAP_LINK_UNIT - 1) / RF_SNAP_LINK_UNIT, sizeof(struct rf_mr *));
	if (!m->mrs)
		return RF_ERR_NO_MEMORY;
	k->nmemory++;
	return RF_OK;
}

static int begin_link(void *self, const void *state, size_t state_len)
{
	struct rf_snap_link *k = self;

	k->state = state;
	k->state_len = state_len;
	rf_source_begin_round(k->src);
	return RF_OK;
}

/* Keys are asked for ahead where something is to come. */
static void expect_link(void *self, unsigned region, uint64_t first, uint64_t n)
{
	struct rf_src_region *r = &((struct rf_snap_link *)self)->src->regions[region];

	rf_bitmap_set_range(&r->map.pending, first, n);
}

static uint64_t size_link(void *self)
{
	(void)self;
	return 0;
}

/* The destination may write a file before it answers, which takes what it takes: only the end of
 * the link or a cancel ends the wait. Nothing of the guest is protected any more. */
static int await_loaded(struct rf_source *src)
{
	int rc = RF_OK;

	src->expect = RF_WIRE_STATE_LOADED;
	while (rc == RF_OK && src->expect)
		rc = rf_source_pump(src);
	src->expect = 0;
	if (rc == RF_OK && rf_wire_get_empty(src->answer.payload, src->answer.len) != RF_OK)
		rc = rf_source_malformed(src, src->answer.type);
	rf_frame_free(&src->answer);
	return rc;
}

static int commit_link(void *self)
{
	struct rf_snap_link *k = self;
	struct rf_source *src = k->src;
	int rc = rf_source_close_round(src, true);

	/* The destination takes its lanes down before it runs the guest; so do we. */
	if (rc == RF_OK)
		rf_bulk_close(&src->bulk);
	if (rc == RF_OK)
		rc = rf_source_tell_state(src, k->state, k->state_len);
	if (rc == RF_OK)
		rc = await_loaded(src);
	if (rc == RF_OK)
		rc = rf_source_hand_over(src);
	k->finished = rc == RF_OK;
	if (rc == RF_OK || !src->told_to_run || rc == RF_ERR_PEER_FAILED)
		return rc;
	snprintf(k->why, sizeof(k->why),
		 "the link was lost when all but the destination's last word was there; look for "
		 "the "
		 "snapshot at %.150s",
		 src->host);
	return rf_first_error_amount_to(&src->failure, RF_ERR_UNKNOWN_OUTCOME);
}

static void cancel_link(void *self)
{
	rf_source_cancel(((struct rf_snap_link *)self)->src);
}

static const char *why_link(void *self)
{
	struct rf_snap_link *k = self;
	bool failed;

	if (k->why[0])
		return k->why;
	pthread_mutex_lock(&k->src->lock);
	failed = k->src->failure.err != RF_OK;
	pthread_mutex_unlock(&k->src->lock);
	return failed ? k->src->failure.desc : NULL; /* which stays as it is */
}

static void describe_link(void *self, struct rf_snapshot_stats *st)
{
	struct rf_source *src = ((struct rf_snap_link *)self)->src;

	pthread_mutex_lock(&src->lock);
	memcpy(st->transport, src->transport_name, sizeof(st->transport));
	memcpy(st->provider, src->provider_name, sizeof(st->provider));
	pthread_mutex_unlock(&src->lock);
}

/* What went wrong is not always the link's fault, but it is the destination's concern. */
static void say_goodbye(struct rf_source *src)
{
	struct rf_log_capture quiet;
	int err;

	rf_log_capture_begin(&quiet);
	err = atomic_load(&src->cancelled)
		      ? RF_ERR_CANCELLED
		      : rf_source_fail(src, RF_ERR_GUEST, "the snapshot was given up");
	rf_log_capture_end(&quiet);
	rf_source_say_goodbye(src, err);
}

/* Lanes first: then nothing reads the buffers any more. */
static bool close_link(void *self)
{
	struct rf_snap_link *k = self;

	if (!k->finished)
		say_goodbye(k->src);
	k->finished = true;
	rf_source_close_lanes(k->src);
	for (unsigned i = 0; i < k->nmemory; i++) {
		struct rf_snap_memory *m = &k->memory[i];

		for (uint64_t j = 0; j < (m->len + RF_SNAP_LINK_UNIT - 1) / RF_SNAP_LINK_UNIT; j++)
			rf_mr_deregister(&m->mrs[j]);
		free(m->mrs);
	}
	k->nmemory = 0;
	rf_source_disconnect(k->src);
	if (k->epoll >= 0)
		close(k->epoll);
	k->epoll = -1;
	return true;
}

static void destroy_link(void *self)
{
	struct rf_snap_link *k = self;

	for (unsigned i = 0; i < RF_WIRE_MAX_LANES; i++)
		free(k->rings[i].tokens);
	rf_source_delete(&k->src);
	free(k);
}

static const struct rf_snap_sink_ops link_ops = {
	.open = open_link,
	.memory = note_memory,
	.begin = begin_link,
	.expect = expect_link,
	.write = rf_snap_link_write,
	.absent = rf_snap_link_absent,
	.touched = rf_snap_link_touched,
	.submit = rf_snap_link_submit,
	.poll = rf_snap_link_poll,
	.fd = rf_snap_link_fd,
	.arm = rf_snap_link_arm,
	.size = size_link,
	.commit = commit_link,
	.cancel = cancel_link,
	.why = why_link,
	.describe = describe_link,
	.close = close_link,
	.destroy = destroy_link,
};

int rf_snap_link_new(const struct rf_snapshot_cfg *cfg, struct rf_snap_sink *out)
{
	const struct rf_source_cfg as_source = {
		.size = sizeof(as_source),
		.host = cfg->host,
		.port = cfg->port,
		.transport = cfg->transport,
		.provider = cfg->provider,
		.bulk_lanes = cfg->bulk_lanes,
		.connect_timeout = cfg->connect_timeout,
		.link_timeout = cfg->link_timeout,
	};
	struct rf_snap_link *k = calloc(1, sizeof(*k));
	int rc = k ? rf_source_make(&as_source, &k->src) : RF_ERR_NO_MEMORY;

	if (rc != RF_OK) {
		free(k);
		return rc;
	}
	k->epoll = -1;
	k->src->snapshot = true;
	*out = (struct rf_snap_sink){.ops = &link_ops, .self = k};
	return RF_OK;
}
