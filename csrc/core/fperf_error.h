/* SPDX-License-Identifier: BSD-3-Clause */
/* Error codes of libfperf. Every function that can fail returns 0 or one of these, negative. */
#ifndef FPERF_ERROR_H
#define FPERF_ERROR_H

#include <stdio.h>
#include <stdlib.h>

/* X(name, errno of the system call that would fail, rule that was broken) */
#define FPERF_ERRORS(X)									\
	X(NO_MEMORY,	12, "the host has no memory left for the model")		\
	X(ADDR_SPACE,	12, "the host refused to reserve address space for the modelled memory") \
	X(GEOMETRY,	22, "impossible geometry")					\
	X(CONFIG,	22, "impossible configuration")					\
	X(CACHE,	22, "impossible cache geometry")				\
	X(SIMD,		22, "FOLIO_PERF_SIMD must be avx512, avx2 or portable, and this CPU must have it") \
	X(CACHE_ADDRESS, 22, "an address given to a cache must be below 2^57")		\
	X(SCHEME,	22, "no scheme of that name")					\
	X(EVENT,	22, "no event of that kind")					\
	X(ARGUMENT,	22, "an argument of the event is out of range")			\
	X(ADDRESS,	12, "the range leaves the user address space")			\
	X(EMPTY_RANGE,	22, "the range holds no page")					\
	X(NO_PROCESS,	3,  "the process does not exist")				\
	X(EXITED,	3,  "the process has exited")					\
	X(PROCESS_EXISTS, 17, "a process of that number already exists")		\
	X(NO_OBJECT,	2,  "the file object does not exist")				\
	X(OVERLAP,	17, "the range overlaps an existing mapping")			\
	X(NOT_MAPPED,	12, "the range is not wholly inside mappings")			\
	X(SEGV,		1011, "access to an address that no mapping covers")		\
	X(ACCESS,	1011, "the protection of the mapping forbids the access")	\
	X(BEYOND_EOF,	1007, "access beyond the end of the object")			\
	X(REMAP,	14, "mremap moves one mapping at a time, onto a range apart from it") \
	X(TOO_MANY_VMAS, 12, "the process has reached its limit of mappings")		\
	X(PFN_SPACE,	12, "the modelled machine is out of page frames")		\
	X(TABLE_SPACE,	12, "the modelled machine is out of page-table pages")		\
	X(ORDER,	22, "folio order above the largest possible")			\
	X(ADVICE,	22, "the kernel, or a mapping of the range, refuses this advice")	\
	X(BUSY,		16, "the process has a pinned buffer already")		\
	X(NOT_HELD,	9,  "the process holds nothing of that kind")		\
	X(NOT_PINNABLE, 95, "pages of this kind of file cannot be pinned")		\
	X(UNSUPPORTED,	38, "the model does not know this operation")			\
	X(REF_OVERFLOW,	12, "the folio's reference count has overflowed; no more are handed out")	\
	X(LOG_FULL,	12, "the log of rmap calls has reached its limit")		\
	X(MM_IDS,	12, "the design has no number left for another mm")		\
	X(CACHE_CPU,	22, "an access to a cache must be by one of its CPUs")

enum fperf_error {
	FPERF_OK = 0,
#define X(name, err, text) FPERF_ERR_POS_##name,
	FPERF_ERRORS(X)
#undef X
		FPERF_NR_ERRORS
};
#define FPERF_ERR(name) (-(int)FPERF_ERR_POS_##name)

#define FPERF_MUST_CHECK __attribute__((warn_unused_result))

/* The one abort of the library: the model itself is broken, no input may reach it. */
#define FPERF_BUG_ON(cond)								\
	do {										\
		if (__builtin_expect(!!(cond), 0)) {					\
			fprintf(stderr, "%s:%d: folio_perf bug: %s\n", __FILE__, __LINE__, #cond); \
			abort();							\
		}									\
	} while (0)

/* Name ("NOT_MAPPED"), rule and errno of a code, sign ignored; NULL or 0 if there is no such code. */
const char *fperf_error_name(int code);
const char *fperf_error_rule(int code);
int fperf_error_errno(int code);

#endif
