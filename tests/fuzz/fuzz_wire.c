/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzer of the wire decoders: a stream of arbitrary bytes, as a peer might send it.
 *
 * Each payload goes to all decoders, not only to the one of its type: they must hold against
 * anything. It is copied to a buffer of just its size first, so that AddressSanitizer sees a
 * read past the end. What a decoder accepts is encoded again and must give the same bytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ramferry/err.h>

#include "tests/fuzz/wire_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A payload's own size is its limit; what is encoded again can be no longer than that, but for
 * the fixed-size messages. */
#define SPARE 64

static void fail(uint32_t kind, const char *what)
{
	fprintf(stderr, "fuzz_wire: %s: %s\n", wire_kind_str(kind), what);
	abort();
}

static void check_kind(uint32_t kind, const uint8_t *p, size_t len)
{
	uint8_t *mem = malloc(len + SPARE);
	struct rf_wbuf out;
	int rc;

	if (!mem)
		abort();
	rf_wbuf_init(&out, mem, len + SPARE);
	rc = wire_recode(kind, p, len, &out);
	if (rc != RF_OK && rc != RF_ERR_PROTOCOL)
		fail(kind, "neither accepted nor refused");
	if (rc == RF_OK && kind == WIRE_KIND_LANE && len > RF_WIRE_LANE_SIZE)
		len = RF_WIRE_LANE_SIZE; /* the rest is padding */
	if (rc == RF_OK && (out.overflow || out.len != len || (len && memcmp(mem, p, len) != 0)))
		fail(kind, "encoded again it is not the same");
	free(mem);
}

static void check_payload(const uint8_t *data, size_t len)
{
	uint8_t *p = malloc(len ? len : 1);

	if (!p)
		abort();
	if (len)
		memcpy(p, data, len);
	for (uint32_t kind = 0; kind < WIRE_KIND_COUNT; kind++)
		check_kind(kind, len ? p : NULL, len);
	free(p);
}

static void check_preamble(const uint8_t *data)
{
	uint8_t out[RF_WIRE_PREAMBLE_SIZE];
	uint16_t major, minor;
	int rc = rf_wire_get_preamble(data, &major, &minor);

	if (rc != RF_OK)
		return;
	rf_wire_put_preamble(out, major, minor);
	if (memcmp(out, data, sizeof(out)) != 0)
		fail(0, "preamble is not the same");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= RF_WIRE_PREAMBLE_SIZE) {
		check_preamble(data);
		data += RF_WIRE_PREAMBLE_SIZE;
		size -= RF_WIRE_PREAMBLE_SIZE;
	}
	while (size >= RF_WIRE_FRAME_HEADER) {
		uint8_t header[RF_WIRE_FRAME_HEADER];
		uint32_t type, len;

		if (rf_wire_get_header(data, &type, &len))
			break;
		rf_wire_put_header(header, type, len);
		if (memcmp(header, data, sizeof(header)) != 0)
			fail(type, "header is not the same");
		data += RF_WIRE_FRAME_HEADER;
		size -= RF_WIRE_FRAME_HEADER;
		if (len > size) /* the stream is cut off here */
			len = (uint32_t)size;
		check_payload(data, len);
		data += len;
		size -= len;
	}
	/* What is no frame may still be taken for a message. */
	check_payload(data, size);
	return 0;
}
