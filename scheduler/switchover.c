/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The hand-over, with the guest paused:
 *
 *   pause ─ harvest ─ last round ─ [digests] ─ device state ─► state-loaded
 *                                                              run ──► running
 *
 * The word "run" is the point of no return. Before it any failure lets the guest go on here;
 * from the moment it may have left this host the guest never runs here again.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "scheduler/source.h"

#define STATE_PIECE (512u << 10)
/* Bytes; the exchanges that any state costs are measured all the time. */
#define TRIAL_MIN (64u << 10)

int rf_source_pause(struct rf_source *src)
{
	int rc;

	src->pause_ns = rf_now_ns(src->clock);
	rc = src->cfg.guest.pause(src->cfg.guest_arg);
	if (rc != RF_OK)
		return rf_source_fail(src, rc, "the guest cannot be paused");
	src->paused = true;
	rf_hints_close(&src->hints);
	rf_source_set_state(src, RF_STATE_DEVICE);
	return RF_OK;
}

static int send_pieces(struct rf_source *src, const uint8_t *state, size_t len, uint8_t *payload)
{
	size_t at = 0;

	do {
		uint32_t n = len - at < STATE_PIECE ? (uint32_t)(len - at) : STATE_PIECE;
		struct rf_wbuf b;
		int rc;

		rf_wbuf_init(&b, payload, RF_WIRE_MAX_PAYLOAD);
		rf_wire_put_state(&b, len, at, state + at, n);
		rc = rf_source_send(src, RF_WIRE_STATE, payload, (uint32_t)b.len);
		if (rc != RF_OK)
			return rc;
		at += n;
	} while (at < len);
	return RF_OK;
}

int rf_source_tell_state(struct rf_source *src, const void *state, size_t len)
{
	uint8_t *payload = malloc(RF_WIRE_MAX_PAYLOAD);
	int rc;

	if (!payload)
		return rf_source_fail(src, RF_ERR_NO_MEMORY, "no memory for the device state");
	if (len > RF_WIRE_MAX_STATE)
		rc = rf_source_fail(src, RF_ERR_GUEST, "device state of %zu bytes is over %u", len,
				    RF_WIRE_MAX_STATE);
	else
		rc = send_pieces(src, state, len, payload);
	atomic_store(&src->count.device_state, len);
	free(payload);
	return rc;
}

/* What the answer took longer than an empty one. */
static void note_trial(struct rf_source *src, uint64_t bytes, uint64_t ns)
{
	uint64_t rtt = rf_ctrl_rtt_ns(src->ctrl);

	ns -= rtt < ns / 2 ? rtt : ns / 2;
	src->state_rate = (double)bytes * 1e9 / (double)(ns ? ns : 1);
	rf_debug("source", "device state goes at %.0f MiB/s", src->state_rate / (1 << 20));
}

/* How much to try it with: a twentieth of a second at most of what may be sent; 0: not now. */
static uint64_t trial_bytes(const struct rf_source *src)
{
	uint64_t bytes = src->cfg.guest.state_size(src->cfg.guest_arg);
	double limit = (double)atomic_load(&src->limits.max_bandwidth);
	double rate = rf_source_bandwidth(src);

	if (limit > 0 && limit < rate)
		rate = limit;
	if ((double)bytes > rate / 20)
		bytes = (uint64_t)(rate / 20);
	if (bytes > RF_WIRE_MAX_PAYLOAD)
		bytes = RF_WIRE_MAX_PAYLOAD;
	return bytes < TRIAL_MIN ? 0 : bytes;
}

int rf_source_try_state(struct rf_source *src)
{
	uint64_t bytes, begin;
	struct rf_frame f;
	struct rf_wbuf b;
	uint8_t *payload;
	int rc;

	if (src->state_rate > 0 || !src->cfg.guest.state_size || rf_ctrl_peer_minor(src->ctrl) < 5)
		return RF_OK;
	bytes = trial_bytes(src);
	if (!bytes)
		return RF_OK;
	payload = malloc(bytes);
	if (!payload)
		return rf_source_fail(src, RF_ERR_NO_MEMORY, "no memory to try the device state");
	rf_wbuf_init(&b, payload, bytes);
	rf_wire_put_trial(&b, (uint32_t)bytes);
	rf_pacer_take(&src->pacer, bytes);
	rf_limiter_take(&src->share, bytes);
	begin = rf_now_ns(src->clock);
	rc = rf_source_ask(src, RF_WIRE_TRIAL, payload, (uint32_t)bytes, RF_WIRE_TRIAL_SEEN,
			   RF_SOURCE_ANSWER_TIMEOUT, &f);
	free(payload);
	if (rc != RF_OK)
		return rc;
	if (rf_wire_get_empty(f.payload, f.len) != RF_OK)
		rc = rf_source_fail(src, RF_ERR_PROTOCOL, "destination sent a malformed %s",
				    rf_wire_type_str(f.type));
	else
		note_trial(src, bytes, rf_now_ns(src->clock) - begin);
	rf_frame_free(&f);
	return rc;
}

int rf_source_send_state(struct rf_source *src)
{
	void *state = NULL;
	size_t len = 0;
	int rc = src->cfg.guest.save_state(src->cfg.guest_arg, &state, &len);

	if (rc != RF_OK)
		return rf_source_fail(src, rc, "the guest's device state cannot be saved");
	rc = rf_source_tell_state(src, state, len);
	free(state);
	return rc;
}

int rf_source_exchange(struct rf_source *src, uint32_t type, uint32_t expect)
{
	struct rf_frame f;
	int rc = rf_source_ask(src, type, NULL, 0, expect, RF_SOURCE_ANSWER_TIMEOUT, &f);

	if (rc != RF_OK)
		return rc;
	if (rf_wire_get_empty(f.payload, f.len) != RF_OK)
		rc = rf_source_fail(src, RF_ERR_PROTOCOL, "destination sent a malformed %s",
				    rf_wire_type_str(expect));
	rf_frame_free(&f);
	return rc;
}

int rf_source_hand_over(struct rf_source *src)
{
	int rc = rf_source_check(src);

	/* A destination that has failed meanwhile is not told to run. */
	if (rc == RF_OK)
		rc = rf_source_look(src);
	/* A frame that could not be sent never comes whole to the peer, nor does any after it. */
	if (rc == RF_OK)
		rc = rf_source_send(src, RF_WIRE_RUN, NULL, 0);
	if (rc != RF_OK)
		return rc;
	/* Neither the user nor the clock may end it from here on, only the link. */
	src->told_to_run = true;
	rc = rf_source_exchange(src, 0, RF_WIRE_RUNNING);
	if (rc != RF_OK)
		return rc;
	atomic_store(&src->count.downtime_ms, rf_ns_to_ms(rf_now_ns(src->clock) - src->pause_ns));
	return RF_OK;
}

int rf_source_switch_over(struct rf_source *src)
{
	uint64_t pending;
	int rc = rf_source_pause(src);

	if (rc == RF_OK)
		rc = rf_source_harvest(src, &pending);
	if (rc == RF_OK)
		rc = rf_source_round(src, true);
	if (rc == RF_OK)
		rc = rf_source_tell_free(src);
	if (rc == RF_OK && src->cfg.verify)
		rc = rf_source_verify(src);
	/* The destination takes its lanes down before it runs the guest; so do we. */
	if (rc == RF_OK)
		rf_bulk_close(&src->bulk);
	if (rc == RF_OK)
		rc = rf_source_send_state(src);
	if (rc == RF_OK)
		rc = rf_source_exchange(src, 0, RF_WIRE_STATE_LOADED);
	if (rc == RF_OK)
		rc = rf_source_hand_over(src);
	return rc;
}
