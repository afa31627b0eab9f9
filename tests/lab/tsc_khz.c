/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Prints the rate of this processor's time stamp counter in kHz, for the VM's kernel: its own
 * measurement goes wrong when the host takes the processor away in the middle of it.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define READINGS 2000
#define SPAN_MS	 100

struct point {
	uint64_t ns, ticks;
};

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The reading of both clocks between which the least passed: nobody interrupted that one. */
static struct point closest(void)
{
	struct point best = {0};
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < READINGS; i++) {
		uint64_t before = __rdtsc(), ns = now(), after = __rdtsc();

		if (after - before < least) {
			least = after - before;
			best = (struct point){.ns = ns, .ticks = before + least / 2};
		}
	}
	return best;
}

int main(void)
{
	struct timespec span = {.tv_nsec = SPAN_MS * 1000000};
	struct point from = closest(), to;

	nanosleep(&span, NULL);
	to = closest();
	printf("%.0f\n", (double)(to.ticks - from.ticks) * 1e6 / (double)(to.ns - from.ns));
	return 0;
}
