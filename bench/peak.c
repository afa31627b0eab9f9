/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/peak.h"

#include <string.h>

void peak_init(struct peak *p)
{
	memset(p, 0, sizeof(*p));
	p->stride = 1;
}

/* Every other sample goes; those that stay mean the same with twice the stride. */
static void thin(struct peak *p)
{
	p->posts = (p->posts + 1) / 2;
	for (uint32_t i = 0; i < p->posts; i++)
		p->posted[i] = p->posted[2 * (size_t)i];
	p->dones /= 2;
	for (uint32_t j = 0; j < p->dones; j++)
		p->done[j] = p->done[2 * (size_t)j + 1];
	p->stride *= 2;
}

void peak_post(struct peak *p, uint64_t n, uint64_t t)
{
	p->nposted += n;
	while (p->posts * p->stride < p->nposted) {
		if (p->posts == PEAK_SAMPLES)
			thin(p);
		else
			p->posted[p->posts++] = t;
	}
}

void peak_done(struct peak *p, uint64_t n, uint64_t t)
{
	p->ndone += n;
	while ((p->dones + 1) * p->stride <= p->ndone) {
		if (p->dones == PEAK_SAMPLES)
			thin(p);
		else
			p->done[p->dones++] = t;
	}
}

double peak_rate(const struct peak *p)
{
	double best = 0;

	for (uint32_t i = 0; i < p->dones && i < p->posts; i++) {
		for (uint32_t j = i; j < p->dones; j++) {
			double ns = (double)(p->done[j] - p->posted[i]);
			double n = (double)((j - i + 1) * p->stride);

			/* a batch that was done before the clock moved says nothing */
			if (p->done[j] > p->posted[i] && n > best * ns)
				best = n / ns;
		}
	}
	return best * 1e9;
}
