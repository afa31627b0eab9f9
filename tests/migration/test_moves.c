/* SPDX-License-Identifier: BSD-3-Clause */
/* Migrations that go well: a table of guests and ways to move them, over each transport. */
#include "tests/migration/move.h"

#include <sys/resource.h>

#ifdef __SANITIZE_THREAD__
#define HUGE_LEN (16 * 1024 * MIB) /* ThreadSanitizer has no addresses for more */
#else
#define HUGE_LEN (1024 * 1024 * MIB)
#endif

static const struct mv_cfg moves[] = {
	{.name = "plain", .verify = true},
	{.name = "without digests"},
	{.name = "one page", .len = PAGE, .content = MV_DATA, .verify = true},
	{.name = "an odd number of pages", .len = 515 * PAGE, .verify = true},
	{.name = "all data", .content = MV_DATA, .verify = true},
	{.name = "never touched", .content = MV_EMPTY, .verify = true},
	{.name = "all zeros", .content = MV_ZEROS, .verify = true},
	{.name = "sparse", .content = MV_SPARSE, .len = 64 * MIB, .verify = true},
	{.name = "anonymous memory", .memory = MV_ANONYMOUS, .verify = true},
	{.name = "anonymous and never touched",
	 .memory = MV_ANONYMOUS,
	 .content = MV_EMPTY,
	 .verify = true},
	{.name = "anonymous by write protection",
	 .memory = MV_ANONYMOUS,
	 .tracker = MV_UFFD_WP,
	 .rounds = 3,
	 .verify = true},
	{.name = "seven regions", .regions = 7, .len = 600 * PAGE, .rounds = 3, .verify = true},
	{.name = "regions of one file",
	 .regions = 5,
	 .len = 300 * PAGE,
	 .memory = MV_ONE_MEMFD,
	 .verify = true},
	{.name = "very many regions",
	 .regions = MV_REGIONS,
	 .len = 4 * PAGE,
	 .memory = MV_ONE_MEMFD,
	 .rounds = 2,
	 .verify = true},
	{.name = "pages of 4 KiB and of 2 MiB",
	 .regions = 4,
	 .mixed = true,
	 .len = 4 * MIB,
	 .rounds = 3,
	 .verify = true},
	{.name = "pages of 4 KiB and of 2 MiB, written, by write protection",
	 .regions = 2,
	 .mixed = true,
	 .len = 4 * MIB,
	 .writer = true,
	 .tracker = MV_UFFD_WP,
	 .verify = true},
	{.name = "postcopy", .mode = RF_MODE_POSTCOPY},
	{.name = "postcopy of anonymous memory", .mode = RF_MODE_POSTCOPY, .memory = MV_ANONYMOUS},
	{.name = "postcopy, pages of 4 KiB and of 2 MiB",
	 .mode = RF_MODE_POSTCOPY,
	 .regions = 4,
	 .mixed = true},
	{.name = "postcopy of very many regions",
	 .mode = RF_MODE_POSTCOPY,
	 .regions = MV_REGIONS,
	 .len = 4 * PAGE,
	 .memory = MV_ONE_MEMFD},
	{.name = "a huge sparse guest", .len = HUGE_LEN, .content = MV_CORNERS, .rounds = 2},
	{.name = "a huge sparse guest by write protection",
	 .len = HUGE_LEN,
	 .content = MV_CORNERS,
	 .tracker = MV_UFFD_WP,
	 .rounds = 2},
	{.name = "postcopy of a huge sparse guest",
	 .mode = RF_MODE_POSTCOPY,
	 .len = HUGE_LEN,
	 .content = MV_CORNERS},
	{.name = "pages turn to zeros and back", .rounds = 12, .verify = true},
	{.name = "by write protection", .tracker = MV_UFFD_WP, .rounds = 4, .verify = true},
	{.name = "four lanes", .lanes = 4, .rounds = 4, .verify = true},
	{.name = "sixteen lanes, small pieces",
	 .lanes = 16,
	 .piece_size = 4096,
	 .rounds = 2,
	 .verify = true},
	{.name = "all pinned", .pin_all = true, .rounds = 2, .verify = true},
	{.name = "all pinned, many chunks",
	 .pin_all = true,
	 .len = 24 * MIB,
	 .regions = 3,
	 .chunk_size = MIB,
	 .content = MV_SPARSE,
	 .verify = true},
	{.name = "chunks of 1 MiB",
	 .chunk_size = MIB,
	 .len = 10 * MIB,
	 .rounds = 2,
	 .verify = true},
	{.name = "chunks of 1 GiB", .chunk_size = 1024 * MIB, .len = 10 * MIB, .verify = true},
	{.name = "pieces over all there is",
	 .piece_size = 16 * MIB,
	 .len = 32 * MIB,
	 .content = MV_DATA},
	{.name = "IPv6", .host = "::1", .rounds = 2, .lanes = 2, .verify = true},
	{.name = "by name", .host = "localhost"},
	{.name = "no device state", .state_len = MV_NO_STATE},
	{.name = "much device state", .state_len = 3 * MIB + 17},
	{.name = "a guest that writes", .writer = true, .verify = true},
	{.name = "one that writes, by write protection",
	 .writer = true,
	 .tracker = MV_UFFD_WP,
	 .verify = true},
	{.name = "one that writes to many regions",
	 .writer = true,
	 .regions = 20,
	 .lanes = 3,
	 .len = 100 * PAGE,
	 .verify = true},
};

/* Enough for a provider that takes milliseconds for a write when processors are few. */
static const char *const few[] = {
	"plain",      "all data",   "never touched", "seven regions",	   "by write protection",
	"four lanes", "all pinned", "IPv6",	     "a guest that writes"};

static const struct {
	const char *name, *transport, *provider;
} nets[] = {{"mem", "mem", NULL}, {"tcp", "ofi", "tcp"}, {"sockets", "ofi", "sockets"}};
static unsigned net; /* which one this program was started for */

static bool has_ipv6(void)
{
	FILE *f = fopen("/proc/net/if_inet6", "r");
	char line[200];
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		found |= strstr(line, " lo") != NULL;
	if (f)
		fclose(f);
	return found;
}

static void need_files(const struct mv_cfg *c)
{
	struct rlimit l;

	getrlimit(RLIMIT_NOFILE, &l);
	if (l.rlim_cur >= c->regions + 200)
		return;
	l.rlim_cur = c->regions + 200 < l.rlim_max ? c->regions + 200 : l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	if (l.rlim_cur < c->regions + 200)
		skip_case(c->name, "ulimit -n 2000");
}

/* The destination's files hold what was sent and no more: sparse stays sparse. */
static void assert_sparse(struct mv *m, uint64_t there)
{
	uint64_t sent = m->src.stats.ram.normal;

	if (there > sent)
		fail_msg("%s: %lu pages there, %lu were sent", m->cfg.name, there, sent);
}

static int count_before_compare(struct mv *m, enum mv_step s)
{
	if (s == MV_DST_RESUME - 1) /* comparing, which comes with the resume, fills holes */
		*(uint64_t *)m->cfg.hook_arg = mv_pages_there(m);
	return RF_OK;
}

static void move(void **state)
{
	struct mv_cfg cfg = *(const struct mv_cfg *)*state;
	uint64_t there = 0;
	struct mv m;

	if (!strcmp(cfg.host ? cfg.host : "", "::1") && !has_ipv6())
		skip_case(cfg.name, "IPv6 on the loopback interface");
	mv_need(&cfg);
	need_files(&cfg);
	cfg.transport = nets[net].transport;
	cfg.provider = nets[net].provider;
	cfg.hook = count_before_compare;
	cfg.hook_arg = &there;
	mv_open(&m, &cfg);
	mv_run(&m);
	mv_assert_moved(&m);
	if (cfg.rounds)
		assert_int_equal(m.src.stats.round, cfg.rounds + 1);
	/* Registering may populate, and huge pages come whole. */
	if ((!cfg.pin_all || net == 0) && !cfg.mixed)
		assert_sparse(&m, there);
	mv_close(&m);
}

static bool is_one_of_few(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(few); i++)
		if (!strcmp(name, few[i]))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[COUNT_OF(moves)];
	size_t n = 0;

	while (argc > 1 && strcmp(argv[1], nets[net].name))
		if (++net == COUNT_OF(nets))
			return 2;
	for (size_t i = 0; i < COUNT_OF(moves); i++) {
		if (!strcmp(nets[net].name, "sockets") && !is_one_of_few(moves[i].name))
			continue;
		tests[n++] = (struct CMUnitTest){.name = moves[i].name,
						 .test_func = move,
						 .initial_state = (void *)(uintptr_t)&moves[i]};
	}
	return _cmocka_run_group_tests(nets[net].name, tests, n, NULL, NULL);
}
