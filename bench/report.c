/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/report.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <ramferry/version.h>

#include "bench/session.h"

#define VARIANT_WIDTH 12
#define RULE                                                                                      \
	"---------------------------------------------------------------------------------------" \
	"\n"

void report_init(struct report *r, const struct bench_kind *kind, bool json, bool quiet)
{
	*r = (struct report){
		.columns = kind->columns,
		.variants = kind->variants,
		.json = json,
		.quiet = quiet,
	};
	while (r->variants && r->variants[r->nvariants])
		r->nvariants++;
}

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static void add_number(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_uint64(n));
}

static void add_bool(struct json_object *o, const char *key, bool b)
{
	json_object_object_add(o, key, json_object_new_boolean(b));
}

static void begin_json(struct report *r, const struct session *s)
{
	const struct bench_params *w = &s->opts.want;
	struct json_object *o = json_object_new_object();

	add_text(o, "program", s->kind->name);
	add_text(o, "version", rf_version());
	add_text(o, "side", s->server ? "server" : "client");
	add_text(o, "transport", s->rung);
	add_text(o, "provider", s->engine->provider);
	add_bool(o, "raw", w->raw);
	add_text(o, "completions",
		 s->opts.poll_mode ? s->opts.poll_mode
		 : s->sleeps	   ? "event"
				   : "polling");
	add_number(o, "lanes", w->lanes);
	add_number(o, "tx-depth", s->depth);
	add_number(o, "post-list", session_post_list(s));
	add_number(o, "memory", s->bytes);
	r->object = o;
	r->rows = json_object_new_array();
}

static void print_columns(const struct report *r)
{
	printf(" %-10s %-14s", "#bytes", "#iterations");
	if (r->variants)
		printf(" %-*s", VARIANT_WIDTH, "case");
	for (const struct column *c = r->columns; c->title; c++)
		printf(" %-*s", (int)strlen(c->title) + 3, c->title);
	printf("\n");
}

void report_begin(struct report *r, const struct session *s)
{
	const struct bench_params *w = &s->opts.want;

	if (r->json)
		begin_json(r, s);
	if (r->json || r->quiet)
		return;
	printf(RULE "                    %s\n", s->kind->title);
	printf(" Transport       : %s%s%s%s\n", w->raw ? "plain libfabric, " : "", s->rung,
	       !strchr(s->rung, ':') && s->engine->provider[0] ? ", device " : "",
	       strchr(s->rung, ':') ? "" : s->engine->provider);
	printf(" Addresses       : local %s, remote %s\n",
	       s->opts.local ? s->opts.local : s->peer.local_host, s->peer.peer_host);
	printf(" Lanes           : %-12" PRIu64 " TX depth  : %" PRIu64, w->lanes, s->depth);
	if (s->depth != w->depth && w->depth)
		printf(" (%" PRIu64 " asked for, the limit)", w->depth);
	printf("\n Memory          : %-12" PRIu64 " Post list : %" PRIu64 "\n", s->bytes,
	       session_post_list(s));
	printf(" Completions     : %s\n" RULE, s->opts.poll_mode ? s->opts.poll_mode
					       : s->sleeps	 ? "events"
								 : "polling");
	print_columns(r);
	fflush(stdout);
}

static void row_json(struct report *r, const struct row *row)
{
	struct json_object *o = json_object_new_object();
	unsigned i = 0;

	add_number(o, "bytes", row->bytes);
	add_number(o, "iterations", row->iters);
	if (r->variants)
		add_text(o, "case", r->variants[row->variant]);
	for (const struct column *c = r->columns; c->title; c++, i++) {
		char text[40];

		if (!isfinite(row->value[i]))
			continue;
		snprintf(text, sizeof(text), "%.*f", c->decimals, row->value[i]);
		json_object_object_add(o, c->key, json_object_new_double_s(row->value[i], text));
	}
	add_bool(o, "verified", row->verified);
	json_object_array_add(r->rows, o);
}

void report_row(struct report *r, const struct row *row)
{
	unsigned i = 0;

	if (r->json)
		row_json(r, row);
	if (r->json || r->quiet)
		return;
	printf(" %-10" PRIu64 " %-14" PRIu64, row->bytes, row->iters);
	if (r->variants)
		printf(" %-*s", VARIANT_WIDTH, r->variants[row->variant]);
	for (const struct column *c = r->columns; c->title; c++, i++) {
		int width = (int)strlen(c->title) + 3;

		if (isfinite(row->value[i]))
			printf(" %-*.*f", width, c->decimals, row->value[i]);
		else
			printf(" %-*s", width, "-");
	}
	printf("%s\n", row->verified ? " verified" : "");
	fflush(stdout);
}

void report_end(struct report *r, bool complete)
{
	if (r->json) {
		add_bool(r->object, "complete", complete);
		json_object_object_add(r->object, "results", r->rows);
		if (!r->quiet)
			printf("%s\n",
			       json_object_to_json_string_ext(r->object, JSON_C_TO_STRING_PLAIN));
		json_object_put(r->object);
	} else if (!r->quiet) {
		printf(RULE);
	}
	fflush(stdout);
}

void report_put(const struct report *r, const struct row *row, struct msg *m)
{
	unsigned i = 0;

	msg_put_u64(m, row->variant);
	msg_put_u64(m, row->bytes);
	msg_put_u64(m, row->iters);
	msg_put_u64(m, row->verified);
	for (const struct column *c = r->columns; c->title; c++)
		msg_put_double(m, row->value[i++]);
}

int report_get(const struct report *r, struct row *row, struct msg *m)
{
	unsigned i = 0;

	row->variant = (unsigned)msg_get_u64(m);
	row->bytes = msg_get_u64(m);
	row->iters = msg_get_u64(m);
	row->verified = msg_get_u64(m) != 0;
	for (const struct column *c = r->columns; c->title; c++)
		row->value[i++] = msg_get_double(m);
	return msg_end(m) && (!r->variants || row->variant < r->nvariants) ? 0 : -1;
}
