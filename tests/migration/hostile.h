/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of hostile sources share: a source that says the right things up to a stage, and
 * then something else, and what must become of the destination.
 */
#ifndef RF_TESTS_MIGRATION_HOSTILE_H
#define RF_TESTS_MIGRATION_HOSTILE_H

#include "tests/migration/peer.h"

#define LEN (3 * MIB)

static struct peer peer;
static struct mv victim;
static const struct peer_plan plan = {.flags = RF_HELLO_VERIFY | RF_HELLO_FREE_HINTS,
				      .lanes = 2,
				      .regions = 2,
				      .len = LEN};

/* What is said at which stage, and how the destination ends. */
struct row {
	const char *what;
	enum peer_stage stage;
	void (*say)(void);
	int rc;
};
#define ROW(stage, say, rc)          \
	{                            \
#say, stage, say, rc \
	}

static inline void hostile_begin(enum peer_stage stage, uint32_t patience)
{
	struct mv_cfg cfg = {
		.name = peer_stage_str(stage),
		.regions = 2,
		.len = LEN,
		.content = MV_EMPTY,
		.who = MV_DST_ALONE,
		.connect_timeout = patience,
		.link_timeout = patience,
	};

	mv_open(&victim, &cfg);
	peer_open(&peer, victim.hub);
	mv_start(&victim);
	peer_connect(&peer, rf_dest_port(victim.dest));
	peer_go(&peer, &plan, stage);
}

/* Hears the destination out; RF_OK stands for any error. It must have said why. */
static inline void hostile_end(const char *what, int rc, bool told)
{
	bool error = peer.fd >= 0 && peer_drain(&peer);

	mv_join(&victim);
	if (victim.dst.rc == RF_OK || (rc != RF_OK && victim.dst.rc != rc))
		fail_msg("%s, %s: %s (%s) instead of %s", victim.cfg.name, what,
			 rf_err_str(victim.dst.rc), victim.dst.stats.error_desc, rf_err_str(rc));
	if (told && !error)
		fail_msg("%s, %s: the source was not told", victim.cfg.name, what);
	assert_int_equal(victim.dst.resumes, 0);
	assert_int_equal(victim.dst.stats.error, victim.dst.rc);
	assert_string_not_equal(victim.dst.stats.error_desc, "");
	peer_close(&peer);
	mv_close(&victim);
}

static inline void hostile_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct mv_log log;

		mv_log_start();
		hostile_begin(rows[i].stage, 10000);
		rows[i].say();
		hostile_end(rows[i].what, rows[i].rc, true);
		mv_log_stop(&log);
		if (log.dst != 1 || log.other)
			fail_msg("%s: %u lines; last: %s", rows[i].what, log.dst + log.other,
				 log.last);
	}
}

#endif
