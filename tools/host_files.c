/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/host_files.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 512

static bool make_path(char *out, const char *root, const char *fmt, va_list ap)
{
	int n = snprintf(out, PATH_SIZE, "%s", root);

	if (n < 0 || n >= PATH_SIZE)
		return false;
	return vsnprintf(out + n, PATH_SIZE - (size_t)n, fmt, ap) < PATH_SIZE - n;
}

static bool read_line(const char *path, char *out, size_t cap)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(out, (int)cap, f);

	if (ok)
		out[strcspn(out, "\n")] = '\0';
	if (f)
		fclose(f);
	return ok;
}

bool host_read(const char *root, char *out, size_t cap, const char *fmt, ...)
{
	char path[PATH_SIZE];
	va_list ap;
	bool ok;

	va_start(ap, fmt);
	ok = make_path(path, root, fmt, ap);
	va_end(ap);
	return ok && read_line(path, out, cap);
}

bool host_read_u64(const char *root, uint64_t *out, const char *fmt, ...)
{
	char path[PATH_SIZE], line[64], *end;
	va_list ap;
	bool ok;

	va_start(ap, fmt);
	ok = make_path(path, root, fmt, ap);
	va_end(ap);
	if (!ok || !read_line(path, line, sizeof(line)))
		return false;
	*out = strtoull(line, &end, 10);
	return end != line;
}

bool host_exists(const char *root, const char *fmt, ...)
{
	char path[PATH_SIZE];
	va_list ap;
	bool ok;

	va_start(ap, fmt);
	ok = make_path(path, root, fmt, ap);
	va_end(ap);
	return ok && access(path, F_OK) == 0;
}

/* Lines of ROOT/PATH one by one until fn says true. */
static bool any_line(const char *root, const char *path, bool (*fn)(void *arg, char *line),
		     void *arg)
{
	char full[PATH_SIZE], *line = NULL;
	bool found = false;
	size_t cap = 0;
	FILE *f;

	if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full))
		return false;
	f = fopen(full, "re");
	while (f && !found && getline(&line, &cap, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		found = fn(arg, line);
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

static bool has_words(void *arg, char *line)
{
	return strstr(line, arg) != NULL;
}

bool host_has_line(const char *root, const char *path, const char *words)
{
	return any_line(root, path, has_words, (void *)words);
}

struct key_search {
	const char *key;
	char *out;
	size_t cap;
};

static bool take_key(void *arg, char *line)
{
	const struct key_search *s = arg;
	char *colon = strchr(line, ':');
	size_t len = strlen(s->key);

	/* /proc/cpuinfo pads the key with tabs. */
	if (!colon || strncmp(line, s->key, len) || line + len + strspn(line + len, " \t") != colon)
		return false;
	colon += 1 + strspn(colon + 1, " \t");
	snprintf(s->out, s->cap, "%s", colon);
	return true;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): written through the search */
bool host_read_key(const char *root, const char *path, const char *key, char *out, size_t cap)
{
	struct key_search s = {.key = key, .out = out, .cap = cap};

	return any_line(root, path, take_key, &s);
}

static bool take_rest(void *arg, char *line)
{
	const struct key_search *s = arg;
	size_t len = strlen(s->key);

	if (strncmp(line, s->key, len))
		return false;
	snprintf(s->out, s->cap, "%s", line + len);
	return true;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): written through the search */
bool host_read_after(const char *root, const char *path, const char *words, char *out, size_t cap)
{
	struct key_search s = {.key = words, .out = out, .cap = cap};

	return any_line(root, path, take_rest, &s);
}

static int is_entry(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

unsigned host_list(const char *root, const char *path, char ***names)
{
	char full[PATH_SIZE];
	struct dirent **list;
	char **out = NULL;
	int n = -1;

	*names = NULL;
	if (snprintf(full, sizeof(full), "%s%s", root, path) < (int)sizeof(full))
		n = scandir(full, &list, is_entry, versionsort);
	if (n < 0)
		return 0;
	out = calloc((size_t)n + 1, sizeof(*out));
	for (int i = 0; i < n; i++) {
		if (out)
			out[i] = strdup(list[i]->d_name);
		free(list[i]);
	}
	free(list);
	*names = out;
	return out ? (unsigned)n : 0;
}

void host_list_free(char **names, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

enum host_module host_module(const char *root, const char *release, const char *name)
{
	char path[PATH_SIZE], file[80];

	if (host_exists(root, "/sys/module/%s", name))
		return HOST_MODULE_LOADED;
	snprintf(file, sizeof(file), "/%s.ko", name);
	snprintf(path, sizeof(path), "/lib/modules/%s/modules.builtin", release);
	if (host_has_line(root, path, file))
		return HOST_MODULE_LOADED;
	snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", release);
	return host_has_line(root, path, file) ? HOST_MODULE_THERE : HOST_MODULE_NONE;
}
