/* SPDX-License-Identifier: BSD-3-Clause */
/* Wire messages as a broken or hostile peer sends them: all refused, nothing written. */
#include "tests/unit/unit.h"

#include "tests/fuzz/wire_codec.h"

#define PAGES_MAX  (1ull << 35) /* pages of the largest region */
#define BLOCKS_MAX (1ull << 26) /* digest blocks of it */

/*
 * Recodes from a buffer of exactly len bytes, so that a sanitizer sees a read past the end.
 * Anything a refusing decoder hands out would be encoded again.
 */
static int recode_exactly(uint32_t kind, const uint8_t *data, size_t len)
{
	uint8_t *exact = malloc(len ? len : 1), out[8192];
	struct rf_wbuf b;
	int rc;

	assert_non_null(exact);
	memcpy(exact, data, len);
	rf_wbuf_init(&b, out, sizeof(out));
	rc = wire_recode(kind, len ? exact : NULL, len, &b);
	if (rc != RF_OK) {
		assert_int_equal(rc, RF_ERR_PROTOCOL);
		assert_int_equal(b.len, 0);
	}
	free(exact);
	return rc;
}

static size_t sample(uint32_t kind, unsigned entries, uint8_t *data, size_t cap)
{
	struct rf_wbuf b;

	rf_wbuf_init(&b, data, cap);
	wire_sample(kind, entries, &b);
	return b.len;
}

static void every_truncation_is_refused(void **state)
{
	uint8_t data[1024];

	for (uint32_t kind = 1; kind < WIRE_KIND_COUNT; kind++) {
		size_t size = sample(kind, 1, data, sizeof(data));

		for (size_t len = 0; len < size; len++)
			assert_int_equal(recode_exactly(kind, data, len), RF_ERR_PROTOCOL);
		assert_int_equal(recode_exactly(kind, data, size), RF_OK);
	}
}

/* Where the count follows from the length, a cut between entries is a shorter message. */
static void truncated_arrays_have_whole_entries(void **state)
{
	static const struct {
		uint32_t kind;
		size_t head, entry;
	} cases[] = {
		{RF_WIRE_KEY_REQ, 0, RF_WIRE_CHUNK_SIZE},
		{RF_WIRE_KEY, 0, RF_WIRE_KEY_SIZE},
		{RF_WIRE_ZERO, 8, RF_WIRE_RUN_SIZE},
		{RF_WIRE_DIGEST, 16, RF_WIRE_DIGEST_SIZE},
	};
	uint8_t data[1024];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		size_t size = sample(cases[i].kind, 8, data, sizeof(data));

		assert_int_equal(size, cases[i].head + 8 * cases[i].entry);
		for (size_t len = 0; len <= size; len++) {
			bool whole =
				len > cases[i].head && (len - cases[i].head) % cases[i].entry == 0;

			assert_int_equal(recode_exactly(cases[i].kind, data, len),
					 whole ? RF_OK : RF_ERR_PROTOCOL);
		}
	}
}

static void counted_arrays_have_all_entries(void **state)
{
	static const uint32_t kinds[] = {RF_WIRE_HELLO_ACK, RF_WIRE_REGIONS};
	uint8_t data[1024];

	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		size_t size = sample(kinds[i], 8, data, sizeof(data));

		for (size_t len = 0; len < size; len++)
			assert_int_equal(recode_exactly(kinds[i], data, len), RF_ERR_PROTOCOL);
	}
}

static void anything_left_over_is_refused(void **state)
{
	uint8_t data[1024];

	for (uint32_t kind = 1; kind < WIRE_KIND_COUNT; kind++) {
		size_t size = sample(kind, 1, data, sizeof(data) - 1);

		data[size] = 0;
		/* More bytes of state are more state; a lane's greeting may be padded; what a
		 * trial has in it means nothing. */
		if (kind != RF_WIRE_STATE && kind != WIRE_KIND_LANE && kind != RF_WIRE_TRIAL)
			assert_int_equal(recode_exactly(kind, data, size + 1), RF_ERR_PROTOCOL);
	}
}

/* One field of a valid message is changed to what it must not be. */
struct spoiled {
	uint32_t kind;
	unsigned offset, width;
	uint64_t value;
};

static const struct spoiled handshake[] = {
	{RF_WIRE_HELLO, 16, 4, RF_HELLO_FLAGS + 1}, /* flags */
	{RF_WIRE_HELLO, 16, 4, 1u << 31},
	{RF_WIRE_HELLO, 16, 4, RF_HELLO_PROBE},	   /* and regions */
	{RF_WIRE_HELLO, 16, 4, RF_HELLO_SNAPSHOT}, /* and urgent lanes */
	{RF_WIRE_HELLO, 20, 4, 0},		   /* regions */
	{RF_WIRE_HELLO, 20, 4, RF_MAX_REGIONS + 1},
	{RF_WIRE_HELLO, 24, 8, 0}, /* chunk size */
	{RF_WIRE_HELLO, 24, 8, 1u << 19},
	{RF_WIRE_HELLO, 24, 8, 3u << 20},
	{RF_WIRE_HELLO, 24, 8, 1ull << 31},
	{RF_WIRE_HELLO, 32, 2, 0}, /* lanes */
	{RF_WIRE_HELLO, 32, 2, RF_WIRE_MAX_LANES + 1},
	{RF_WIRE_HELLO, 34, 2, RF_WIRE_MAX_LANES + 1},
	{RF_WIRE_HELLO, 36, 4, 0}, /* timeout */
	{RF_WIRE_HELLO_ACK, 0, 2, 0},
	{RF_WIRE_HELLO_ACK, 0, 2, RF_WIRE_MAX_LANES + 1},
	{RF_WIRE_HELLO_ACK, 2, 2, 0}, /* rungs */
	{RF_WIRE_HELLO_ACK, 2, 2, 2},
	{RF_WIRE_HELLO_ACK, 2, 2, RF_WIRE_MAX_RUNGS + 1},
	{RF_WIRE_HELLO_ACK, 2, 2, 0xffff},
	{RF_WIRE_HELLO_ACK, 4, 4, 0},
	{RF_WIRE_HELLO_ACK, 8, 2, 0}, /* length of the first name */
	{RF_WIRE_HELLO_ACK, 8, 2, RF_WIRE_RUNG_SIZE},
	{RF_WIRE_HELLO_ACK, 8, 2, 0xffff},
	{RF_WIRE_HELLO_ACK, 12, 1, 0},		 /* a NUL in it */
	{RF_WIRE_REGIONS, 0, 4, RF_MAX_REGIONS}, /* first */
	{RF_WIRE_REGIONS, 0, 4, 0xffffffff},
	{RF_WIRE_REGIONS, 4, 4, 0}, /* count */
	{RF_WIRE_REGIONS, 4, 4, 2},
	{RF_WIRE_REGIONS, 4, 4, RF_MAX_REGIONS},
	{RF_WIRE_REGIONS, 4, 4, 0xffffffff},
	{RF_WIRE_REGIONS, 8, 8, 0}, /* length of a region */
	{RF_WIRE_REGIONS, 8, 8, 4097},
	{RF_WIRE_REGIONS, 8, 8, RF_WIRE_MAX_LEN + 4096},
	{RF_WIRE_REGIONS, 8, 8, ~4095ull},
	{RF_WIRE_REGIONS, 16, 4, 0}, /* page size */
	{RF_WIRE_REGIONS, 16, 4, 1},
	{RF_WIRE_REGIONS, 16, 4, 8192},
	{RF_WIRE_REGIONS, 16, 4, 2u << 20}, /* not a divisor of the length */
	{RF_WIRE_REGIONS, 20, 2, 0},	    /* length of the id */
	{RF_WIRE_REGIONS, 20, 2, RF_REGION_ID_SIZE},
	{RF_WIRE_REGIONS, 20, 2, 0xffff},
	{RF_WIRE_REGIONS, 22, 1, 0},
	{RF_WIRE_RUNG, 0, 2, 0},
	{RF_WIRE_RUNG, 0, 2, RF_WIRE_MAX_LANES + 1},
	{RF_WIRE_RUNG, 2, 2, RF_WIRE_MAX_LANES + 1},
	{RF_WIRE_RUNG, 4, 2, 0},
	{RF_WIRE_RUNG, 4, 2, RF_WIRE_RUNG_SIZE},
	{RF_WIRE_RUNG, 6, 1, 0},
	{RF_WIRE_RUNG_OFFER, 0, 4, 1},			   /* err */
	{RF_WIRE_RUNG_OFFER, 0, 4, (uint32_t)RF_ERR_BUSY}, /* a refusal has no offer */
	{RF_WIRE_RUNG_OFFER, 4, 2, RF_WIRE_TEXT_SIZE},
	{RF_WIRE_RUNG_OFFER, 22, 4, 0}, /* address length */
	{RF_WIRE_RUNG_OFFER, 22, 4, 15},
	{RF_WIRE_RUNG_OFFER, 22, 4, 17},
	{RF_WIRE_RUNG_OFFER, 22, 4, RF_WIRE_ADDR_SIZE + 1},
	{RF_WIRE_RUNG_OFFER, 22, 4, 0xffffffff},
	{RF_WIRE_ERROR, 0, 4, 1},
	{RF_WIRE_ERROR, 0, 4, 0x80000000},
	{RF_WIRE_ERROR, 4, 2, RF_WIRE_TEXT_SIZE},
	{RF_WIRE_ERROR, 4, 2, 0xffff},
	{RF_WIRE_ERROR, 7, 1, 0},
	{WIRE_KIND_LANE, 0, 4, 0},
	{WIRE_KIND_LANE, 20, 1, 2},
	{WIRE_KIND_LANE, 21, 1, 1},
	{WIRE_KIND_LANE, 22, 2, RF_WIRE_MAX_LANES},
	{WIRE_KIND_FENCE, 0, 4, 0},
	{WIRE_KIND_FENCE, 4, 4, 1},
};

static const struct spoiled memory[] = {
	{RF_WIRE_KEY_REQ, 0, 4, RF_MAX_REGIONS},
	{RF_WIRE_KEY_REQ, 4, 4, 1u << 27},
	{RF_WIRE_KEY, 0, 4, RF_MAX_REGIONS},
	{RF_WIRE_KEY, 4, 4, 1u << 27},
	{RF_WIRE_ZERO, 0, 4, RF_MAX_REGIONS},
	{RF_WIRE_ZERO, 4, 4, 1}, /* reserved */
	{RF_WIRE_ZERO, 8, 8, PAGES_MAX},
	{RF_WIRE_ZERO, 8, 8, UINT64_MAX}, /* first + count wraps to 0 */
	{RF_WIRE_ZERO, 16, 8, 0},
	{RF_WIRE_ZERO, 16, 8, PAGES_MAX + 1},
	{RF_WIRE_ZERO, 16, 8, UINT64_MAX},
	{RF_WIRE_DIGEST, 0, 4, RF_MAX_REGIONS},
	{RF_WIRE_DIGEST, 4, 4, 1},
	{RF_WIRE_DIGEST, 8, 8, BLOCKS_MAX},
	{RF_WIRE_DIGEST, 8, 8, UINT64_MAX},
	{RF_WIRE_DIGEST_RESULT, 0, 4, 1}, /* equal, but a difference is told */
	{RF_WIRE_DIGEST_RESULT, 0, 4, 2},
	{RF_WIRE_DIGEST_RESULT, 4, 4, RF_MAX_REGIONS},
	{RF_WIRE_DIGEST_RESULT, 8, 8, BLOCKS_MAX},
	{RF_WIRE_ROUND_END, 8, 4, 2},
	{RF_WIRE_ROUND_END, 12, 4, 1},
	{RF_WIRE_STATE, 0, 8, 0},    /* total */
	{RF_WIRE_STATE, 0, 8, 1024}, /* where this piece begins */
	{RF_WIRE_STATE, 0, 8, RF_WIRE_MAX_STATE + 1},
	{RF_WIRE_STATE, 8, 8, 4096}, /* offset */
	{RF_WIRE_STATE, 8, 8, UINT64_MAX},
};

static void check_spoiled(const struct spoiled *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct spoiled *c = &cases[i];
		uint8_t data[1024];
		size_t size = sample(c->kind, 1, data, sizeof(data));

		assert_true((size_t)c->offset + c->width <= size);
		memcpy(data + c->offset, &c->value, c->width);
		if (recode_exactly(c->kind, data, size) == RF_OK)
			fail_msg("%s accepts %#llx at %u", wire_kind_str(c->kind),
				 (unsigned long long)c->value, c->offset);
	}
}

static void impossible_handshake_fields_are_refused(void **state)
{
	check_spoiled(handshake, COUNT_OF(handshake));
}

static void impossible_memory_fields_are_refused(void **state)
{
	check_spoiled(memory, COUNT_OF(memory));
}

/* A string of len bytes, all of them there, behind what comes before it in its message. */
static int recode_long_string(uint32_t kind, size_t offset, uint16_t len)
{
	uint8_t data[1024];

	sample(kind, 1, data, sizeof(data));
	data[offset] = (uint8_t)len;
	data[offset + 1] = (uint8_t)(len >> 8);
	memset(data + offset + 2, 'x', len);
	return recode_exactly(kind, data, offset + 2 + len);
}

static void strings_without_room_for_their_nul_are_refused(void **state)
{
	static const struct {
		size_t offset;
		uint32_t kind;
		uint16_t cap;
	} cases[] = {
		{8, RF_WIRE_HELLO_ACK, RF_WIRE_RUNG_SIZE},
		{20, RF_WIRE_REGIONS, RF_REGION_ID_SIZE},
		{4, RF_WIRE_RUNG, RF_WIRE_RUNG_SIZE},
		{4, RF_WIRE_ERROR, RF_WIRE_TEXT_SIZE},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint16_t longest = cases[i].cap - 1;

		assert_int_equal(recode_long_string(cases[i].kind, cases[i].offset, longest),
				 RF_OK);
		assert_int_equal(recode_long_string(cases[i].kind, cases[i].offset, longest + 1),
				 RF_ERR_PROTOCOL);
	}
}

static void one_bad_entry_spoils_the_array(void **state)
{
	static const struct spoiled last[] = {
		{RF_WIRE_KEY_REQ, 7 * 8, 4, RF_MAX_REGIONS},
		{RF_WIRE_KEY, 7 * 32, 4, RF_MAX_REGIONS},
		{RF_WIRE_ZERO, 8 + 7 * 16 + 8, 8, 0},
		{RF_WIRE_DIGEST, 8, 8, BLOCKS_MAX - 7},
	};

	for (size_t i = 0; i < COUNT_OF(last); i++) {
		uint8_t data[1024];
		size_t size = sample(last[i].kind, 8, data, sizeof(data));

		memcpy(data + last[i].offset, &last[i].value, last[i].width);
		assert_int_equal(recode_exactly(last[i].kind, data, size), RF_ERR_PROTOCOL);
	}
}

static int never_called(void *arg, uint32_t index, const struct rf_wire_region *r)
{
	fail_msg("a region of a bad table was handed out");
	return 0;
}

static void no_region_of_a_bad_table_is_handed_out(void **state)
{
	uint8_t data[1024];
	size_t size = sample(RF_WIRE_REGIONS, 5, data, sizeof(data));

	data[size - 1] = 0; /* in the last id */
	assert_int_equal(rf_wire_get_regions(data, size, never_called, NULL), RF_ERR_PROTOCOL);
}

static void refused_messages_write_nothing(void **state)
{
	uint8_t data[1024], out[1024], same[1024];
	size_t size = sample(RF_WIRE_HELLO, 1, data, sizeof(data));

	memset(out, 0x77, sizeof(out));
	memset(same, 0x77, sizeof(same));
	assert_int_equal(rf_wire_get_hello(data, size - 1, (void *)out), RF_ERR_PROTOCOL);
	size = sample(RF_WIRE_HELLO_ACK, 5, data, sizeof(data));
	assert_int_equal(rf_wire_get_hello_ack(data, size - 1, (void *)out), RF_ERR_PROTOCOL);
	size = sample(RF_WIRE_ERROR, 1, data, sizeof(data));
	assert_int_equal(rf_wire_get_status(data, size - 1, (void *)out), RF_ERR_PROTOCOL);
	size = sample(RF_WIRE_KEY, 5, data, sizeof(data));
	assert_int_equal(rf_wire_get_keys(data, size - 1, (void *)out), RF_ERR_PROTOCOL);
	sample(RF_WIRE_STATE, 5, data, sizeof(data));
	assert_int_equal(rf_wire_get_state(data, 15, (void *)out), RF_ERR_PROTOCOL);
	assert_memory_equal(out, same, sizeof(out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(truncated_arrays_have_whole_entries),
		cmocka_unit_test(counted_arrays_have_all_entries),
		cmocka_unit_test(anything_left_over_is_refused),
		cmocka_unit_test(impossible_handshake_fields_are_refused),
		cmocka_unit_test(impossible_memory_fields_are_refused),
		cmocka_unit_test(strings_without_room_for_their_nul_are_refused),
		cmocka_unit_test(one_bad_entry_spoils_the_array),
		cmocka_unit_test(no_region_of_a_bad_table_is_handed_out),
		cmocka_unit_test(refused_messages_write_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
