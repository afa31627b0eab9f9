/* SPDX-License-Identifier: BSD-3-Clause */
/* Probes of a destination: what they tell, and that a migration goes on as if there had been none.
 */
#include "tests/unit/ctrl_peer.h"

#include <ramferry/ramferry.h>

#include "scheduler/probe.h"

#define RAM (4u << 20)

static int do_nothing(void *arg)
{
	return RF_OK;
}

static int save_nothing(void *arg, void **buf, size_t *len)
{
	*buf = NULL;
	*len = 0;
	return RF_OK;
}

static int load_nothing(void *arg, const void *buf, size_t len)
{
	return RF_OK;
}

/* A destination that waits on a thread of its own. */
struct waiting {
	struct rf_dest *dst;
	struct rf_dest_memory mem;
	pthread_t thread;
	int result;
};

static void *run_dest(void *arg)
{
	struct waiting *w = arg;

	w->result = rf_dest_run(w->dst);
	return NULL;
}

static void start_dest(struct waiting *w, const char *transport, const char *provider,
		       uint32_t connect_timeout)
{
	struct rf_dest_cfg cfg = {
		.size = sizeof(cfg),
		.transport = transport,
		.provider = provider,
		.connect_timeout = connect_timeout,
		.guest = {.size = sizeof(cfg.guest),
			  .load_state = load_nothing,
			  .resume = do_nothing},
	};
	struct rf_dest_region region = {.size = sizeof(region),
					.id = "ram",
					.len = RAM,
					.page_size = RF_PAGE_SIZE};

	w->mem = (struct rf_dest_memory){.size = sizeof(w->mem)};
	assert_int_equal(rf_dest_new(&cfg, &w->dst), RF_OK);
	assert_int_equal(rf_dest_add_region(w->dst, &region, &w->mem), RF_OK);
	pthread_create(&w->thread, NULL, run_dest, w);
}

static void cancel_dest(struct waiting *w)
{
	rf_dest_cancel(w->dst);
	pthread_join(w->thread, NULL);
	assert_int_equal(w->result, RF_ERR_CANCELLED);
	rf_dest_delete(&w->dst);
}

static int migrate_to(const struct waiting *w, unsigned lanes, void *ram, struct rf_stats *st)
{
	struct rf_source_cfg cfg = {
		.size = sizeof(cfg),
		.host = "127.0.0.1",
		.port = rf_dest_port(w->dst),
		.transport = "ofi",
		.bulk_lanes = lanes,
		.guest = {.size = sizeof(cfg.guest),
			  .pause = do_nothing,
			  .resume = do_nothing,
			  .save_state = save_nothing},
	};
	struct rf_region region = {.size = sizeof(region),
				   .id = "ram",
				   .addr = ram,
				   .len = RAM,
				   .page_size = RF_PAGE_SIZE,
				   .memfd = -1};
	struct rf_source *src;
	int rc;

	assert_int_equal(rf_tracker_manual_new(&cfg.tracker), RF_OK);
	assert_int_equal(rf_source_new(&cfg, &src), RF_OK);
	assert_int_equal(rf_source_add_region(src, &region), RF_OK);
	rc = rf_source_run(src);
	*st = (struct rf_stats){.size = sizeof(*st)};
	rf_source_stats(src, st);
	rf_source_delete(&src);
	rf_tracker_delete(&cfg.tracker);
	return rc;
}

/* The guest arrives, whatever came before. */
static void assert_migrates(struct waiting *w)
{
	uint8_t *ram = aligned_alloc(RF_PAGE_SIZE, RAM);
	struct rf_stats st;

	for (unsigned i = 0; i < RAM; i++)
		ram[i] = (uint8_t)(i * 7 + i / 4096);
	assert_int_equal(migrate_to(w, 2, ram, &st), RF_OK);
	pthread_join(w->thread, NULL);
	assert_int_equal(w->result, RF_OK);
	assert_memory_equal(w->mem.guest_view, ram, RAM);
	assert_string_equal(st.transport, "ofi");
	rf_dest_stats(w->dst, &st);
	assert_int_equal(st.error, RF_OK);
	assert_string_equal(st.error_desc, "");
	assert_int_equal(st.lanes, 2);
	rf_dest_delete(&w->dst);
	free(ram);
}

static int probe(uint16_t port, const char *transport, const char *provider,
		 struct rf_probe_result *out)
{
	const struct rf_probe_cfg cfg = {.host = "127.0.0.1",
					 .port = port,
					 .transport = transport,
					 .provider = provider,
					 .step_timeout = SOON};

	return rf_source_probe(&cfg, out);
}

/* ---- what a probe tells ---- */

static void rung_in_use_is_told_and_a_migration_follows(void **state)
{
	struct rf_probe_result r;
	struct waiting w;

	start_dest(&w, "ofi", NULL, 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(probe(rf_dest_port(w.dst), "ofi", NULL, &r), RF_OK);
		assert_true(r.reached);
		assert_string_equal(r.local_host, "127.0.0.1");
		assert_int_equal(r.minor, RF_WIRE_MINOR);
		assert_true(r.rtt_ns > 0);
		assert_string_equal(r.transport, "ofi");
		assert_string_equal(r.provider, "tcp");
		assert_int_equal(r.ladder.n, 1);
		assert_string_equal(r.ladder.rung[0].name, "ofi:tcp");
		assert_int_equal(r.ladder.rung[0].err, RF_OK);
		assert_string_equal(r.why, "");
	}
	assert_int_equal(test_log.problems, 0);
	assert_migrates(&w);
	assert_int_equal(test_log.problems, 0);
}

static void each_rung_not_used_has_its_reason(void **state)
{
	struct rf_probe_result r;
	struct waiting w;

	start_dest(&w, "ofi", "sockets", 0);
	assert_int_equal(probe(rf_dest_port(w.dst), "auto", NULL, &r), RF_OK);
	assert_int_equal(r.ladder.n, 3);
	assert_string_equal(r.ladder.rung[0].name, "verbs");
	assert_int_equal(r.ladder.rung[0].err, RF_ERR_UNSUPPORTED);
	assert_true(strlen(r.ladder.rung[0].why) > 0);
	assert_string_equal(r.ladder.rung[1].name, "ofi:tcp");
	assert_string_equal(r.ladder.rung[1].why,
			    "destination: it was told to use transport ofi, provider sockets only");
	assert_string_equal(r.ladder.rung[2].name, "ofi:sockets");
	assert_int_equal(r.ladder.rung[2].err, RF_OK);
	assert_string_equal(r.provider, "sockets");
	assert_migrates(&w);
}

static void no_common_rung_is_an_error_with_all_reasons(void **state)
{
	struct rf_probe_result r;
	struct waiting w;

	start_dest(&w, "ofi", "sockets", 0);
	assert_int_equal(probe(rf_dest_port(w.dst), "ofi", "tcp", &r), RF_ERR_UNSUPPORTED);
	assert_true(r.reached);
	assert_non_null(strstr(r.why, "no transport works on both sides: ofi:tcp: destination: "));
	assert_int_equal(probe(rf_dest_port(w.dst), "ofi", "nonsense", &r), RF_ERR_UNSUPPORTED);
	assert_non_null(strstr(r.why, "no provider nonsense"));
	assert_int_equal(test_log.problems, 0);
	assert_migrates(&w);
}

/* ---- peers that are something else ---- */

/* Says its words to the first who comes, and waits until he is gone. */
struct server {
	int fd;
	const void *words;
	size_t len;
};

static void *serve(void *arg)
{
	const struct server *s = arg;
	int fd = accept(s->fd, NULL, NULL);
	char trash[64];

	raw_write(fd, s->words, s->len);
	while (recv(fd, trash, sizeof(trash), 0) > 0)
		;
	close(fd);
	return NULL;
}

static int probe_server(const void *words, size_t len, struct rf_probe_result *r)
{
	struct server s = {.words = words, .len = len};
	pthread_t thread;
	uint16_t port;
	int rc;

	s.fd = raw_listen(1, &port);
	pthread_create(&thread, NULL, serve, &s);
	rc = probe(port, "auto", NULL, r);
	pthread_join(thread, NULL);
	close(s.fd);
	return rc;
}

static void peer_that_is_no_ramferry_is_one_clear_line(void **state)
{
	struct rf_probe_result r;

	assert_int_equal(probe_server("SSH-2.0-x\r\n", 11, &r), RF_ERR_NOT_RAMFERRY);
	assert_false(r.reached);
	assert_non_null(strstr(r.why, "does not speak ramferry's protocol; check the port"));
	assert_null(strchr(r.why, '\n'));
	assert_int_equal(test_log.problems, 0);
}

static void nobody_there_is_refused(void **state)
{
	struct rf_probe_result r;
	uint16_t port;

	close(raw_listen(1, &port));
	assert_int_equal(probe(port, "auto", NULL, &r), RF_ERR_REFUSED);
	assert_non_null(strstr(r.why, "nobody listens there"));
	assert_int_equal(test_log.problems, 0);
}

/* It would take the flag for an error, and stop waiting. */
static void peer_of_version_1_0_is_left_alone(void **state)
{
	uint8_t preamble[RF_WIRE_PREAMBLE_SIZE];
	struct rf_probe_result r;

	rf_wire_put_preamble(preamble, RF_WIRE_MAJOR, 0);
	assert_int_equal(probe_server(preamble, sizeof(preamble), &r), RF_ERR_VERSION);
	assert_true(r.reached);
	assert_non_null(strstr(r.why, "protocol 1.0, which cannot be probed"));
}

/* ---- probers that misbehave ---- */

static struct rf_ctrl *begin_probe(const struct waiting *w)
{
	const struct rf_wire_hello hello = {.flags = RF_HELLO_PROBE,
					    .chunk_size = 1u << 20,
					    .bulk_lanes = 1,
					    .link_timeout = 10000};
	struct rf_ctrl_cfg cfg = ctrl_cfg("source", 0);
	struct rf_frame f;
	struct rf_ctrl *c;
	struct rf_wbuf b;
	uint8_t buf[64];

	rf_wbuf_init(&b, buf, sizeof(buf));
	rf_wire_put_hello(&b, &hello);
	assert_int_equal(rf_ctrl_connect("127.0.0.1", rf_dest_port(w->dst), &cfg, -1, &c), RF_OK);
	assert_int_equal(rf_ctrl_send(c, RF_WIRE_HELLO, buf, (uint32_t)b.len), RF_OK);
	assert_int_equal(rf_ctrl_recv(c, &f, SOON), RF_OK);
	assert_int_equal(f.type, RF_WIRE_HELLO_ACK);
	rf_frame_free(&f);
	return c;
}

static void silent_prober_is_sent_away_in_time(void **state)
{
	struct rf_frame f;
	struct waiting w;
	struct rf_ctrl *c;

	start_dest(&w, "ofi", NULL, 300);
	c = begin_probe(&w);
	assert_int_equal(rf_ctrl_recv(c, &f, SOON), RF_OK);
	assert_int_equal(f.type, RF_WIRE_ERROR);
	rf_frame_free(&f);
	rf_ctrl_close(&c);
	assert_migrates(&w);
}

static void prober_that_goes_on_is_sent_away(void **state)
{
	/* What comes after the hello of a migration, or at its end. */
	static const uint32_t types[] = {RF_WIRE_REGIONS, RF_WIRE_RUN, RF_WIRE_KEY_REQ};
	struct waiting w;

	start_dest(&w, "ofi", NULL, 0);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct rf_ctrl *c = begin_probe(&w);
		struct rf_frame f;

		assert_int_equal(rf_ctrl_send(c, types[i], "12345678", 8), RF_OK);
		assert_int_equal(rf_ctrl_recv(c, &f, SOON), RF_OK);
		assert_int_equal(f.type, RF_WIRE_ERROR);
		rf_frame_free(&f);
		rf_ctrl_close(&c);
	}
	assert_int_equal(test_log.problems, 0);
	assert_migrates(&w);
}

static void prober_that_vanishes_leaves_nothing_behind(void **state)
{
	struct rf_probe_result r;
	struct waiting w;
	struct rf_ctrl *c;

	start_dest(&w, "ofi", NULL, 0);
	c = begin_probe(&w);
	rf_ctrl_close(&c);
	assert_int_equal(probe(rf_dest_port(w.dst), "ofi", NULL, &r), RF_OK);
	cancel_dest(&w);
}

static void cancel_ends_a_destination_that_is_being_probed(void **state)
{
	struct waiting w;
	struct rf_ctrl *c;

	start_dest(&w, "ofi", NULL, 0);
	c = begin_probe(&w);
	cancel_dest(&w);
	rf_ctrl_close(&c);
}

/* Greets, says what is no hello or nothing at all, and goes. */
static void strangers_are_turned_away_and_the_wait_goes_on(void **state)
{
	struct rf_ctrl_cfg cfg = ctrl_cfg("source", 0);
	struct waiting w;
	struct rf_ctrl *c;
	struct rf_frame f;

	start_dest(&w, "ofi", NULL, 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(rf_ctrl_connect("127.0.0.1", rf_dest_port(w.dst), &cfg, -1, &c),
				 RF_OK);
		if (i) {
			assert_int_equal(rf_ctrl_send(c, i == 1 ? RF_WIRE_HELLO : RF_WIRE_RUN, "x",
						      i == 1),
					 RF_OK);
			assert_int_equal(rf_ctrl_recv(c, &f, SOON), RF_OK);
			assert_int_equal(f.type, RF_WIRE_ERROR);
			rf_frame_free(&f);
		}
		rf_ctrl_close(&c);
	}
	assert_migrates(&w);
	assert_int_equal(test_log.problems, 3); /* one line each */
}

#define case_of(f) cmocka_unit_test_setup(f, test_log_start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		case_of(rung_in_use_is_told_and_a_migration_follows),
		case_of(each_rung_not_used_has_its_reason),
		case_of(no_common_rung_is_an_error_with_all_reasons),
		case_of(peer_that_is_no_ramferry_is_one_clear_line),
		case_of(nobody_there_is_refused),
		case_of(peer_of_version_1_0_is_left_alone),
		case_of(silent_prober_is_sent_away_in_time),
		case_of(prober_that_goes_on_is_sent_away),
		case_of(prober_that_vanishes_leaves_nothing_behind),
		case_of(strangers_are_turned_away_and_the_wait_goes_on),
		case_of(cancel_ends_a_destination_that_is_being_probed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
