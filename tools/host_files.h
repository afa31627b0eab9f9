/* SPDX-License-Identifier: BSD-3-Clause */
/* Small files of sysfs and procfs, below a root that tests can choose. */
#ifndef RF_TOOLS_HOST_FILES_H
#define RF_TOOLS_HOST_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first line of ROOT/PATH without its newline; false if it cannot be read. Longer lines are
 * cut. fmt makes PATH. */
bool host_read(const char *root, char *out, size_t cap, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
bool host_read_u64(const char *root, uint64_t *out, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
bool host_exists(const char *root, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* True if a line of ROOT/PATH has these words. */
bool host_has_line(const char *root, const char *path, const char *words);
/* The value behind "KEY:" in a file such as /proc/meminfo. */
bool host_read_key(const char *root, const char *path, const char *key, char *out, size_t cap);
/* The rest of the first line that begins with these words. */
bool host_read_after(const char *root, const char *path, const char *words, char *out, size_t cap);

/* Entries of a folder in order of their names, numbers by value; the caller frees each and the
 * array. Returns how many. */
unsigned host_list(const char *root, const char *path, char ***names);
void host_list_free(char **names, unsigned n);

enum host_module {
	HOST_MODULE_NONE,   /* this kernel does not have it */
	HOST_MODULE_THERE,  /* can be loaded */
	HOST_MODULE_LOADED, /* is loaded or built in */
};
enum host_module host_module(const char *root, const char *release, const char *name);

#endif
