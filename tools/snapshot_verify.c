/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/snapshot_verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/extent.h"
#include "common/image_reader.h"

struct copying {
	struct paused_copy *c;
	const struct rf_region *ram;
};

/* Read from the file: that fills no hole of it. */
static int copy_extent(void *arg, uint64_t offset, uint64_t len)
{
	struct copying *k = arg;

	while (len) {
		ssize_t n = pread(k->ram->memfd, k->c->memory + offset, len,
				  (off_t)(k->ram->memfd_offset + offset));

		if (n <= 0)
			return RF_ERR_SYSTEM;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return RF_OK;
}

bool paused_copy_take(struct paused_copy *c, const struct rf_region *ram, const void *state,
		      size_t state_len)
{
	struct copying k = {.c = c, .ram = ram};

	c->len = ram->len;
	c->memory = mmap(NULL, c->len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	c->state = malloc(state_len + 1);
	c->state_len = state_len;
	if (c->memory == MAP_FAILED || !c->state) {
		c->memory = NULL;
		perror("ramferry snapshot: a copy to compare with");
		return false;
	}
	memcpy(c->state, state, state_len);
	if (rf_extent_walk_file(ram->memfd, ram->memfd_offset, ram->len, copy_extent, &k) == RF_OK)
		return true;
	fprintf(stderr, "ramferry snapshot: the guest's memory cannot be copied\n");
	return false;
}

bool paused_copy_equals(const struct paused_copy *c, const char *path, char *desc, size_t cap)
{
	uint8_t *block = malloc(RF_IMAGE_BLOCK);
	struct rf_image_reader *r = NULL;
	bool equal = false;

	snprintf(desc, cap, "it cannot be read");
	if (!block || rf_image_reader_open(path, &r) != RF_OK)
		goto done;
	snprintf(desc, cap, "its regions or its device state differ");
	if (r->img.nregions != 1 || r->img.regions[0].len != c->len ||
	    r->img.state_len != c->state_len || memcmp(r->state, c->state, c->state_len) != 0)
		goto done;
	equal = true;
	for (uint64_t b = 0; equal && b < r->img.regions[0].blocks; b++) {
		uint64_t len = rf_image_block_pages(&r->img.regions[0], b) * RF_PAGE_SIZE;

		snprintf(desc, cap, "2 MiB at 0x%llx differ",
			 (unsigned long long)b * RF_IMAGE_BLOCK);
		equal = rf_image_reader_block(r, 0, b, block) == RF_OK &&
			!memcmp(block, c->memory + b * RF_IMAGE_BLOCK, len);
	}
done:
	rf_image_reader_close(&r);
	free(block);
	return equal;
}

void paused_copy_free(struct paused_copy *c)
{
	if (c->memory)
		munmap(c->memory, c->len);
	free(c->state);
	*c = (struct paused_copy){0};
}
