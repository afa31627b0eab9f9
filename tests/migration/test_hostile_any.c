/* SPDX-License-Identifier: BSD-3-Clause */
/* A source that says anything, or nothing, at any stage. */
#include "tests/migration/hostile.h"

static const enum peer_stage stages[] = {PEER_GREETED, PEER_HELLO,  PEER_REGIONS, PEER_OFFER,
					 PEER_PRECOPY, PEER_PAUSED, PEER_LOADED};

/* Empty frames that are no mistake where they come. */
static bool is_due(enum peer_stage stage, uint32_t type)
{
	return stage == PEER_LOADED && type == RF_WIRE_RUN;
}

static int code_of(uint32_t type)
{
	switch (type) {
	case RF_WIRE_CANCEL:
		return RF_ERR_CANCELLED;
	case RF_WIRE_ERROR:
		return RF_ERR_PEER_FAILED;
	default:
		return RF_ERR_PROTOCOL;
	}
}

static void any_frame_at_any_stage(void **state)
{
	rf_log_set_level(RF_LOG_NONE);
	for (size_t i = 0; i < COUNT_OF(stages); i++) {
		for (uint32_t type = 1; type < RF_WIRE_TYPE_COUNT; type++) {
			if (is_due(stages[i], type))
				continue;
			hostile_begin(stages[i], 10000);
			peer_send(&peer, type, NULL, 0);
			hostile_end(rf_wire_type_str(type), code_of(type), false);
		}
	}
	rf_log_set_level(RF_LOG_WARN);
}

/* Frames of random types and contents until it has had enough. */
static void noise_in_frames(void **state)
{
	static uint8_t noise[2000];
	uint64_t seed = 0x5eed;

	rf_log_set_level(RF_LOG_NONE);
	for (unsigned n = 0; n < 70; n++) {
		hostile_begin(stages[n % COUNT_OF(stages)], 10000);
		for (unsigned k = 0; k < 100; k++) {
			uint32_t len = (uint32_t)(next_random(&seed) % sizeof(noise));
			uint32_t type =
				1 + (uint32_t)(next_random(&seed) % (RF_WIRE_TYPE_COUNT - 1));

			for (uint32_t i = 0; i < len; i++)
				noise[i] = (uint8_t)(next_random(&seed) >> (n % 2 ? 0 : 60));
			if (type == RF_WIRE_RUN)
				len++;
			peer_send(&peer, type, noise, len);
		}
		peer_hang_up(&peer);
		hostile_end("noise", RF_OK, false);
	}
	rf_log_set_level(RF_LOG_WARN);
}

static void bytes_that_are_no_frame(void **state)
{
	static const uint8_t no_type[RF_WIRE_FRAME_HEADER];
	static const uint8_t no_end[RF_WIRE_FRAME_HEADER] = {RF_WIRE_RUN, 0,   0,   0,
							     255,	  255, 255, 255};
	static const uint8_t unknown[RF_WIRE_FRAME_HEADER] = {200};
	static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

	rf_log_set_level(RF_LOG_NONE);
	for (size_t i = 0; i < COUNT_OF(stages); i++) {
		hostile_begin(stages[i], 10000);
		peer_bytes(&peer, no_type, sizeof(no_type));
		hostile_end("no type", RF_ERR_PROTOCOL, false);
		hostile_begin(stages[i], 10000);
		peer_bytes(&peer, no_end, sizeof(no_end));
		hostile_end("no end", RF_ERR_PROTOCOL, false);
		hostile_begin(stages[i], 10000);
		peer_bytes(&peer, unknown, sizeof(unknown));
		hostile_end("unknown type", RF_ERR_PROTOCOL, false);
		hostile_begin(stages[i], 10000);
		peer_bytes(&peer, http, sizeof(http));
		hostile_end("http", RF_ERR_PROTOCOL, false);
	}
	rf_log_set_level(RF_LOG_WARN);
}

static void hanging_up(void **state)
{
	static const uint8_t half[RF_WIRE_FRAME_HEADER] = {RF_WIRE_STATE, 0, 0, 0, 100, 0, 0, 0};

	rf_log_set_level(RF_LOG_NONE);
	for (size_t i = 0; i < COUNT_OF(stages); i++) {
		hostile_begin(stages[i], 10000);
		peer_hang_up(&peer);
		hostile_end("end", RF_ERR_PEER_GONE, false);
		hostile_begin(stages[i], 10000);
		peer_bytes(&peer, half, sizeof(half));
		peer_hang_up(&peer);
		hostile_end("end in a frame", RF_ERR_PEER_GONE, false);
	}
	rf_log_set_level(RF_LOG_WARN);
}

static void silence(void **state)
{
	rf_log_set_level(RF_LOG_NONE);
	for (size_t i = 0; i < COUNT_OF(stages); i++) {
		hostile_begin(stages[i], 400);
		peer.mute = true;
		hostile_end("silence", RF_ERR_TIMEOUT, false);
	}
	rf_log_set_level(RF_LOG_WARN);
}

/* A preamble of something else is turned away, and the wait goes on. */
static void others_first(void **state)
{
	static const char http[] = "GET / HTTP/1.1\r\n\r\n";
	struct mv_cfg cfg = {.name = "others first", .verify = true};
	struct peer other;
	struct mv m;

	rf_log_set_level(RF_LOG_NONE);
	mv_open(&m, &cfg);
	peer_open(&other, m.hub);
	other.fd = peer_raw(rf_dest_port(m.dest));
	peer_bytes(&other, http, sizeof(http));
	mv_run(&m);
	mv_assert_moved(&m);
	peer_close(&other);
	mv_close(&m);
	rf_log_set_level(RF_LOG_WARN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_frame_at_any_stage),
		cmocka_unit_test(noise_in_frames),
		cmocka_unit_test(bytes_that_are_no_frame),
		cmocka_unit_test(hanging_up),
		cmocka_unit_test(silence),
		cmocka_unit_test(others_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
