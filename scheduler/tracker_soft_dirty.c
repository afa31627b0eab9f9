/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tracker by soft-dirty bits, for kernels older than PAGEMAP_SCAN (6.7): /proc/PID/pagemap
 * has a bit a page that says "written since the last clear", /proc/PID/clear_refs clears it for
 * the whole process. There is no way to read and clear in one step, so whoever writes must
 * stand still in between: the owner's freeze and thaw, or SIGSTOP for another process.
 *
 *   harvest:  freeze ─ read the bits of all regions ─ clear ─ thaw ─ report one region
 *
 * Clearing hits all regions, so their bits are kept here until each one is asked for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/clock.h"
#include "common/log.h"
#include "scheduler/tracker.h"

#define TRACKER_NAME	"soft-dirty"
#define SOFT_DIRTY	(1ull << 55) /* in an entry of pagemap */
#define ENTRIES		65536u	     /* read at a time */
#define STOP_TIMEOUT_MS 5000u

struct soft_dirty_region {
	uint64_t addr; /* in the tracked process */
	uint64_t npages;
	struct rf_bitmap found;
	void *locked; /* own memory that was locked */
};

struct soft_dirty {
	struct rf_soft_dirty_cfg cfg;
	uint64_t *addrs; /* copy of cfg.addrs */
	int pagemap, clear_refs;
	struct soft_dirty_region *regions;
	unsigned nregions;
	uint64_t *entries;
};

static int open_proc(const struct soft_dirty *s, const char *file, int flags)
{
	char path[64];
	int fd;

	if (s->cfg.pid)
		snprintf(path, sizeof(path), "/proc/%d/%s", s->cfg.pid, file);
	else
		snprintf(path, sizeof(path), "/proc/self/%s", file);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		rf_err_log(TRACKER_NAME, "%s: %s", path, strerror(errno));
	return fd;
}

static int open_files(struct soft_dirty *s)
{
	s->pagemap = open_proc(s, "pagemap", O_RDONLY);
	s->clear_refs = s->pagemap < 0 ? -1 : open_proc(s, "clear_refs", O_WRONLY);
	if (s->clear_refs >= 0)
		return RF_OK;
	return errno == EACCES || errno == EPERM ? RF_ERR_PERMISSION : RF_ERR_SYSTEM;
}

static void close_files(struct soft_dirty *s)
{
	if (s->pagemap >= 0)
		close(s->pagemap);
	if (s->clear_refs >= 0)
		close(s->clear_refs);
	s->pagemap = s->clear_refs = -1;
}

/* ---- standing still ---- */

/* State letter of a thread, 0 if it is gone. */
static char thread_state(int pid, const char *tid)
{
	char path[64], line[512];
	const char *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/stat", pid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, line, sizeof(line) - 1);
	close(fd);
	line[n > 0 ? n : 0] = 0;
	end = strrchr(line, ')');
	return end && end[1] ? end[2] : 0;
}

static bool all_stopped(int pid)
{
	char path[32];
	struct dirent *e;
	bool stopped = true;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (stopped && (e = readdir(dir))) {
		char state = e->d_name[0] == '.' ? 'T' : thread_state(pid, e->d_name);

		stopped = !state || strchr("TtZX", state);
	}
	closedir(dir);
	return stopped;
}

static int stop_process(int pid)
{
	uint64_t until = rf_now_ns(&rf_clock_monotonic) + STOP_TIMEOUT_MS * RF_NS_PER_MS;

	if (kill(pid, SIGSTOP) < 0) {
		rf_err_log(TRACKER_NAME, "process %d cannot be stopped: %s", pid, strerror(errno));
		return errno == EPERM ? RF_ERR_PERMISSION : RF_ERR_NOT_FOUND;
	}
	while (!all_stopped(pid)) {
		if (kill(pid, 0) < 0 || rf_now_ns(&rf_clock_monotonic) >= until) {
			kill(pid, SIGCONT);
			rf_err_log(TRACKER_NAME, "process %d did not stop within %u ms", pid,
				   STOP_TIMEOUT_MS);
			return RF_ERR_TIMEOUT;
		}
		usleep(100);
	}
	return RF_OK;
}

static int freeze(struct soft_dirty *s)
{
	if (s->cfg.freeze)
		return s->cfg.freeze(s->cfg.arg);
	return s->cfg.pid ? stop_process(s->cfg.pid) : RF_OK;
}

static void thaw(struct soft_dirty *s)
{
	if (s->cfg.freeze)
		s->cfg.thaw(s->cfg.arg);
	else if (s->cfg.pid)
		kill(s->cfg.pid, SIGCONT);
}

/* ---- reading and clearing ---- */

static int clear_bits(const struct soft_dirty *s)
{
	if (pwrite(s->clear_refs, "4", 1, 0) == 1)
		return RF_OK;
	rf_err_log(TRACKER_NAME, "clear_refs: %s", strerror(errno));
	return RF_ERR_SYSTEM;
}

static int read_bits(struct soft_dirty *s, struct soft_dirty_region *r)
{
	uint64_t first = r->addr / RF_PAGE_SIZE;

	for (uint64_t at = 0; at < r->npages;) {
		uint64_t n = r->npages - at < ENTRIES ? r->npages - at : ENTRIES;
		ssize_t got = pread(s->pagemap, s->entries, n * sizeof(*s->entries),
				    (off_t)((first + at) * sizeof(*s->entries)));

		if (got <= 0 || got % (ssize_t)sizeof(*s->entries)) {
			rf_err_log(TRACKER_NAME, "pagemap: %s",
				   got < 0 ? strerror(errno) : "the process is gone");
			return RF_ERR_SYSTEM;
		}
		n = (uint64_t)got / sizeof(*s->entries);
		for (uint64_t i = 0; i < n; i++)
			if (s->entries[i] & SOFT_DIRTY)
				rf_bitmap_set(&r->found, at + i);
		at += n;
	}
	return RF_OK;
}

static int collect(struct soft_dirty *s)
{
	int rc = freeze(s);

	if (rc)
		return rc;
	for (unsigned i = 0; !rc && i < s->nregions; i++)
		rc = read_bits(s, &s->regions[i]);
	if (!rc)
		rc = clear_bits(s);
	thaw(s);
	return rc;
}

/* ---- the tracker ---- */

static void stop_soft_dirty(void *self)
{
	struct soft_dirty *s = self;

	for (unsigned i = 0; s->regions && i < s->nregions; i++) {
		rf_bitmap_fini(&s->regions[i].found);
		if (s->regions[i].locked)
			munlock(s->regions[i].locked, s->regions[i].npages * RF_PAGE_SIZE);
	}
	free(s->regions);
	free(s->entries);
	s->regions = NULL;
	s->entries = NULL;
	s->nregions = 0;
	close_files(s);
}

static int add_region(struct soft_dirty *s, const struct rf_region *info)
{
	struct soft_dirty_region *r = &s->regions[s->nregions];
	int rc;

	r->addr = s->addrs ? s->addrs[s->nregions] : (uintptr_t)info->addr;
	r->npages = info->len / RF_PAGE_SIZE;
	rc = rf_bitmap_init(&r->found, r->npages);
	if (rc)
		return rc;
	s->nregions++;
	/* A page of a file that the kernel takes out of the page table loses its bit. */
	if (s->cfg.pid || info->memfd < 0)
		return RF_OK;
	if (mlock2(info->addr, info->len, MLOCK_ONFAULT) == 0)
		r->locked = info->addr;
	else
		rf_warn(TRACKER_NAME,
			"region %s cannot be locked (%s): a write is lost if the kernel swaps its "
			"page out; raise RLIMIT_MEMLOCK or switch swap off",
			info->id, strerror(errno));
	return RF_OK;
}

static int start_soft_dirty(void *self, const struct rf_region *regions, unsigned n)
{
	struct soft_dirty *s = self;
	int rc;

	if (s->regions) {
		rf_err_log(TRACKER_NAME, "start: it is started already");
		return RF_ERR_STATE;
	}
	s->regions = calloc(n, sizeof(*s->regions));
	s->entries = malloc(ENTRIES * sizeof(*s->entries));
	rc = s->regions && s->entries ? open_files(s) : RF_ERR_NO_MEMORY;
	for (unsigned i = 0; !rc && i < n; i++)
		rc = add_region(s, &regions[i]);
	/* No need to stand still: what is cleared now is read by whoever starts afterwards. */
	if (!rc)
		rc = clear_bits(s);
	if (rc)
		stop_soft_dirty(s);
	return rc;
}

static int harvest_soft_dirty(void *self, unsigned region, struct rf_dirty_sink *sink)
{
	struct soft_dirty *s = self;
	struct soft_dirty_region *r;
	int rc;

	if (region >= s->nregions) {
		rf_err_log(TRACKER_NAME, "harvest of region %u: not started with it", region);
		return RF_ERR_STATE;
	}
	rc = collect(s);
	if (rc)
		return rc;
	r = &s->regions[region];
	for (uint64_t w = 0; w < r->found.nwords; w++) {
		uint64_t bits = rf_bitmap_word(&r->found, w);

		if (!bits)
			continue;
		rf_bitmap_take_word(&r->found, w, bits);
		rf_dirty_sink_words(sink, w * 64, &bits, 1);
	}
	return RF_OK;
}

static void destroy_soft_dirty(void *self)
{
	struct soft_dirty *s = self;

	free(s->addrs);
	free(s);
}

const struct rf_tracker_type rf_tracker_soft_dirty_type = {
	.ops = {.size = sizeof(struct rf_tracker_ops),
		.name = TRACKER_NAME,
		.start = start_soft_dirty,
		.harvest = harvest_soft_dirty,
		.stop = stop_soft_dirty},
	.destroy = destroy_soft_dirty,
};

/* Kernels without CONFIG_MEM_SOFT_DIRTY have the files, but the bit never shows. */
static bool kernel_has_soft_dirty(void)
{
	struct soft_dirty s = {.pagemap = -1, .clear_refs = -1};
	volatile char *page = mmap(NULL, RF_PAGE_SIZE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t clean = SOFT_DIRTY, dirty = 0;
	off_t at = (off_t)((uintptr_t)page / RF_PAGE_SIZE * sizeof(clean));

	if (page == MAP_FAILED)
		return false;
	*page = 1;
	if (open_files(&s) == RF_OK && clear_bits(&s) == RF_OK &&
	    pread(s.pagemap, &clean, sizeof(clean), at) == sizeof(clean)) {
		*page = 2;
		if (pread(s.pagemap, &dirty, sizeof(dirty), at) != sizeof(dirty))
			dirty = 0;
	}
	close_files(&s);
	munmap((void *)page, RF_PAGE_SIZE);
	return !(clean & SOFT_DIRTY) && dirty & SOFT_DIRTY;
}

int rf_tracker_soft_dirty_new(const struct rf_soft_dirty_cfg *cfg, struct rf_tracker *out)
{
	struct soft_dirty *s;

	if (cfg->size != sizeof(*cfg) || !cfg->freeze != !cfg->thaw || cfg->pid < 0) {
		rf_err_log(TRACKER_NAME, "configuration: size, or freeze without thaw, or pid");
		return RF_ERR_INVALID;
	}
	if (!kernel_has_soft_dirty()) {
		rf_err_log(TRACKER_NAME, "this kernel has no soft-dirty bits "
					 "(CONFIG_MEM_SOFT_DIRTY); from 6.7 on use uffd-wp");
		return RF_ERR_UNSUPPORTED;
	}
	s = calloc(1, sizeof(*s));
	if (s && cfg->addrs) {
		s->addrs = malloc(cfg->naddrs * sizeof(*s->addrs));
		if (s->addrs)
			memcpy(s->addrs, cfg->addrs, cfg->naddrs * sizeof(*s->addrs));
	}
	if (!s || (cfg->addrs && !s->addrs)) {
		rf_err_log(TRACKER_NAME, "no memory");
		free(s);
		return RF_ERR_NO_MEMORY;
	}
	s->cfg = *cfg;
	s->pagemap = s->clear_refs = -1;
	*out = (struct rf_tracker){.ops = &rf_tracker_soft_dirty_type.ops, .self = s};
	return RF_OK;
}
