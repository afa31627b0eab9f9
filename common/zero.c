/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/zero.h"

#include <stdint.h>

#include <ramferry/region.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/*
 * Most pages that are not zero show it in their first or last words: a look at three places
 * spares the walk, and the cache misses of it.
 */
static inline bool ends_are_zero(const uint64_t *w)
{
	const size_t words = RF_PAGE_SIZE / sizeof(*w);

	return (w[0] | w[words / 2] | w[words - 1]) == 0;
}

bool rf_zero_portable(const void *page)
{
	const uint64_t *w = page;
	const uint64_t *end = w + RF_PAGE_SIZE / sizeof(*w);

	if (!ends_are_zero(w))
		return false;
	for (; w < end; w += 8)
		if ((w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7]) != 0)
			return false;
	return true;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static bool zero_avx2(const void *page)
{
	const __m256i *v = page;
	const __m256i *end = v + RF_PAGE_SIZE / sizeof(*v);

	if (!ends_are_zero(page))
		return false;
	for (; v < end; v += 4) {
		__m256i a = _mm256_or_si256(_mm256_load_si256(v), _mm256_load_si256(v + 1));
		__m256i b = _mm256_or_si256(_mm256_load_si256(v + 2), _mm256_load_si256(v + 3));
		__m256i all = _mm256_or_si256(a, b);

		if (!_mm256_testz_si256(all, all))
			return false;
	}
	return true;
}
#endif

rf_zero_fn rf_zero_avx2(void)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2"))
		return zero_avx2;
#endif
	return NULL;
}

rf_zero_fn rf_zero_select(void)
{
	rf_zero_fn fast = rf_zero_avx2();

	return fast ? fast : rf_zero_portable;
}
