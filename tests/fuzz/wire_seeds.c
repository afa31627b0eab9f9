/* SPDX-License-Identifier: BSD-3-Clause */
/* wire_seeds DIR: writes a valid stream for each kind of message, the fuzzer's first corpus. */
#include <stdio.h>

#include "tests/fuzz/wire_codec.h"

static int write_seed(const char *dir, uint32_t kind, unsigned entries)
{
	uint8_t payload[4096], preamble[RF_WIRE_PREAMBLE_SIZE], header[RF_WIRE_FRAME_HEADER];
	struct rf_wbuf b;
	char path[4096];
	bool good;
	FILE *f;

	rf_wbuf_init(&b, payload, sizeof(payload));
	wire_sample(kind, entries, &b);
	rf_wire_put_preamble(preamble, RF_WIRE_MAJOR, RF_WIRE_MINOR);
	/* What travels on lanes has no type of its own; the harness tries all decoders. */
	rf_wire_put_header(header, kind < RF_WIRE_TYPE_COUNT ? kind : RF_WIRE_PING,
			   (uint32_t)b.len);
	snprintf(path, sizeof(path), "%s/%s-%u", dir, wire_kind_str(kind), entries);
	f = fopen(path, "wb");
	if (!f) {
		perror(path);
		return 1;
	}
	good = fwrite(preamble, sizeof(preamble), 1, f) && fwrite(header, sizeof(header), 1, f) &&
	       fwrite(payload, 1, b.len, f) == b.len;
	if (fclose(f) || !good) {
		perror(path);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: wire_seeds DIR\n");
		return 2;
	}
	for (uint32_t kind = 1; kind < WIRE_KIND_COUNT; kind++) {
		if (write_seed(argv[1], kind, 1) || write_seed(argv[1], kind, 5))
			return 1;
	}
	return 0;
}
