/* SPDX-License-Identifier: BSD-3-Clause */
#include "cache/simd.h"

#include <string.h>

static const char *const names[FPERF_NR_SIMD] = {
	[FPERF_SIMD_PORTABLE] = "portable",
	[FPERF_SIMD_AVX2] = "avx2",
	[FPERF_SIMD_AVX512] = "avx512",
};

const char *fperf_simd_name(enum fperf_simd simd)
{
	return simd < FPERF_NR_SIMD ? names[simd] : NULL;
}

int fperf_simd_supported(enum fperf_simd simd)
{
	switch (simd) {
	case FPERF_SIMD_PORTABLE:
		return 1;
#if FPERF_SIMD_X86
	case FPERF_SIMD_AVX2:
		return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
		       __builtin_cpu_supports("bmi2");
	case FPERF_SIMD_AVX512:
		return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
		       fperf_simd_supported(FPERF_SIMD_AVX2);
#endif
	default:
		return 0;
	}
}

int fperf_simd_choose(enum fperf_simd *ret)
{
	const char *const wanted = getenv("FOLIO_PERF_SIMD");

	for (int simd = FPERF_NR_SIMD - 1; simd >= 0; simd--) {
		if (wanted && *wanted && strcmp(wanted, names[simd]) != 0)
			continue;
		if (fperf_simd_supported(simd)) {
			*ret = simd;
			return 0;
		}
	}
	return FPERF_ERR(SIMD);
}
