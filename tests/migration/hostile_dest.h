/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of hostile destinations share: one that answers rightly up to a frame, and what
 * must become of the source after that.
 */
#ifndef RF_TESTS_MIGRATION_HOSTILE_DEST_H
#define RF_TESTS_MIGRATION_HOSTILE_DEST_H

#include "tests/migration/peer.h"

static struct peer peer;
static struct mv victim;
/* Bytes of a region: some chunks, unless a test says that it does not look at them. */
#ifndef HOSTILE_LEN
#define HOSTILE_LEN (3 * MIB)
#endif
static const struct peer_plan plan = {.lanes = 2, .regions = 2, .len = HOSTILE_LEN};

static inline void hostile_begin(const char *what, uint32_t patience)
{
	struct mv_cfg cfg = {
		.name = what,
		.regions = plan.regions,
		.len = plan.len,
		.lanes = plan.lanes,
		.chunk_size = MIB,
		.content = MV_DATA,
		.verify = true,
		.rounds = 1,
		.who = MV_SRC_ALONE,
		.connect_timeout = patience,
		.link_timeout = patience,
	};
	int listener = peer_socket(&cfg.port);

	mv_open(&victim, &cfg);
	peer_open(&peer, victim.hub);
	peer.listener = listener;
	mv_start(&victim);
}

/* Answers rightly up to the frame `to`, which is left unanswered. */
static inline void hostile_serve(uint32_t to)
{
	peer_accept(&peer);
	for (;;) {
		if (!peer_recv(&peer))
			fail_msg("%s: the source left before %s", victim.cfg.name,
				 rf_wire_type_str(to));
		if (peer.type == to)
			return;
		peer_answer(&peer, &plan);
	}
}

/* Hears the source out. rc RF_OK stands for any error. */
static inline void hostile_end(uint32_t to, int rc)
{
	bool told = to == RF_WIRE_RUN;

	if (peer.fd >= 0)
		(void)peer_drain(&peer);
	mv_join(&victim);
	if (victim.src.rc == RF_OK || (rc != RF_OK && victim.src.rc != rc))
		fail_msg("%s to %s: %s (%s) instead of %s", victim.cfg.name, rf_wire_type_str(to),
			 rf_err_str(victim.src.rc), victim.src.stats.error_desc, rf_err_str(rc));
	/* told to run, it stays paused; otherwise it goes on */
	assert_int_equal(victim.paused, told);
	assert_int_equal(victim.src.rc == RF_ERR_UNKNOWN_OUTCOME, told);
	if (!told)
		assert_int_equal(victim.src.pauses, victim.src.resumes);
	assert_null(strchr(victim.src.stats.error_desc, '\n'));
	peer_close(&peer);
	mv_close(&victim);
}

#endif
