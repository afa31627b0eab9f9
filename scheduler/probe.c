/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/probe.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "scheduler/source.h"

#define STEP_TIMEOUT 10000
#define RTT_WAIT_MS  200

/* The first heartbeat goes out when the stream begins; mostly its answer is there by now. */
static uint64_t await_rtt(const struct rf_ctrl *c)
{
	const struct timespec ms = {.tv_nsec = 1000000};
	uint64_t rtt = rf_ctrl_rtt_ns(c);

	for (unsigned i = 0; i < RTT_WAIT_MS && !rtt && rf_ctrl_error(c) == RF_OK; i++) {
		nanosleep(&ms, NULL);
		rtt = rf_ctrl_rtt_ns(c);
	}
	return rtt;
}

static void describe(struct rf_source *src, int rc, struct rf_probe_result *out)
{
	out->ladder = src->ladder;
	if (src->ctrl) {
		out->reached = true;
		snprintf(out->peer, sizeof(out->peer), "%s", rf_ctrl_peer(src->ctrl));
		snprintf(out->local_host, sizeof(out->local_host), "%s",
			 rf_ctrl_local_host(src->ctrl));
		out->minor = rf_ctrl_peer_minor(src->ctrl);
		out->rtt_ns = await_rtt(src->ctrl);
	}
	memcpy(out->transport, src->transport_name, sizeof(out->transport));
	memcpy(out->provider, src->provider_name, sizeof(out->provider));
	if (rc != RF_OK)
		snprintf(out->why, sizeof(out->why), "%s",
			 src->failure.desc[0] ? src->failure.desc : rf_err_str(rc));
}

int rf_source_probe(const struct rf_probe_cfg *cfg, struct rf_probe_result *out)
{
	const struct rf_source_cfg as_source = {
		.size = sizeof(as_source),
		.host = cfg->host,
		.port = cfg->port,
		.transport = cfg->transport,
		.provider = cfg->provider,
		.bulk_lanes = cfg->bulk_lanes,
		.connect_timeout = cfg->step_timeout ? cfg->step_timeout : STEP_TIMEOUT,
	};
	struct rf_log_capture quiet;
	struct rf_source *src;
	int rc;

	memset(out, 0, sizeof(*out));
	rf_log_capture_begin(&quiet);
	rc = rf_source_make(&as_source, &src);
	if (rc != RF_OK) {
		snprintf(out->why, sizeof(out->why), "%s", rf_err_str(rc));
		goto end_capture;
	}
	src->probe = true;
	src->hub = cfg->hub;
	src->start_ns = rf_now_ns(src->clock);
	rc = rf_source_connect(src);
	describe(src, rc, out);
	rf_source_say_goodbye(src, RF_ERR_CANCELLED);
	rf_source_disconnect(src);
	rf_source_delete(&src);
end_capture:
	rf_log_capture_end(&quiet);
	return rc;
}
