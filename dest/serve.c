/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames of a running migration: which are legal when, and the one place that waits. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "dest/dest.h"

#define SLEEP_MS     100
#define LAST_WORD_MS 1000 /* how long a source whose lane or stream broke has to say why */

#define IN(phase) (1u << (phase))

static const struct {
	unsigned phases;
	int (*take)(struct rf_dest *d, const struct rf_frame *f);
} frames[RF_WIRE_TYPE_COUNT] = {
	[RF_WIRE_KEY_REQ] = {IN(RF_DST_PRECOPY) | IN(RF_DST_PAUSED), rf_dest_take_key_req},
	[RF_WIRE_ZERO] = {IN(RF_DST_PRECOPY), rf_dest_take_zero},
	[RF_WIRE_ROUND_END] = {IN(RF_DST_PRECOPY), rf_dest_take_round_end},
	[RF_WIRE_DIGEST] = {IN(RF_DST_PAUSED), rf_dest_take_digest},
	[RF_WIRE_DIGEST_END] = {IN(RF_DST_PAUSED), rf_dest_take_digest_end},
	[RF_WIRE_STATE] = {IN(RF_DST_PAUSED), rf_dest_take_state},
	[RF_WIRE_RUN] = {IN(RF_DST_LOADED), rf_dest_take_run},
	[RF_WIRE_FREE] = {IN(RF_DST_PAUSED), rf_dest_take_free},
	[RF_WIRE_MISSING] = {IN(RF_DST_PAUSED), rf_dest_take_missing},
	[RF_WIRE_POSTCOPY] = {IN(RF_DST_PAUSED), rf_dest_take_postcopy},
	[RF_WIRE_TRIAL] = {IN(RF_DST_PRECOPY), rf_dest_take_trial},
};

static int fail_by_ctrl(struct rf_dest *d, int rc)
{
	return rf_dest_fail(d, rc, "source %s %s", rf_ctrl_peer(d->ctrl), rf_ctrl_why(d->ctrl));
}

/* A frame that ends the migration becomes its error; others pass. */
static int filter_frame(struct rf_dest *d, struct rf_frame *f)
{
	struct rf_wire_status st;
	int rc;

	if (f->type == RF_WIRE_CANCEL) {
		rc = rf_dest_fail(d, RF_ERR_CANCELLED, "source %s cancelled",
				  rf_ctrl_peer(d->ctrl));
	} else if (f->type == RF_WIRE_ERROR) {
		if (rf_wire_get_status(f->payload, f->len, &st) != RF_OK)
			snprintf(st.text, sizeof(st.text), "malformed error");
		rc = rf_dest_fail(d, RF_ERR_PEER_FAILED, "source %s failed: %s",
				  rf_ctrl_peer(d->ctrl), st.text);
	} else {
		return RF_OK;
	}
	d->peer_told = true;
	rf_frame_free(f);
	return rc;
}

/*
 * Once the source has our word that the state is loaded it may tell us to run at any moment, and
 * then it does not run the guest any more: from then on to cancel could only lose the guest.
 */
int rf_dest_check(struct rf_dest *d)
{
	if (d->phase < RF_DST_LOADED && atomic_load_explicit(&d->cancelled, memory_order_relaxed))
		return rf_dest_fail(d, RF_ERR_CANCELLED, "cancelled by the user");
	return RF_OK;
}

static void sleep_for_events(struct rf_dest *d, int ms)
{
	struct pollfd p[] = {
		{.fd = rf_ctrl_fd(d->ctrl), .events = POLLIN},
		{.fd = d->phase < RF_DST_LOADED ? d->cancel_fd : -1, .events = POLLIN},
		{.fd = d->lanes.wake_fd, .events = POLLIN},
	};
	uint64_t count;

	if (poll(p, sizeof(p) / sizeof(*p), ms) < 0 && errno != EINTR)
		rf_err_log("dest", "poll: %s", strerror(errno));
	if (p[2].revents && read(d->lanes.wake_fd, &count, sizeof(count)) < 0)
		return; /* somebody else's wake-up; the state tells, not the count */
}

int rf_dest_recv(struct rf_dest *d, int timeout, struct rf_frame *f)
{
	uint64_t until = timeout < 0 ? 0 : rf_now_ns(d->clock) + (uint64_t)timeout * RF_NS_PER_MS;

	for (;;) {
		int rc = rf_dest_check(d), left;

		if (rc != RF_OK)
			return rc;
		rc = rf_ctrl_recv(d->ctrl, f, 0);
		if (rc == RF_OK)
			return filter_frame(d, f);
		if (rc != RF_AGAIN)
			return fail_by_ctrl(d, rc);
		left = rf_ms_left(d->clock, until);
		if (left == 0)
			return RF_AGAIN;
		sleep_for_events(d, left < 0 || left > SLEEP_MS ? SLEEP_MS : left);
	}
}

int rf_dest_send(struct rf_dest *d, uint32_t type, const void *payload, uint32_t len)
{
	int rc = rf_ctrl_send(d->ctrl, type, payload, len);
	struct rf_frame f;

	if (rc == RF_OK)
		return RF_OK;
	/* The stream is dead. What the source said before comes first: it may be why. */
	while (rf_ctrl_recv(d->ctrl, &f, LAST_WORD_MS) == RF_OK) {
		int said = filter_frame(d, &f);

		if (said != RF_OK)
			return said;
		rf_frame_free(&f);
	}
	return fail_by_ctrl(d, rc);
}

static int take_frame(struct rf_dest *d, const struct rf_frame *f)
{
	if (!frames[f->type].take || !(frames[f->type].phases & IN(d->phase)))
		return rf_dest_fail(d, RF_ERR_PROTOCOL, "source %s sent %s where it must not",
				    rf_ctrl_peer(d->ctrl), rf_wire_type_str(f->type));
	return frames[f->type].take(d, f);
}

/*
 * A dead lane ends the migration while rounds run. The source, if it lives, says why on the
 * control stream; if it died, that stream ends too and is the better witness.
 */
static int check_lanes(struct rf_dest *d)
{
	struct rf_frame f;
	const char *why;
	int err = rf_dst_lanes_error(&d->lanes, &why), rc;

	if (err == RF_OK || (d->phase != RF_DST_PRECOPY && !d->postcopy))
		return RF_OK;
	for (uint64_t until = rf_now_ns(d->clock) + LAST_WORD_MS * RF_NS_PER_MS;;) {
		rc = rf_dest_recv(d, rf_ms_left(d->clock, until), &f);
		if (rc == RF_AGAIN)
			return rf_dest_fail(d, err, "%s", why);
		if (rc != RF_OK)
			return rc;
		/* Frames sent before the lane broke are still good. */
		rc = take_frame(d, &f);
		rf_frame_free(&f);
		if (rc == RF_OK)
			rc = rf_dest_try_ack(d);
		if (rc != RF_OK || (d->phase != RF_DST_PRECOPY && !d->postcopy))
			return rc;
	}
}

/* The word to run follows the loaded state at once. */
static int check_word(struct rf_dest *d)
{
	if (d->phase != RF_DST_LOADED || rf_now_ns(d->clock) < d->word_deadline_ns)
		return RF_OK;
	return rf_dest_fail(d, RF_ERR_TIMEOUT, "source %s did not tell to run within %u ms",
			    rf_ctrl_peer(d->ctrl), RF_DEST_WORD_TIMEOUT);
}

int rf_dest_serve(struct rf_dest *d)
{
	while (d->phase != RF_DST_RUNNING) {
		struct rf_frame f;
		/* First of all: with the last page here nothing can go wrong any more. */
		int rc = rf_dest_check_postcopy(d);

		if (rc == RF_OK && d->phase == RF_DST_RUNNING)
			return RF_OK;
		if (rc == RF_OK)
			rc = check_lanes(d);
		if (rc == RF_OK)
			rc = rf_dest_try_ack(d);
		if (rc != RF_OK)
			return rc;
		rc = rf_ctrl_recv(d->ctrl, &f, 0);
		if (rc == RF_AGAIN) {
			rc = rf_dest_check(d);
			if (rc == RF_OK)
				rc = check_word(d);
			if (rc != RF_OK)
				return rc;
			sleep_for_events(d, SLEEP_MS);
			continue;
		}
		if (rc != RF_OK)
			return fail_by_ctrl(d, rc);
		rc = filter_frame(d, &f);
		if (rc != RF_OK)
			return rc;
		rc = take_frame(d, &f);
		rf_frame_free(&f);
		if (rc != RF_OK)
			return rc;
	}
	return RF_OK;
}
