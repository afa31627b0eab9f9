/* SPDX-License-Identifier: BSD-3-Clause */
/* What is said of a snapshot in JSON. */
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>

#include "tools/common.h"
#include "tools/snapshot_desk.h"

static void add_number(struct json_object *o, const char *name, uint64_t v)
{
	json_object_object_add(o, name, json_object_new_uint64(v));
}

static void add_real(struct json_object *o, const char *name, double v)
{
	char text[40];

	if (!isfinite(v))
		return;
	snprintf(text, sizeof(text), "%.3f", v);
	json_object_object_add(o, name, json_object_new_double_s(v, text));
}

struct json_object *snapshot_stats_json(const struct rf_snapshot_stats *st)
{
	struct json_object *o = json_object_new_object(), *dist = json_object_new_array();

	add_number(o, "total", st->total);
	add_number(o, "remaining", st->remaining);
	add_number(o, "pages-saved", st->pages_saved);
	add_number(o, "pages-zero", st->pages_zero);
	add_number(o, "saved-by-fault", st->saved_by_fault);
	add_number(o, "bytes-written", st->bytes_written);
	add_number(o, "file-size", st->file_size);
	add_number(o, "write-faults", st->write_faults);
	add_number(o, "copied", st->copied);
	add_number(o, "pool-size", st->pool_size);
	add_number(o, "pool-high-water", st->pool_high_water);
	add_number(o, "pool-full", st->pool_full);
	add_real(o, "write-fault-latency", st->write_fault_latency);
	add_real(o, "write-fault-latency-p50", st->write_fault_latency_p50);
	add_real(o, "write-fault-latency-p99", st->write_fault_latency_p99);
	add_real(o, "write-fault-latency-max", st->write_fault_latency_max);
	for (unsigned i = 0; i < RF_LATENCY_BUCKETS; i++)
		json_object_array_add(dist,
				      json_object_new_uint64(st->write_fault_latency_dist[i]));
	json_object_object_add(o, "write-fault-latency-dist", dist);
	add_real(o, "pause-time", st->pause_time);
	add_real(o, "protect-time", st->protect_time);
	add_real(o, "total-time", st->total_time);
	add_number(o, "device-state", st->device_state);
	if (st->transport[0])
		json_object_object_add(o, "transport", json_object_new_string(st->transport));
	if (st->provider[0])
		json_object_object_add(o, "provider", json_object_new_string(st->provider));
	json_object_object_add(o, "direct", json_object_new_boolean(st->direct));
	return o;
}

struct json_object *snapshot_report_json(const struct rf_snapshot_stats *st,
					 const struct snapshot_to *to)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "status", json_object_new_string(rf_state_str(st->status)));
	if (st->error_desc[0])
		json_object_object_add(o, "error-desc", json_object_new_string(st->error_desc));
	if (to->text[0])
		json_object_object_add(o, to->host[0] ? "destination" : "file",
				       json_object_new_string(to->text));
	json_object_object_add(o, "snapshot", snapshot_stats_json(st));
	return o;
}
