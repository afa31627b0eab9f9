/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/status_view.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/size.h"

#define BAR 30

static struct json_object *member(struct json_object *o, const char *name)
{
	struct json_object *v = NULL;

	return json_object_object_get_ex(o, name, &v) ? v : NULL;
}

static double number(struct json_object *o, const char *name)
{
	return json_object_get_double(member(o, name));
}

static uint64_t count(struct json_object *o, const char *name)
{
	return json_object_get_uint64(member(o, name));
}

static const char *text(struct json_object *o, const char *name)
{
	struct json_object *v = member(o, name);

	return v ? json_object_get_string(v) : "";
}

static unsigned migrations(struct json_object *status)
{
	struct json_object *all = member(status, "migrations");
	size_t n = json_object_is_type(all, json_type_array) ? json_object_array_length(all) : 0;

	return n < STATUS_VIEW_MAX ? (unsigned)n : STATUS_VIEW_MAX;
}

static struct json_object *migration(struct json_object *status, unsigned i)
{
	return json_object_array_get_idx(member(status, "migrations"), i);
}

static bool is_over(struct json_object *m)
{
	const char *s = text(m, "status");

	return !strcmp(s, "completed") || !strcmp(s, "failed") || !strcmp(s, "cancelled");
}

bool status_view_over(struct json_object *status, bool *completed)
{
	unsigned n = migrations(status);

	*completed = n > 0;
	for (unsigned i = 0; i < n; i++) {
		if (!is_over(migration(status, i)))
			return false;
		if (strcmp(text(migration(status, i), "status"), "completed") != 0)
			*completed = false;
	}
	return n > 0;
}

void status_view_sample(struct status_view *v, struct json_object *status)
{
	uint64_t now = count(status, "time");
	double seconds = v->time && now > v->time ? (double)(now - v->time) / 1e3 : 0;

	for (unsigned i = 0; i < migrations(status); i++) {
		double sent = number(member(migration(status, i), "ram"), "transferred");

		v->rate[i] = seconds <= 0		? -1
			     : sent > v->transferred[i] ? (sent - v->transferred[i]) / seconds
							: 0;
		v->transferred[i] = sent;
	}
	v->time = now;
}

/* Several of these may be in one printf. */
struct words {
	char s[32];
};

static struct words size(double bytes)
{
	struct words w = {0};

	rf_size_format(bytes > 0 ? (uint64_t)bytes : 0, w.s, sizeof(w.s));
	return w;
}

/* Less than 0: not known. */
static struct words per_second(double bytes)
{
	struct words w = {.s = "-"};

	if (bytes >= 0)
		snprintf(w.s, sizeof(w.s), "%.24s/s", size(bytes).s);
	return w;
}

static struct words percent_bar(struct json_object *m)
{
	struct json_object *ram = member(m, "ram");
	double whole = number(ram, "total") - number(ram, "skipped") * number(ram, "page-size");
	bool begun = number(ram, "transferred") > 0 || number(ram, "duplicate") > 0;
	double done = !begun			 ? 0
		      : is_over(m) || whole <= 0 ? 1
						 : 1 - number(ram, "remaining") / whole;
	int n = done <= 0 ? 0 : (int)(done * BAR);
	struct words w;

	memset(w.s, ' ', BAR);
	memset(w.s, '=', (size_t)(n > BAR ? BAR : n));
	w.s[BAR] = 0;
	return w;
}

static void say(FILE *f, const char *label, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void say(FILE *f, const char *label, const char *fmt, ...)
{
	va_list ap;

	fprintf(f, "  %-12s ", label);
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fputc('\n', f);
}

static void say_ram(FILE *f, struct json_object *m, double rate)
{
	struct json_object *ram = member(m, "ram");
	double page = number(ram, "page-size");

	fprintf(f, "  [%s]\n", percent_bar(m).s);
	say(f, "transferred", "%s, now %s, last round %s", size(number(ram, "transferred")).s,
	    per_second(rate).s, per_second(number(ram, "mbps") * 1e6 / 8).s);
	say(f, "remaining", "%s of %s, %s are holes", size(number(ram, "remaining")).s,
	    size(number(ram, "total")).s, size(number(ram, "skipped") * page).s);
	say(f, "pages", "%llu sent, %llu zero", (unsigned long long)count(ram, "normal"),
	    (unsigned long long)count(ram, "duplicate"));
	say(f, "dirty", "%s/s (%llu pages/s), %llu harvests",
	    size(number(ram, "dirty-pages-rate") * page).s,
	    (unsigned long long)count(ram, "dirty-pages-rate"),
	    (unsigned long long)count(ram, "dirty-sync-count"));
	if (count(ram, "background-sync-count"))
		say(f, "saved",
		    "%llu pages not sent twice, %llu sent last; %llu harvests in rounds",
		    (unsigned long long)count(ram, "redundant-pages-avoided"),
		    (unsigned long long)count(ram, "hot-pages-deferred"),
		    (unsigned long long)count(ram, "background-sync-count"));
	if (count(ram, "released"))
		say(f, "given back", "%s", size(number(ram, "released")).s);
	if (count(m, "not-converging"))
		say(f, "converging", "no, found in round %llu",
		    (unsigned long long)count(m, "not-converging"));
}

/* Of a snapshot being taken, or of the last one. */
static void say_snapshot(FILE *f, struct json_object *m)
{
	struct json_object *s = member(m, "snapshot");

	if (!s)
		return;
	say(f, "to", "%s", text(m, member(m, "file") ? "file" : "destination"));
	say(f, "saved", "%s, %s left; %s written", size(number(s, "pages-saved") * 4096).s,
	    size(number(s, "remaining")).s, size(number(s, "bytes-written")).s);
	say(f, "faults", "%llu, %llu of them copied, pool %s of %s",
	    (unsigned long long)count(s, "write-faults"), (unsigned long long)count(s, "copied"),
	    size(number(s, "pool-high-water")).s, size(number(s, "pool-size")).s);
	say(f, "latency", "mean %.0f us, p50 %.0f, p99 %.0f, worst %.0f",
	    number(s, "write-fault-latency"), number(s, "write-fault-latency-p50"),
	    number(s, "write-fault-latency-p99"), number(s, "write-fault-latency-max"));
	say(f, "pause", "%.1f ms", number(s, "pause-time"));
}

static void say_downtime(FILE *f, struct json_object *m)
{
	unsigned long long limit = count(m, "downtime-limit");

	if (number(m, "downtime") > 0)
		say(f, "downtime", "%.1f ms, expected %.1f ms, limit %llu ms",
		    number(m, "downtime"), number(m, "expected-downtime"), limit);
	else if (number(m, "expected-downtime") > 0)
		say(f, "downtime", "expected %.1f ms, limit %llu ms",
		    number(m, "expected-downtime"), limit);
	else
		say(f, "downtime", "not known yet, limit %llu ms", limit);
}

static struct words bandwidth(struct json_object *m, const char *name)
{
	double limit = number(m, name);

	return limit > 0 ? per_second(limit) : (struct words){.s = "none"};
}

static void say_limits(FILE *f, struct json_object *m)
{
	say(f, "limits", "bandwidth %s, postcopy push %s", bandwidth(m, "max-bandwidth").s,
	    bandwidth(m, "max-postcopy-bandwidth").s);
	say(f, "throttle", "%llu %%", (unsigned long long)count(m, "cpu-throttle-percentage"));
}

static void say_postcopy(FILE *f, struct json_object *m, bool source)
{
	if (!json_object_get_boolean(member(m, "postcopy")))
		return;
	if (source) {
		say(f, "requests", "%llu, %s answered, %llu zero, %llu boosted, %llu twice",
		    (unsigned long long)count(m, "postcopy-requests"),
		    size(number(m, "postcopy-bytes")).s,
		    (unsigned long long)count(m, "postcopy-zero-answers"),
		    (unsigned long long)count(m, "postcopy-boosted"),
		    (unsigned long long)count(m, "postcopy-duplicate-requests"));
		say(f, "pushed", "%s, %llu window changes",
		    size(number(m, "postcopy-pushed-bytes")).s,
		    (unsigned long long)count(m, "postcopy-window-changes"));
		return;
	}
	say(f, "remaining", "%s of %s", size(number(member(m, "ram"), "remaining")).s,
	    size(number(member(m, "ram"), "total")).s);
	say(f, "faults", "%llu, %llu of them local, %llu requests",
	    (unsigned long long)count(m, "postcopy-faults"),
	    (unsigned long long)count(m, "postcopy-local-faults"),
	    (unsigned long long)count(m, "postcopy-requests"));
	say(f, "latency", "mean %.0f us, p50 %.0f, p99 %.0f, worst %.0f",
	    number(m, "postcopy-latency"), number(m, "postcopy-latency-p50"),
	    number(m, "postcopy-latency-p99"), number(m, "postcopy-latency-max"));
}

/* One migration with everything. */
static void view_one(FILE *f, struct json_object *status, struct json_object *m, double rate)
{
	bool source = !strcmp(text(status, "side"), "source");

	fprintf(f, "%s %llu: %s", text(status, "side"), (unsigned long long)count(status, "pid"),
		text(m, "status"));
	if (count(m, "rounds"))
		fprintf(f, ", round %llu", (unsigned long long)count(m, "rounds"));
	fprintf(f, ", %.1f s",
		number(member(m, "snapshot") ? member(m, "snapshot") : m, "total-time") / 1e3);
	if (text(m, "transport")[0])
		fprintf(f, ", %s%s%s, %llu lane%s", text(m, "transport"),
			text(m, "provider")[0] ? ":" : "", text(m, "provider"),
			(unsigned long long)count(m, "lanes"), count(m, "lanes") == 1 ? "" : "s");
	if (text(m, "tracker")[0])
		fprintf(f, ", %s", text(m, "tracker"));
	fputc('\n', f);
	if (source) {
		say_ram(f, m, rate);
		say_downtime(f, m);
		say_limits(f, m);
	}
	say_postcopy(f, m, source);
	say_snapshot(f, m);
	if (text(m, "error-desc")[0])
		say(f, "error", "%s", text(m, "error-desc"));
}

/* Several: a line each, and the sum. */
static void view_many(FILE *f, const struct status_view *v, struct json_object *status)
{
	double sent = 0, left = 0, rate = 0;
	unsigned n = migrations(status);

	fprintf(f, "%s %llu: %u migrations", text(status, "side"),
		(unsigned long long)count(status, "pid"), n);
	if (member(status, "max-bandwidth"))
		fprintf(f, ", bandwidth %s", bandwidth(status, "max-bandwidth").s);
	fputc('\n', f);
	fprintf(f, "  %3s  %-16s %5s %11s %11s %12s %8s\n", "#", "state", "round", "transferred",
		"remaining", "now", "downtime");
	for (unsigned i = 0; i < n; i++) {
		struct json_object *m = migration(status, i), *ram = member(m, "ram");

		fprintf(f, "  %3llu  %-16s %5llu %11s %11s %12s %5.0f ms\n",
			(unsigned long long)count(m, "migration"), text(m, "status"),
			(unsigned long long)count(m, "rounds"), size(number(ram, "transferred")).s,
			size(number(ram, "remaining")).s, per_second(v->rate[i]).s,
			number(m, "downtime"));
		sent += number(ram, "transferred");
		left += number(ram, "remaining");
		rate += v->rate[i] > 0 ? v->rate[i] : 0;
	}
	fprintf(f, "  %3s  %-16s %5s %11s %11s %12s\n", "", "sum", "", size(sent).s, size(left).s,
		per_second(n && v->rate[0] < 0 ? -1 : rate).s);
}

char *status_view_block(const struct status_view *v, struct json_object *status)
{
	char *out = NULL;
	size_t len;
	FILE *f = open_memstream(&out, &len);

	if (!f)
		return NULL;
	if (migrations(status) == 1)
		view_one(f, status, migration(status, 0), v->rate[0]);
	else
		view_many(f, v, status);
	return fclose(f) == 0 ? out : NULL;
}

static void line_of_snapshot(FILE *f, struct json_object *m)
{
	struct json_object *s = member(m, "snapshot");

	fprintf(f, "%s, saved %s, left %s, %llu write faults, p99 %.0f us", text(m, "status"),
		size(number(s, "pages-saved") * 4096).s, size(number(s, "remaining")).s,
		(unsigned long long)count(s, "write-faults"), number(s, "write-fault-latency-p99"));
}

char *status_view_line(const struct status_view *v, struct json_object *status)
{
	unsigned n = migrations(status);
	char *out = NULL;
	size_t len;
	FILE *f = open_memstream(&out, &len);

	if (!f)
		return NULL;
	for (unsigned i = 0; i < n; i++) {
		struct json_object *m = migration(status, i), *ram = member(m, "ram");

		if (n > 1)
			fprintf(f, "%s%llu: ", i ? "; " : "",
				(unsigned long long)count(m, "migration"));
		if (member(m, "snapshot")) {
			line_of_snapshot(f, m);
			continue;
		}
		fprintf(f, "%s, round %llu, sent %s, left %s, now %s, dirty %s/s",
			text(m, "status"), (unsigned long long)count(m, "rounds"),
			size(number(ram, "transferred")).s, size(number(ram, "remaining")).s,
			per_second(v->rate[i]).s,
			size(number(ram, "dirty-pages-rate") * number(ram, "page-size")).s);
		if (number(m, "downtime") > 0)
			fprintf(f, ", downtime %.1f ms", number(m, "downtime"));
	}
	fputc('\n', f);
	return fclose(f) == 0 ? out : NULL;
}
