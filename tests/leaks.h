/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File descriptors and threads of this process, for tests that look for what was left behind:
 *
 *	before = count_fds(); … ; assert_true(fds_settle_at(before));
 *
 * A thread that was joined stays in the kernel's list for a moment. One that was still there when
 * they were counted before may be gone later, so fewer are no fault; one too many gets some time.
 */
#ifndef RF_TESTS_LEAKS_H
#define RF_TESTS_LEAKS_H

#include <dirent.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#define LEAKS_PATIENCE_MS 5000

/* readdir() is safe on a stream of one's own. */
static inline unsigned count_entries(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	if (!d)
		abort();
	while (readdir(d)) /* cppcheck-suppress readdirCalled */
		n++;
	closedir(d);
	return n;
}

static inline bool entries_settle_at(const char *dir, unsigned most)
{
	for (unsigned i = 0; i < LEAKS_PATIENCE_MS; i++) {
		if (count_entries(dir) <= most)
			return true;
		usleep(1000);
	}
	return false;
}

static inline unsigned count_fds(void)
{
	return count_entries("/proc/self/fd");
}

static inline unsigned count_threads(void)
{
	return count_entries("/proc/self/task");
}

static inline bool fds_settle_at(unsigned most)
{
	return entries_settle_at("/proc/self/fd", most);
}

static inline bool threads_settle_at(unsigned most)
{
	return entries_settle_at("/proc/self/task", most);
}

#endif
