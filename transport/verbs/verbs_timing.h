/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long a queue pair tries before it gives its peer up. Arithmetic only.
 *
 * A packet without an answer is sent again after the local ack timeout, 4.096 µs × 2^timeout,
 * `retries` times; when the last try has been waited for as well, the post fails. So a dead path
 * is noticed after
 *
 *   detection = 4.096 µs × 2^timeout × (retries + 1)
 *
 * `retries` is always 6. 7 is the most the field holds, but soft-RoCE takes it for "without end":
 * a dead path then gives no completion at all. And as few tries as the link timeout allows would
 * be wrong as well: a lost packet costs one ack timeout where no later packet tells of it, so the
 * shorter the timeout the better a lossy path does.
 * `timeout` is the largest with detection <= link timeout. As it doubles from step to step,
 * detection is between half the link timeout and the whole:
 *
 *   link timeout   timeout   one try    detection
 *        100 ms       11        8.4 ms      59 ms
 *      1,000 ms       15      134 ms       940 ms
 *      3,000 ms       16      268 ms     1,879 ms
 *     10,000 ms       18    1,074 ms     7,516 ms
 *
 * Bounds: 10 (4.2 ms, detection 29 ms) because a busy peer may take as long to answer, and 20
 * (4.3 s, detection 30 s). The standard lets devices take up to four times the timeout they were
 * given, and some have a minimum of their own (half a second is known): then detection is that
 * much later, and the lane's own clock (rf_verbs_timing_silence_ms) is the last resort.
 */
#ifndef RF_TRANSPORT_VERBS_TIMING_H
#define RF_TRANSPORT_VERBS_TIMING_H

#include <stdint.h>

#define RF_VERBS_RETRIES     6u
#define RF_VERBS_TIMEOUT_MIN 10u
#define RF_VERBS_TIMEOUT_MAX 20u

struct rf_verbs_timing {
	uint8_t timeout; /* ibv_qp_attr.timeout */
	uint8_t retries; /* ibv_qp_attr.retry_cnt */
};

struct rf_verbs_timing rf_verbs_timing_of(uint32_t link_timeout_ms);

/* When a post to a dead peer fails, in ms, rounded up. */
uint32_t rf_verbs_timing_detection_ms(struct rf_verbs_timing t);

/* How long nothing may complete though something is posted, before the lane is taken for dead by
 * its own clock: what the device does not report (a peer that never posts a receive is asked
 * again without end, a device may be slower than it was told). Well above what the device takes. */
uint32_t rf_verbs_timing_silence_ms(uint32_t link_timeout_ms);

#endif
