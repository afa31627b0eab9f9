/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rf_scan: how fast a source gets over memory that it does not have to send. Each row goes through
 * the code a round goes through, on memory of this process:
 *
 *   holes    pages claimed by mistake that no file holds (rf_src_region_zeros)
 *   zeros    pages that are there and zero: read from end to end
 *   data     pages that are not zero: a look at three words
 *   search   looking for data in a file with holes (rf_src_region_find_data)
 *   bitmap   looking for a pending page where there is none, as guest memory passed over
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ramferry/err.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/opts.h"
#include "scheduler/region.h"

#define RUN_PAGES 256u /* a piece of 1 MiB */
#define SPARSE	  (1ull << 40)

struct scan_opts {
	uint64_t size, rounds;
	bool help;
};

static const struct rf_opt table[] = {
	RF_OPT_SIZE(struct scan_opts, size, "size", 's', "SIZE", "256M",
		    "memory that is read; must fit", .min = 1u << 20, .max = 1ull << 40),
	RF_OPT_UINT(struct scan_opts, rounds, "rounds", 'n', "N", "5",
		    "times it is done; the median counts", .min = 1, .max = 99),
	RF_OPT_BOOL(struct scan_opts, help, "help", 'h', "no", "print this help"),
	RF_OPT_END,
};

struct bench {
	struct rf_src_region r;
	uint64_t len;
};

static bool open_region(struct bench *b, uint64_t len)
{
	struct rf_region info = {.size = sizeof(info),
				 .id = "scan",
				 .len = len,
				 .page_size = RF_PAGE_SIZE};

	b->len = len;
	info.memfd = memfd_create("scan", MFD_CLOEXEC);
	if (info.memfd < 0 || ftruncate(info.memfd, (off_t)len))
		return false;
	info.addr =
		mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, info.memfd, 0);
	return info.addr != MAP_FAILED && rf_src_region_init(&b->r, &info) == RF_OK;
}

static void close_region(struct bench *b)
{
	int memfd = b->r.info.memfd;

	munmap(b->r.addr, b->len);
	rf_src_region_fini(&b->r);
	close(memfd);
}

/* As a round does, a piece at a time. */
static uint64_t scan_pages(struct bench *b)
{
	rf_zero_fn is_zero = rf_zero_select();
	uint64_t zeros = 0, pages = b->len / RF_PAGE_SIZE;

	for (uint64_t at = 0, n; at < pages; at += n)
		zeros += rf_src_region_zeros(&b->r, is_zero, at,
					     at + RUN_PAGES < pages ? at + RUN_PAGES : pages, &n);
	return zeros;
}

static uint64_t scan_file(struct bench *b)
{
	uint64_t holes;

	rf_src_region_find_data(&b->r, &holes);
	return holes;
}

static uint64_t scan_bitmap(struct bench *b)
{
	return rf_bitmap_find_set(&b->r.map.pending, 0, b->r.map.npages);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void measure(const char *name, struct bench *b, uint64_t rounds,
		    uint64_t (*scan)(struct bench *b))
{
	uint64_t ns[99] = {0}, middle = rounds / 2;
	double median;

	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t start = rf_now_ns(&rf_clock_monotonic);

		(void)scan(b);
		ns[i] = rf_now_ns(&rf_clock_monotonic) - start;
	}
	qsort(ns, rounds, sizeof(ns[0]), by_value);
	median = (double)ns[middle];
	printf("%-8s %12llu %12.3f %12.1f\n", name, (unsigned long long)(b->len >> 20),
	       median / 1e6, (double)b->len / median);
}

static bool run(const struct scan_opts *o)
{
	struct bench sparse, dense;

	if (!open_region(&sparse, SPARSE) || !open_region(&dense, o->size))
		return false;
	printf("%-8s %12s %12s %12s\n", "#what", "MiB", "time[msec]", "GB/sec");
	measure("holes", &dense, o->rounds, scan_pages);
	memset(dense.r.addr, 0, dense.len);
	measure("zeros", &dense, o->rounds, scan_pages);
	memset(dense.r.addr, 1, dense.len);
	measure("data", &dense, o->rounds, scan_pages);
	/* A page in each 64 MiB. */
	for (uint64_t at = 0; at < SPARSE; at += 64u << 20)
		sparse.r.addr[at] = 1;
	measure("search", &sparse, o->rounds, scan_file);
	rf_bitmap_clear_range(&sparse.r.map.pending, 0, sparse.r.map.npages);
	measure("bitmap", &sparse, o->rounds, scan_bitmap);
	close_region(&dense);
	close_region(&sparse);
	return true;
}

int main(int argc, char **argv)
{
	struct scan_opts o = {0};
	unsigned npos = 0;

	if (rf_opts_parse(table, "rf_scan", argc, argv, &o, NULL, 0, &npos, stderr) != RF_OK)
		return 2;
	if (o.help) {
		printf("Usage: rf_scan [OPTION ...]\n\nHow fast a source passes over memory it "
		       "does not have to send.\n");
		rf_opts_help(table, stdout);
		return 0;
	}
	if (run(&o))
		return 0;
	fprintf(stderr, "rf_scan: memory cannot be had\n");
	return 1;
}
