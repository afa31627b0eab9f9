/* SPDX-License-Identifier: BSD-3-Clause */
/* The one place where a source waits. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "scheduler/source.h"

#define SPINS	     200 /* polls of the lanes before going to sleep, where spinning is all right */
#define SLEEP_MS     100
#define PROGRESS_NS  (100 * RF_NS_PER_MS)
#define LAST_WORD_MS 1000 /* how long a peer whose lane or stream broke has to say why */

static int give_up(struct rf_source *src)
{
	return rf_source_fail(
		src, RF_ERR_NOT_CONVERGED,
		"not finished after %u ms: remaining %.1f MiB at %.0f MiB/s, dirtied %.0f MiB/s; "
		"raise --timeout or --downtime-limit",
		src->cfg.timeout, (double)atomic_load(&src->count.remaining) / 1048576,
		rf_source_bandwidth(src) / 1048576, rf_rate_get(&src->dirty) / 1048576);
}

/* The time for the whole migration is over. */
static int end_by_timeout(struct rf_source *src)
{
	switch (src->cfg.timeout_action) {
	case RF_TIMEOUT_POSTCOPY:
		atomic_store(&src->go_postcopy, true);
		break;
	case RF_TIMEOUT_SWITCH:
		src->break_off = true;
		break;
	case RF_TIMEOUT_CANCEL:
	default:
		return give_up(src);
	}
	rf_info("source", "the time of %u ms is over: the guest leaves now", src->cfg.timeout);
	src->deadline_ns = 0;
	return RF_OK;
}

int rf_source_check(struct rf_source *src)
{
	uint64_t now = rf_now_ns(src->clock);
	int rc = RF_OK;

	if (!src->told_to_run && atomic_load_explicit(&src->cancelled, memory_order_relaxed))
		return rf_source_fail(src, RF_ERR_CANCELLED, "cancelled by the user");
	if (!src->told_to_run && src->deadline_ns && now >= src->deadline_ns)
		rc = end_by_timeout(src);
	if (rc == RF_OK)
		rc = rf_source_decide_in_round(src);
	if (rc != RF_OK)
		return rc;
	rf_source_apply_throttle(src);
	if (now >= src->next_progress_ns) {
		src->next_progress_ns = now + PROGRESS_NS;
		rf_source_progress(src);
	}
	return RF_OK;
}

static int fail_by_peer(struct rf_source *src, const struct rf_frame *f)
{
	struct rf_wire_status st;

	if (rf_wire_get_status(f->payload, f->len, &st) != RF_OK)
		return rf_source_fail(src, RF_ERR_PROTOCOL, "destination %s sent a malformed error",
				      rf_ctrl_peer(src->ctrl));
	return rf_source_fail(src, RF_ERR_PEER_FAILED, "destination %s failed: %s",
			      rf_ctrl_peer(src->ctrl), st.text);
}

/* The destination has every page: its lanes and the stream may end as they like, now or before
 * the word of it is noticed. */
static bool all_is_there(const struct rf_source *src)
{
	return src->answer.type == RF_WIRE_POSTCOPY_DONE;
}

static int fail_by_ctrl(struct rf_source *src, int rc)
{
	if (all_is_there(src))
		return RF_OK;
	return rf_source_fail(src, rc, "destination %s %s", rf_ctrl_peer(src->ctrl),
			      rf_ctrl_why(src->ctrl));
}

static int take_frame(struct rf_source *src, struct rf_frame *f)
{
	int rc;

	if (f->type == RF_WIRE_ERROR) {
		rc = fail_by_peer(src, f);
	} else if (f->type == RF_WIRE_KEY) {
		rc = rf_source_take_keys(src, f);
	} else if (f->type == RF_WIRE_LANDED) {
		rc = rf_source_take_landed(src, f);
	} else if (f->type == src->expect) {
		src->answer = *f;
		src->expect = 0;
		return RF_OK;
	} else {
		rc = rf_source_fail(src, RF_ERR_PROTOCOL,
				    "destination %s sent %s where it must not",
				    rf_ctrl_peer(src->ctrl), rf_wire_type_str(f->type));
	}
	rf_frame_free(f);
	return rc;
}

/* The frames that are queued, up to the answer if one is waited for. Returns how many, or an error.
 */
static int take_frames(struct rf_source *src)
{
	struct rf_frame f;
	int n = 0, rc;

	while ((rc = rf_ctrl_recv(src->ctrl, &f, 0)) == RF_OK) {
		uint32_t waiting = src->expect;

		rc = take_frame(src, &f);
		if (rc != RF_OK)
			return rc;
		n++;
		/* What comes behind an answer is for who asks next. */
		if (src->expect != waiting)
			return n;
	}
	/* What came before the stream ended counts first: it may be the answer. */
	return rc == RF_AGAIN || n ? n : fail_by_ctrl(src, rc);
}

/*
 * A lane broke. Mostly the destination knows why and says so on the control stream; when it
 * died, that stream ends too and is the better witness.
 */
static int fail_by_lane(struct rf_source *src, int lane_err, const char *why)
{
	uint64_t until = rf_now_ns(src->clock) + LAST_WORD_MS * RF_NS_PER_MS;
	struct rf_frame f;
	int rc, left;

	while ((left = rf_ms_left(src->clock, until)) > 0) {
		rc = rf_ctrl_recv(src->ctrl, &f, left);
		if (rc == RF_AGAIN)
			break;
		if (rc != RF_OK)
			return fail_by_ctrl(src, rc);
		if (f.type == RF_WIRE_ERROR) {
			rc = fail_by_peer(src, &f);
			rf_frame_free(&f);
			return rc;
		}
		if (f.type == src->expect) /* it closed its lanes because it is done */
			return take_frame(src, &f);
		rf_frame_free(&f);
	}
	return rf_source_fail(src, lane_err, "%s", why);
}

int rf_source_fail_by_bulk(struct rf_source *src, int err)
{
	const struct rf_lane *lane = rf_bulk_dead_lane(&src->bulk);

	return fail_by_lane(src, err, lane ? rf_lane_error(lane) : "a lane failed");
}

/* A page request that could not be served ends the migration, unless all is over. */
static int check_urgent(struct rf_source *src)
{
	int err = atomic_load_explicit(&src->urgent.error, memory_order_acquire);

	return err == RF_OK ? RF_OK : fail_by_lane(src, err, src->urgent.error_desc);
}

static int sleep_of(struct rf_source *src)
{
	int ms = src->sleep_ms ? src->sleep_ms : SLEEP_MS, wait = rf_source_release_wait(src);

	return wait >= 0 && wait < ms ? wait : ms;
}

/* Arms the lanes and sleeps until a lane, the control stream or a cancel wakes us. */
static void sleep_for_events(struct rf_source *src)
{
	struct pollfd p[RF_WIRE_MAX_LANES + 3];
	uint64_t count;
	nfds_t n = 0;

	for (unsigned i = 0; i < src->bulk.nlanes; i++) {
		if (rf_lane_arm(src->bulk.lanes[i]) != RF_OK)
			return; /* something came meanwhile, or the lane died: poll tells */
		p[n++] = (struct pollfd){.fd = rf_lane_fd(src->bulk.lanes[i]), .events = POLLIN};
	}
	p[n++] = (struct pollfd){.fd = rf_ctrl_fd(src->ctrl), .events = POLLIN};
	p[n++] = (struct pollfd){.fd = src->wake_fd, .events = POLLIN};
	if (!src->told_to_run) /* afterwards it is readable for good, and without effect */
		p[n++] = (struct pollfd){.fd = src->cancel_fd, .events = POLLIN};
	if (poll(p, n, sleep_of(src)) < 0 && errno != EINTR)
		rf_err_log("source", "poll: %s", strerror(errno));
	if (read(src->wake_fd, &count, sizeof(count)) < 0)
		return; /* nobody woke us: a lane, a frame, or time did */
}

int rf_source_pump(struct rf_source *src)
{
	/* Who has to wait for page requests or time leaves the processor to others. */
	int spins = src->bulk.nlanes && src->bulk.spin && !src->sleep_ms ? SPINS : 1;
	uint32_t waiting = src->expect;
	int rc = rf_source_check(src);

	if (rc == RF_OK && all_is_there(src)) {
		(void)rf_bulk_poll(&src->bulk); /* who waits for room finds out that a lane died */
		return RF_OK;
	}
	if (rc == RF_OK)
		rc = check_urgent(src);
	/* The answer may have been the last word of a peer that is gone by now. */
	if (rc != RF_OK || src->expect != waiting)
		return rc;
	for (int i = 0; i < spins; i++) {
		int n = rf_bulk_poll(&src->bulk);

		if (n < 0)
			return rf_source_fail_by_bulk(src, n);
		if (n > 0)
			return RF_OK;
		n = take_frames(src);
		if (n < 0)
			return n;
		if (n > 0)
			return RF_OK;
	}
	if (!rf_source_release_some(src))
		sleep_for_events(src);
	return RF_OK;
}

int rf_source_pump_error(struct rf_source *src, int rc)
{
	if (all_is_there(src))
		return RF_OK;
	if (!rf_bulk_dead_lane(&src->bulk))
		return rf_source_fail(src, rc, "a write cannot be posted: %s", rf_err_str(rc));
	do
		rc = rf_source_pump(src);
	while (rc == RF_OK && src->expect);
	return rc;
}

/* The stream is dead. What the peer said before comes first: why, or what we were waiting for. */
static int hear_last_words(struct rf_source *src, int err)
{
	bool waiting = src->expect;
	struct rf_frame f;

	while (rf_ctrl_recv(src->ctrl, &f, LAST_WORD_MS) == RF_OK) {
		int rc = take_frame(src, &f);

		if (rc != RF_OK || (waiting && !src->expect))
			return rc;
	}
	return fail_by_ctrl(src, err);
}

int rf_source_send(struct rf_source *src, uint32_t type, const void *payload, uint32_t len)
{
	int rc = rf_ctrl_send(src->ctrl, type, payload, len);

	return rc == RF_OK ? RF_OK : hear_last_words(src, rc);
}

int rf_source_look(struct rf_source *src)
{
	int n = take_frames(src);

	return n < 0 ? n : RF_OK;
}

int rf_source_ask(struct rf_source *src, uint32_t type, const void *payload, uint32_t len,
		  uint32_t expect, uint32_t timeout, struct rf_frame *answer)
{
	uint64_t until = rf_now_ns(src->clock) + timeout * RF_NS_PER_MS;
	int rc = RF_OK;

	src->expect = expect;
	if (type)
		rc = rf_source_send(src, type, payload, len);
	while (rc == RF_OK && src->expect) {
		if (rf_now_ns(src->clock) >= until)
			rc = rf_source_fail(src, RF_ERR_TIMEOUT,
					    "destination %s did not answer with %s within %u ms",
					    rf_ctrl_peer(src->ctrl), rf_wire_type_str(expect),
					    timeout);
		else
			rc = rf_source_pump(src);
	}
	src->expect = 0;
	if (rc == RF_OK) {
		*answer = src->answer;
		src->answer = (struct rf_frame){0};
	}
	return rc;
}
