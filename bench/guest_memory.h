/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory as a guest has it: a memfd, of huge pages where asked for, with contents that tell which
 * host page they belong to. */
#ifndef RF_BENCH_GUEST_MEMORY_H
#define RF_BENCH_GUEST_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct guest_memory {
	int fd;
	uint8_t *view;
	uint64_t len;
	uint32_t page_size;
};

/* Not populated. 0, or -1 after a line on stderr; a zeroed struct may be freed. */
int guest_memory_make(struct guest_memory *m, uint64_t len, uint32_t page_size);
void guest_memory_free(struct guest_memory *m);
/* One more mapping of all of it, or NULL after a line on stderr; munmap it. */
uint8_t *guest_memory_map(const struct guest_memory *m);

void guest_memory_fill(const struct guest_memory *m);
/* The 8 bytes at any offset of a host page, a multiple of 8, once it is filled. */
uint64_t guest_memory_word(uint64_t host_page);

#endif
