/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler/path.h"

static void sample_rate(struct rf_path *p, uint64_t now_ns, uint64_t completed, bool squeezed)
{
	uint64_t ns = now_ns - p->sample_ns, rate;

	if (p->sample_ns && (ns < RF_PATH_SAMPLE_NS || ns < p->rtt_ns))
		return;
	if (p->sample_ns) {
		rate = (uint64_t)((double)(completed - p->sample_completed) * 1e9 / (double)ns);
		if (!squeezed)
			p->rate -= p->rate / 512; /* forgets: half of it in 350 samples */
		if (rate > p->rate)
			p->rate = rate;
	}
	p->sample_ns = now_ns;
	p->sample_completed = completed;
}

static void take_rtt(struct rf_path *p, uint64_t now_ns)
{
	uint64_t ns = now_ns - p->alone_ns;

	/* the first one may meet memory and threads that are cold */
	p->probed_sum_ns = p->probed ? p->probed_sum_ns + ns : 0;
	p->probed++;
	p->probed_ns = now_ns;
	if (p->probed >= RF_PATH_PROBES)
		p->rtt_ns = p->probed_sum_ns / (RF_PATH_PROBES - 1);
}

void rf_path_note(struct rf_path *p, uint64_t now_ns, uint64_t completed, uint64_t inflight,
		  bool squeezed)
{
	if (!rf_path_probing(p) && now_ns - p->probed_ns > RF_PATH_PROBE_EVERY)
		p->probed = 0;
	/* Posted on an empty link after the last look, which was right before; maybe done, too. */
	if (p->noted_ns && !p->inflight && completed + inflight > p->completed) {
		p->alone_ns = p->noted_ns;
		p->alone_ends = completed + inflight;
	}
	if (p->alone_ends && completed >= p->alone_ends) {
		if (rf_path_probing(p))
			take_rtt(p, now_ns);
		p->alone_ends = 0;
	}
	if (completed != p->completed)
		sample_rate(p, now_ns, completed, squeezed);
	p->noted_ns = now_ns;
	p->inflight = inflight;
	p->completed = completed;
}

bool rf_path_probing(const struct rf_path *p)
{
	return p->probed < RF_PATH_PROBES;
}
