/* SPDX-License-Identifier: BSD-3-Clause */
/* Two sides that do not fit together: one clear line on each, and the guest stays where it is. */
#include "tests/migration/move.h"

#include <sys/mman.h>

#define HUGE (2u << 20)

/* A region as one of the sides has it. */
struct spec {
	const char *id;
	uint64_t len;
	uint32_t page_size;
};

static const struct {
	const char *what;
	struct spec here[4], there[4];
	const char *words; /* in the destination's error */
} rows[] = {
	{"another name",
	 {{"ram", MIB, RF_PAGE_SIZE}},
	 {{"memory", MIB, RF_PAGE_SIZE}},
	 "has none of that name"},
	{"one too few",
	 {{"ram", MIB, RF_PAGE_SIZE}, {"rom", MIB, RF_PAGE_SIZE}},
	 {{"ram", MIB, RF_PAGE_SIZE}},
	 "source has 2 regions"},
	{"one too many",
	 {{"ram", MIB, RF_PAGE_SIZE}},
	 {{"ram", MIB, RF_PAGE_SIZE}, {"rom", MIB, RF_PAGE_SIZE}},
	 "destination 2"},
	{"a shorter one",
	 {{"ram", 2 * MIB, RF_PAGE_SIZE}},
	 {{"ram", MIB, RF_PAGE_SIZE}},
	 "source has 2097152 bytes"},
	{"a longer one",
	 {{"ram", MIB, RF_PAGE_SIZE}},
	 {{"ram", MIB + PAGE, RF_PAGE_SIZE}},
	 "destination 1052672"},
	{"one of three is another",
	 {{"a", MIB, RF_PAGE_SIZE}, {"b", MIB, RF_PAGE_SIZE}, {"c", MIB, RF_PAGE_SIZE}},
	 {{"c", MIB, RF_PAGE_SIZE}, {"a", MIB, RF_PAGE_SIZE}, {"d", MIB, RF_PAGE_SIZE}},
	 "\"b\""},
	{"other pages",
	 {{"ram", HUGE, HUGE}},
	 {{"ram", HUGE, RF_PAGE_SIZE}},
	 "in pages of 2097152"},
	{"names alike",
	 {{"ram", MIB, RF_PAGE_SIZE}},
	 {{"ram ", MIB, RF_PAGE_SIZE}},
	 "has none of that name"},
};

struct pair {
	struct rf_mem_hub *hub;
	struct rf_source *src;
	struct rf_dest *dst;
	struct rf_tracker tracker;
	void *memory;
	int src_rc, dst_rc;
};

static int never_asked(void *arg)
{
	*(bool *)arg = true;
	return RF_OK;
}

static int never_saved(void *arg, void **buf, size_t *len)
{
	*(bool *)arg = true;
	return RF_ERR_GUEST;
}

static int never_loaded(void *arg, const void *buf, size_t len)
{
	*(bool *)arg = true;
	return RF_ERR_GUEST;
}

static bool asked; /* for anything at all */

static const struct rf_guest_ops ops = {
	.size = sizeof(ops),
	.pause = never_asked,
	.resume = never_asked,
	.save_state = never_saved,
	.load_state = never_loaded,
};

static void open_pair(struct pair *p, struct rf_source_cfg *s, struct rf_dest_cfg *d)
{
	memset(p, 0, sizeof(*p));
	asked = false;
	assert_int_equal(rf_mem_hub_new(NULL, &p->hub), RF_OK);
	assert_int_equal(rf_tracker_manual_new(&p->tracker), RF_OK);
	d->size = sizeof(*d);
	d->transport = d->transport ? d->transport : "mem";
	d->guest = ops;
	d->guest_arg = &asked;
	assert_int_equal(rf_dest_new(d, &p->dst), RF_OK);
	mv_set_hubs(NULL, p->dst, p->hub);
	s->size = sizeof(*s);
	s->transport = s->transport ? s->transport : "mem";
	s->host = "127.0.0.1";
	s->port = rf_dest_port(p->dst);
	s->guest = ops;
	s->guest_arg = &asked;
	s->tracker = p->tracker;
	assert_int_equal(rf_source_new(s, &p->src), RF_OK);
	mv_set_hubs(p->src, NULL, p->hub);
	p->memory = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(p->memory != MAP_FAILED);
}

static void add_here(struct pair *p, const struct spec *s)
{
	struct rf_region r = {
		.size = sizeof(r),
		.addr = p->memory,
		.len = s->len,
		.page_size = s->page_size,
		.memfd = -1,
	};

	snprintf(r.id, sizeof(r.id), "%s", s->id);
	assert_int_equal(rf_source_add_region(p->src, &r), RF_OK);
}

static void add_there(struct pair *p, const struct spec *s)
{
	struct rf_dest_region r = {
		.size = sizeof(r),
		.len = s->len,
		.page_size = s->page_size,
	};

	snprintf(r.id, sizeof(r.id), "%s", s->id);
	assert_int_equal(rf_dest_add_region(p->dst, &r, NULL), RF_OK);
}

static void *run_dest(void *arg)
{
	struct pair *p = arg;

	p->dst_rc = rf_dest_run(p->dst);
	return NULL;
}

static void run_pair(struct pair *p, struct mv_log *log)
{
	pthread_t t;

	mv_log_start();
	assert_int_equal(pthread_create(&t, NULL, run_dest, p), 0);
	p->src_rc = rf_source_run(p->src);
	pthread_join(t, NULL);
	mv_log_stop(log);
}

static void close_pair(struct pair *p)
{
	rf_source_delete(&p->src);
	rf_dest_delete(&p->dst);
	rf_tracker_delete(&p->tracker);
	rf_mem_hub_delete(&p->hub);
	munmap(p->memory, 4 * MIB);
}

/* The destination's words are in its error, and in the source's. */
static void assert_told(struct pair *p, const char *what, int src, int dst, const char *words)
{
	struct rf_stats s = {.size = sizeof(s)}, d = {.size = sizeof(d)};

	rf_source_stats(p->src, &s);
	rf_dest_stats(p->dst, &d);
	if (p->src_rc != src || p->dst_rc != dst || !strstr(d.error_desc, words) ||
	    !strstr(s.error_desc, words))
		fail_msg("%s: source: %s (%s), destination: %s (%s)", what, rf_err_str(p->src_rc),
			 s.error_desc, rf_err_str(p->dst_rc), d.error_desc);
	assert_int_equal(s.status, RF_STATE_FAILED);
	assert_int_equal(d.status, RF_STATE_FAILED);
	assert_false(asked);
}

static void region_tables(void **state)
{
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct rf_source_cfg s = {0};
		struct rf_dest_cfg d = {0};
		struct mv_log log;
		struct pair p;

		open_pair(&p, &s, &d);
		for (unsigned k = 0; k < 4 && rows[i].here[k].id; k++)
			add_here(&p, &rows[i].here[k]);
		for (unsigned k = 0; k < 4 && rows[i].there[k].id; k++)
			add_there(&p, &rows[i].there[k]);
		run_pair(&p, &log);
		assert_told(&p, rows[i].what, RF_ERR_PEER_FAILED, RF_ERR_MISMATCH, rows[i].words);
		if (log.src != 1 || log.dst != 1 || log.other)
			fail_msg("%s: %u, %u, %u lines; last: %s", rows[i].what, log.src, log.dst,
				 log.other, log.last);
		close_pair(&p);
	}
}

static const struct spec ram = {"ram", MIB, RF_PAGE_SIZE};

static void more_lanes_than_allowed(void **state)
{
	struct rf_source_cfg s = {.bulk_lanes = 5};
	struct rf_dest_cfg d = {.max_lanes = 4};
	struct mv_log log;
	struct pair p;

	open_pair(&p, &s, &d);
	add_here(&p, &ram);
	add_there(&p, &ram);
	run_pair(&p, &log);
	assert_told(&p, "lanes", RF_ERR_PEER_FAILED, RF_ERR_MISMATCH, "at most 4");
	assert_int_equal(log.src, 1);
	assert_int_equal(log.dst, 1);
	close_pair(&p);
}

/* Each side has a transport, but not the same. */
static void no_transport_in_common(void **state)
{
	struct rf_source_cfg s = {0};
	struct rf_dest_cfg d = {.transport = "ofi", .provider = "tcp"};
	struct mv_log log;
	struct pair p;

	open_pair(&p, &s, &d);
	add_here(&p, &ram);
	add_there(&p, &ram);
	run_pair(&p, &log);
	assert_int_equal(p.src_rc, RF_ERR_UNSUPPORTED);
	assert_int_equal(p.dst_rc, RF_ERR_PEER_FAILED);
	assert_int_equal(log.src, 1);
	assert_int_equal(log.dst, 1);
	assert_false(asked);
	close_pair(&p);
}

/* ---- what is refused at once ---- */

static void regions_that_cannot_be(void **state)
{
	struct rf_source_cfg s = {0};
	struct rf_dest_cfg d = {0};
	struct rf_dest_region there = {.size = sizeof(there),
				       .id = "ram",
				       .len = MIB,
				       .page_size = RF_PAGE_SIZE};
	struct rf_region here = {.size = sizeof(here),
				 .id = "ram",
				 .len = MIB,
				 .page_size = RF_PAGE_SIZE};
	struct mv_log log;
	struct pair p;

	open_pair(&p, &s, &d);
	here.addr = p.memory;
	here.memfd = -1;
	mv_log_start();
	assert_int_equal(rf_source_add_region(p.src, &here), RF_OK);
	assert_int_equal(rf_source_add_region(p.src, &here), RF_ERR_INVALID); /* twice */
	assert_int_equal(rf_dest_add_region(p.dst, &there, NULL), RF_OK);
	assert_int_equal(rf_dest_add_region(p.dst, &there, NULL), RF_ERR_INVALID);
	here.id[0] = there.id[0] = 'x';
	here.len = there.len = MIB + 1;
	assert_int_equal(rf_source_add_region(p.src, &here), RF_ERR_INVALID);
	assert_int_equal(rf_dest_add_region(p.dst, &there, NULL), RF_ERR_INVALID);
	mv_log_stop(&log);
	assert_int_equal(log.src, 2);
	assert_int_equal(log.dst, 2);
	/* and what is refused does no harm to the others */
	here.len = there.len = MIB;
	assert_int_equal(rf_source_add_region(p.src, &here), RF_OK);
	assert_int_equal(rf_dest_add_region(p.dst, &there, NULL), RF_OK);
	close_pair(&p);
}

/* Plugged in while the guest is moved, by one thread or another. */
static int plug_memory(struct mv *m, enum mv_step s)
{
	struct rf_region late = {
		.size = sizeof(late),
		.id = "dimm1",
		.addr = m->regions[0].addr,
		.len = m->regions[0].len,
		.page_size = RF_PAGE_SIZE,
		.memfd = m->regions[0].memfd,
	};

	if (s == MV_DST_ACTIVE || s == MV_SRC_PROGRESS)
		assert_int_equal(rf_source_add_region(m->source, &late), RF_ERR_STATE);
	return RF_OK;
}

static void memory_plugged_in_too_late_is_refused_by_name(void **state)
{
	struct mv_cfg cfg = {.name = "hot-added", .rounds = 2, .verify = true, .hook = plug_memory};
	struct mv_log log;
	struct mv m;

	mv_open(&m, &cfg);
	mv_log_start();
	mv_run(&m);
	mv_log_stop(&log);
	mv_assert_moved(&m);
	assert_true(log.src >= 2);
	if (!strstr(log.last, "\"dimm1\" comes too late"))
		fail_msg("\"%s\" does not name the region", log.last);
	mv_close(&m);
}

static void nothing_to_move(void **state)
{
	struct rf_source_cfg s = {0};
	struct rf_dest_cfg d = {0};
	struct mv_log log;
	struct pair p;

	open_pair(&p, &s, &d);
	mv_log_start();
	assert_int_equal(rf_source_run(p.src), RF_ERR_INVALID);
	assert_int_equal(rf_dest_run(p.dst), RF_ERR_INVALID);
	mv_log_stop(&log);
	assert_int_equal(log.src, 1);
	assert_int_equal(log.dst, 1);
	close_pair(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(region_tables),
		cmocka_unit_test(more_lanes_than_allowed),
		cmocka_unit_test(no_transport_in_common),
		cmocka_unit_test(regions_that_cannot_be),
		cmocka_unit_test(memory_plugged_in_too_late_is_refused_by_name),
		cmocka_unit_test(nothing_to_move),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
