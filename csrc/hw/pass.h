/* SPDX-License-Identifier: BSD-3-Clause */
/* What pass.c offers per back end, and what stands between one folio and the next. */
#ifndef FPERF_HW_PASS_H
#define FPERF_HW_PASS_H

#include "hw/hw.h"
#include "mm/sim.h"

/*
 * Nothing behind it starts before all loads and atomics before it are complete. Without it CPUs run ahead, past atomics too,
 * and fetch the lines of the next folios while those of this one are still on their way. Plain stores it does not wait for:
 * they stay in the store buffer, as they would in the kernel.
 */
static inline void fperf_hw_serialise(void)
{
#if defined(__x86_64__)
	__asm__ volatile("lfence" : : : "memory");
#elif defined(__aarch64__)
	__asm__ volatile("dsb ishld\n\tisb" : : : "memory");
#elif defined(__powerpc64__)
	__asm__ volatile("lwsync\n\tisync" : : : "memory");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

uint64_t fperf_hw_pass_count(struct fperf_sim *sim, const struct fperf_hw_batch *batch);
uint64_t fperf_hw_pass_cache(struct fperf_sim *sim, const struct fperf_hw_batch *batch);
uint64_t fperf_hw_pass_native(struct fperf_sim *sim, const struct fperf_hw_batch *batch);

int fperf_hw_page_tables_count(struct fperf_sim *sim, uint32_t process, uint64_t vpn, uint64_t nr, bool ptes);
int fperf_hw_page_tables_cache(struct fperf_sim *sim, uint32_t process, uint64_t vpn, uint64_t nr, bool ptes);
int fperf_hw_page_tables_native(struct fperf_sim *sim, uint32_t process, uint64_t vpn, uint64_t nr, bool ptes);

int fperf_hw_contend_native(struct fperf_sim *sim, const struct fperf_hw_batch *place,
			    const struct fperf_hw_crowd *crowd, uint64_t duration_ns);

#endif
