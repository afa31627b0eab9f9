/* SPDX-License-Identifier: BSD-3-Clause */
#include "vmm/duty.h"

uint64_t rf_duty_slice(unsigned percent)
{
	return (uint64_t)RF_DUTY_PERIOD_NS * (100 - percent) / 100;
}

uint64_t rf_duty_stop(struct rf_duty *d, uint64_t ran_ns, unsigned percent)
{
	double owed = (double)ran_ns * percent / (100 - percent) + (double)d->owed_ns;

	d->owed_ns = owed < RF_DUTY_MAX_OWED_NS ? (int64_t)owed : RF_DUTY_MAX_OWED_NS;
	if (d->owed_ns <= 0)
		return 0;
	return d->owed_ns < RF_DUTY_PERIOD_NS ? (uint64_t)d->owed_ns : RF_DUTY_PERIOD_NS;
}

void rf_duty_stopped(struct rf_duty *d, uint64_t ns)
{
	int64_t left = ns < RF_DUTY_MAX_OWED_NS ? d->owed_ns - (int64_t)ns : -RF_DUTY_PERIOD_NS;

	/* A machine that slept through a minute owes the guest no minute at full speed. */
	d->owed_ns = left > -RF_DUTY_PERIOD_NS ? left : -RF_DUTY_PERIOD_NS;
}
