/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The harness of fuzz_image without a fuzzer: samples, and changes to them by a generator that
 * gives the same ones every time. With a directory as argument it writes the samples there, as the
 * fuzzer's first corpus.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/image_sample.h"

#define CHANGES 20000 /* of each sample */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t seed = 0x9e3779b97f4a7c15ull;

static uint32_t next_random(uint32_t below)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (uint32_t)((seed * 0x2545f4914f6cdd1dull) >> 32) % below;
}

static void change(uint8_t *p, size_t *size)
{
	static const uint64_t numbers[] = {0,	       1,	   3,	       4096,
					   1u << 20,   2u << 20,   1ull << 46, 1ull << 63,
					   0x7fffffff, 0xffffffff, ~0ull};
	/* most of the tables are zeros behind names: go for the numbers */
	size_t at = next_random(3)
			    ? next_random((uint32_t)*size)
			    : (next_random(2) ? 8 + next_random(40) : 48 + 256 + next_random(40));
	uint64_t v = numbers[next_random(sizeof(numbers) / sizeof(numbers[0]))];
	size_t width = 1u << next_random(4);

	if (at >= *size)
		return;
	switch (next_random(3)) {
	case 0:
		p[at] ^= (uint8_t)(1u << next_random(8));
		break;
	case 1:
		memcpy(p + at, &v, width < *size - at ? width : *size - at);
		break;
	default:
		if (!next_random(8))
			*size = at + 1;
		else
			p[at] = (uint8_t)next_random(256);
	}
}

static int write_samples(const char *dir)
{
	for (unsigned n = 0; n < IMAGE_SAMPLES; n++) {
		uint8_t sample[IMAGE_SAMPLE_MAX];
		size_t size = image_sample(n, sample);
		char path[4096];
		FILE *f;

		snprintf(path, sizeof(path), "%s/image-%u", dir, n);
		f = fopen(path, "wb");
		if (!f || fwrite(sample, 1, size, f) != size || fclose(f)) {
			perror(path);
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned runs = 0;

	if (argc > 1)
		return write_samples(argv[1]);
	for (unsigned n = 0; n < IMAGE_SAMPLES; n++) {
		uint8_t sample[IMAGE_SAMPLE_MAX], changed[IMAGE_SAMPLE_MAX];
		size_t size = image_sample(n, sample);

		LLVMFuzzerTestOneInput(sample, size);
		for (unsigned i = 0; i < CHANGES; i++, runs++) {
			size_t now = size;

			memcpy(changed, sample, size);
			for (unsigned k = next_random(4) + 1; k; k--)
				change(changed, &now);
			LLVMFuzzerTestOneInput(changed, now);
		}
	}
	printf("fuzz_image_seeds: %u headers and tables\n", runs);
	return 0;
}
