/* SPDX-License-Identifier: BSD-3-Clause */
/* How fast device state gets there is tried in precopy: what a destination is sent, and what the
 * source makes of the answer. */
#include "tests/migration/peer.h"

#include <unistd.h>

#define ANSWER_MS 100 /* a late answer */

static struct mv victim;
static struct peer peer;
/* Enough for the bandwidth to be known, which a trial takes a twentieth of a second of at most. */
static const struct peer_plan plan = {.lanes = 1, .regions = 1, .len = 16 * MIB};

static void begin(const char *what, uint16_t minor, uint64_t state)
{
	struct mv_cfg cfg = {
		.name = what,
		.len = plan.len,
		.rounds = 2,
		.content = MV_DATA,
		.state_told = state,
		.who = MV_SRC_ALONE,
	};
	int listener = peer_socket(&cfg.port);

	mv_open(&victim, &cfg);
	peer_open(&peer, victim.hub);
	peer.listener = listener;
	peer.minor = minor;
	mv_start(&victim);
	peer_accept(&peer);
}

/* Answers rightly up to the first frame of a kind; what was tried until then, in bytes. */
static uint64_t serve(uint32_t to)
{
	uint64_t tried = 0;

	do {
		if (!peer_recv(&peer))
			fail_msg("%s: the source left before %s", victim.cfg.name,
				 rf_wire_type_str(to));
		if (peer.type == RF_WIRE_TRIAL)
			tried += peer.len;
		if (peer.type != to)
			peer_answer(&peer, &plan);
	} while (peer.type != to);
	return tried;
}

static void end(int rc)
{
	if (rc != RF_OK)
		(void)peer_drain(&peer);
	mv_join(&victim);
	if (victim.src.rc != rc)
		fail_msg("%s: %s (%s) instead of %s", victim.cfg.name, rf_err_str(victim.src.rc),
			 victim.src.stats.error_desc, rf_err_str(rc));
	peer_close(&peer);
	mv_close(&victim);
}

/* It is tried once, and what it took is in the downtime that is expected. */
static void a_slow_answer_is_expected_again(void **state)
{
	begin("slow", 0, 128 << 10);
	assert_int_equal(serve(RF_WIRE_TRIAL), 128 << 10);
	usleep(ANSWER_MS * 1000); /* the answer is late, however late the test is, too */
	peer_answer(&peer, &plan);
	assert_int_equal(serve(RF_WIRE_RUN), 0);
	peer_answer(&peer, &plan);
	/* a round trip is taken off, and half of the time at most */
	mv_join(&victim);
	assert_int_equal(victim.src.rc, RF_OK);
	assert_true(2 * victim.src.stats.expected_downtime >= ANSWER_MS);
	peer_close(&peer);
	mv_close(&victim);
}

static const struct {
	const char *name;
	uint16_t minor;
	uint64_t state, least, most; /* bytes; what is tried depends on how fast the machine is */
} amounts[] = {
	{"of 64 KiB", 0, 64 << 10, 64 << 10, 64 << 10},
	{"small: costs its exchanges only", 0, (64 << 10) - 1, 0, 0},
	{"huge: a part says enough", 0, 200 * MIB, 64 << 10, MIB},
	{"to a destination of 1.4", 4, 64 << 10, 0, 0},
};

static void what_is_sent(void **state)
{
	for (size_t i = 0; i < COUNT_OF(amounts); i++) {
		uint64_t tried;

		begin(amounts[i].name, amounts[i].minor, amounts[i].state);
		tried = serve(RF_WIRE_RUN);
		if (tried < amounts[i].least || tried > amounts[i].most)
			fail_msg("%s: %lu bytes were tried", amounts[i].name, tried);
		peer_answer(&peer, &plan);
		end(RF_OK);
	}
}

static void answered_with_something(void **state)
{
	rf_log_set_level(RF_LOG_NONE);
	begin("something", 0, MIB);
	(void)serve(RF_WIRE_TRIAL);
	peer_send(&peer, RF_WIRE_TRIAL_SEEN, "x", 1);
	end(RF_ERR_PROTOCOL);
	rf_log_set_level(RF_LOG_WARN);
}

static void answered_without_being_asked(void **state)
{
	rf_log_set_level(RF_LOG_NONE);
	begin("unasked", 0, 1000);
	(void)serve(RF_WIRE_ROUND_END);
	peer_send(&peer, RF_WIRE_TRIAL_SEEN, NULL, 0);
	end(RF_ERR_PROTOCOL);
	rf_log_set_level(RF_LOG_WARN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_answer_is_expected_again),
		cmocka_unit_test(what_is_sent),
		cmocka_unit_test(answered_with_something),
		cmocka_unit_test(answered_without_being_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
