/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/unit/guest_fixture.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <ramferry/log.h>

#include "common/uffd.h"

static uint64_t seed_state;

uint64_t test_seed(void)
{
	static uint64_t seed;
	const char *text = getenv("RF_SEED");

	if (seed)
		return seed;
	if (text)
		seed = strtoull(text, NULL, 0);
	while (!seed) {
		struct timespec ts;

		clock_gettime(CLOCK_REALTIME, &ts);
		seed = ((uint64_t)ts.tv_nsec << 20) ^ (uint64_t)ts.tv_sec ^
		       (uint64_t)getpid() << 40;
	}
	printf("RF_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

uint64_t test_random(void)
{
	if (!seed_state)
		seed_state = test_seed();
	return next_random(&seed_state);
}

void add_tests(struct guest_tests *g, const char *fn_name, CMUnitTestFunction fn,
	       const struct guest_case *rows, size_t nrows)
{
	for (size_t i = 0; i < nrows; i++, g->n++) {
		assert_true(g->n < COUNT_OF(g->tests));
		snprintf(g->names[g->n], sizeof(g->names[0]), "%s (%s)", fn_name, rows[i].name);
		g->tests[g->n] = (struct CMUnitTest){
			.name = g->names[g->n],
			.test_func = fn,
			.initial_state = (void *)(uintptr_t)&rows[i],
		};
	}
}

int run_guest_tests(const char *name, struct guest_tests *g)
{
	test_seed();
	/* What cmocka_run_group_tests() calls; that takes no count. */
	return _cmocka_run_group_tests(name, g->tests, g->n, NULL, NULL);
}

static bool have_kvm(void)
{
	/* The kvm guest is built for x86-64 only. */
#ifdef __x86_64__
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
#else
	int fd = -1;
#endif

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool have_uffd_wp(void)
{
	struct rf_uffd_features f;

	rf_uffd_probe(&f);
	return f.available && f.wp_async && f.wp_unpopulated && f.pagemap_scan;
}

void need_guest(const struct guest_case *c)
{
	if (!strcmp(c->kind, "kvm") && !have_kvm())
		skip_case(c->name, "an x86-64 host with access to /dev/kvm (group kvm)");
	if (c->tracker && !strcmp(c->tracker, "uffd-wp") && !have_uffd_wp())
		skip_case(c->name, "Linux 6.7 or later, run as root or with access to "
				   "/dev/userfaultfd");
}

void fill_cfg(const struct guest_case *c, struct rf_vm_cfg *cfg)
{
	*cfg = (struct rf_vm_cfg){
		.kind = c->kind,
		/* The last word of the bitmaps is not full. */
		.memory = (32u << 20) + 3 * RF_PAGE_SIZE,
		.vcpus = c->vcpus,
		.working_set = 16u << 20,
		.dirty_rate = c->dirty_rate,
		.fill = 1u << 20,
		.seed = test_seed(),
		.pattern = c->pattern,
		.tracker = c->tracker,
	};
}

struct rf_vm *new_guest(const struct guest_case *c)
{
	struct rf_vm_cfg cfg;
	struct rf_vm *vm = NULL;

	fill_cfg(c, &cfg);
	assert_int_equal(rf_vm_new(&cfg, &vm), RF_OK);
	assert_string_equal(rf_vm_kind(vm), c->kind);
	return vm;
}

void sleep_ms(unsigned ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void assert_healthy(const struct rf_vm *vm)
{
	char desc[256] = "";

	if (rf_vm_health(vm, desc, sizeof(desc)))
		fail_msg("not healthy: %s", desc);
}

void assert_checked(const struct rf_vm *vm)
{
	char desc[256] = "";

	if (rf_vm_check(vm, desc, sizeof(desc)))
		fail_msg("check: %s", desc);
}

void wait_for_passes(const struct rf_vm *vm, uint64_t target)
{
	uint64_t end = now_ms() + 60000;

	while (rf_vm_passes(vm) < target) {
		assert_healthy(vm);
		if (now_ms() > end)
			fail_msg("%llu passes after 60 s, waiting for %llu",
				 (unsigned long long)rf_vm_passes(vm), (unsigned long long)target);
		sleep_ms(1);
	}
}

void make_memory(struct guest_memory *m, uint64_t len)
{
	m->len = len;
	m->memfd = memfd_create("test-guest", MFD_CLOEXEC);
	assert_true(m->memfd >= 0);
	assert_int_equal(ftruncate(m->memfd, (off_t)len), 0);
	m->at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, m->memfd, 0);
	assert_true(m->at != MAP_FAILED);
}

void drop_memory(struct guest_memory *m)
{
	munmap(m->at, m->len);
	close(m->memfd);
}

uint64_t harvest_and_copy(const struct rf_tracker *t, const struct rf_region *r, unsigned char *to)
{
	struct rf_bitmap bits;
	struct rf_dirty_sink sink = {
		.bits = &bits,
		.npages = r->len / RF_PAGE_SIZE,
		.region = r->id,
	};
	uint64_t copied = 0;

	assert_int_equal(rf_bitmap_init(&bits, sink.npages), RF_OK);
	assert_int_equal(t->ops->harvest(t->self, 0, &sink), RF_OK);
	for (uint64_t p = rf_bitmap_find_set(&bits, 0, sink.npages); p != RF_BITMAP_NONE;
	     p = rf_bitmap_find_set(&bits, p + 1, sink.npages)) {
		memcpy(to + p * RF_PAGE_SIZE, (unsigned char *)r->addr + p * RF_PAGE_SIZE,
		       RF_PAGE_SIZE);
		copied++;
	}
	rf_bitmap_fini(&bits);
	return copied;
}

static void count_line(void *arg, enum rf_log_level level, const char *line)
{
	struct log_watch *w = arg;

	w->errors += level == RF_LOG_ERROR;
	w->warnings += level == RF_LOG_WARN;
	if (level <= RF_LOG_WARN)
		snprintf(w->last, sizeof(w->last), "%s", line);
}

void watch_log(struct log_watch *w)
{
	*w = (struct log_watch){0};
	rf_log_set_sink(count_line, w);
}

void unwatch_log(void)
{
	rf_log_set_sink(NULL, NULL);
}
