/* SPDX-License-Identifier: BSD-3-Clause */
/* What must hold of every migration, and of one that went well. */
#include "tests/migration/move.h"

static const char *words(const struct mv *m)
{
	static char text[700];

	snprintf(text, sizeof(text), "%s: source: %s (%s), destination: %s (%s)",
		 m->cfg.name ? m->cfg.name : "-", rf_err_str(m->src.rc), m->src.stats.error_desc,
		 rf_err_str(m->dst.rc), m->dst.stats.error_desc);
	return text;
}

static enum rf_state state_after(int rc)
{
	if (rc == RF_OK)
		return RF_STATE_COMPLETED;
	return rc == RF_ERR_CANCELLED ? RF_STATE_CANCELLED : RF_STATE_FAILED;
}

static void check_side(const struct mv *m, const struct mv_side *s, const char *who)
{
	if (s->stats.status != state_after(s->rc))
		fail_msg("%s: %s in state %s", words(m), who, rf_state_str(s->stats.status));
	if (s->stats.error != s->rc || (s->rc != RF_OK) != (s->stats.error_desc[0] != 0))
		fail_msg("%s: %s tells \"%s\" (%s)", words(m), who, s->stats.error_desc,
			 rf_err_str(s->stats.error));
}

void mv_check(struct mv *m)
{
	bool runs_there = m->dst.rc == RF_OK;
	bool paused_here = m->paused;

	check_side(m, &m->src, "the source");
	check_side(m, &m->dst, "the destination");
	if (m->differs)
		fail_msg("%s: memory differs where the guest began", words(m));
	/* asked for at most once each, and in order */
	if (m->src.pauses > 1 || m->src.resumes > m->src.pauses || m->src.saves > m->src.pauses ||
	    m->dst.loads > m->src.saves || m->dst.resumes > m->dst.loads)
		fail_msg("%s: pause %u resume %u save %u, load %u resume %u", words(m),
			 m->src.pauses, m->src.resumes, m->src.saves, m->dst.loads, m->dst.resumes);
	/* at most one side runs it */
	if (runs_there && (!paused_here || !m->dst.resumes))
		fail_msg("%s: the guest runs twice, or nowhere", words(m));
	if (m->dst.resumes && !paused_here)
		fail_msg("%s: resumed on both sides", words(m));
	/* and the source does, unless it was told to run there */
	if (m->src.rc == RF_OK && !runs_there)
		fail_msg("%s: gone from here and not there", words(m));
	if ((m->src.rc == RF_OK || m->src.rc == RF_ERR_UNKNOWN_OUTCOME) && !paused_here)
		fail_msg("%s: resumed here after the word to run", words(m));
	if (m->src.rc != RF_OK && m->src.rc != RF_ERR_UNKNOWN_OUTCOME && m->paused)
		fail_msg("%s: paused here for nothing", words(m));
}

static bool is_scripted(const struct mv *m)
{
	return !m->cfg.writer;
}

static void check_rounds(const struct mv *m)
{
	const struct rf_ram_stats *r = &m->src.stats.ram;

	assert_int_equal(r->precopy_bytes + r->downtime_bytes, r->normal_bytes);
	assert_true(r->dirty_sync_count >= 3); /* at the start, after a round, paused */
	assert_true(m->src.stats.round >= 2);
	assert_int_equal(m->dst.stats.ram.duplicate, r->duplicate);
}

static void check_ram(const struct mv *m)
{
	uint64_t spared = m->src.stats.free_hints.avoided;
	const struct rf_ram_stats *r = &m->src.stats.ram;
	uint64_t pages = m->cfg.regions * m->cfg.len / PAGE;

	assert_int_equal(r->total, m->cfg.regions * m->cfg.len);
	assert_int_equal(r->remaining, 0);
	assert_int_equal(r->page_size, PAGE);
	assert_int_equal(r->normal_bytes, r->normal * PAGE);
	if (m->cfg.mode == RF_MODE_PRECOPY)
		check_rounds(m);
	assert_true(r->transferred > r->normal_bytes);
	assert_true(r->skipped <= pages);
	if (!is_scripted(m) || m->cfg.mode != RF_MODE_PRECOPY)
		return;
	/* every page that was no hole went out at least once */
	if (r->normal + r->duplicate + r->skipped + spared < pages)
		fail_msg("%s: %lu data, %lu zero, %lu skipped of %lu pages", words(m), r->normal,
			 r->duplicate, r->skipped, pages);
	if (!m->cfg.rounds && !m->cfg.hook_writes && !m->cfg.free_hints)
		assert_int_equal(r->normal + r->duplicate + r->skipped, pages);
}

void mv_assert_moved(struct mv *m)
{
	const struct rf_stats *s = &m->src.stats;

	if (m->src.rc != RF_OK || m->dst.rc != RF_OK)
		fail_msg("%s", words(m));
	assert_int_equal(m->src.pauses, 1);
	assert_int_equal(m->src.resumes, 0);
	assert_int_equal(m->src.saves, 1);
	assert_int_equal(m->dst.loads, 1);
	assert_int_equal(m->dst.resumes, 1);
	assert_true(mv_memory_equal(m));
	assert_string_equal(s->transport, m->cfg.transport);
	if (m->cfg.provider)
		assert_string_equal(s->provider, m->cfg.provider);
	assert_string_equal(m->dst.stats.transport, s->transport);
	assert_string_equal(m->dst.stats.provider, s->provider);
	assert_int_equal(s->lanes, m->cfg.lanes ? m->cfg.lanes : 1);
	assert_int_equal(m->dst.stats.lanes, s->lanes);
	if (!s->postcopy.active) {
		assert_int_equal(s->verified, m->cfg.verify);
		assert_int_equal(m->dst.stats.verified, m->cfg.verify);
	}
	assert_int_equal(s->device_state, m->cfg.state_len);
	assert_int_equal(m->dst.stats.device_state, m->cfg.state_len);
	assert_int_equal(m->dst.stats.round, s->round);
	assert_true(s->downtime > 0 && s->total_time >= s->downtime);
	assert_true(s->setup_time > 0 && s->total_time >= s->setup_time);
	check_ram(m);
}

void mv_assert_stayed(struct mv *m, int src_rc, int dst_rc)
{
	if (m->src.rc != src_rc || m->dst.rc != dst_rc)
		fail_msg("%s; instead of: %s, %s", words(m), rf_err_str(src_rc),
			 rf_err_str(dst_rc));
	assert_int_equal(m->dst.resumes, 0);
	assert_false(m->paused);
}

/* ---- log ---- */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static struct mv_log seen;

static void count_line(void *arg, enum rf_log_level level, const char *line)
{
	if (level != RF_LOG_ERROR)
		return;
	pthread_mutex_lock(&log_lock);
	if (!strncmp(line, "source: ", 8))
		seen.src++;
	else if (!strncmp(line, "dest: ", 6))
		seen.dst++;
	else
		seen.other++;
	snprintf(seen.last, sizeof(seen.last), "%s", line);
	pthread_mutex_unlock(&log_lock);
}

void mv_log_start(void)
{
	memset(&seen, 0, sizeof(seen));
	rf_log_set_sink(count_line, NULL);
}

void mv_log_stop(struct mv_log *out)
{
	rf_log_set_sink(NULL, NULL);
	*out = seen;
}
