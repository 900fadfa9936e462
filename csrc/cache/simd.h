/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which vector instructions the cache engine uses. Code for each form is always compiled, by target attributes, and one
 * form is chosen when a cache is created: all give the same results to the bit.
 */
#ifndef FPERF_SIMD_H
#define FPERF_SIMD_H

#include "core/fperf_error.h"

#if defined(__x86_64__)
#define FPERF_SIMD_X86 1
#define FPERF_TARGET_AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define FPERF_TARGET_AVX512 \
	__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi,bmi2,lzcnt,popcnt")))
#else
#define FPERF_SIMD_X86 0
#define FPERF_TARGET_AVX2
#define FPERF_TARGET_AVX512
#endif

enum fperf_simd { FPERF_SIMD_PORTABLE, FPERF_SIMD_AVX2, FPERF_SIMD_AVX512, FPERF_NR_SIMD };

/* "portable", "avx2", "avx512". */
const char *fperf_simd_name(enum fperf_simd simd);

/* Can this CPU, under this system, run it? */
int fperf_simd_supported(enum fperf_simd simd);

/*
 * The widest form this CPU has, or the one that FOLIO_PERF_SIMD names. FPERF_ERR(SIMD) if that is no name of a form, or
 * one this CPU lacks. The variable is read at each call: the caller keeps the answer for the life of its caches.
 */
int fperf_simd_choose(enum fperf_simd *ret) FPERF_MUST_CHECK;

#endif
