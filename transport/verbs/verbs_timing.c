/* SPDX-License-Identifier: BSD-3-Clause */
#include "transport/verbs/verbs_timing.h"

static uint64_t detection_ns(unsigned timeout, unsigned retries)
{
	return (4096ull << timeout) * (retries + 1);
}

struct rf_verbs_timing rf_verbs_timing_of(uint32_t link_timeout_ms)
{
	const uint64_t limit = link_timeout_ms * 1000000ull;
	unsigned t = RF_VERBS_TIMEOUT_MIN;

	while (t < RF_VERBS_TIMEOUT_MAX && detection_ns(t + 1, RF_VERBS_RETRIES) <= limit)
		t++;
	return (struct rf_verbs_timing){.timeout = (uint8_t)t, .retries = RF_VERBS_RETRIES};
}

uint32_t rf_verbs_timing_detection_ms(struct rf_verbs_timing t)
{
	return (uint32_t)((detection_ns(t.timeout, t.retries) + 999999) / 1000000);
}

uint32_t rf_verbs_timing_silence_ms(uint32_t link_timeout_ms)
{
	uint32_t detection = rf_verbs_timing_detection_ms(rf_verbs_timing_of(link_timeout_ms));
	uint64_t ms = 2ull * link_timeout_ms;

	if (ms < 2ull * detection)
		ms = 2ull * detection;
	ms += 500;
	return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}
