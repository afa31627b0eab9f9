/* SPDX-License-Identifier: BSD-3-Clause */
/* What is done about a guest that is too fast: throttle, go postcopy, switch over, say so. */
#include "tests/unit/unit.h"

#include <math.h>

#include "scheduler/converge.h"

#define MIB  (1ull << 20)
#define FAST (1000.0 * MIB) /* a MiB takes a millisecond */

#define BUSY  .remaining = 900 * MIB, .bandwidth = FAST, .downtime_limit = 300
#define QEMUS .throttle_cfg = {.initial = 20, .increment = 10, .max = 99}

static const struct policy_row {
	const char *what;
	struct rf_converge_in in;
	enum rf_converge_action action;
	unsigned throttle;
	bool hopeless;
} policy[] = {
	/* the user's bandwidth for the pause */
	{"more bandwidth than measured is available",
	 {BUSY, .avail_bandwidth = 3 * FAST},
	 .action = RF_CONVERGE_SWITCH_OVER},
	{"less bandwidth than measured is available",
	 {.remaining = 100 * MIB,
	  .bandwidth = FAST,
	  .avail_bandwidth = FAST / 10,
	  .downtime_limit = 300},
	 .action = RF_CONVERGE_ITERATE},
	/* time */
	{"time is over: go postcopy",
	 {BUSY, .timeout = 1000, .elapsed_ms = 1000, .timeout_action = RF_TIMEOUT_POSTCOPY,
	  .may_postcopy = true},
	 .action = RF_CONVERGE_POSTCOPY},
	{"time is over: postcopy, where it cannot be",
	 {BUSY, .timeout = 1000, .elapsed_ms = 1000, .timeout_action = RF_TIMEOUT_POSTCOPY},
	 .action = RF_CONVERGE_GIVE_UP},
	{"time is over: switch over, whatever it costs",
	 {BUSY, .timeout = 1000, .elapsed_ms = 1000, .timeout_action = RF_TIMEOUT_SWITCH},
	 .action = RF_CONVERGE_SWITCH_OVER},
	{"time is over in a round",
	 {BUSY, .in_round = true, .timeout = 1000, .elapsed_ms = 1000,
	  .timeout_action = RF_TIMEOUT_SWITCH},
	 .action = RF_CONVERGE_SWITCH_OVER},
	/* postcopy */
	{"not after so many rounds yet",
	 {BUSY, .may_postcopy = true, .round = 2, .postcopy_after = 3},
	 .action = RF_CONVERGE_ITERATE},
	{"after so many rounds",
	 {BUSY, .may_postcopy = true, .round = 3, .postcopy_after = 3},
	 .action = RF_CONVERGE_POSTCOPY},
	{"after so many rounds, without postcopy",
	 {BUSY, .round = 3, .postcopy_after = 3},
	 .action = RF_CONVERGE_ITERATE},
	{"the last of so many rounds is under way",
	 {BUSY, .in_round = true, .may_postcopy = true, .round = 3, .postcopy_after = 3},
	 .action = RF_CONVERGE_ITERATE},
	{"no less than before, and the guest is slow",
	 {BUSY, .may_postcopy = true, .round = 2, .dirty_rate = FAST / 2,
	  .memory = {.last_remaining = 1000 * MIB}},
	 .action = RF_CONVERGE_ITERATE},
	{"no less than before, and the guest is as fast as the link",
	 {BUSY, .may_postcopy = true, .round = 2, .dirty_rate = FAST,
	  .memory = {.last_remaining = 1000 * MIB}},
	 .action = RF_CONVERGE_POSTCOPY},
	{"no less than before, and the guest is as fast as the limit",
	 {BUSY, .may_postcopy = true, .round = 2, .dirty_rate = FAST / 4,
	  .max_bandwidth = 200 * MIB, .memory = {.last_remaining = 1000 * MIB}},
	 .action = RF_CONVERGE_POSTCOPY},
	{"no less than before for the second time",
	 {BUSY, .may_postcopy = true, .round = 3,
	  .memory = {.last_remaining = 1000 * MIB, .stalled = 1}},
	 .action = RF_CONVERGE_POSTCOPY},
	{"a good deal less than before",
	 {BUSY, .may_postcopy = true, .round = 3, .dirty_rate = 3 * FAST,
	  .memory = {.last_remaining = 1100 * MIB, .stalled = 1}},
	 .action = RF_CONVERGE_ITERATE},
	{"a round that is losing, for the third time",
	 {BUSY, .in_round = true, .may_postcopy = true, .round = 2, .sent = 10 * MIB,
	  .again = 10 * MIB, .memory = {.losing = 2}},
	 .action = RF_CONVERGE_POSTCOPY},
	{"the same in the first round, in which all is sent once",
	 {BUSY, .in_round = true, .may_postcopy = true, .round = 1, .sent = 10 * MIB,
	  .again = 10 * MIB, .memory = {.losing = 2}},
	 .action = RF_CONVERGE_ITERATE},
	{"the same, but what is found would fit into the downtime",
	 {.remaining = 100 * MIB,
	  .bandwidth = FAST,
	  .downtime_limit = 300,
	  .in_round = true,
	  .may_postcopy = true,
	  .round = 2,
	  .sent = 10 * MIB,
	  .again = 10 * MIB,
	  .memory = {.losing = 2}},
	 .action = RF_CONVERGE_ITERATE},
	/* throttling */
	{"half is dirty again",
	 {BUSY, QEMUS, .sent = 100 * MIB, .again = 50 * MIB, .memory = {.high = 5}},
	 .action = RF_CONVERGE_ITERATE},
	{"over half, for the first time",
	 {BUSY, QEMUS, .sent = 100 * MIB, .again = 51 * MIB},
	 .action = RF_CONVERGE_ITERATE},
	{"over half, for the second time",
	 {BUSY, QEMUS, .sent = 100 * MIB, .again = 51 * MIB, .memory = {.high = 1}},
	 .action = RF_CONVERGE_THROTTLE,
	 .throttle = 20},
	{"the same in a round",
	 {BUSY, QEMUS, .in_round = true, .sent = 100 * MIB, .again = 51 * MIB,
	  .memory = {.high = 1}},
	 .action = RF_CONVERGE_THROTTLE,
	 .throttle = 20},
	{"the same, but it fits",
	 {.remaining = 100 * MIB,
	  .bandwidth = FAST,
	  .downtime_limit = 300,
	  QEMUS,
	  .sent = 100 * MIB,
	  .again = 100 * MIB,
	  .memory = {.high = 1}},
	 .action = RF_CONVERGE_SWITCH_OVER},
	{"nothing was sent",
	 {BUSY, QEMUS, .in_round = true, .again = 51 * MIB, .memory = {.high = 1}},
	 .action = RF_CONVERGE_ITERATE},
	{"one more step",
	 {BUSY, QEMUS, .throttle = 20, .sent = 100 * MIB, .again = 90 * MIB, .memory = {.high = 1}},
	 .action = RF_CONVERGE_THROTTLE,
	 .throttle = 30},
	{"not over the limit",
	 {BUSY, QEMUS, .throttle = 95, .sent = 100 * MIB, .again = 90 * MIB, .memory = {.high = 1}},
	 .action = RF_CONVERGE_THROTTLE,
	 .throttle = 99},
	{"throttling comes before postcopy",
	 {BUSY, QEMUS, .may_postcopy = true, .round = 4, .throttle = 40, .sent = 100 * MIB,
	  .again = 90 * MIB, .memory = {.high = 1, .stalled = 3, .last_remaining = 900 * MIB}},
	 .action = RF_CONVERGE_THROTTLE,
	 .throttle = 50},
	{"until there is no more of it",
	 {BUSY, QEMUS, .may_postcopy = true, .round = 4, .throttle = 99, .sent = 100 * MIB,
	  .again = 90 * MIB, .memory = {.high = 1, .stalled = 3, .last_remaining = 900 * MIB}},
	 .action = RF_CONVERGE_POSTCOPY,
	 .throttle = 99},
	/* nothing helps */
	{"no less than before for the second time, and nothing is allowed",
	 {BUSY, .round = 3, .memory = {.last_remaining = 1000 * MIB, .stalled = 1}},
	 .action = RF_CONVERGE_ITERATE,
	 .throttle = 0,
	 .hopeless = true},
	{"throttled as far as it goes",
	 {BUSY, QEMUS, .throttle = 99, .round = 3,
	  .memory = {.last_remaining = 1000 * MIB, .stalled = 1}},
	 .action = RF_CONVERGE_ITERATE,
	 .throttle = 99,
	 .hopeless = true},
	{"a round that is losing, for the third time, and nothing is allowed",
	 {BUSY, .in_round = true, .round = 2, .sent = 10 * MIB, .again = 10 * MIB,
	  .memory = {.losing = 2}},
	 .action = RF_CONVERGE_ITERATE,
	 .throttle = 0,
	 .hopeless = true},
};

static void what_is_done(void **state)
{
	for (size_t i = 0; i < COUNT_OF(policy); i++) {
		const struct policy_row *r = &policy[i];
		struct rf_converge_out out = {0};

		rf_converge_decide(&r->in, &out);
		if (out.action != r->action || out.throttle != r->throttle ||
		    out.hopeless != r->hopeless)
			fail_msg("%s: %s, throttle %u%s instead of %s, throttle %u%s", r->what,
				 rf_converge_action_str(out.action), out.throttle,
				 out.hopeless ? ", hopeless" : "",
				 rf_converge_action_str(r->action), r->throttle,
				 r->hopeless ? ", hopeless" : "");
	}
}

static void the_memory_is_carried_on(void **state)
{
	struct rf_converge_in in = {BUSY, .in_round = true, .sent = 10, .again = 6,
				    .memory = {.losing = 2}};
	struct rf_converge_out out;

	rf_converge_decide(&in, &out);
	assert_int_equal(out.memory.high, 1);
	assert_int_equal(out.memory.losing, 0);		/* less than was sent */
	assert_int_equal(out.memory.last_remaining, 0); /* only at the end of a round */
	in.memory = out.memory;
	in.in_round = false;
	rf_converge_decide(&in, &out);
	assert_int_equal(out.memory.high, 2);
	assert_int_equal(out.memory.last_remaining, 900 * MIB);
	assert_int_equal(out.memory.stalled, 0); /* there was no round before */
	in.memory = out.memory;
	in.again = 5;
	rf_converge_decide(&in, &out);
	assert_int_equal(out.memory.high, 0);
	assert_int_equal(out.memory.stalled, 1);
}

static void tail_slow_takes_small_steps_where_they_do(void **state)
{
	static const struct {
		unsigned now;
		uint64_t sent, again;
		unsigned next;
	} rows[] = {
		{0, 100, 51, 20},			      /* the first step is the first step */
		{20, 100, 52, 23},			      /* 80 * (1 - 50/52) = 3 */
		{20, 100, 51, 21}, {20, 1000000, 500001, 21}, /* never none at all */
		{20, 100, 90, 30},			      /* as without */
		{98, 100, 90, 99},
	};
	const struct rf_throttle_cfg cfg = {.initial = 20,
					    .increment = 10,
					    .max = 99,
					    .tail_slow = true};

	for (size_t i = 0; i < COUNT_OF(rows); i++)
		assert_int_equal(rf_throttle_next(&cfg, rows[i].now, rows[i].sent, rows[i].again),
				 rows[i].next);
}

/* ---- whole migrations, calculated ---- */

/*
 * A guest that writes `set` bytes all over at `rate` while `bandwidth` is there, with harvests at
 * the ends of rounds. Returns in which round it was over, and how.
 */
static struct rf_converge_out migrate(struct rf_converge_in in, double set, double rate,
				      uint64_t *rounds, uint64_t *hopeless)
{
	struct rf_converge_out out = {0};
	double dirty = 1024.0 * MIB; /* all of it at first */

	*hopeless = 0;
	for (in.round = 1; in.round < 100; in.round++) {
		double seconds = dirty / in.bandwidth;
		double writes = rate * (1 - in.throttle / 100.0) * seconds;

		in.sent = (uint64_t)dirty;
		/* of random writes some hit the same page */
		dirty = set * (1 - exp(-writes / set));
		in.again = in.remaining = (uint64_t)dirty;
		in.dirty_rate = dirty / seconds;
		rf_converge_decide(&in, &out);
		if (out.hopeless && !*hopeless)
			*hopeless = in.round;
		if (out.action != RF_CONVERGE_ITERATE && out.action != RF_CONVERGE_THROTTLE)
			break;
		in.memory = out.memory;
		in.throttle = out.throttle;
	}
	*rounds = in.round;
	return out;
}

static void a_guest_at_three_times_the_bandwidth(void **state)
{
	const struct rf_converge_in alone = {.bandwidth = 100.0 * MIB, .downtime_limit = 300};
	struct rf_converge_in in = alone;
	uint64_t rounds, hopeless;
	struct rf_converge_out out;

	/* precopy alone never ends, and that is said after the third round */
	out = migrate(in, 512.0 * MIB, 300.0 * MIB, &rounds, &hopeless);
	assert_int_equal(out.action, RF_CONVERGE_ITERATE);
	assert_int_equal(rounds, 100);
	assert_int_equal(hopeless, 3);

	in.may_postcopy = true;
	out = migrate(in, 512.0 * MIB, 300.0 * MIB, &rounds, &hopeless);
	assert_int_equal(out.action, RF_CONVERGE_POSTCOPY);
	assert_true(rounds <= 3);

	in = alone;
	in.throttle_cfg = (struct rf_throttle_cfg){.initial = 20, .increment = 10, .max = 99};
	out = migrate(in, 512.0 * MIB, 300.0 * MIB, &rounds, &hopeless);
	assert_int_equal(out.action, RF_CONVERGE_SWITCH_OVER);
	assert_true(rounds < 40);
	assert_int_equal(hopeless, 0);
}

static void a_guest_that_converges_is_left_alone(void **state)
{
	struct rf_converge_in in = {
		.bandwidth = 100.0 * MIB,
		.downtime_limit = 300,
		.may_postcopy = true,
		QEMUS,
	};
	uint64_t rounds, hopeless;
	struct rf_converge_out out;

	for (unsigned rate = 0; rate <= 45; rate += 5) {
		out = migrate(in, 512.0 * MIB, rate * 1.0 * MIB, &rounds, &hopeless);
		assert_int_equal(out.action, RF_CONVERGE_SWITCH_OVER);
		assert_int_equal(out.throttle, 0);
		assert_int_equal(hopeless, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_done),
		cmocka_unit_test(the_memory_is_carried_on),
		cmocka_unit_test(tail_slow_takes_small_steps_where_they_do),
		cmocka_unit_test(a_guest_at_three_times_the_bandwidth),
		cmocka_unit_test(a_guest_that_converges_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
