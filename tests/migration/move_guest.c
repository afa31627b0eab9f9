/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest of these tests: memory, somebody who writes to it, callbacks that count. */
#include "tests/migration/move.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/extent.h"

int mv_take_step(struct mv *m, enum mv_step s)
{
	return m->cfg.hook ? m->cfg.hook(m, s) : RF_OK;
}

/* ---- memory ---- */

static bool begins_as(enum mv_content c, uint64_t page, bool *zero)
{
	*zero = c == MV_ZEROS || (c == MV_MIXED && page % 7 == 3);
	switch (c) {
	case MV_DATA:
	case MV_ZEROS:
		return true;
	case MV_SPARSE:
		return page % 64 == 5;
	case MV_MIXED:
		return page % 7 < 5 && page / 64 % 3 != 2;
	default:
		return false;
	}
}

/*
 * The guest writes while its memory is read: that is what a migration is about, and no business of
 * the thread sanitizer.
 */
__attribute__((no_sanitize("thread"))) static void store(uint8_t *at, uint64_t value, bool zero)
{
	volatile uint64_t *w = (volatile uint64_t *)at;

	for (unsigned i = 0; i < PAGE / sizeof(*w); i++)
		w[i] = zero ? 0 : value + i;
}

int mv_guest_free(struct mv *m, unsigned region, uint64_t first, uint64_t count, uint64_t epoch)
{
	for (uint64_t p = first; p < first + count; p++)
		atomic_store(&m->regions[region].freed[p], true);
	return rf_source_hint_free(m->source, region, first * PAGE, count * PAGE, epoch);
}

void mv_guest_write(struct mv *m, unsigned region, uint64_t page, bool zero)
{
	uint64_t value = atomic_fetch_add(&m->writes, 1) * 0x9e3779b97f4a7c15ull | 1;

	store(m->regions[region].addr + page * PAGE, value, zero);
	if (m->regions[region].freed)
		atomic_store(&m->regions[region].freed[page], false);
	if (m->cfg.tracker == MV_MANUAL)
		rf_tracker_manual_mark(&m->inner, region, page * PAGE, PAGE);
}

static void fill_corners(struct mv *m, unsigned i)
{
	uint64_t pages = m->regions[i].len / PAGE;

	for (uint64_t k = 0; k < 16; k++) {
		mv_guest_write(m, i, pages / 16 * k, k % 4 == 3);
		mv_guest_write(m, i, pages / 16 * (k + 1) - 1, false);
	}
}

static void fill_region(struct mv *m, unsigned i)
{
	bool zero;

	if (m->cfg.content == MV_CORNERS) {
		fill_corners(m, i);
		return;
	}
	for (uint64_t p = 0; p < m->regions[i].len / PAGE; p++)
		if (begins_as(m->cfg.content, p, &zero))
			mv_guest_write(m, i, p, zero);
}

static void map_region(struct mv *m, unsigned i, int shared)
{
	struct mv_region *r = &m->regions[i];

	r->len = m->cfg.len;
	if (m->cfg.free_hints)
		assert_non_null(r->freed = calloc(r->len / PAGE, sizeof(*r->freed)));
	r->page_size = m->cfg.huge || (m->cfg.mixed && i % 2) ? HUGE_PAGE : RF_PAGE_SIZE;
	r->memfd = shared;
	r->memfd_offset = shared >= 0 ? i * r->len : 0;
	if (m->cfg.memory == MV_MEMFD) {
		r->memfd =
			memfd_create("guest",
				     MFD_CLOEXEC | (r->page_size > RF_PAGE_SIZE ? MFD_HUGETLB : 0));
		assert_true(r->memfd >= 0);
		assert_int_equal(ftruncate(r->memfd, (off_t)r->len), 0);
	}
	r->addr = mmap(NULL, r->len, PROT_READ | PROT_WRITE,
		       (r->memfd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) |
			       (r->page_size > RF_PAGE_SIZE ? 0 : MAP_NORESERVE),
		       r->memfd, (off_t)r->memfd_offset);
	if (r->addr == MAP_FAILED)
		fail_msg("%lu bytes cannot be mapped", r->len);
	madvise(r->addr, r->len, MADV_NOHUGEPAGE);
}

void mv_make_guest(struct mv *m)
{
	int shared = -1;

	pthread_mutex_init(&m->cpu, NULL);
	m->regions = calloc(m->cfg.regions, sizeof(*m->regions));
	assert_non_null(m->regions);
	if (m->cfg.memory == MV_ONE_MEMFD) {
		shared = memfd_create("guests", MFD_CLOEXEC);
		assert_int_equal(ftruncate(shared, (off_t)(m->cfg.regions * m->cfg.len)), 0);
	}
	for (unsigned i = 0; i < m->cfg.regions; i++) {
		map_region(m, i, shared);
		fill_region(m, i);
	}
}

void mv_free_guest(struct mv *m)
{
	for (unsigned i = 0; i < m->cfg.regions; i++) {
		munmap(m->regions[i].addr, m->regions[i].len);
		free((void *)m->regions[i].freed);
		free(m->regions[i].before);
		if (m->regions[i].memfd >= 0 && (m->cfg.memory == MV_MEMFD || i == 0))
			close(m->regions[i].memfd);
	}
	free(m->regions);
	pthread_mutex_destroy(&m->cpu);
}

static int compare_extent(void *arg, uint64_t offset, uint64_t len)
{
	const struct mv_region *r = arg;

	return memcmp(r->addr + offset, (const uint8_t *)r->there.guest_view + offset, len) != 0;
}

/* What is a hole on both sides is equal, and too much to be read. */
static bool huge_region_equal(struct mv_region *r)
{
	return rf_extent_walk_file(r->memfd, r->memfd_offset, r->len, compare_extent, r) == 0 &&
	       rf_extent_walk_file(r->there.memfd, 0, r->len, compare_extent, r) == 0;
}

/*
 * A page the guest has freed reads as zero or as some write has left it, or several that were
 * sent in the middle of one: a word is what no other place in a page could hold, or zero.
 */
static bool freed_page_fine(const uint8_t *at)
{
	const uint64_t *w = (const uint64_t *)at;

	for (unsigned i = 0; i < PAGE / sizeof(*w); i++)
		if (w[i] && !((w[i] - i) & 1))
			return false;
	return true;
}

/* Page by page, for guests that free some. */
static bool freeing_region_equal(const struct mv_region *r)
{
	const uint8_t *there = r->there.guest_view;

	for (uint64_t p = 0; p < r->len / PAGE; p++, there += PAGE)
		if (atomic_load(&r->freed[p]) ? !freed_page_fine(there)
					      : memcmp(r->addr + p * PAGE, there, PAGE) != 0)
			return false;
	return true;
}

static bool region_equal(struct mv_region *r)
{
	if (r->before)
		return memcmp(r->before, r->there.guest_view, r->len) == 0;
	if (r->freed)
		return freeing_region_equal(r);
	if (r->len > 1024 * MIB)
		return huge_region_equal(r);
	return memcmp(r->addr, r->there.guest_view, r->len) == 0;
}

bool mv_memory_equal(struct mv *m)
{
	for (unsigned i = 0; i < m->cfg.regions; i++)
		if (!region_equal(&m->regions[i]))
			return false;
	return true;
}

uint64_t mv_pages_there(const struct mv *m)
{
	uint64_t pages = 0;

	for (unsigned i = 0; i < m->cfg.regions; i++) {
		struct stat st;

		assert_int_equal(fstat(m->regions[i].there.memfd, &st), 0);
		pages += (uint64_t)st.st_blocks / (PAGE / 512);
	}
	return pages;
}

static int add_extent(void *arg, uint64_t offset, uint64_t len)
{
	*(uint64_t *)arg += len;
	return 0;
}

uint64_t mv_bytes_here(const struct mv *m)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < m->cfg.regions; i++) {
		const struct mv_region *r = &m->regions[i];
		struct stat st;

		if (r->memfd < 0) {
			assert_int_equal(rf_extent_walk_anon(r->addr, r->len, add_extent, &bytes),
					 RF_OK);
			continue;
		}
		if (i && m->cfg.memory == MV_ONE_MEMFD)
			break;
		assert_int_equal(fstat(r->memfd, &st), 0);
		bytes += (uint64_t)st.st_blocks * 512;
	}
	return bytes;
}

/* ---- who writes ---- */

static void *write_on(void *arg)
{
	struct mv *m = arg;
	uint64_t seed = m->seed;

	while (!atomic_load(&m->stop)) {
		pthread_mutex_lock(&m->cpu);
		for (unsigned i = 0; i < 4 && !m->paused; i++) {
			unsigned r = (unsigned)(next_random(&seed) % m->cfg.regions);
			uint64_t page = next_random(&seed) % (m->regions[r].len / PAGE);

			mv_guest_write(m, r, page, next_random(&seed) % 4 == 0);
		}
		pthread_mutex_unlock(&m->cpu);
		usleep(20);
	}
	return NULL;
}

void mv_start_writer(struct mv *m)
{
	if (m->cfg.writer)
		assert_int_equal(pthread_create(&m->writer_thread, NULL, write_on, m), 0);
}

void mv_stop_writer(struct mv *m)
{
	atomic_store(&m->stop, true);
	if (m->cfg.writer)
		pthread_join(m->writer_thread, NULL);
}

/* ---- what ramferry asks of the guest ---- */

uint8_t mv_state_byte(uint64_t i)
{
	return (uint8_t)(i * 7 + i / 256);
}

/* Without filling holes. */
static void keep_copy(struct mv_region *r)
{
	r->before = malloc(r->len);
	assert_non_null(r->before);
	if (r->memfd < 0)
		memcpy(r->before, r->addr, r->len);
	else
		assert_int_equal(pread(r->memfd, r->before, r->len, (off_t)r->memfd_offset),
				 r->len);
}

static int pause_guest(void *arg)
{
	struct mv *m = arg;
	int rc;

	m->src.pauses++;
	rc = mv_take_step(m, MV_PAUSE);
	if (rc != RF_OK)
		return rc;
	pthread_mutex_lock(&m->cpu);
	m->paused = true;
	pthread_mutex_unlock(&m->cpu);
	for (unsigned i = 0; m->cfg.release_ram && i < m->cfg.regions; i++)
		keep_copy(&m->regions[i]);
	return RF_OK;
}

static int resume_source(void *arg)
{
	struct mv *m = arg;

	m->src.resumes++;
	pthread_mutex_lock(&m->cpu);
	m->paused = false;
	pthread_mutex_unlock(&m->cpu);
	return mv_take_step(m, MV_SRC_RESUME);
}

static int save_state(void *arg, void **buf, size_t *len)
{
	struct mv *m = arg;
	uint8_t *state;
	int rc;

	m->src.saves++;
	rc = mv_take_step(m, MV_SAVE);
	if (rc != RF_OK)
		return rc;
	*len = m->cfg.state_len;
	*buf = NULL;
	if (!*len)
		return RF_OK;
	*buf = state = calloc(1, *len);
	if (!state)
		return RF_ERR_NO_MEMORY;
	for (size_t i = 0; i < *len && *len < MV_MUCH_STATE; i++)
		state[i] = mv_state_byte(i);
	return RF_OK;
}

/* More than any limit: only when nothing is left it switches over, so the script says when. */
static uint64_t state_size(void *arg)
{
	struct mv *m = arg;

	return m->cfg.state_told ? m->cfg.state_told : 1ull << 50;
}

static int throttle_guest(void *arg, unsigned percent)
{
	struct mv *m = arg;

	m->src.throttles++;
	m->src.throttle = percent;
	m->src.throttled_by = pthread_self();
	if (percent > m->src.max_throttle)
		m->src.max_throttle = percent;
	return m->cfg.throttle_fails ? RF_ERR_GUEST : RF_OK;
}

static void hints_start(void *arg, uint64_t epoch)
{
	struct mv *m = arg;

	m->src.hint_starts++;
	m->epoch = epoch;
	(void)mv_take_step(m, MV_HINT_START);
}

static void hints_done_here(void *arg)
{
	((struct mv *)arg)->src.hint_dones++;
}

static void hints_done_there(void *arg)
{
	((struct mv *)arg)->dst.hint_dones++;
}

static int load_state(void *arg, const void *buf, size_t len)
{
	struct mv *m = arg;
	const uint8_t *state = buf;

	m->dst.loads++;
	if (len != m->cfg.state_len)
		return RF_ERR_GUEST;
	for (size_t i = 0; i < len; i++)
		if (state[i] != mv_state_byte(i))
			return RF_ERR_GUEST;
	return mv_take_step(m, MV_LOAD);
}

static int resume_dest(void *arg)
{
	struct mv *m = arg;

	m->dst.resumes++;
	/* To compare is to ask for every page. */
	if (!m->cfg.release_ram && !mv_memory_equal(m))
		m->differs = true;
	return mv_take_step(m, MV_DST_RESUME);
}

const struct rf_guest_ops mv_src_ops = {
	.size = sizeof(struct rf_guest_ops),
	.pause = pause_guest,
	.resume = resume_source,
	.save_state = save_state,
	.state_size = state_size,
	.throttle = throttle_guest,
	.free_hint_start = hints_start,
	.free_hint_done = hints_done_here,
};

const struct rf_guest_ops mv_dst_ops = {
	.size = sizeof(struct rf_guest_ops),
	.load_state = load_state,
	.resume = resume_dest,
	.free_hint_done = hints_done_there,
};
