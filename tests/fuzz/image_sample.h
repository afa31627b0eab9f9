/* SPDX-License-Identifier: BSD-3-Clause */
/* A header and tables as fuzz_image reads them. */
#ifndef RF_TESTS_FUZZ_IMAGE_SAMPLE_H
#define RF_TESTS_FUZZ_IMAGE_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#define IMAGE_SAMPLE_MAX 4096
#define IMAGE_SAMPLES	 4u

/* Sample number n; returns its bytes. */
size_t image_sample(unsigned n, uint8_t out[IMAGE_SAMPLE_MAX]);

#endif
