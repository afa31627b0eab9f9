/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/common.h"

#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/size.h"

int parse_command(const struct rf_opt *table, const char *prog, const char *usage, int argc,
		  char **argv, void *opts, struct output_opts *out, const char **pos,
		  unsigned npos_max, unsigned *npos)
{
	enum rf_log_level level;

	/* --help is honoured wherever it stands, also beside what is wrong. */
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
		if (strcmp(argv[i], "--help") && strcmp(argv[i], "-h"))
			continue;
		printf("Usage: %s %s\n", prog, usage);
		rf_opts_help(table, stdout);
		return 0;
	}
	if (rf_opts_parse(table, prog, argc, argv, opts, pos, npos_max, npos, stderr) != RF_OK)
		return EXIT_USAGE;
	if (rf_log_level_parse(out->log_level, &level) == RF_OK)
		rf_log_set_level(level);
	return -1;
}

bool parse_host_port(const char *prog, const char *text, char *host, size_t cap, uint16_t *port)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	const char *from = text;
	char *end;
	unsigned long n = colon ? strtoul(colon + 1, &end, 10) : 0;

	if (!colon || !colon[1] || *end || n > 65535 || colon[1] == '-' || colon[1] == '+') {
		fprintf(stderr,
			"%s: \"%s\" is no address; give HOST:PORT, e.g. 192.0.2.7:4444 or "
			"[2001:db8::7]:4444\n",
			prog, text);
		return false;
	}
	if (len >= 2 && from[0] == '[' && from[len - 1] == ']') {
		from++;
		len -= 2;
	}
	if (len >= cap) {
		fprintf(stderr, "%s: host name in \"%.40s…\" is too long\n", prog, text);
		return false;
	}
	if (len)
		snprintf(host, cap, "%.*s", (int)len, from);
	else
		snprintf(host, cap, "127.0.0.1");
	*port = (uint16_t)n;
	return true;
}

uint32_t guest_page_size(const struct guest_opts *g)
{
	return !strcmp(g->page_size, "2M")   ? 2u << 20
	       : !strcmp(g->page_size, "1G") ? 1u << 30
					     : RF_PAGE_SIZE;
}

void guest_config(const struct guest_opts *g, struct rf_vm_cfg *cfg)
{
	*cfg = (struct rf_vm_cfg){
		.kind = g->kind,
		.memory = g->memory,
		.page_size = guest_page_size(g),
		.vcpus = (unsigned)g->vcpus,
		.working_set = g->working_set,
		.dirty_rate = g->dirty_rate,
		.balloon = g->balloon,
		.free_percent = (unsigned)g->free_fraction,
		.fill = g->fill,
		.hot = (unsigned)g->hot,
		.seed = g->seed,
		.pattern = g->pattern && !strcmp(g->pattern, "sequential") ? RF_PATTERN_SEQUENTIAL
									   : RF_PATTERN_RANDOM,
		.tracker = g->tracker ? g->tracker : "auto",
		.memfd = -1,
	};
	while (!cfg->seed)
		if (getrandom(&cfg->seed, sizeof(cfg->seed), 0) != (ssize_t)sizeof(cfg->seed))
			cfg->seed = (uint64_t)getpid();
}

static int watched_pause(void *arg)
{
	struct watched_vm *w = arg;
	int rc = rf_vm_ops.pause(w->vm);
	char desc[256];

	w->story.at_pause = rf_vm_passes(w->vm);
	w->story.healthy = rf_vm_health(w->vm, desc, sizeof(desc)) == RF_OK;
	return rc;
}

static int watched_resume(void *arg)
{
	struct watched_vm *w = arg;

	w->story.at_resume = rf_vm_passes(w->vm);
	return rf_vm_ops.resume(w->vm);
}

static int watched_save(void *arg, void **buf, size_t *len)
{
	return rf_vm_ops.save_state(((struct watched_vm *)arg)->vm, buf, len);
}

static int watched_load(void *arg, const void *buf, size_t len)
{
	return rf_vm_ops.load_state(((struct watched_vm *)arg)->vm, buf, len);
}

static uint64_t watched_state_size(void *arg)
{
	return rf_vm_ops.state_size ? rf_vm_ops.state_size(((struct watched_vm *)arg)->vm) : 0;
}

static int watched_throttle(void *arg, unsigned percent)
{
	return rf_vm_ops.throttle(((struct watched_vm *)arg)->vm, percent);
}

static void watched_hints_done(void *arg)
{
	rf_vm_ops.free_hint_done(((struct watched_vm *)arg)->vm);
}

const struct rf_guest_ops watched_vm_ops = {
	.size = sizeof(struct rf_guest_ops),
	.pause = watched_pause,
	.resume = watched_resume,
	.save_state = watched_save,
	.load_state = watched_load,
	.state_size = watched_state_size,
	.throttle = watched_throttle,
	.free_hint_done = watched_hints_done,
};

bool run_and_check(struct watched_vm *w, uint64_t from_passes, uint64_t min_ms, uint64_t max_ms,
		   const volatile sig_atomic_t *stop, char *desc, size_t cap)
{
	uint64_t start = rf_now_ns(&rf_clock_monotonic), ms = 0, passes = from_passes;

	desc[0] = 0;
	while (!*stop && ms < max_ms && rf_vm_health(w->vm, desc, cap) == RF_OK) {
		passes = rf_vm_passes(w->vm);
		if (ms >= min_ms && passes > from_passes)
			break;
		usleep(5000);
		ms = (rf_now_ns(&rf_clock_monotonic) - start) / RF_NS_PER_MS;
	}
	if (rf_vm_ops.pause(w->vm) != RF_OK) {
		snprintf(desc, cap, "the guest cannot be paused");
		return false;
	}
	w->story.at_end = rf_vm_passes(w->vm);
	if (rf_vm_health(w->vm, desc, cap) != RF_OK || rf_vm_check(w->vm, desc, cap) != RF_OK)
		return false;
	if (w->story.at_end > from_passes)
		return true;
	if (*stop)
		snprintf(desc, cap, "stopped by a signal before it could be checked");
	else
		snprintf(desc, cap, "the guest made no pass over its working set within %llu ms",
			 (unsigned long long)ms);
	return false;
}

static void add_number(struct json_object *o, const char *name, uint64_t v)
{
	json_object_object_add(o, name, json_object_new_uint64(v));
}

/* Times and rates to three places: more is noise. */
static void add_real(struct json_object *o, const char *name, double v)
{
	char text[40];

	if (!isfinite(v))
		return; /* not known: JSON has no word for it */
	snprintf(text, sizeof(text), "%.3f", v);
	json_object_object_add(o, name, json_object_new_double_s(v, text));
}

static void add_text(struct json_object *o, const char *name, const char *v)
{
	json_object_object_add(o, name, json_object_new_string(v));
}

static struct json_object *ram_to_json(const struct rf_ram_stats *r, bool source)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "total", r->total);
	add_number(o, "transferred", r->transferred);
	add_number(o, "remaining", r->remaining);
	add_number(o, "duplicate", r->duplicate);
	add_number(o, "normal", r->normal);
	add_number(o, "normal-bytes", r->normal_bytes);
	add_number(o, "skipped", r->skipped);
	add_number(o, "redundant-pages-avoided", r->redundant_pages_avoided);
	add_number(o, "hot-pages-deferred", r->hot_pages_deferred);
	add_number(o, "background-sync-count", r->background_sync_count);
	add_number(o, "dirty-sync-count", r->dirty_sync_count);
	add_number(o, "dirty-pages-rate", r->dirty_pages_rate);
	add_real(o, "mbps", r->mbps);
	add_number(o, "page-size", r->page_size);
	add_number(o, "precopy-bytes", r->precopy_bytes);
	add_number(o, "downtime-bytes", r->downtime_bytes);
	if (source)
		add_number(o, "released", r->released);
	else
		add_number(o, "resident", r->resident);
	return o;
}

static struct json_object *dist_to_json(const struct rf_postcopy_stats *p)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; i < RF_LATENCY_BUCKETS; i++)
		json_object_array_add(a, json_object_new_uint64(p->latency_dist[i]));
	return a;
}

static struct json_object *blocked_to_json(const struct rf_postcopy_stats *p)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; i < p->nblocked; i++) {
		struct json_object *o = json_object_new_object();

		add_number(o, "thread", p->blocked[i].thread);
		add_number(o, "faults", p->blocked[i].faults);
		add_real(o, "blocktime", p->blocked[i].blocked_ms);
		json_object_array_add(a, o);
	}
	return a;
}

/* Each side knows its half: the source how requests were served, the destination how long they
 * took. */
static void add_postcopy(struct json_object *o, const struct rf_postcopy_stats *p, bool source)
{
	add_number(o, "postcopy-requests", p->requests);
	if (source) {
		add_number(o, "postcopy-bytes", p->bytes);
		add_number(o, "postcopy-pushed-bytes", p->pushed_bytes);
		add_number(o, "postcopy-duplicate-requests", p->duplicates);
		add_number(o, "postcopy-boosted", p->boosted);
		add_number(o, "postcopy-zero-answers", p->zero_answers);
		add_number(o, "postcopy-window-changes", p->window_changes);
		return;
	}
	add_number(o, "postcopy-faults", p->faults);
	add_number(o, "postcopy-local-faults", p->local_faults);
	add_number(o, "postcopy-existed", p->existed);
	add_real(o, "postcopy-latency", p->latency);
	add_real(o, "postcopy-latency-p50", p->latency_p50);
	add_real(o, "postcopy-latency-p99", p->latency_p99);
	add_real(o, "postcopy-latency-max", p->latency_max);
	add_real(o, "postcopy-part-request", p->part_request);
	add_real(o, "postcopy-part-wire", p->part_wire);
	add_real(o, "postcopy-part-place", p->part_place);
	json_object_object_add(o, "postcopy-latency-dist", dist_to_json(p));
	json_object_object_add(o, "postcopy-vcpu-blocktime", blocked_to_json(p));
}

/* The source knows what was hinted, the destination what became of it. */
static void add_free_hints(struct json_object *o, const struct rf_hint_stats *h, bool source)
{
	if (source) {
		add_number(o, "free-hints", h->hints);
		add_number(o, "free-hints-stale", h->stale);
		add_number(o, "free-pages", h->pages);
		add_number(o, "free-pages-avoided", h->avoided);
		add_number(o, "free-pages-told", h->told);
		return;
	}
	add_number(o, "free-pages-told", h->told);
	add_number(o, "postcopy-free-faults", h->faults);
	add_real(o, "postcopy-free-latency", h->latency);
	add_real(o, "postcopy-free-latency-p50", h->latency_p50);
	add_real(o, "postcopy-free-latency-max", h->latency_max);
}

struct json_object *stats_to_json(const struct rf_stats *st)
{
	struct json_object *o = json_object_new_object();

	add_text(o, "status", rf_state_str(st->status));
	if (st->error_desc[0])
		add_text(o, "error-desc", st->error_desc);
	add_text(o, "transport", st->transport);
	add_text(o, "provider", st->provider);
	add_text(o, "tracker", st->tracker);
	add_number(o, "lanes", st->lanes);
	add_number(o, "rounds", st->round);
	add_real(o, "total-time", st->total_time);
	add_real(o, "setup-time", st->setup_time);
	add_real(o, "downtime", st->downtime);
	add_real(o, "expected-downtime", st->expected_downtime);
	add_real(o, "verify-time", st->verify_time);
	if (st->tracker[0]) { /* the source's */
		add_real(o, "downtime-error", st->downtime_error);
		add_number(o, "not-converging", st->not_converging);
		add_number(o, "downtime-limit", st->downtime_limit);
		add_number(o, "max-bandwidth", st->max_bandwidth);
		add_number(o, "max-postcopy-bandwidth", st->max_postcopy_bandwidth);
		add_number(o, "cpu-throttle-percentage", st->cpu_throttle_percentage);
	}
	add_number(o, "device-state", st->device_state);
	add_real(o, "poll-cpu-time", st->poll_cpu_time);
	add_number(o, "poll-wakeups", st->poll_wakeups);
	json_object_object_add(o, "verified", json_object_new_boolean(st->verified));
	json_object_object_add(o, "ram", ram_to_json(&st->ram, st->tracker[0]));
	json_object_object_add(o, "postcopy", json_object_new_boolean(st->postcopy.active));
	if (st->free_hints.hints || st->free_hints.stale || st->free_hints.told)
		add_free_hints(o, &st->free_hints, st->tracker[0]);
	if (st->postcopy.active)
		add_postcopy(o, &st->postcopy, st->tracker[0]);
	return o;
}

void print_json_line(struct json_object *o)
{
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	fflush(stdout);
}
