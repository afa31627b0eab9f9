/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fuzzer's harness without a fuzzer: seeds, and mutations of them by a generator that gives
 * the same ones every time. It runs wherever the other tests run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/wire_codec.h"

#define MUTATIONS 2000 /* of each seed */
#define STREAM	  4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t seed = 0x9e3779b97f4a7c15ull;

static uint32_t next_random(uint32_t below)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (uint32_t)((seed * 0x2545f4914f6cdd1dull) >> 32) % below;
}

/* preamble, and one frame with a sample of that kind */
static size_t make_stream(uint32_t kind, unsigned entries, uint8_t out[STREAM])
{
	const size_t head = RF_WIRE_PREAMBLE_SIZE + RF_WIRE_FRAME_HEADER;
	struct rf_wbuf b;

	rf_wbuf_init(&b, out + head, STREAM - head);
	wire_sample(kind, entries, &b);
	rf_wire_put_preamble(out, RF_WIRE_MAJOR, RF_WIRE_MINOR);
	rf_wire_put_header(out + RF_WIRE_PREAMBLE_SIZE,
			   kind < RF_WIRE_TYPE_COUNT ? kind : RF_WIRE_PING, (uint32_t)b.len);
	return head + b.len;
}

static void put_number(uint8_t *p, size_t room)
{
	static const uint64_t numbers[] = {
		0,	    1,
		0x7f,	    0xff,
		0x7fff,	    0xffff,
		0x10000,    0x7fffffff,
		0x80000000, 0xffffffff,
		1ull << 35, 1ull << 47,
		1ull << 63, 0x7fffffffffffffff,
		~0ull,
	};
	uint64_t v = numbers[next_random(sizeof(numbers) / sizeof(numbers[0]))];
	size_t width = 1u << next_random(4);

	memcpy(p, &v, width < room ? width : room);
}

/* One change anywhere; returns the new size. */
static size_t mutate(uint8_t *p, size_t size)
{
	size_t at = next_random((uint32_t)size), n;

	switch (next_random(6)) {
	case 0:
		p[at] ^= (uint8_t)(1u << next_random(8));
		return size;
	case 1:
		p[at] = (uint8_t)next_random(256);
		return size;
	case 2:
		put_number(p + at, size - at);
		return size;
	case 3: /* cut off */
		return at + 1;
	case 4: /* take some out */
		n = next_random((uint32_t)(size - at)) + 1;
		memmove(p + at, p + at + n, size - at - n);
		return size > n ? size - n : 1;
	default: /* put some twice */
		n = next_random((uint32_t)(size - at)) + 1;
		if (size + n > STREAM)
			return size;
		memmove(p + at + n, p + at, size - at);
		return size + n;
	}
}

/* The frame's length follows the payload's, or the decoders would see little of the change. */
static void mend_length(uint8_t *p, size_t size)
{
	const size_t head = RF_WIRE_PREAMBLE_SIZE + RF_WIRE_FRAME_HEADER;
	uint32_t type, len;

	if (size >= head && !rf_wire_get_header(p + RF_WIRE_PREAMBLE_SIZE, &type, &len))
		rf_wire_put_header(p + RF_WIRE_PREAMBLE_SIZE, type, (uint32_t)(size - head));
}

int main(void)
{
	unsigned runs = 0;

	for (uint32_t kind = 1; kind < WIRE_KIND_COUNT; kind++) {
		for (unsigned entries = 1; entries <= 5; entries += 4) {
			uint8_t start[STREAM], stream[STREAM];
			size_t size = make_stream(kind, entries, start);

			LLVMFuzzerTestOneInput(start, size);
			for (unsigned i = 0; i < MUTATIONS; i++, runs++) {
				size_t now = size;

				memcpy(stream, start, size);
				for (unsigned n = next_random(4) + 1; n; n--)
					now = mutate(stream, now);
				if (next_random(4))
					mend_length(stream, now);
				LLVMFuzzerTestOneInput(stream, now);
			}
		}
	}
	printf("fuzz_wire_seeds: %u streams\n", runs);
	return 0;
}
