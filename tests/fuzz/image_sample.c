/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/fuzz/image_sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ramferry/err.h>

#include "common/image.h"

#define HEADER_FIELDS 48

size_t image_sample(unsigned n, uint8_t out[IMAGE_SAMPLE_MAX])
{
	static const uint32_t page_sizes[] = {RF_PAGE_SIZE, 2u << 20, 1u << 30};
	struct rf_image_region regions[3] = {0};
	struct rf_image_order order[3] = {{0, 0}, {0, 1}, {0, 0}};
	struct rf_image img = {
		.nregions = n % 3 + 1,
		.state_len = (uint64_t)n * 100,
		.norder = n,
		.order_room = n + 1,
		.regions = regions,
	};
	uint8_t header[RF_IMAGE_HEADER];

	for (uint32_t i = 0; i < img.nregions; i++) {
		snprintf(regions[i].id, sizeof(regions[i].id), "ram%u", i);
		regions[i].page_size = page_sizes[(n + i) % 3];
		regions[i].len = 4ull * (i + 1) * (1u << 30);
	}
	if (rf_image_layout(&img) != RF_OK)
		abort();
	rf_image_put_header(&img, header);
	memcpy(out, header, HEADER_FIELDS);
	rf_image_put_tables(&img, order, out + HEADER_FIELDS);
	return HEADER_FIELDS + img.state_offset;
}
