/* SPDX-License-Identifier: BSD-3-Clause */
/* Wire messages as they are meant: round trips, and what an encoder does without room. */
#include "tests/unit/unit.h"

#include "tests/fuzz/wire_codec.h"

#define CANARY 0xee

struct message {
	uint8_t data[8192];
	struct rf_wbuf b;
};

static struct message *empty_message(struct message *m)
{
	memset(m->data, CANARY, sizeof(m->data));
	rf_wbuf_init(&m->b, m->data, sizeof(m->data));
	return m;
}

static struct message *sample(struct message *m, uint32_t kind, unsigned entries)
{
	wire_sample(kind, entries, &empty_message(m)->b);
	assert_false(m->b.overflow);
	return m;
}

static void every_type_has_a_name(void **state)
{
	for (uint32_t t = 1; t < RF_WIRE_TYPE_COUNT; t++) {
		assert_string_not_equal(rf_wire_type_str(t), "unknown");
		for (uint32_t u = 1; u < t; u++)
			assert_string_not_equal(rf_wire_type_str(t), rf_wire_type_str(u));
	}
	assert_string_equal(rf_wire_type_str(RF_WIRE_ROUND_END), "round-end");
	assert_string_equal(rf_wire_type_str(0), "unknown");
	assert_string_equal(rf_wire_type_str(RF_WIRE_TYPE_COUNT), "unknown");
	assert_string_equal(rf_wire_type_str(UINT32_MAX), "unknown");
}

static void preamble_tells_who_speaks(void **state)
{
	uint8_t p[RF_WIRE_PREAMBLE_SIZE];
	uint16_t major = 0, minor = 0;

	rf_wire_put_preamble(p, RF_WIRE_MAJOR, 7);
	assert_memory_equal(p, "RAMFERRY\x01\x00\x07\x00\x00\x00\x00\x00", sizeof(p));
	assert_int_equal(rf_wire_get_preamble(p, &major, &minor), RF_OK);
	assert_int_equal(major, RF_WIRE_MAJOR);
	assert_int_equal(minor, 7); /* another minor version is fine */
	rf_wire_put_preamble(p, RF_WIRE_MAJOR + 1, 3);
	assert_int_equal(rf_wire_get_preamble(p, &major, &minor), RF_ERR_VERSION);
	assert_int_equal(major, RF_WIRE_MAJOR + 1);
	assert_int_equal(minor, 3);
	rf_wire_put_preamble(p, RF_WIRE_MAJOR, 0);
	p[15] = 1;
	assert_int_equal(rf_wire_get_preamble(p, &major, &minor), RF_ERR_NOT_RAMFERRY);
	memcpy(p, "GET / HTTP/1.1\r\n", sizeof(p));
	assert_int_equal(rf_wire_get_preamble(p, &major, &minor), RF_ERR_NOT_RAMFERRY);
}

static void header_takes_known_types_up_to_the_limit(void **state)
{
	uint8_t h[RF_WIRE_FRAME_HEADER];
	uint32_t type = 0, len = 0;

	rf_wire_put_header(h, RF_WIRE_KEY, RF_WIRE_MAX_PAYLOAD);
	assert_int_equal(rf_wire_get_header(h, &type, &len), RF_OK);
	assert_int_equal(type, RF_WIRE_KEY);
	assert_int_equal(len, RF_WIRE_MAX_PAYLOAD);
	rf_wire_put_header(h, RF_WIRE_KEY, RF_WIRE_MAX_PAYLOAD + 1);
	assert_int_equal(rf_wire_get_header(h, &type, &len), RF_ERR_PROTOCOL);
	rf_wire_put_header(h, RF_WIRE_TYPE_COUNT, 0);
	assert_int_equal(rf_wire_get_header(h, &type, &len), RF_ERR_PROTOCOL);
	rf_wire_put_header(h, 0, 0);
	assert_int_equal(rf_wire_get_header(h, &type, &len), RF_ERR_PROTOCOL);
	assert_int_equal(type, RF_WIRE_KEY);
	assert_int_equal(len, RF_WIRE_MAX_PAYLOAD);
}

static void every_message_survives_a_round_trip(void **state)
{
	static struct message in, out;

	for (uint32_t kind = 1; kind < WIRE_KIND_COUNT; kind++) {
		for (unsigned entries = 1; entries <= 8; entries++) {
			sample(&in, kind, entries);
			empty_message(&out);
			assert_int_equal(wire_recode(kind, in.data, in.b.len, &out.b), RF_OK);
			assert_int_equal(out.b.len, in.b.len);
			assert_memory_equal(out.data, in.data, in.b.len);
		}
	}
}

static void a_snapshot_is_nothing_else(void **state)
{
	static const uint32_t others[] = {RF_HELLO_VERIFY, RF_HELLO_POSTCOPY, RF_HELLO_FREE_HINTS,
					  RF_HELLO_LANDED};
	struct rf_wire_hello in = {.flags = RF_HELLO_SNAPSHOT | RF_HELLO_PIN_ALL,
				   .regions = 1,
				   .chunk_size = 1u << 20,
				   .bulk_lanes = 1,
				   .link_timeout = 1};
	struct rf_wire_hello out;
	struct message m;

	rf_wire_put_hello(&empty_message(&m)->b, &in);
	assert_int_equal(rf_wire_get_hello(m.data, m.b.len, &out), RF_OK);
	assert_int_equal(out.flags, in.flags);
	for (size_t i = 0; i < COUNT_OF(others); i++) {
		in.flags = RF_HELLO_SNAPSHOT | others[i];
		rf_wire_put_hello(&empty_message(&m)->b, &in);
		assert_int_equal(rf_wire_get_hello(m.data, m.b.len, &out), RF_ERR_PROTOCOL);
	}
	in.flags = RF_HELLO_SNAPSHOT;
	in.urgent_lanes = 1;
	rf_wire_put_hello(&empty_message(&m)->b, &in);
	assert_int_equal(rf_wire_get_hello(m.data, m.b.len, &out), RF_ERR_PROTOCOL);
}

static void hello_fields_arrive(void **state)
{
	struct rf_wire_hello in = {.flags = RF_HELLO_PIN_ALL,
				   .regions = RF_MAX_REGIONS,
				   .chunk_size = 1u << 30,
				   .bulk_lanes = 16,
				   .urgent_lanes = 3,
				   .link_timeout = 1};
	struct rf_wire_hello_ack ack = {.max_lanes = 1, .link_timeout = 9, .nrungs = 2};
	struct rf_wire_hello_ack ack_out;
	struct rf_wire_hello out;
	struct message m;

	memcpy(in.session, "0123456789abcdef", sizeof(in.session));
	rf_wire_put_hello(&empty_message(&m)->b, &in);
	assert_int_equal(m.b.len, 40);
	assert_int_equal(rf_wire_get_hello(m.data, m.b.len, &out), RF_OK);
	assert_memory_equal(&in, &out, sizeof(in));

	memcpy(ack.rungs[0], "verbs", 6);
	memset(ack.rungs[1], 'x', RF_WIRE_RUNG_SIZE - 1); /* the longest name */
	rf_wire_put_hello_ack(&empty_message(&m)->b, &ack);
	assert_int_equal(rf_wire_get_hello_ack(m.data, m.b.len, &ack_out), RF_OK);
	assert_memory_equal(&ack, &ack_out, sizeof(ack));
}

static void offer_and_refusal_arrive(void **state)
{
	const struct rf_wire_status ok = {.err = RF_OK};
	struct rf_wire_status no = {.err = RF_ERR_BUSY}, st;
	struct rf_wire_rung_offer in = {.addr_len = RF_WIRE_ADDR_SIZE}, out;
	struct message m;

	memset(in.addr, 0xab, sizeof(in.addr));
	memset(in.token, 0xcd, sizeof(in.token));
	rf_wire_put_rung_offer(&empty_message(&m)->b, &ok, &in);
	assert_int_equal(rf_wire_get_rung_offer(m.data, m.b.len, &st, &out), RF_OK);
	assert_int_equal(st.err, RF_OK);
	assert_memory_equal(&in, &out, sizeof(in));

	memset(no.text, 'n', sizeof(no.text) - 1); /* the longest text */
	rf_wire_put_rung_offer(&empty_message(&m)->b, &no, NULL);
	assert_int_equal(rf_wire_get_rung_offer(m.data, m.b.len, &st, &out), RF_OK);
	assert_memory_equal(&no, &st, sizeof(no));
	assert_int_equal(out.addr_len, 0);
	/* The same bytes are a plain status. */
	assert_int_equal(rf_wire_get_status(m.data, m.b.len, &st), RF_OK);
	assert_string_equal(st.text, no.text);
}

static void numbers_arrive(void **state)
{
	struct rf_wire_digest_result equal = {.equal = true, .region = 5, .block = 6}, out;
	uint64_t v = 0;
	struct message m;
	bool last = true;

	rf_wire_put_round_end(&empty_message(&m)->b, 1ull << 40, false);
	assert_int_equal(rf_wire_get_round_end(m.data, m.b.len, &v, &last), RF_OK);
	assert_true(v == 1ull << 40);
	assert_false(last);
	rf_wire_put_u64(&empty_message(&m)->b, UINT64_MAX);
	assert_int_equal(rf_wire_get_u64(m.data, m.b.len, &v), RF_OK);
	assert_true(v == UINT64_MAX);
	rf_wire_put_digest_result(&empty_message(&m)->b, &equal);
	assert_int_equal(rf_wire_get_digest_result(m.data, m.b.len, &out), RF_OK);
	assert_true(out.equal);
	assert_int_equal(out.region, 0); /* where is only said of a difference */
	assert_int_equal(out.block, 0);
	rf_wire_put_fence(m.data, 0x1122334455667788ull);
	assert_int_equal(rf_wire_get_fence(m.data, RF_WIRE_FENCE_SIZE, &v), RF_OK);
	assert_true(v == 0x1122334455667788ull);
}

static void arrays_arrive(void **state)
{
	const struct rf_wire_key key = {4095, (1u << 27) - 1, UINT64_MAX, {1, 2}};
	const struct rf_wire_run run = {.first = 0, .count = 1ull << 35}; /* 128 TiB */
	struct rf_wire_array a;
	struct rf_wire_key key_out;
	struct rf_wire_run run_out;
	struct message m;

	rf_wire_put_key(&empty_message(&m)->b, &key);
	assert_int_equal(m.b.len, RF_WIRE_KEY_SIZE);
	assert_int_equal(rf_wire_get_keys(m.data, m.b.len, &a), RF_OK);
	assert_int_equal(a.count, 1);
	rf_wire_key_at(&a, 0, &key_out);
	assert_memory_equal(&key, &key_out, sizeof(key));

	rf_wire_begin_zero(&empty_message(&m)->b, 9);
	rf_wire_put_run(&m.b, &run);
	assert_int_equal(m.b.len, 8 + RF_WIRE_RUN_SIZE);
	assert_int_equal(rf_wire_get_zero(m.data, m.b.len, &a), RF_OK);
	assert_int_equal(a.region, 9);
	rf_wire_run_at(&a, 0, &run_out);
	assert_memory_equal(&run, &run_out, sizeof(run));

	rf_wire_begin_digest(&empty_message(&m)->b, 8, 77);
	rf_wire_put_u64(&m.b, 10);
	rf_wire_put_u64(&m.b, 11);
	assert_int_equal(rf_wire_get_digest(m.data, m.b.len, &a), RF_OK);
	assert_int_equal(a.region, 8);
	assert_int_equal(a.first, 77);
	assert_int_equal(a.count, 2);
	assert_int_equal(rf_wire_digest_at(&a, 0), 10);
	assert_int_equal(rf_wire_digest_at(&a, 1), 11);
}

static void device_state_may_be_empty_or_in_pieces(void **state)
{
	struct rf_wire_state s;
	struct message m;

	rf_wire_put_state(&empty_message(&m)->b, 0, 0, NULL, 0);
	assert_int_equal(rf_wire_get_state(m.data, m.b.len, &s), RF_OK);
	assert_int_equal(s.total, 0);
	assert_int_equal(s.len, 0);
	rf_wire_put_state(&empty_message(&m)->b, RF_WIRE_MAX_STATE, RF_WIRE_MAX_STATE - 3, "end",
			  3);
	assert_int_equal(rf_wire_get_state(m.data, m.b.len, &s), RF_OK);
	assert_int_equal(s.offset, RF_WIRE_MAX_STATE - 3);
	assert_int_equal(s.len, 3);
	assert_memory_equal(s.data, "end", 3);
}

static void lane_greeting_may_be_padded(void **state)
{
	struct rf_wire_lane in = {.kind = 1, .index = 15}, out;
	uint8_t bytes[56];

	memset(in.token, 0x42, sizeof(in.token));
	memset(bytes, CANARY, sizeof(bytes));
	rf_wire_put_lane(bytes, &in);
	assert_int_equal(bytes[RF_WIRE_LANE_SIZE], CANARY);
	assert_int_equal(rf_wire_get_lane(bytes, sizeof(bytes), &out), RF_OK);
	assert_memory_equal(out.token, in.token, sizeof(in.token));
	assert_int_equal(out.kind, 1);
	assert_int_equal(out.index, 15);
}

/* Takes regions as they come; index says where each belongs. */
struct table {
	uint32_t next, stop_at;
};

static int take_region(void *arg, uint32_t index, const struct rf_wire_region *r)
{
	struct table *t = arg;
	char id[16];

	snprintf(id, sizeof(id), "r%u", index);
	assert_int_equal(index, t->next);
	assert_string_equal(r->id, id);
	assert_int_equal(r->len, 4096ull * (index + 1));
	t->next++;
	return t->next == t->stop_at ? 5 : 0;
}

static void a_long_region_table_goes_in_several_frames(void **state)
{
	struct table t = {0};
	unsigned frames = 0;
	static struct message m;

	for (uint32_t sent = 0; sent < RF_MAX_REGIONS; frames++) {
		rf_wire_begin_regions(&empty_message(&m)->b, sent);
		for (; sent < RF_MAX_REGIONS; sent++) {
			struct rf_wire_region r = {.len = 4096ull * (sent + 1), .page_size = 4096};

			snprintf(r.id, sizeof(r.id), "r%u", sent);
			if (rf_wire_add_region(&m.b, &r) == RF_NO_RESOURCE)
				break;
		}
		assert_false(m.b.overflow); /* full is no accident here */
		assert_int_equal(rf_wire_get_regions(m.data, m.b.len, take_region, &t), RF_OK);
		assert_int_equal(t.next, sent);
	}
	assert_true(frames > 5);
}

static void region_visitor_ends_the_walk(void **state)
{
	struct table t = {.stop_at = 2};
	static struct message m;

	rf_wire_begin_regions(&empty_message(&m)->b, 0);
	for (uint32_t i = 0; i < 4; i++) {
		struct rf_wire_region r = {.len = 4096ull * (i + 1), .page_size = 4096};

		snprintf(r.id, sizeof(r.id), "r%u", i);
		assert_int_equal(rf_wire_add_region(&m.b, &r), RF_OK);
	}
	assert_int_equal(rf_wire_get_regions(m.data, m.b.len, take_region, &t), 5);
	assert_int_equal(t.next, 2);
}

static void encoder_without_room_says_so_and_stays_in_bounds(void **state)
{
	static struct message full, m;

	for (uint32_t kind = 1; kind < RF_WIRE_TYPE_COUNT; kind++) {
		sample(&full, kind, 1);
		for (size_t cap = 0; cap < full.b.len; cap++) {
			empty_message(&m);
			m.b.cap = cap;
			wire_sample(kind, 1, &m.b);
			assert_true(m.b.len <= cap);
			/* Regions say that a frame is full instead. */
			assert_true(m.b.overflow || (kind == RF_WIRE_REGIONS && m.b.len == 8));
			for (size_t i = m.b.len; i < full.b.len; i++)
				assert_int_equal(m.data[i], CANARY);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_has_a_name),
		cmocka_unit_test(preamble_tells_who_speaks),
		cmocka_unit_test(header_takes_known_types_up_to_the_limit),
		cmocka_unit_test(every_message_survives_a_round_trip),
		cmocka_unit_test(hello_fields_arrive),
		cmocka_unit_test(a_snapshot_is_nothing_else),
		cmocka_unit_test(offer_and_refusal_arrive),
		cmocka_unit_test(numbers_arrive),
		cmocka_unit_test(arrays_arrive),
		cmocka_unit_test(device_state_may_be_empty_or_in_pieces),
		cmocka_unit_test(lane_greeting_may_be_padded),
		cmocka_unit_test(a_long_region_table_goes_in_several_frames),
		cmocka_unit_test(region_visitor_ends_the_walk),
		cmocka_unit_test(encoder_without_room_says_so_and_stays_in_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
