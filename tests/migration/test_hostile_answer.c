/* SPDX-License-Identifier: BSD-3-Clause */
/* A destination that answers anything, or nothing, to any frame. */
#define HOSTILE_LEN (64u << 10) /* hundreds of sources, whose memory does not matter */
#include "tests/migration/hostile_dest.h"

#include <unistd.h>

#include "tests/unit/ctrl_peer.h"

static const uint32_t frames[] = {RF_WIRE_HELLO,   RF_WIRE_REGIONS,   RF_WIRE_RUNG,
				  RF_WIRE_KEY_REQ, RF_WIRE_ROUND_END, RF_WIRE_DIGEST_END,
				  RF_WIRE_STATE,   RF_WIRE_RUN};

/* The answers that are right without a payload. */
static bool is_right(uint32_t to, uint32_t type)
{
	return (to == RF_WIRE_REGIONS && type == RF_WIRE_REGIONS_ACK) ||
	       (to == RF_WIRE_STATE && type == RF_WIRE_STATE_LOADED) ||
	       (to == RF_WIRE_RUN && type == RF_WIRE_RUNNING);
}

static int after(uint32_t to, int rc)
{
	return to == RF_WIRE_RUN ? RF_ERR_UNKNOWN_OUTCOME : rc;
}

static void any_answer_to_any_frame(void **state)
{
	rf_log_set_level(RF_LOG_NONE);
	for (size_t i = 0; i < COUNT_OF(frames); i++) {
		for (uint32_t type = 1; type < RF_WIRE_TYPE_COUNT; type++) {
			if (is_right(frames[i], type))
				continue;
			hostile_begin(rf_wire_type_str(type), 10000);
			hostile_serve(frames[i]);
			peer_send(&peer, type, NULL, 0);
			hostile_end(frames[i], after(frames[i], RF_ERR_PROTOCOL));
		}
	}
	rf_log_set_level(RF_LOG_WARN);
}

static void noise(void **state)
{
	static uint8_t bytes[2000];
	uint64_t seed = 0x5eed;

	rf_log_set_level(RF_LOG_NONE);
	for (unsigned n = 0; n < 80; n++) {
		uint32_t to = frames[n % COUNT_OF(frames)];

		hostile_begin("noise", 10000);
		hostile_serve(to);
		for (unsigned k = 0; k < 50; k++) {
			uint32_t len = 1 + (uint32_t)(next_random(&seed) % (sizeof(bytes) - 1));
			uint32_t type =
				1 + (uint32_t)(next_random(&seed) % (RF_WIRE_TYPE_COUNT - 1));

			for (uint32_t i = 0; i < len; i++)
				bytes[i] = (uint8_t)(next_random(&seed) >> (n % 2 ? 0 : 60));
			peer_send(&peer, type, bytes, len);
		}
		peer_hang_up(&peer);
		hostile_end(to, RF_OK);
	}
	rf_log_set_level(RF_LOG_WARN);
}

static void no_frame_at_all(void **state)
{
	static const uint8_t no_end[RF_WIRE_FRAME_HEADER] = {RF_WIRE_KEY, 0,   0,   0,
							     255,	  255, 255, 255};

	rf_log_set_level(RF_LOG_NONE);
	for (size_t i = 0; i < COUNT_OF(frames); i++) {
		hostile_begin("a frame without end", 10000);
		hostile_serve(frames[i]);
		peer_bytes(&peer, no_end, sizeof(no_end));
		hostile_end(frames[i], after(frames[i], RF_ERR_PROTOCOL));
		hostile_begin("the end of the stream", 10000);
		hostile_serve(frames[i]);
		peer_hang_up(&peer);
		hostile_end(frames[i], after(frames[i], RF_ERR_PEER_GONE));
	}
	rf_log_set_level(RF_LOG_WARN);
}

static void silence(void **state)
{
	rf_log_set_level(RF_LOG_NONE);
	for (size_t i = 0; i < COUNT_OF(frames); i++) {
		hostile_begin("silence", 400);
		hostile_serve(frames[i]);
		peer.mute = true;
		hostile_end(frames[i], after(frames[i], RF_ERR_TIMEOUT));
	}
	rf_log_set_level(RF_LOG_WARN);
}

/* ---- before the first frame ---- */

static void greet_with(const void *bytes, size_t len, uint32_t patience, int rc)
{
	struct mv_log log;

	mv_log_start();
	hostile_begin("greeting", patience);
	peer.fd = accept(peer.listener, NULL, NULL);
	peer.mute = true;
	if (len)
		peer_bytes(&peer, bytes, len);
	mv_join(&victim);
	mv_log_stop(&log);
	if (victim.src.rc != rc)
		fail_msg("%s instead of %s", rf_err_str(victim.src.rc), rf_err_str(rc));
	assert_int_equal(victim.src.pauses, 0);
	if (log.src != 1 || log.other)
		fail_msg("%u lines; last: %s", log.src + log.other, log.last);
	peer_close(&peer);
	mv_close(&victim);
}

static void not_ramferry(void **state)
{
	static const char http[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
	uint8_t other[RF_WIRE_PREAMBLE_SIZE];

	greet_with(http, sizeof(http), 10000, RF_ERR_NOT_RAMFERRY);
	rf_wire_put_preamble(other, RF_WIRE_MAJOR + 1, 0);
	greet_with(other, sizeof(other), 10000, RF_ERR_VERSION);
	greet_with(NULL, 0, 400, RF_ERR_TIMEOUT);
}

static void nobody_there(void **state)
{
	struct mv_cfg cfg = {.name = "nobody", .who = MV_SRC_ALONE};
	int listener = peer_socket(&cfg.port);
	struct mv_log log;

	mv_log_start();
	mv_open(&victim, &cfg);
	close(listener);
	mv_start(&victim);
	mv_join(&victim);
	mv_log_stop(&log);
	assert_int_equal(victim.src.rc, RF_ERR_REFUSED);
	assert_int_equal(log.src, 1);
	mv_close(&victim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_answer_to_any_frame),
		cmocka_unit_test(noise),
		cmocka_unit_test(no_frame_at_all),
		cmocka_unit_test(silence),
		cmocka_unit_test(not_ramferry),
		cmocka_unit_test(nobody_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
