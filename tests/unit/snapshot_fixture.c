/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/unit.h"

#include "tests/unit/snapshot_fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- guest ---- */

/* What is write-protected cannot race; the sanitizer does not know that. */
__attribute__((no_sanitize("thread"))) static void write_page(uint8_t *page, uint64_t value)
{
	for (unsigned i = 0; i < RF_PAGE_SIZE; i += 512)
		*(volatile uint64_t *)(page + i) = value;
}

static void *write_all_over(void *arg)
{
	struct fixture_guest *g = arg;
	uint64_t seed = 1000003ull * (atomic_fetch_add(&g->index, 1) + 1);

	while (!atomic_load(&g->stop)) {
		uint64_t r = next_random(&seed);

		if (atomic_load(&g->pause)) {
			atomic_fetch_add(&g->parked, 1);
			while (atomic_load(&g->pause) && !atomic_load(&g->stop))
				sched_yield();
			atomic_fetch_sub(&g->parked, 1);
			continue;
		}
		/* now and then zero */
		write_page(g->mem + r % (g->span / RF_PAGE_SIZE) * RF_PAGE_SIZE, r % 16 ? r : 0);
		atomic_fetch_add(&g->written, 1);
	}
	return NULL;
}

static bool map_guest(struct fixture_guest *g, bool file)
{
	bool huge = g->page_size > RF_PAGE_SIZE;

	g->memfd = file ? memfd_create("snapshot", huge ? MFD_HUGETLB : 0) : -1;
	if (file && (g->memfd < 0 || ftruncate(g->memfd, (off_t)g->len)))
		return false;
	g->mem = mmap(NULL, g->len, PROT_READ | PROT_WRITE,
		      file ? MAP_SHARED | (huge ? 0 : MAP_NORESERVE)
			   : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		      g->memfd, 0);
	if (g->mem != MAP_FAILED)
		return true;
	if (file)
		close(g->memfd);
	return false;
}

bool fixture_guest_start(struct fixture_guest *g, uint64_t len, uint32_t page_size, bool file,
			 unsigned nwriters, uint64_t span)
{
	*g = (struct fixture_guest){.len = len,
				    .page_size = page_size,
				    .nwriters = nwriters,
				    .span = span ? span : len};
	if (!map_guest(g, file))
		return false;
	g->expected = mmap(NULL, len, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(g->expected != MAP_FAILED);
	for (unsigned i = 0; i < nwriters; i++)
		assert_int_equal(pthread_create(&g->writers[i], NULL, write_all_over, g), 0);
	if (nwriters)
		fixture_guest_goes_on(g);
	return true;
}

void fixture_guest_goes_on(struct fixture_guest *g)
{
	uint64_t from = atomic_load(&g->written);

	while (atomic_load(&g->written) < from + 1000)
		sched_yield();
}

void fixture_guest_end(struct fixture_guest *g)
{
	atomic_store(&g->stop, true);
	for (unsigned i = 0; i < g->nwriters; i++)
		pthread_join(g->writers[i], NULL);
	munmap(g->mem, g->len);
	munmap(g->expected, g->len);
	if (g->memfd >= 0)
		close(g->memfd);
}

static int pause_guest(void *arg)
{
	struct fixture_guest *g = arg;

	atomic_store(&g->pause, true);
	while (atomic_load(&g->parked) != g->nwriters)
		sched_yield();
	return RF_OK;
}

static int resume_guest(void *arg)
{
	struct fixture_guest *g = arg;

	g->resumes++;
	/* as a VMM may do; from the thread that runs the snapshot */
	write_page(g->mem, 42);
	atomic_store(&g->pause, false);
	return RF_OK;
}

static int save_guest(void *arg, void **buf, size_t *len)
{
	struct fixture_guest *g = arg;

	memcpy(g->expected, g->mem, g->span);
	*buf = strdup("state");
	*len = 6;
	return RF_OK;
}

/* ---- sink ---- */

static int sink_open(void *self, const struct rf_region *regions, unsigned n)
{
	assert_int_equal(n, 1);
	assert_string_equal(regions[0].id, "ram");
	return RF_OK;
}

static int sink_memory(void *self, void *at, uint64_t len)
{
	struct fixture_sink *k = self;

	assert_true(k->nmemory < COUNT_OF(k->memory));
	k->memory[k->nmemory++] = (struct fixture_range){at, len};
	return RF_OK;
}

static int sink_begin(void *self, const void *state, size_t state_len)
{
	struct fixture_sink *k = self;

	assert_int_equal(state_len, 6);
	assert_string_equal(state, "state");
	k->begun = true;
	return RF_OK;
}

static void sink_expect(void *self, unsigned region, uint64_t first, uint64_t n)
{
	struct fixture_sink *k = self;

	assert_true(k->begun && !k->writes);
	for (uint64_t i = first; i < first + n; i++)
		k->expected[i] = true;
}

static bool is_noted(const struct fixture_sink *k, const uint8_t *data, uint64_t len)
{
	for (unsigned i = 0; i < k->nmemory; i++)
		if (data >= k->memory[i].at && data + len <= k->memory[i].at + k->memory[i].len)
			return true;
	return false;
}

static void ring(struct fixture_sink *k)
{
	assert_int_equal(eventfd_write(k->event, 1), 0);
}

static int sink_write(void *self, unsigned region, uint64_t first, const void *data, uint32_t n,
		      void *token)
{
	struct fixture_sink *k = self;

	assert_true(is_noted(k, data, (uint64_t)n * RF_PAGE_SIZE));
	for (uint32_t i = 0; i < n; i++)
		assert_true(k->expected[first + i]);
	k->refused = (k->mode == SINK_FULL && !k->refused) ||
		     (k->mode == SINK_REFUSES && k->writes >= k->at);
	if (k->refused || k->tail - k->head == COUNT_OF(k->tokens)) {
		ring(k);
		return RF_NO_RESOURCE;
	}
	memcpy(k->image + first * RF_PAGE_SIZE, data, (uint64_t)n * RF_PAGE_SIZE);
	for (uint32_t i = 0; i < n; i++)
		k->times[first + i]++;
	k->tokens[k->tail++ % COUNT_OF(k->tokens)] = token;
	k->writes++;
	ring(k);
	return RF_OK;
}

static int sink_absent(void *self, unsigned region, uint64_t page)
{
	((struct fixture_sink *)self)->times[page]++;
	return RF_OK;
}

static void sink_touched(void *self, unsigned region, uint64_t page)
{
}

static int sink_submit(void *self)
{
	return RF_OK;
}

static int sink_poll(void *self, void **tokens, unsigned cap)
{
	struct fixture_sink *k = self;
	eventfd_t count;
	unsigned n = 0, most = k->mode == SINK_SLOW ? 1 : cap;

	(void)eventfd_read(k->event, &count);
	if (k->mode == SINK_FAILS && k->writes >= k->at)
		return RF_ERR_SYSTEM;
	if (k->mode == SINK_HANGS && k->writes >= k->at)
		return 0;
	while (n < most && k->head != k->tail)
		tokens[n++] = k->tokens[k->head++ % COUNT_OF(k->tokens)];
	if (k->head != k->tail)
		ring(k);
	return (int)n;
}

static int sink_fd(void *self)
{
	return ((struct fixture_sink *)self)->event;
}

static bool sink_arm(void *self)
{
	return true;
}

static uint64_t sink_size(void *self)
{
	return ((struct fixture_sink *)self)->guest->len;
}

static int sink_commit(void *self)
{
	((struct fixture_sink *)self)->committed = true;
	return RF_OK;
}

static void sink_cancel(void *self)
{
	((struct fixture_sink *)self)->cancelled = true;
}

static const char *sink_why(void *self)
{
	return NULL;
}

static void sink_describe(void *self, struct rf_snapshot_stats *st)
{
	snprintf(st->provider, sizeof(st->provider), "fixture");
}

static bool sink_close(void *self)
{
	((struct fixture_sink *)self)->closed = true;
	return true;
}

static void sink_destroy(void *self)
{
	assert_true(((struct fixture_sink *)self)->closed);
}

static const struct rf_snap_sink_ops sink_ops = {
	.open = sink_open,
	.memory = sink_memory,
	.begin = sink_begin,
	.expect = sink_expect,
	.write = sink_write,
	.absent = sink_absent,
	.touched = sink_touched,
	.submit = sink_submit,
	.poll = sink_poll,
	.fd = sink_fd,
	.arm = sink_arm,
	.size = sink_size,
	.commit = sink_commit,
	.cancel = sink_cancel,
	.why = sink_why,
	.describe = sink_describe,
	.close = sink_close,
	.destroy = sink_destroy,
};

void fixture_sink_init(struct fixture_sink *k, struct fixture_guest *g, enum fixture_sink_mode mode,
		       unsigned at)
{
	*k = (struct fixture_sink){.mode = mode, .at = at, .guest = g};
	k->image = mmap(NULL, g->len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(k->image != MAP_FAILED);
	k->times = calloc(g->len / RF_PAGE_SIZE, 1);
	k->expected = calloc(g->len / RF_PAGE_SIZE, sizeof(*k->expected));
	k->event = eventfd(0, EFD_NONBLOCK);
	assert_true(k->times && k->expected && k->event >= 0);
}

void fixture_sink_fini(struct fixture_sink *k)
{
	munmap(k->image, k->guest->len);
	free(k->times);
	free(k->expected);
	close(k->event);
}

/* ---- both ---- */

int fixture_snapshot(struct fixture_guest *g, struct fixture_sink *k, struct rf_snapshot_cfg cfg,
		     struct rf_snapshot_stats *st)
{
	const struct rf_snap_sink sink = {.ops = &sink_ops, .self = k};
	struct rf_region region = {
		.size = sizeof(region),
		.id = "ram",
		.addr = g->mem,
		.len = g->len,
		.page_size = g->page_size,
		.memfd = g->memfd,
	};
	struct rf_snapshot *s;
	unsigned resumes = g->resumes;
	int rc;

	cfg.size = sizeof(cfg);
	cfg.guest = (struct rf_guest_ops){
		.size = sizeof(cfg.guest),
		.pause = pause_guest,
		.resume = resume_guest,
		.save_state = save_guest,
	};
	cfg.guest_arg = g;
	assert_int_equal(rf_snapshot_make(&cfg, &sink, &s), RF_OK);
	assert_int_equal(rf_snapshot_add_region(s, &region), RF_OK);
	rc = rf_snapshot_run(s);
	st->size = sizeof(*st);
	rf_snapshot_stats(s, st);
	rf_snapshot_delete(&s);
	assert_int_equal(g->resumes, resumes + 1);
	assert_true(k->closed);
	return rc;
}

void fixture_check_image(const struct fixture_guest *g, const struct fixture_sink *k)
{
	assert_true(k->committed);
	for (uint64_t i = 0; i < g->len / RF_PAGE_SIZE; i++) {
		const uint8_t *expected = g->expected + i * RF_PAGE_SIZE;

		if (k->times[i] > 1)
			fail_msg("page %llu was saved %u times", (unsigned long long)i,
				 k->times[i]);
		if (memcmp(k->image + i * RF_PAGE_SIZE, expected, RF_PAGE_SIZE) != 0)
			fail_msg("page %llu is not as it was (saved %u times)",
				 (unsigned long long)i, k->times[i]);
	}
}
