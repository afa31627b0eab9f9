/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory that may be locked, that is free, and huge pages. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/size.h"
#include "tools/doctor.h"
#include "tools/host_files.h"

#define CAP_IPC_LOCK_BIT 14
/* Lanes, rings and bounce buffers are pinned beside the guest. */
#define BESIDE (64ull << 20)

/* The kernel asks the initial user namespace: rights in a namespace of its own do not count. */
static bool may_lock_all(const struct doctor *d)
{
	char caps[64] = "", map[64] = "";
	unsigned long inside = 1, outside = 1, count = 0;

	if (!host_read_key(d->root, "/proc/self/status", "CapEff", caps, sizeof(caps)) ||
	    !(strtoull(caps, NULL, 16) >> CAP_IPC_LOCK_BIT & 1))
		return false;
	if (!host_read(d->root, map, sizeof(map), "/proc/self/uid_map"))
		return true;
	sscanf(map, "%lu %lu %lu", &inside, &outside, &count);
	return inside == 0 && outside == 0 && count == 4294967295ul;
}

struct limit {
	uint64_t soft, hard; /* bytes, UINT64_MAX: none */
};

static uint64_t parse_limit(const char *word)
{
	return strcmp(word, "unlimited") ? strtoull(word, NULL, 10) : UINT64_MAX;
}

/* From /proc/self/limits: "Max locked memory  8388608  unlimited  bytes". */
static bool read_memlock(const char *root, struct limit *lim)
{
	char rest[128], soft[32], hard[32];

	if (!host_read_after(root, "/proc/self/limits", "Max locked memory", rest, sizeof(rest)) ||
	    sscanf(rest, "%31s %31s", soft, hard) != 2)
		return false;
	lim->soft = parse_limit(soft);
	lim->hard = parse_limit(hard);
	return true;
}

static void refuse_memlock(struct doctor *d, const struct limit *lim, uint64_t need)
{
	struct report *r = &d->report;
	bool wanted = d->verbs_works || doctor_needs_verbs(d);
	char have[16], guest[16];
	unsigned long long kib = need / 1024;
	const char *odp = d->odp ? "; or move with --odp, which pins nothing" : "";

	rf_size_format(lim->soft, have, sizeof(have));
	rf_size_format(d->memory, guest, sizeof(guest));
	report_add(r, wanted ? CHECK_FAIL : CHECK_INFO, "memlock",
		   "%s may be locked, RDMA pins all of a guest of %s%s", have, guest,
		   wanted ? "" : "; of no matter without RDMA");
	if (!wanted)
		return;
	if (lim->hard >= need)
		report_remedy(r, "ulimit -l %llu in the shell that starts it%s", kib, odp);
	else
		report_remedy(
			r,
			"sudo prlimit --pid $$ --memlock=unlimited in the shell that starts "
			"it; for good: LimitMEMLOCK=infinity in its systemd unit, '* - memlock "
			"unlimited' in /etc/security/limits.conf, --ulimit memlock=-1 for a "
			"container%s",
			odp);
}

static void check_memlock(struct doctor *d)
{
	uint64_t need = d->memory + BESIDE;
	struct limit lim;
	char have[16];

	if (!read_memlock(d->root, &lim))
		return;
	if (may_lock_all(d)) {
		report_add(&d->report, CHECK_OK, "memlock",
			   "no limit: this process has CAP_IPC_LOCK");
	} else if (lim.soft == UINT64_MAX) {
		report_add(&d->report, CHECK_OK, "memlock", "no limit");
	} else if (lim.soft >= need) {
		report_add(&d->report, CHECK_OK, "memlock", "%s, enough for the guest",
			   rf_size_format(lim.soft, have, sizeof(have)));
	} else {
		refuse_memlock(d, &lim, need);
	}
}

/* Bytes; 0 if the kernel does not tell. */
static uint64_t available(const struct doctor *d)
{
	char text[64] = "";

	host_read_key(d->root, "/proc/meminfo", "MemAvailable", text, sizeof(text));
	return strtoull(text, NULL, 10) * 1024;
}

static void check_free(struct doctor *d)
{
	uint64_t bytes = available(d);
	char have[16], guest[16];

	if (!bytes)
		return;
	rf_size_format(bytes, have, sizeof(have));
	rf_size_format(d->memory, guest, sizeof(guest));
	if (bytes >= d->memory) {
		report_add(&d->report, CHECK_OK, "memory", "%s free, a guest of %s can come here",
			   have, guest);
		return;
	}
	report_add(&d->report, CHECK_WARN, "memory", "%s free: no room for a guest of %s to come",
		   have, guest);
	report_remedy(&d->report, "free memory, or name the size your guests have with --memory");
}

static void check_huge(struct doctor *d, const char *name, uint64_t page)
{
	uint64_t total = 0, avail = 0, need = (d->memory + page - 1) / page;
	char guest[16], more[16];

	rf_size_format(d->memory, guest, sizeof(guest));
	if (!host_read_u64(d->root, &total,
			   "/sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages",
			   (unsigned long long)page / 1024)) {
		report_add(&d->report, CHECK_INFO, name, "this kernel or processor has none");
		return;
	}
	host_read_u64(d->root, &avail, "/sys/kernel/mm/hugepages/hugepages-%llukB/free_hugepages",
		      (unsigned long long)page / 1024);
	if (avail >= need) {
		report_add(&d->report, CHECK_OK, name, "%llu free, enough for a guest of %s",
			   (unsigned long long)avail, guest);
		return;
	}
	rf_size_format((need - avail) * page, more, sizeof(more));
	if ((need - avail) * page > available(d)) {
		report_add(
			&d->report, CHECK_INFO, name,
			"%llu free, a guest of %s on such pages needs %llu (others need none), and "
			"there is no free memory for %s more",
			(unsigned long long)avail, guest, (unsigned long long)need, more);
		return;
	}
	report_add(&d->report, CHECK_INFO, name,
		   "%llu free, a guest of %s on such pages needs %llu (others need none)",
		   (unsigned long long)avail, guest, (unsigned long long)need);
	report_remedy(&d->report,
		      "echo %llu | sudo tee "
		      "/sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages%s",
		      (unsigned long long)total - avail + need, (unsigned long long)page / 1024,
		      page > 2ull << 20 ? " (soon after boot: they must be in one piece)" : "");
}

void doctor_check_memory(struct doctor *d)
{
	check_memlock(d);
	check_free(d);
	check_huge(d, "hugepages-2M", 2ull << 20);
	check_huge(d, "hugepages-1G", 1ull << 30);
}
