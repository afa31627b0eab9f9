/* SPDX-License-Identifier: BSD-3-Clause */
/* The trackers that need no guest: manual, and uffd-wp on memory of the test. One set of cases
 * runs over both: what differs is how a write is made known. */
#include "tests/unit/guest_fixture.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/leaks.h"

#define NREGIONS 2
#define PAGES	 1000ull /* of each; not a multiple of 64 */
#define WRITERS	 3

static const struct guest_case rows[] = {
	{"manual", "", "manual", 1, RF_PATTERN_RANDOM, 0},
	{"uffd-wp on memfd", "", "uffd-wp", 1, RF_PATTERN_RANDOM, 0},
	{"uffd-wp on anonymous memory", "", "uffd-wp", 1, RF_PATTERN_SEQUENTIAL, 0},
};

struct fixture {
	struct rf_tracker t;
	struct rf_region regions[NREGIONS];
	struct guest_memory memory[NREGIONS];
	struct rf_bitmap found[NREGIONS];
	struct rf_bitmap untouched[NREGIONS]; /* reported all the same */
};

static void setup(struct fixture *f, const struct guest_case *c)
{
	bool manual = !strcmp(c->tracker, "manual");

	need_guest(c);
	*f = (struct fixture){0};
	assert_int_equal(manual ? rf_tracker_manual_new(&f->t) : rf_tracker_uffd_wp_new(&f->t),
			 RF_OK);
	assert_string_equal(f->t.ops->name, c->tracker);
	for (unsigned i = 0; i < NREGIONS; i++) {
		struct guest_memory *m = &f->memory[i];

		make_memory(m, PAGES * RF_PAGE_SIZE);
		if (c->pattern == RF_PATTERN_SEQUENTIAL) {
			void *anon = mmap(m->at, m->len, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

			assert_ptr_equal(anon, m->at);
			close(m->memfd);
			m->memfd = -1;
		}
		/* The first half is populated before tracking starts. */
		memset(m->at, 7, m->len / 2);
		f->regions[i] = (struct rf_region){
			.size = sizeof(f->regions[i]),
			.addr = m->at,
			.len = m->len,
			.page_size = RF_PAGE_SIZE,
			.memfd = m->memfd,
		};
		snprintf(f->regions[i].id, sizeof(f->regions[i].id), "region%u", i);
		assert_int_equal(rf_bitmap_init(&f->found[i], PAGES), RF_OK);
		assert_int_equal(rf_bitmap_init(&f->untouched[i], PAGES), RF_OK);
	}
}

static void teardown(struct fixture *f)
{
	rf_tracker_delete(&f->t);
	for (unsigned i = 0; i < NREGIONS; i++) {
		drop_memory(&f->memory[i]);
		rf_bitmap_fini(&f->found[i]);
		rf_bitmap_fini(&f->untouched[i]);
	}
}

static int start(struct fixture *f)
{
	return f->t.ops->start(f->t.self, f->regions, NREGIONS);
}

static int harvest(struct fixture *f, unsigned region)
{
	struct rf_dirty_sink sink = {
		.bits = &f->found[region],
		.npages = PAGES,
		.region = f->regions[region].id,
	};

	return f->t.ops->harvest(f->t.self, region, &sink);
}

static void write_page(struct fixture *f, unsigned region, uint64_t page)
{
	volatile unsigned char *p =
		f->memory[region].at + page * RF_PAGE_SIZE + page % RF_PAGE_SIZE;

	*p = (unsigned char)(*p + 1);
	if (!strcmp(f->t.ops->name, "manual"))
		assert_int_equal(rf_tracker_manual_mark(&f->t, region,
							page * RF_PAGE_SIZE + page % RF_PAGE_SIZE,
							1),
				 RF_OK);
}

static bool is_one_of(uint64_t page, const uint64_t *pages, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (pages[i] == page)
			return true;
	return false;
}

/* Harvests and expects these pages, of which there are n, and no others; but what has never been
 * touched may be reported once. */
static void expect(struct fixture *f, unsigned region, const uint64_t *pages, unsigned n)
{
	rf_bitmap_clear_range(&f->found[region], 0, PAGES);
	assert_int_equal(harvest(f, region), RF_OK);
	for (unsigned i = 0; i < n; i++)
		if (!rf_bitmap_test(&f->found[region], pages[i]))
			fail_msg("page %llu was lost", (unsigned long long)pages[i]);
	for (uint64_t p = 0; p < PAGES; p++) {
		if (!rf_bitmap_test(&f->found[region], p) || is_one_of(p, pages, n))
			continue;
		if (p < PAGES / 2 || rf_bitmap_test_and_set(&f->untouched[region], p))
			fail_msg("page %llu was reported without cause", (unsigned long long)p);
	}
	for (unsigned i = 0; i < n; i++) /* not untouched any more */
		rf_bitmap_set(&f->untouched[region], pages[i]);
}

static void writes_are_reported_once(void **state)
{
	static const uint64_t pages[] = {0, 63, 64, 65, 499, 500, 501, 998, 999};
	struct fixture f;

	setup(&f, *state);
	assert_int_equal(start(&f), RF_OK);
	expect(&f, 0, NULL, 0);
	for (size_t i = 0; i < COUNT_OF(pages); i++)
		write_page(&f, 0, pages[i]);
	write_page(&f, 1, 5);
	expect(&f, 0, pages, COUNT_OF(pages));
	expect(&f, 0, NULL, 0);
	/* The other region keeps what is its own. */
	expect(&f, 1, (uint64_t[]){5}, 1);
	expect(&f, 1, NULL, 0);
	write_page(&f, 0, 500);
	write_page(&f, 0, 500);
	expect(&f, 0, (uint64_t[]){500}, 1);
	teardown(&f);
}

static void tracking_starts_over_after_a_stop(void **state)
{
	struct fixture f;

	setup(&f, *state);
	f.t.ops->stop(f.t.self);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(start(&f), RF_OK);
		write_page(&f, 0, 10 + i);
		expect(&f, 0, (uint64_t[]){10 + i}, 1);
		write_page(&f, 0, 20 + i);
		f.t.ops->stop(f.t.self);
		f.t.ops->stop(f.t.self);
		/* Not tracked: nothing waits, and the next start does not know of it. */
		write_page(&f, 0, 30 + i);
	}
	assert_int_equal(start(&f), RF_OK);
	expect(&f, 0, NULL, 0);
	/* Deleted while it is started. */
	teardown(&f);
}

static void wrong_calls_are_refused(void **state)
{
	struct fixture f;
	struct log_watch log;

	setup(&f, *state);
	watch_log(&log);
	assert_int_equal(harvest(&f, 0), RF_ERR_STATE);
	assert_int_equal(start(&f), RF_OK);
	assert_int_equal(start(&f), RF_ERR_STATE);
	struct rf_dirty_sink sink = {.bits = &f.found[0], .npages = PAGES, .region = "none"};
	assert_int_equal(f.t.ops->harvest(f.t.self, NREGIONS, &sink), RF_ERR_STATE);
	unwatch_log();
	assert_int_equal(log.errors, 3);
	write_page(&f, 0, 3);
	expect(&f, 0, (uint64_t[]){3}, 1);
	teardown(&f);
}

static void nothing_is_left_behind(void **state)
{
	unsigned fds = count_fds();

	for (unsigned i = 0; i < 10; i++) {
		struct fixture f;

		setup(&f, *state);
		if (i % 2)
			assert_int_equal(start(&f), RF_OK);
		if (i % 4 == 1)
			f.t.ops->stop(f.t.self);
		teardown(&f);
	}
	assert_true(fds_settle_at(fds));
}

/*
 * Writers number their writes page by page; the reader harvests, then reads. What it read last
 * of each page must be what is there when the writers rest. In short phases, so that many writes
 * are the last ones of their page: only those tell of a loss. Where a fault costs ten times what it
 * costs elsewhere (a virtual machine whose host keeps shadow page tables), fewer phases have to do.
 */
#define PHASES	    600
#define PHASES_MIN  10
#define ENOUGH_MS   1500
#define WRITES	    1000 /* of a writer in a phase */
#define WRITE_PAGES 256	 /* few, so that neighbours meet in a word */

struct writer {
	struct fixture *f;
	unsigned index;
	_Atomic bool *stop;
	_Atomic unsigned *writing;
	pthread_barrier_t *phase;
};

static void *write_random_pages(void *arg)
{
	struct writer *w = arg;
	uint64_t seed = test_seed() + w->index, n = 0;

	for (;;) {
		pthread_barrier_wait(w->phase);
		if (atomic_load(w->stop))
			return NULL;
		for (unsigned i = 0; i < WRITES; i++) {
			uint64_t page = next_random(&seed) % WRITE_PAGES;
			uint64_t *cell = (uint64_t *)(w->f->memory[0].at + page * RF_PAGE_SIZE);

			__atomic_store_n(cell + w->index, ++n, __ATOMIC_SEQ_CST);
			if (!strcmp(w->f->t.ops->name, "manual"))
				rf_tracker_manual_mark(&w->f->t, 0, page * RF_PAGE_SIZE, 32);
		}
		atomic_fetch_sub(w->writing, 1);
		pthread_barrier_wait(w->phase);
	}
}

static void harvest_and_read(struct fixture *f, uint64_t (*seen)[WRITERS])
{
	rf_bitmap_clear_range(&f->found[0], 0, PAGES);
	assert_int_equal(harvest(f, 0), RF_OK);
	for (uint64_t p = rf_bitmap_find_set(&f->found[0], 0, PAGES); p != RF_BITMAP_NONE;
	     p = rf_bitmap_find_set(&f->found[0], p + 1, PAGES))
		for (unsigned i = 0; i < WRITERS; i++)
			seen[p][i] =
				__atomic_load_n((uint64_t *)(f->memory[0].at + p * RF_PAGE_SIZE) +
							i,
						__ATOMIC_SEQ_CST);
}

/* Pages whose last write was not harvested. */
static unsigned count_lost(const struct fixture *f, uint64_t (*seen)[WRITERS])
{
	unsigned lost = 0;

	for (uint64_t p = 0; p < PAGES; p++)
		lost += memcmp(seen[p], f->memory[0].at + p * RF_PAGE_SIZE, sizeof(seen[p])) != 0;
	return lost;
}

static void nothing_is_lost_while_threads_write(void **state)
{
	static uint64_t seen[PAGES][WRITERS];
	_Atomic unsigned writing;
	_Atomic bool stop = false;
	uint64_t begin = now_ms();
	pthread_barrier_t phase;
	pthread_t threads[WRITERS];
	struct writer writers[WRITERS];
	struct fixture f;
	unsigned lost = 0;

	setup(&f, *state);
	memset(f.memory[0].at, 0, f.memory[0].len);
	memset(seen, 0, sizeof(seen));
	assert_int_equal(start(&f), RF_OK);
	pthread_barrier_init(&phase, NULL, WRITERS + 1);
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){&f, i, &stop, &writing, &phase};
		assert_int_equal(pthread_create(&threads[i], NULL, write_random_pages, &writers[i]),
				 0);
	}
	for (unsigned i = 0; i < PHASES && (i < PHASES_MIN || now_ms() - begin < ENOUGH_MS); i++) {
		atomic_store(&writing, WRITERS);
		pthread_barrier_wait(&phase);
		while (atomic_load(&writing))
			harvest_and_read(&f, seen);
		pthread_barrier_wait(&phase);
		harvest_and_read(&f, seen);
		lost += count_lost(&f, seen);
	}
	atomic_store(&stop, true);
	pthread_barrier_wait(&phase);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&phase);
	assert_int_equal(lost, 0);
	teardown(&f);
}

static void marks_are_checked(void **state)
{
	const uint64_t len = PAGES * RF_PAGE_SIZE;
	struct fixture f;
	struct rf_tracker none = {0};

	setup(&f, *state);
	/* Not started: no effect, no error, however wrong. */
	assert_int_equal(rf_tracker_manual_mark(&f.t, 99, 0, 1), RF_OK);
	assert_int_equal(rf_tracker_manual_mark(&none, 0, 0, 1), RF_ERR_INVALID);
	assert_int_equal(rf_tracker_manual_mark(NULL, 0, 0, 1), RF_ERR_INVALID);
	assert_int_equal(start(&f), RF_OK);
	assert_int_equal(rf_tracker_manual_mark(&f.t, NREGIONS, 0, 1), RF_ERR_INVALID);
	assert_int_equal(rf_tracker_manual_mark(&f.t, 0, len, 1), RF_ERR_INVALID);
	assert_int_equal(rf_tracker_manual_mark(&f.t, 0, len - 1, 2), RF_ERR_INVALID);
	assert_int_equal(rf_tracker_manual_mark(&f.t, 0, UINT64_MAX, 2), RF_ERR_INVALID);
	assert_int_equal(rf_tracker_manual_mark(&f.t, 0, 1, UINT64_MAX), RF_ERR_INVALID);
	assert_int_equal(rf_tracker_manual_mark(&f.t, 0, len, 0), RF_OK);
	expect(&f, 0, NULL, 0);
	/* A range of bytes marks every page it touches. */
	assert_int_equal(rf_tracker_manual_mark(&f.t, 0, 4095, 4098), RF_OK);
	expect(&f, 0, (uint64_t[]){0, 1, 2}, 3);
	assert_int_equal(rf_tracker_manual_mark(&f.t, 0, 0, len), RF_OK);
	rf_bitmap_clear_range(&f.found[0], 0, PAGES);
	assert_int_equal(harvest(&f, 0), RF_OK);
	assert_int_equal(rf_bitmap_count(&f.found[0]), PAGES);
	teardown(&f);
}

/* Marks may come while tracking starts and stops. */
static void *mark_for_a_while(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(w->stop))
		rf_tracker_manual_mark(&w->f->t, 0, 4096, 8192);
	return NULL;
}

static void marks_race_with_start_and_stop(void **state)
{
	_Atomic bool stop = false;
	pthread_t thread;
	struct fixture f;
	struct writer w = {.f = &f, .stop = &stop};

	setup(&f, *state);
	assert_int_equal(pthread_create(&thread, NULL, mark_for_a_while, &w), 0);
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(start(&f), RF_OK);
		assert_int_equal(harvest(&f, 0), RF_OK);
		f.t.ops->stop(f.t.self);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	teardown(&f);
}

static uint64_t page_table_bytes(void)
{
	FILE *status = fopen("/proc/self/status", "r");
	unsigned long long kib = 0;
	char line[200];

	assert_non_null(status);
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "VmPTE: %llu kB", &kib) == 1)
			break;
	fclose(status);
	assert_true(kib > 0);
	return kib << 10;
}

#ifdef __SANITIZE_THREAD__
#define HUGE_BITS 35 /* ThreadSanitizer has no addresses for more */
#else
#define HUGE_BITS 40
#endif

/* What nobody touches costs nothing: protecting a TiB would take 2 GiB of page tables. */
static void a_sparse_terabyte_costs_what_is_touched(void **state)
{
	const uint64_t len = 1ull << HUGE_BITS, far = len / 2 + 3 * RF_PAGE_SIZE;
	struct rf_dirty_sink sink = {.npages = len / RF_PAGE_SIZE, .region = "huge"};
	struct rf_bitmap found;
	struct fixture f;
	int memfd = memfd_create("huge", MFD_CLOEXEC);
	uint64_t before;
	uint8_t *at;

	setup(&f, *state);
	assert_int_equal(ftruncate(memfd, (off_t)len), 0);
	at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memfd, 0);
	assert_true(at != MAP_FAILED);
	at[5 * RF_PAGE_SIZE] = 1;
	f.regions[0].addr = at;
	f.regions[0].len = len;
	f.regions[0].memfd = memfd;
	assert_int_equal(rf_bitmap_init(&found, sink.npages), RF_OK);
	sink.bits = &found;
	before = page_table_bytes();
	assert_int_equal(f.t.ops->start(f.t.self, f.regions, 1), RF_OK);
	assert_int_equal(f.t.ops->harvest(f.t.self, 0, &sink), RF_OK);
	assert_int_equal(rf_bitmap_count(&found), 0);
	at[far] = 1;
	at[5 * RF_PAGE_SIZE] = 2;
	assert_int_equal(f.t.ops->harvest(f.t.self, 0, &sink), RF_OK);
	assert_true(rf_bitmap_test(&found, far / RF_PAGE_SIZE));
	assert_true(rf_bitmap_test(&found, 5));
	assert_true(rf_bitmap_count(&found) <= 513); /* at most what shares its page table */
	assert_true(page_table_bytes() - before < 4u << 20);
	f.t.ops->stop(f.t.self);
	rf_bitmap_fini(&found);
	munmap(at, len);
	close(memfd);
	teardown(&f);
}

int main(void)
{
	static struct guest_tests g;

	add_rows(&g, writes_are_reported_once, rows, COUNT_OF(rows));
	add_rows(&g, tracking_starts_over_after_a_stop, rows, COUNT_OF(rows));
	add_rows(&g, wrong_calls_are_refused, rows, COUNT_OF(rows));
	add_rows(&g, nothing_is_left_behind, rows, COUNT_OF(rows));
	add_rows(&g, nothing_is_lost_while_threads_write, rows, COUNT_OF(rows));
	add_rows(&g, a_sparse_terabyte_costs_what_is_touched, rows + 1, 1);
	add_rows(&g, marks_are_checked, rows, 1);
	add_rows(&g, marks_race_with_start_and_stop, rows, 1);
	return run_guest_tests("test_tracker_memory", &g);
}
