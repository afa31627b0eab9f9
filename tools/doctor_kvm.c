/* SPDX-License-Identifier: BSD-3-Clause */
/* KVM: may it be used, and which of its dirty trackers does it have? */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/doctor.h"
#include "tools/host_files.h"

#define KVM_API 12

/* What lets this user use a device, by who may already. */
static void remedy_for_device(struct report *r, const char *path)
{
	struct group entry, *g = NULL;
	struct stat st;
	char names[4096];

	if (!stat(path, &st) && (st.st_mode & 060) == 060 && st.st_gid &&
	    getgrgid_r(st.st_gid, &entry, names, sizeof(names), &g))
		g = NULL;
	if (g)
		report_remedy(r,
			      "sudo usermod -aG %s \"$USER\", then log in again (a container: "
			      "pass the group and the device)",
			      g->gr_name);
	else
		report_remedy(r, "sudo chmod a+rw %s (until the next boot), or run as root", path);
}

static void remedy_for_missing(struct doctor *d)
{
	char flags[4096] = "";

	host_read_key(d->root, "/proc/cpuinfo", "flags", flags, sizeof(flags));
	if (strstr(flags, " vmx"))
		report_remedy(&d->report, "sudo modprobe kvm_intel");
	else if (strstr(flags, " svm"))
		report_remedy(&d->report, "sudo modprobe kvm_amd");
	else
		report_remedy(&d->report,
			      "switch virtualisation on in the firmware or, in a virtual machine, "
			      "nested virtualisation at its host; or use --guest threads");
}

static void check_log(struct doctor *d, int kvm)
{
	int manual = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);

	if (manual <= 0) {
		report_add(&d->report, CHECK_WARN, "kvm-log",
			   "no dirty log with manual clear (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2)");
		report_remedy(&d->report, "use Linux 5.0 or newer");
		return;
	}
	d->kvm_tracker = "kvm-log";
	report_add(&d->report, CHECK_OK, "kvm-log", "dirty log with manual clear is there");
}

static void check_ring(struct doctor *d, int kvm)
{
	int ring = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING);

	if (ring > 0) {
		report_add(&d->report, CHECK_OK, "kvm-ring", "dirty ring is there, %d KiB at most",
			   ring / 1024);
		if (!d->kvm_tracker)
			d->kvm_tracker = "kvm-ring";
	} else {
		report_add(&d->report, CHECK_INFO, "kvm-ring",
			   "no dirty ring (Linux 5.11, not with every processor); kvm-log does "
			   "without");
	}
}

/* A VM is made to see whether that works: another hypervisor may hold the processor. */
static bool make_vm(struct doctor *d, int kvm)
{
	int api = ioctl(kvm, KVM_GET_API_VERSION, 0);
	int vm = api == KVM_API ? ioctl(kvm, KVM_CREATE_VM, 0) : -1;

	if (vm >= 0) {
		close(vm);
		report_add(&d->report, CHECK_OK, "kvm", "/dev/kvm works, API %d", api);
		return true;
	}
	report_add(&d->report, CHECK_WARN, "kvm", "/dev/kvm opens, but no VM can be made: %s",
		   api == KVM_API ? strerror(errno) : "its API is not version 12");
	report_remedy(&d->report,
		      "end other hypervisors (VirtualBox, VMware) and try again; or use "
		      "--guest threads");
	return false;
}

void doctor_check_kvm(struct doctor *d)
{
	char path[256];
	int kvm;

	snprintf(path, sizeof(path), "%s/dev/kvm", d->root);
	kvm = open(path, O_RDWR | O_CLOEXEC);
	if (kvm >= 0) {
		if (make_vm(d, kvm)) {
			check_log(d, kvm);
			check_ring(d, kvm);
		}
		close(kvm);
		return;
	}
	report_add(&d->report, CHECK_WARN, "kvm", "no KVM guest can run here: /dev/kvm: %s",
		   strerror(errno));
	if (errno == EACCES || errno == EPERM)
		remedy_for_device(&d->report, path);
	else
		remedy_for_missing(d);
}
