/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/guest_memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ramferry/region.h>

#include "bench/say.h"

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif

uint8_t *guest_memory_map(const struct guest_memory *m)
{
	void *p = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);

	if (p != MAP_FAILED)
		return p;
	say_error("%llu bytes of guest memory: %s%s", (unsigned long long)m->len, strerror(errno),
		  m->page_size > RF_PAGE_SIZE ? "; are there enough free huge pages?" : "");
	return NULL;
}

int guest_memory_make(struct guest_memory *m, uint64_t len, uint32_t page_size)
{
	unsigned flags = MFD_CLOEXEC, shift = (unsigned)__builtin_ctz(page_size);

	if (page_size > RF_PAGE_SIZE)
		flags |= MFD_HUGETLB | shift << MFD_HUGE_SHIFT;
	*m = (struct guest_memory){
		.fd = memfd_create("ramferry-bench", flags),
		.len = (len + page_size - 1) / page_size * page_size,
		.page_size = page_size,
	};
	if (m->fd < 0 || ftruncate(m->fd, (off_t)m->len)) {
		say_error("%llu bytes of guest memory: %s", (unsigned long long)m->len,
			  strerror(errno));
		guest_memory_free(m);
		return -1;
	}
	m->view = guest_memory_map(m);
	if (m->view)
		return 0;
	guest_memory_free(m);
	return -1;
}

void guest_memory_free(struct guest_memory *m)
{
	if (!m->len)
		return;
	if (m->view)
		munmap(m->view, m->len);
	if (m->fd >= 0)
		close(m->fd);
	*m = (struct guest_memory){0};
}

uint64_t guest_memory_word(uint64_t host_page)
{
	return (host_page + 1) * 0x9e3779b97f4a7c15ull | 1;
}

void guest_memory_fill(const struct guest_memory *m)
{
	uint64_t *word = (uint64_t *)m->view;

	for (uint64_t i = 0; i < m->len / sizeof(*word); i++)
		word[i] = guest_memory_word(i * sizeof(*word) / m->page_size);
}
