/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * release-ram against a destination by hand, which takes all that is pushed and says what it likes
 * of it.
 */
#include "tests/migration/peer.h"

#include <poll.h>
#include <unistd.h>

#include "common/log.h"
#include "common/wire_postcopy.h"

#define PATIENCE 30000 /* ms */
#define PAGES	 (plan.len / PAGE)
#define ALL	 (plan.regions * plan.len)

static struct peer peer;
static struct mv victim;
static const struct peer_plan plan = {.lanes = 2, .regions = 2, .len = 3 * MIB}; /* bulk, urgent */
static uint64_t announced;							 /* pages */

static void begin(const char *what, uint16_t minor, struct rf_mem_hub_cfg hub)
{
	struct mv_cfg cfg = {
		.name = what,
		.mode = RF_MODE_POSTCOPY,
		.regions = plan.regions,
		.len = plan.len,
		.chunk_size = MIB,
		.content = MV_DATA,
		.release_ram = true,
		.no_window = true, /* writes are held, and yet all are posted */
		.hub = hub,
		.who = MV_SRC_ALONE,
	};
	int listener = peer_socket(&cfg.port);

	mv_open(&victim, &cfg);
	peer_open(&peer, victim.hub);
	peer.listener = listener;
	peer.minor = minor;
	announced = 0;
}

/* Answers rightly up to the frame `to`, and to that as well. */
static void serve(uint32_t to)
{
	do {
		if (!peer_recv(&peer))
			fail_msg("%s: the source left before %s", victim.cfg.name,
				 rf_wire_type_str(to));
		peer_answer(&peer, &plan);
	} while (peer.type != to);
}

static void start(void)
{
	mv_start(&victim);
	peer_accept(&peer);
}

/* Takes announcements until so many pages have been announced. */
static void take_pages(uint64_t pages)
{
	for (unsigned idle = 0; announced < pages; idle++) {
		for (unsigned i = 0; i < peer.nlanes; i++) {
			struct rf_completion c[16];
			int n = rf_lane_poll(peer.lanes[i], c, COUNT_OF(c));

			if (n < 0)
				fail_msg("%s: %s", victim.cfg.name, rf_lane_error(peer.lanes[i]));
			for (int k = 0; k < n; k++) {
				struct rf_wire_announce a;

				if (c[k].op != RF_OP_RECV)
					continue;
				assert_int_equal(rf_wire_get_announce(c[k].data, c[k].len, &a),
						 RF_OK);
				announced += a.count;
			}
		}
		if (idle > PATIENCE)
			fail_msg("%s: only %lu pages came", victim.cfg.name, announced);
		usleep(1000);
	}
}

static void say_landed(uint32_t region, uint64_t first, uint64_t count)
{
	const struct rf_wire_run run = {.first = first, .count = count};

	rf_wire_begin_zero(&peer.b, region);
	rf_wire_put_run(&peer.b, &run);
	peer_put(&peer, RF_WIRE_LANDED);
}

static uint64_t given_back(void)
{
	struct rf_stats st = {.size = sizeof(st)};

	rf_source_stats(victim.source, &st);
	return st.ram.released;
}

static void await_given_back(uint64_t bytes)
{
	for (unsigned ms = 0; given_back() < bytes; ms++) {
		if (ms > PATIENCE)
			fail_msg("%s: %lu bytes are given back, not %lu", victim.cfg.name,
				 given_back(), bytes);
		usleep(1000);
	}
	assert_int_equal(given_back(), bytes);
	assert_int_equal(mv_bytes_here(&victim), ALL - bytes);
}

static void end(int rc)
{
	if (peer.fd >= 0 && rc != RF_OK)
		(void)peer_drain(&peer);
	mv_join(&victim);
	if (victim.src.rc != rc)
		fail_msg("%s: %s (%s) instead of %s", victim.cfg.name, rf_err_str(victim.src.rc),
			 victim.src.stats.error_desc, rf_err_str(rc));
	peer_close(&peer);
}

static void end_well(void)
{
	peer_send(&peer, RF_WIRE_POSTCOPY_DONE, NULL, 0);
	end(RF_OK);
	assert_int_equal(mv_bytes_here(&victim), 0);
	assert_int_equal(victim.src.stats.ram.released, ALL);
	mv_close(&victim);
}

/* All has been sent, and its writes have completed: that is not enough. */
static void what_is_told_and_nothing_else(void **state)
{
	begin("told", 0, (struct rf_mem_hub_cfg){0});
	start();
	serve(RF_WIRE_RUN);
	take_pages(ALL / PAGE);
	/* the last one: what was sent before it would have gone before it */
	say_landed(1, PAGES - 1, 1);
	await_given_back(PAGE);
	say_landed(0, 5, 100);
	await_given_back(101 * PAGE);
	say_landed(0, 0, 5);
	say_landed(1, 0, PAGES - 1);
	await_given_back(PAGES * PAGE + 105 * PAGE);
	end_well();
}

/* ---- of protocol 1.2 ---- */

static unsigned warnings;

static void count_warnings(void *arg, enum rf_log_level level, const char *line)
{
	warnings += level == RF_LOG_WARN && strstr(line, "speaks protocol 1.2") &&
		    strstr(line, "at its end only");
}

static void one_of_an_older_protocol_is_not_asked(void **state)
{
	struct rf_wire_hello hello;

	warnings = 0;
	rf_log_set_sink(count_warnings, NULL);
	begin("older", 2, (struct rf_mem_hub_cfg){0});
	start();
	peer_expect(&peer, RF_WIRE_HELLO);
	assert_int_equal(rf_wire_get_hello(peer.in, peer.len, &hello), RF_OK);
	assert_int_equal(hello.flags, RF_HELLO_POSTCOPY);
	peer_answer(&peer, &plan);
	serve(RF_WIRE_RUN);
	take_pages(ALL / PAGE);
	assert_int_equal(given_back(), 0);
	end_well();
	rf_log_set_sink(NULL, NULL);
	assert_int_equal(warnings, 1);
}

static void one_of_this_protocol_is_asked(void **state)
{
	struct rf_wire_hello hello;

	begin("asked", 0, (struct rf_mem_hub_cfg){0});
	start();
	peer_expect(&peer, RF_WIRE_HELLO);
	assert_int_equal(rf_wire_get_hello(peer.in, peer.len, &hello), RF_OK);
	assert_int_equal(hello.flags, RF_HELLO_POSTCOPY | RF_HELLO_LANDED);
	peer_answer(&peer, &plan);
	serve(RF_WIRE_RUN);
	take_pages(ALL / PAGE);
	end_well();
}

/* ---- lies ---- */

static void never_missing(void)
{
	say_landed(0, 0, PAGES + 1);
}

static void of_no_region(void)
{
	say_landed(2, 0, 1);
}

static void twice(void)
{
	take_pages(ALL / PAGE);
	say_landed(0, 0, PAGES);
	await_given_back(PAGES * PAGE);
	say_landed(0, 7, 1);
}

/* The push is too slow to have come to it. */
static void not_sent(void)
{
	say_landed(1, PAGES - 1, 1);
}

static void malformed(void)
{
	peer_send(&peer, RF_WIRE_LANDED, "abc", 3);
}

static void what_cannot_be_true_ends_it(void **state)
{
	static const struct {
		const char *what;
		void (*say)(void);
		uint64_t given_back;
	} rows[] = {
		{"never missing", never_missing, 0}, {"of no region", of_no_region, 0},
		{"twice", twice, 3 * MIB},	     {"not sent", not_sent, 0},
		{"malformed", malformed, 0},
	};

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct mv_log log;

		mv_log_start();
		begin(rows[i].what, 0, (struct rf_mem_hub_cfg){0});
		if (rows[i].say == not_sent)
			rf_source_set_max_postcopy_bandwidth(victim.source, 1);
		start();
		serve(RF_WIRE_RUN);
		rows[i].say();
		end(RF_ERR_UNKNOWN_OUTCOME);
		mv_log_stop(&log);
		/* the lie, and that the guest is nowhere */
		if (log.src != 2)
			fail_msg("%s: %u lines; last: %s", rows[i].what, log.src, log.last);
		assert_int_equal(victim.src.stats.ram.released, rows[i].given_back);
		assert_int_equal(mv_bytes_here(&victim), ALL - rows[i].given_back);
		mv_close(&victim);
	}
}

static void too_early_ends_it(void **state)
{
	begin("before the guest runs", 0, (struct rf_mem_hub_cfg){0});
	rf_log_set_level(RF_LOG_NONE);
	start();
	serve(RF_WIRE_POSTCOPY);
	say_landed(0, 0, 1);
	end(RF_ERR_PROTOCOL);
	rf_log_set_level(RF_LOG_WARN);
	assert_false(victim.paused);
	assert_int_equal(victim.src.stats.ram.released, 0);
	assert_int_equal(mv_bytes_here(&victim), ALL);
	mv_close(&victim);
}

/* ---- registered memory ---- */

static _Atomic bool arrives;

static enum rf_mem_fate hold_bulk(void *arg, const struct rf_mem_op_info *op)
{
	bool write = op->lane_kind == RF_LANE_BULK && op->op == RF_OP_WRITE;

	return write && !atomic_load(&arrives) ? RF_MEM_HOLD : RF_MEM_DELIVER;
}

static void await_all_posted(void)
{
	struct rf_stats st = {.size = sizeof(st)};

	for (unsigned ms = 0; ms < PATIENCE; ms++) {
		rf_source_stats(victim.source, &st);
		if (st.status == RF_STATE_POSTCOPY_ACTIVE && !st.ram.remaining)
			return;
		usleep(1000);
	}
	fail_msg("not all is posted");
}

/* The source has received what was said before. */
static void await_pong(void)
{
	rf_wire_put_u64(&peer.b, 4711);
	peer_put(&peer, RF_WIRE_PING);
	for (uint64_t n = 0; peer.type != RF_WIRE_PONG || n != 4711;) {
		assert_true(peer_recv_any(&peer));
		if (peer.type == RF_WIRE_PONG)
			assert_int_equal(rf_wire_get_u64(peer.in, peer.len, &n), RF_OK);
	}
}

/*
 * Where registration pins, a chunk goes as a whole, and stays registered while a write on the wire
 * reads it, though the destination says that it has landed. (Transport mem ends a lane whose memory
 * is deregistered under a write.)
 */
static void a_chunk_is_not_deregistered_under_a_write(void **state)
{
	const struct rf_mem_hub_cfg hub = {.scripted = true,
					   .script = hold_bulk,
					   .depth = 1024,
					   .pins = true};

	atomic_store(&arrives, false);
	begin("pinned", 0, hub);
	start();
	serve(RF_WIRE_RUN);
	await_all_posted();
	say_landed(0, 0, PAGES);
	say_landed(1, 0, PAGES - 1);
	await_pong();
	usleep(100000); /* time to do what it must not; it is not needed to pass */
	assert_int_equal(given_back(), 0);
	atomic_store(&arrives, true);
	take_pages(ALL / PAGE);
	/* all but the last chunk, of which a page has not landed */
	await_given_back(ALL - MIB);
	end_well();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_told_and_nothing_else),
		cmocka_unit_test(one_of_an_older_protocol_is_not_asked),
		cmocka_unit_test(one_of_this_protocol_is_asked),
		cmocka_unit_test(what_cannot_be_true_ends_it),
		cmocka_unit_test(too_early_ends_it),
		cmocka_unit_test(a_chunk_is_not_deregistered_under_a_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
