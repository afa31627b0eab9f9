/* SPDX-License-Identifier: BSD-3-Clause */
/* userfaultfd and the trackers of memory that is not KVM's; which tracker would be used. */
#include <errno.h>
#include <string.h>

#include <ramferry/err.h>
#include <ramferry/tracker.h>

#include "common/log.h"
#include "common/uffd.h"
#include "tools/doctor.h"
#include "tools/host_files.h"

static void refuse_uffd(struct doctor *d, int error)
{
	struct report *r = &d->report;
	uint64_t unprivileged = 0;

	report_add(r, CHECK_WARN, "userfaultfd",
		   "this user may not use it: %s; no postcopy, no tracker uffd-wp",
		   strerror(error));
	if (error == ENOSYS) {
		report_remedy(r, "use a kernel built with CONFIG_USERFAULTFD");
		return;
	}
	host_read_u64(d->root, &unprivileged, "/proc/sys/vm/unprivileged_userfaultfd");
	if (unprivileged)
		report_remedy(r, "a seccomp filter forbids it: in a container, allow userfaultfd "
				 "in its profile");
	else if (host_exists(d->root, "/dev/userfaultfd"))
		report_remedy(r, "sudo sysctl vm.unprivileged_userfaultfd=1, or for members of "
				 "the group kvm only: sudo chgrp kvm /dev/userfaultfd && sudo "
				 "chmod g+rw /dev/userfaultfd (both until the next boot)");
	else
		report_remedy(r, "sudo sysctl vm.unprivileged_userfaultfd=1 (until the next boot)");
}

/* "missing, minor on shmem" or what of it is not there. */
static void check_features(struct doctor *d, const struct rf_uffd_features *f)
{
	struct report *r = &d->report;
	bool shmem = f->missing_shmem && f->minor_shmem;
	bool huge = f->missing_hugetlb && f->minor_hugetlb;

	d->postcopy = shmem;
	if (shmem && huge) {
		report_add(r, CHECK_OK, "postcopy",
			   "missing and minor faults on shared memory and on huge pages%s",
			   f->thread_id ? ", with thread ids" : "");
		return;
	}
	report_add(r, CHECK_WARN, "postcopy", "faults on %s cannot be handled (%s%s%s%s)",
		   shmem ? "huge pages" : "shared memory",
		   f->missing_shmem ? "" : "no MISSING_SHMEM ",
		   f->minor_shmem ? "" : "no MINOR_SHMEM ",
		   f->missing_hugetlb ? "" : "no MISSING_HUGETLBFS ",
		   f->minor_hugetlb ? "" : "no MINOR_HUGETLBFS");
	report_remedy(r, "use Linux 5.14 or newer");
}

static void check_wp(struct doctor *d, const struct rf_uffd_features *f)
{
	bool works = f->available && f->wp && f->wp_async && f->wp_unpopulated &&
		     f->wp_shmem_hugetlb && f->pagemap_scan;

	if (works) {
		d->own_tracker = "uffd-wp";
		report_add(&d->report, CHECK_OK, "uffd-wp",
			   "asynchronous write protection and PAGEMAP_SCAN are there");
		return;
	}
	report_add(&d->report, CHECK_INFO, "uffd-wp", "this tracker cannot be used: %s%s%s",
		   f->available ? "" : "no userfaultfd",
		   f->available && !(f->wp_async && f->wp_unpopulated && f->wp_shmem_hugetlb)
			   ? "no asynchronous write protection (Linux 6.7)"
			   : "",
		   f->pagemap_scan ? "" : ", no PAGEMAP_SCAN (Linux 6.7)");
}

static void check_soft_dirty(struct doctor *d)
{
	const struct rf_soft_dirty_cfg cfg = {.size = sizeof(cfg)};
	struct rf_tracker t = {0};
	struct rf_log_capture words;
	int rc;

	rf_log_capture_begin(&words);
	rc = rf_tracker_soft_dirty_new(&cfg, &t);
	rf_log_capture_end(&words);
	rf_tracker_delete(&t);
	if (rc == RF_OK) {
		report_add(&d->report, CHECK_OK, "soft-dirty", "the kernel keeps soft-dirty bits");
		if (!d->own_tracker)
			d->own_tracker = "soft-dirty";
		return;
	}
	report_add(&d->report, CHECK_INFO, "soft-dirty", "this tracker cannot be used: %s",
		   words.text[0] ? words.text : rf_err_str(rc));
}

void doctor_check_uffd(struct doctor *d)
{
	struct rf_uffd_features f;

	rf_uffd_probe(&f);
	if (f.available) {
		report_add(&d->report, CHECK_OK, "userfaultfd", "this user may use it");
		check_features(d, &f);
	} else {
		refuse_uffd(d, f.open_errno);
	}
	check_wp(d, &f);
	check_soft_dirty(d);
}

void doctor_check_trackers(struct doctor *d)
{
	struct report *r = &d->report;

	if (d->kvm_tracker && d->own_tracker) {
		report_add(r, CHECK_OK, "tracker",
			   "guests that run here can be moved: KVM guests by %s, others by %s",
			   d->kvm_tracker, d->own_tracker);
	} else if (d->kvm_tracker || d->own_tracker) {
		report_add(r, CHECK_OK, "tracker", "guests that run here can be moved: %s by %s",
			   d->kvm_tracker ? "KVM guests" : "those without KVM",
			   d->kvm_tracker ? d->kvm_tracker : d->own_tracker);
	} else {
		report_add(r, CHECK_WARN, "tracker",
			   "nothing tells which pages a guest writes: guests can come here, and "
			   "none can leave");
		report_remedy(r,
			      "repair kvm above or, with Linux 6.7 or newer, userfaultfd; one of "
			      "them is enough");
	}
}
