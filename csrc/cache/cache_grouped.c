/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fast engine of a cache. A set is one 64-byte line. Lines come in aligned runs of eight, whose sets, a group, often hold
 * the same runs in the same order: those sets are one line together, so that a run costs one visit per level. A single line
 * parts its set from the others; the next runs find out when it holds the same again.
 */
#include "cache/cache_inl.h"

#define FORM(name) name##_portable
#define TARGET
#include "cache/cache_grouped_form.h"

#if FPERF_SIMD_X86
#define FORM(name) name##_avx2
#define TARGET FPERF_TARGET_AVX2
#include "cache/cache_grouped_form.h"

#define FORM(name) name##_avx512
#define TARGET FPERF_TARGET_AVX512
#include "cache/cache_grouped_form.h"
#endif

const struct fperf_cache_form fperf_cache_forms[FPERF_NR_SIMD] = {
	[FPERF_SIMD_PORTABLE] = { access_portable, access_lanes_portable, access_runs_portable },
#if FPERF_SIMD_X86
	[FPERF_SIMD_AVX2] = { access_avx2, access_lanes_avx2, access_runs_avx2 },
	[FPERF_SIMD_AVX512] = { access_avx512, access_lanes_avx512, access_runs_avx512 },
#endif
};
