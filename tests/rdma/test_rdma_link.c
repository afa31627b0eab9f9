/* SPDX-License-Identifier: BSD-3-Clause */
/* Cuts that nobody is told of, outages, addresses that lead nowhere. Much of it in the lab only. */
#include "tests/rdma/rdma_link.h"

#include "transport/verbs/verbs_timing.h"

#define LEN   (8u << 20)
#define PIECE (64u << 10)
#define SLACK 1500 /* ms that a busy machine may add */

static struct rdma_env env;

static int restore(void **state)
{
	return rdma_env_in_lab() ? rdma_link_try_net("clear") : 0;
}

/* ---- cuts ---- */

/* The device notices, as soon as the arithmetic says, and not our own clock. */
static void dead_path_is_noticed_in_time(void **state)
{
	static const uint32_t links[] = {300, 1000, 2000};

	for (unsigned i = 0; i < COUNT_OF(links); i++) {
		uint32_t bound = rf_verbs_timing_detection_ms(rf_verbs_timing_of(links[i])), ms;
		struct rdma_link r;

		rdma_link_open(&r, &env, RF_LANE_BULK, links[i], LEN);
		rdma_link_stream(&r, PIECE, 200);
		assert_int_equal(r.l.at_src.err, RF_OK);
		rdma_link_net("dead_path_is_noticed_in_time", "loss 100");
		ms = rdma_link_stream_to_death(&r, PIECE, CT_TIMEOUT);
		printf("link timeout %u ms: noticed after %u ms, bound %u\n", links[i], ms, bound);
		assert_int_equal(r.l.at_src.err, RF_ERR_LANE_TIMEOUT);
		assert_non_null(strstr(rf_lane_error(r.l.src), "no answer to 7 tries"));
		assert_true(ms <= bound + SLACK);
		assert_int_equal(rdma_link_try_net("clear"), 0);
		rdma_link_close(&r);
	}
}

/* Shorter than the link timeout: nobody above learns of it, and nothing is lost. */
static void short_outage_is_survived(void **state)
{
	struct rdma_link r;

	/* so long that no machine is too slow to mend it in time */
	rdma_link_open(&r, &env, RF_LANE_BULK, 25000, LEN);
	rdma_link_stream(&r, PIECE, 100);
	rdma_link_net("short_outage_is_survived", "loss 100");
	rdma_link_stream(&r, PIECE, 500);
	assert_int_equal(rdma_link_try_net("clear"), 0);
	rdma_link_move(&r, LEN, PIECE, 60000);
	rdma_link_close(&r);
}

static void lossy_link_loses_nothing(void **state)
{
	struct rdma_link r;

	rdma_link_open(&r, &env, RF_LANE_BULK, 1000, LEN);
	rdma_link_net("lossy_link_loses_nothing", "netem loss 1% reorder 5% delay 1ms");
	for (unsigned round = 0; round < 2; round++) {
		ct_area_fill(&r.from, 100 + round);
		rdma_link_move(&r, LEN / 4, PIECE, 60000);
	}
	assert_int_equal(rdma_link_try_net("clear"), 0);
	rdma_link_close(&r);
}

/* ---- setting up ---- */

static void no_device_there(void **state)
{
	static const struct {
		const char *local, *peer, *words;
	} table[] = {
		{"127.0.0.1", NULL, "no RDMA device has the address 127.0.0.1"},
		{"192.0.2.1", NULL, "192.0.2.1"},
		{NULL, "no.such.host.invalid", "no.such.host.invalid"},
		{"no.such.host.invalid", NULL, "no.such.host.invalid"},
	};

	for (unsigned i = 0; i < COUNT_OF(table); i++) {
		struct rf_transport_cfg cfg = {.local_host = table[i].local,
					       .peer_host = table[i].peer};
		struct rf_transport *t = NULL;

		rdma_log_keep();
		assert_int_equal(rf_transport_open("verbs", &cfg, &t), RF_ERR_UNREACHABLE);
		assert_true(rdma_log_has(table[i].words));
		assert_null(t);
	}
}

/* The peer's address alone tells which device leads there. */
static void device_of_the_route(void **state)
{
	struct rf_transport_cfg by_peer = {.peer_host = env.peer},
				by_local = {.local_host = env.local};
	struct rf_transport *t, *same;

	assert_int_equal(rf_transport_open("verbs", &by_peer, &t), RF_OK);
	assert_int_equal(rf_transport_open("verbs", &by_local, &same), RF_OK);
	assert_string_equal(rf_transport_provider(t), rf_transport_provider(same));
	rf_transport_close(&t);
	rf_transport_close(&same);
}

static void nobody_listens(void **state)
{
	struct rf_lane *lane = NULL;
	struct rdma_link r;

	rdma_link_open(&r, &env, RF_LANE_BULK, 1000, 4096);
	r.k.addr[2] ^= 1; /* another port */
	rdma_log_keep();
	assert_int_equal(ct_connect(&r.k, r.k.token, RF_LANE_BULK, 1, CT_TIMEOUT, -1, &lane),
			 RF_ERR_REFUSED);
	assert_true(rdma_log_has("nobody listens there"));
	assert_null(lane);
	rdma_link_close(&r);
}

/* librdmacm's own patience is more than a minute. */
static void connecting_to_a_dead_path_ends_in_time(void **state)
{
	struct rf_lane *lane = NULL;
	struct rdma_link r;
	uint64_t start;

	rdma_link_open(&r, &env, RF_LANE_BULK, 1000, 4096);
	rdma_link_net("connecting_to_a_dead_path_ends_in_time", "loss 100");
	start = rdma_now_ms();
	assert_int_equal(ct_connect(&r.k, r.k.token, RF_LANE_BULK, 1, 700, -1, &lane),
			 RF_ERR_TIMEOUT);
	assert_in_range(rdma_now_ms() - start, 690, 700 + SLACK);
	assert_null(lane);
	assert_int_equal(rdma_link_try_net("clear"), 0);
	rdma_link_close(&r);
}

/* Who gave up waiting leaves a request behind: it must not be taken for the next lane. */
static void left_request_does_no_harm(void **state)
{
	struct rf_lane *lane = NULL;
	struct ct_accept a;
	struct rdma_link r;

	rdma_link_open(&r, &env, RF_LANE_BULK, 1000, 4096);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ct_connect(&r.k, r.k.token, RF_LANE_BULK, 7, 200, -1, &lane),
				 RF_ERR_TIMEOUT);
	ct_accept_start(&a, &r.k, CT_TIMEOUT, -1);
	assert_int_equal(ct_connect(&r.k, r.k.token, RF_LANE_BULK, 8, CT_TIMEOUT, -1, &lane),
			 RF_OK);
	assert_int_equal(ct_accept_join(&a), RF_OK);
	assert_int_equal(rf_lane_index(a.lane), 8);
	rf_lane_close(&lane);
	rf_lane_close(&a.lane);
	rdma_link_close(&r);
}

/* ---- the network's urgent class ---- */

static uint64_t urgent_bytes(void)
{
	uint64_t bytes = 0;
	char line[256];
	bool next = false;
	FILE *f = popen("tc -s class show dev d0", "re"); // NOLINT(cert-env33-c): in our VM

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (next && sscanf(line, " Sent %lu bytes", &bytes) == 1)
			break;
		next = strstr(line, "class prio 3:1 ") != NULL;
	}
	pclose(f);
	return bytes;
}

static void urgent_lanes_ask_for_the_urgent_class(void **state)
{
	struct rdma_link r;
	uint64_t before, after;

	for (unsigned kind = 0; kind < RF_LANE_KINDS; kind++) {
		rdma_link_open(&r, &env, kind, 2000, LEN);
		rdma_link_net("urgent_lanes_ask_for_the_urgent_class", "prio 400mbit 0xb8");
		before = urgent_bytes();
		rdma_link_stream(&r, PIECE, 300);
		after = urgent_bytes();
		printf("%s: %lu bytes in the urgent class\n", rf_lane_kind_str(kind),
		       after - before);
		if (kind == RF_LANE_URGENT)
			assert_true(after - before > PIECE);
		else
			assert_true(after - before < 4096);
		assert_int_equal(rdma_link_try_net("clear"), 0);
		rdma_link_close(&r);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(dead_path_is_noticed_in_time, restore),
		cmocka_unit_test_teardown(short_outage_is_survived, restore),
		cmocka_unit_test_teardown(lossy_link_loses_nothing, restore),
		cmocka_unit_test(no_device_there),
		cmocka_unit_test(device_of_the_route),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test_teardown(connecting_to_a_dead_path_ends_in_time, restore),
		cmocka_unit_test(left_request_does_no_harm),
		cmocka_unit_test_teardown(urgent_lanes_ask_for_the_urgent_class, restore),
	};

	rdma_link_require("test_rdma_link", &env);
	rdma_log_keep();
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
