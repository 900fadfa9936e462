/* SPDX-License-Identifier: BSD-3-Clause */
#include "hw/hw.h"

#include <sched.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

uint64_t fperf_hw_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t fperf_hw_clock_ns(void)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 1000; i++) {
		const uint64_t begin = fperf_hw_now();
		const uint64_t took = fperf_hw_now() - begin;

		if (took < least)
			least = took;
	}
	return least;
}

/* Readings take time, so the step shows in how their differences differ. */
uint64_t fperf_hw_clock_step_ns(void)
{
	enum { NR = 2000, LONGEST = 1000 };
	uint8_t seen[LONGEST] = { 0 };
	uint64_t last = 0, step = LONGEST;
	unsigned int distinct = 0;

	for (int i = 0; i < NR; i++) {
		const uint64_t begin = fperf_hw_now();
		const uint64_t took = fperf_hw_now() - begin;

		if (took < LONGEST && seen[took] < UINT8_MAX)
			seen[took]++;
	}
	for (uint64_t ns = 0; ns < LONGEST; ns++) {
		if (seen[ns] < NR / 200)
			continue;
		if (distinct++ && ns - last > 1 && ns - last < step)
			step = ns - last;
		last = ns;
	}
	return step < LONGEST ? step : 1;
}

int fperf_hw_pin(uint32_t cpu)
{
	cpu_set_t set;

	if (cpu >= CPU_SETSIZE)
		return FPERF_ERR(ARGUMENT);
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? FPERF_ERR(ARGUMENT) : 0;
}

/* Lines are 64 bytes or more everywhere; one flushed twice does no harm. */
static const size_t LINE = 64;

#if defined(__x86_64__)

bool fperf_hw_can_evict(void)
{
	return true;
}

void fperf_hw_evict(const void *from, size_t bytes)
{
	_mm_mfence();
	for (size_t at = 0; at < bytes; at += LINE)
		_mm_clflush((const char *)from + at);
	_mm_mfence();
}

#elif defined(__aarch64__)

bool fperf_hw_can_evict(void)
{
	return true;
}

void fperf_hw_evict(const void *from, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += LINE)
		__asm__ volatile("dc civac, %0" : : "r"((const char *)from + at) : "memory");
	__asm__ volatile("dsb sy" : : : "memory");
}

#elif defined(__powerpc64__)

bool fperf_hw_can_evict(void)
{
	return true;
}

void fperf_hw_evict(const void *from, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += LINE)
		__asm__ volatile("dcbf 0,%0" : : "r"((const char *)from + at) : "memory");
	__asm__ volatile("sync" : : : "memory");
}

#else

bool fperf_hw_can_evict(void)
{
	return false;
}

void fperf_hw_evict(const void *from, size_t bytes)
{
	(void)from, (void)bytes;
}

#endif
