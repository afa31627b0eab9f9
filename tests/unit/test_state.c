/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include "common/log.h"
#include "common/state.h"

#define THREADS 8
#define ROUNDS	2000

/* The moves as the design has them, written down a second time on purpose. */
static const char *const legal[][2] = {
	{"none", "setup"},
	{"setup", "active"},
	{"setup", "cancelling"},
	{"setup", "failed"},
	{"active", "pre-switchover"},
	{"active", "device"},
	{"active", "postcopy-active"},
	{"active", "cancelling"},
	{"active", "failed"},
	{"pre-switchover", "device"},
	{"pre-switchover", "cancelling"},
	{"pre-switchover", "failed"},
	{"device", "completed"},
	{"device", "postcopy-active"},
	{"device", "cancelling"},
	{"device", "failed"},
	{"postcopy-active", "postcopy-paused"},
	{"postcopy-active", "completed"},
	{"postcopy-active", "failed"},
	{"postcopy-paused", "postcopy-recover"},
	{"postcopy-paused", "failed"},
	{"postcopy-recover", "postcopy-active"},
	{"postcopy-recover", "postcopy-paused"},
	{"postcopy-recover", "failed"},
	{"cancelling", "cancelled"},
	{"cancelling", "failed"},
};

static bool is_listed(enum rf_state from, enum rf_state to)
{
	for (size_t i = 0; i < COUNT_OF(legal); i++) {
		if (!strcmp(legal[i][0], rf_state_str(from)) &&
		    !strcmp(legal[i][1], rf_state_str(to)))
			return true;
	}
	return false;
}

static void count_line(void *arg, enum rf_log_level level, const char *line)
{
	unsigned *n = arg;

	n[level]++;
}

static void names_are_qemus(void **state)
{
	assert_string_equal(rf_state_str(RF_STATE_NONE), "none");
	assert_string_equal(rf_state_str(RF_STATE_PRE_SWITCHOVER), "pre-switchover");
	assert_string_equal(rf_state_str(RF_STATE_POSTCOPY_ACTIVE), "postcopy-active");
	assert_string_equal(rf_state_str(RF_STATE_CANCELLED), "cancelled");
	assert_string_equal(rf_state_str(RF_STATE_COUNT), "unknown");
	assert_string_equal(rf_state_str((enum rf_state) - 1), "unknown");
}

static void exactly_the_listed_moves_are_made(void **state)
{
	unsigned lines[RF_LOG_TRACE + 1], moves = 0;

	rf_log_set_sink(count_line, lines);
	rf_log_set_level(RF_LOG_DEBUG);
	for (int from = 0; from < RF_STATE_COUNT; from++) {
		for (int to = 0; to < RF_STATE_COUNT; to++) {
			bool listed = is_listed((enum rf_state)from, (enum rf_state)to);
			struct rf_state_cell c = {.now = from, .name = "test"};
			int rc;

			memset(lines, 0, sizeof(lines));
			rc = rf_state_move(&c, (enum rf_state)from, (enum rf_state)to);
			assert_int_equal(rf_state_legal((enum rf_state)from, (enum rf_state)to),
					 listed);
			assert_int_equal(rc, listed ? RF_OK : RF_ERR_STATE);
			assert_int_equal(rf_state_get(&c), listed ? to : from);
			assert_int_equal(lines[RF_LOG_ERROR], !listed);
			assert_int_equal(lines[RF_LOG_DEBUG], listed);
			moves += listed;
		}
	}
	assert_int_equal(moves, COUNT_OF(legal));
	rf_log_set_sink(NULL, NULL);
	rf_log_set_level(RF_LOG_WARN);
}

static void move_from_a_state_it_is_not_in_changes_nothing(void **state)
{
	struct rf_state_cell c;

	rf_state_init(&c, "test");
	assert_int_equal(rf_state_get(&c), RF_STATE_NONE);
	assert_int_equal(rf_state_move(&c, RF_STATE_SETUP, RF_STATE_ACTIVE), RF_ERR_STATE);
	assert_int_equal(rf_state_get(&c), RF_STATE_NONE);
	assert_int_equal(rf_state_move(&c, RF_STATE_NONE, RF_STATE_SETUP), RF_OK);
	assert_int_equal(rf_state_move(&c, RF_STATE_SETUP, RF_STATE_ACTIVE), RF_OK);
	assert_int_equal(rf_state_get(&c), RF_STATE_ACTIVE);
}

static void what_leads_nowhere_is_over(void **state)
{
	for (int s = 0; s < RF_STATE_COUNT; s++)
		assert_int_equal(rf_state_is_over((enum rf_state)s),
				 s == RF_STATE_COMPLETED || s == RF_STATE_FAILED ||
					 s == RF_STATE_CANCELLED);
	assert_false(rf_state_is_over(RF_STATE_COUNT));
}

static void states_that_do_not_exist_are_illegal(void **state)
{
	assert_false(rf_state_legal(RF_STATE_NONE, RF_STATE_COUNT));
	assert_false(rf_state_legal(RF_STATE_COUNT, RF_STATE_SETUP));
	assert_false(rf_state_legal((enum rf_state) - 1, RF_STATE_SETUP));
	assert_false(rf_state_legal(RF_STATE_NONE, (enum rf_state) - 1));
}

/* Threads race for the same two moves out of one state. */
struct racer {
	struct rf_state_cell *cells;
	enum rf_state to;
	unsigned won;
};

static void *race(void *arg)
{
	struct racer *r = arg;

	for (unsigned i = 0; i < ROUNDS; i++)
		r->won += rf_state_move(&r->cells[i], RF_STATE_DEVICE, r->to) == RF_OK;
	return NULL;
}

static void of_racing_moves_one_wins(void **state)
{
	static struct rf_state_cell cells[ROUNDS];
	struct racer racers[THREADS];
	unsigned won = 0, completed = 0, completers = 0;

	for (unsigned i = 0; i < ROUNDS; i++)
		cells[i] = (struct rf_state_cell){.now = RF_STATE_DEVICE, .name = "race"};
	for (unsigned i = 0; i < THREADS; i++)
		racers[i] =
			(struct racer){cells, i % 2 ? RF_STATE_COMPLETED : RF_STATE_CANCELLING, 0};
	run_threads(THREADS, race, racers, sizeof(racers[0]));
	for (unsigned i = 0; i < THREADS; i++) {
		won += racers[i].won;
		completers += i % 2 ? racers[i].won : 0;
	}
	for (unsigned i = 0; i < ROUNDS; i++)
		completed += rf_state_get(&cells[i]) == RF_STATE_COMPLETED;
	assert_int_equal(won, ROUNDS);
	assert_int_equal(completed, completers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_qemus),
		cmocka_unit_test(exactly_the_listed_moves_are_made),
		cmocka_unit_test(move_from_a_state_it_is_not_in_changes_nothing),
		cmocka_unit_test(what_leads_nowhere_is_over),
		cmocka_unit_test(states_that_do_not_exist_are_illegal),
		cmocka_unit_test(of_racing_moves_one_wins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
