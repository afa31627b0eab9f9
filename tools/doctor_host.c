/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernel and the processor. */
#include <sys/utsname.h>

#include "tools/doctor.h"

static void check_cpu(struct report *r)
{
	if (__builtin_cpu_supports("avx2"))
		report_add(r, CHECK_OK, "cpu", "AVX2 is there: zero pages are found at full speed");
	else
		report_add(r, CHECK_INFO, "cpu",
			   "no AVX2: zero pages are found at about half the speed");
}

void doctor_check_host(struct doctor *d)
{
	struct utsname u;

	if (!uname(&u))
		report_add(&d->report, CHECK_INFO, "kernel", "%s %s on %s", u.sysname, u.release,
			   u.machine);
	check_cpu(&d->report);
}
