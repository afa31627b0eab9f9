/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a source and a destination agree: hello, region table, then the first rung of the ladder
 * that works on both sides.
 *
 *   hello →            ← hello-ack (rungs)
 *   regions … →        ← regions-ack
 *   rung →             ← rung-offer (token, address)     or why not: next rung
 *   lanes ~~~~~~~~~~~► accepted
 *                      ← lanes-up                        or rung-fail →: next rung
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/log.h"
#include "scheduler/source.h"

static int connect_ctrl(struct rf_source *src)
{
	struct rf_ctrl_cfg cfg = {
		.connect_timeout = src->cfg.connect_timeout,
		.idle_timeout = src->cfg.link_timeout,
		.name = "source",
	};
	struct rf_log_capture words;
	int rc;

	rf_log_capture_begin(&words);
	rc = rf_ctrl_connect(src->host, src->cfg.port, &cfg, src->cancel_fd, &src->ctrl);
	rf_log_capture_end(&words);
	if (rc == RF_OK)
		return RF_OK;
	if (rc == RF_ERR_CANCELLED)
		return rf_source_fail(src, rc, "cancelled by the user");
	return rf_source_fail(src, rc, "%s", words.text[0] ? words.text : rf_err_str(rc));
}

/* Fails if the destination speaks a protocol before 1.minor, `which` is why that will not do. */
static int need_minor(struct rf_source *src, uint16_t minor, const char *which)
{
	if (rf_ctrl_peer_minor(src->ctrl) >= minor)
		return RF_OK;
	return rf_source_fail(
		src, RF_ERR_VERSION,
		"destination %s speaks protocol %d.%u, which %s (from %d.%u on); use a "
		"newer ramferry there",
		rf_ctrl_peer(src->ctrl), RF_WIRE_MAJOR, rf_ctrl_peer_minor(src->ctrl), which,
		RF_WIRE_MAJOR, minor);
}

static int check_peer(struct rf_source *src)
{
	/* One of protocol 1.0 takes a probe for an error, and waits no longer. */
	if (src->probe)
		return need_minor(src, 1, "cannot be probed");
	/* One that knows no snapshots would take it for a guest that is to move. */
	if (src->snapshot)
		return need_minor(src, 4, "knows no snapshots");
	return RF_OK;
}

/* One that knows no hints would take the word for an error; then all pages are sent. */
static void agree_on_hints(struct rf_source *src)
{
	src->may_hint = src->cfg.free_hints && rf_ctrl_peer_minor(src->ctrl) >= 2;
	if (src->cfg.free_hints && !src->may_hint)
		rf_info("source",
			"destination %s speaks protocol %d.%u, without free page hints (1.2)",
			rf_ctrl_peer(src->ctrl), RF_WIRE_MAJOR, rf_ctrl_peer_minor(src->ctrl));
}

/* One that knows not how to say what has landed would take the word for an error. */
static void agree_on_landed(struct rf_source *src)
{
	src->release.agreed = src->cfg.release_ram && rf_ctrl_peer_minor(src->ctrl) >= 3;
	if (src->cfg.release_ram && !src->release.agreed)
		rf_warn("source",
			"destination %s speaks protocol %d.%u and does not say what has landed "
			"(1.3): memory that postcopy needs is given back at its end only",
			rf_ctrl_peer(src->ctrl), RF_WIRE_MAJOR, rf_ctrl_peer_minor(src->ctrl));
}

static int say_hello(struct rf_source *src, struct rf_wire_hello_ack *ack)
{
	struct rf_wire_hello hello = {
		.flags = (src->cfg.verify ? RF_HELLO_VERIFY : 0) |
			 (src->cfg.pin_all ? RF_HELLO_PIN_ALL : 0) |
			 (src->cfg.mode != RF_MODE_PRECOPY ? RF_HELLO_POSTCOPY : 0) |
			 (src->may_hint ? RF_HELLO_FREE_HINTS : 0) |
			 (src->release.agreed ? RF_HELLO_LANDED : 0) |
			 (src->probe ? RF_HELLO_PROBE : 0) |
			 (src->snapshot ? RF_HELLO_SNAPSHOT : 0),
		.regions = src->nregions,
		.chunk_size = src->cfg.chunk_size,
		.bulk_lanes = (uint16_t)src->cfg.bulk_lanes,
		.urgent_lanes = (uint16_t)src->cfg.urgent_lanes,
		.link_timeout = src->cfg.link_timeout,
	};
	uint8_t buf[128];
	struct rf_frame f;
	struct rf_wbuf b;
	int rc;

	if (getrandom(hello.session, sizeof(hello.session), 0) != (ssize_t)sizeof(hello.session))
		return rf_source_fail(src, RF_ERR_SYSTEM, "no random bytes for the session id");
	rf_wbuf_init(&b, buf, sizeof(buf));
	rf_wire_put_hello(&b, &hello);
	rc = rf_source_ask(src, RF_WIRE_HELLO, buf, (uint32_t)b.len, RF_WIRE_HELLO_ACK,
			   src->cfg.connect_timeout, &f);
	if (rc != RF_OK)
		return rc;
	if (rf_wire_get_hello_ack(f.payload, f.len, ack) != RF_OK)
		rc = rf_source_malformed(src, f.type);
	else if (ack->max_lanes < src->cfg.bulk_lanes)
		rc = rf_source_fail(src, RF_ERR_MISMATCH,
				    "destination takes at most %u lanes, %u were asked for",
				    ack->max_lanes, src->cfg.bulk_lanes);
	rf_frame_free(&f);
	return rc;
}

static int tell_regions(struct rf_source *src)
{
	uint8_t *buf = malloc(RF_WIRE_MAX_PAYLOAD);
	struct rf_frame f = {0};
	struct rf_wbuf b;
	int rc = RF_OK;

	if (!buf)
		return rf_source_fail(src, RF_ERR_NO_MEMORY, "no memory for the region table");
	for (uint32_t i = 0; rc == RF_OK && i < src->nregions;) {
		rf_wbuf_init(&b, buf, RF_WIRE_MAX_PAYLOAD);
		rf_wire_begin_regions(&b, i);
		for (; i < src->nregions; i++) {
			struct rf_wire_region r = {
				.len = src->regions[i].info.len,
				.page_size = src->regions[i].info.page_size,
			};

			memcpy(r.id, src->regions[i].info.id, sizeof(r.id));
			if (rf_wire_add_region(&b, &r) != RF_OK)
				break;
		}
		rc = rf_source_send(src, RF_WIRE_REGIONS, buf, (uint32_t)b.len);
	}
	free(buf);
	if (rc == RF_OK)
		rc = rf_source_ask(src, 0, NULL, 0, RF_WIRE_REGIONS_ACK, src->cfg.connect_timeout,
				   &f);
	rf_frame_free(&f);
	return rc;
}

static int set_up_memory(struct rf_source *src)
{
	const struct rf_transport_caps *caps = rf_transport_caps(src->t);
	uint64_t piece = src->cfg.piece_size;

	if (piece > caps->max_write)
		piece = caps->max_write;
	if (piece > src->cfg.chunk_size)
		piece = src->cfg.chunk_size;
	piece = piece / RF_PAGE_SIZE ? piece / RF_PAGE_SIZE : 1;
	src->bulk.spin = caps->spin;
	for (uint32_t i = 0; i < src->nregions; i++)
		if (rf_src_region_make_chunks(&src->regions[i], src->cfg.chunk_size) != RF_OK)
			return rf_source_fail(src, RF_ERR_NO_MEMORY, "no memory for chunks");
	rf_cursor_init(&src->cursor, src->regions, src->nregions,
		       src->cfg.chunk_size / RF_PAGE_SIZE, piece);
	return RF_OK;
}

/* Where threads and the memory of lanes are to be. */
static int make_plan(struct rf_source *src)
{
	int rc = rf_poll_plan_init(&src->plan, src->poll_mode, src->poll_cpus,
				   rf_ctrl_local_host(src->ctrl));

	return rc == RF_OK ? RF_OK : rf_source_fail(src, rc, "threads cannot be placed as asked");
}

int rf_source_connect(struct rf_source *src)
{
	struct rf_wire_hello_ack ack = {0};
	int rc = connect_ctrl(src);

	if (rc == RF_OK)
		rc = check_peer(src);
	if (rc == RF_OK)
		agree_on_hints(src);
	if (rc == RF_OK)
		agree_on_landed(src);
	if (rc == RF_OK)
		rc = say_hello(src, &ack);
	if (rc == RF_OK && !src->probe)
		rc = tell_regions(src);
	if (rc == RF_OK && !src->probe)
		rc = make_plan(src);
	if (rc == RF_OK)
		rc = rf_source_climb(src, &ack);
	if (rc != RF_OK)
		return rc;
	pthread_mutex_lock(&src->lock);
	snprintf(src->transport_name, sizeof(src->transport_name), "%s", rf_transport_name(src->t));
	snprintf(src->provider_name, sizeof(src->provider_name), "%s",
		 rf_transport_provider(src->t));
	pthread_mutex_unlock(&src->lock);
	rf_info("source", "connected to %s by %s%s%s, %u bulk lane%s", rf_ctrl_peer(src->ctrl),
		src->transport_name, src->provider_name[0] ? ":" : "", src->provider_name,
		src->bulk.nlanes, src->bulk.nlanes > 1 ? "s" : "");
	return src->probe ? RF_OK : set_up_memory(src);
}

/* Lanes first, so that nothing reads the guest's memory any more when it is deregistered. */
void rf_source_disconnect(struct rf_source *src)
{
	rf_source_close_lanes(src);
	for (uint32_t i = 0; i < src->nregions; i++)
		rf_src_region_deregister(&src->regions[i]);
	rf_transport_close(&src->t);
	rf_poll_plan_fini(&src->plan);
	rf_frame_free(&src->answer);
	rf_ctrl_close(&src->ctrl);
}
