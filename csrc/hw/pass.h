/* SPDX-License-Identifier: BSD-3-Clause */
/* What pass.c offers per back end, and the word that stands for the page-table lock. */
#ifndef FPERF_HW_PASS_H
#define FPERF_HW_PASS_H

#include "hw/hw.h"
#include "mm/sim.h"

/* Uncontended: a line of its own on the stack of the thread that measures. */
struct fperf_hw_lock {
	_Alignas(128) uint32_t word;
};

static inline void fperf_hw_lock_take(struct fperf_hw_lock *lock)
{
	__atomic_exchange_n(&lock->word, 1, __ATOMIC_SEQ_CST);
}

static inline void fperf_hw_lock_release(struct fperf_hw_lock *lock)
{
	__atomic_store_n(&lock->word, 0, __ATOMIC_RELEASE);
}

uint64_t fperf_hw_pass_count(struct fperf_sim *sim, const struct fperf_hw_batch *batch);
uint64_t fperf_hw_pass_cache(struct fperf_sim *sim, const struct fperf_hw_batch *batch);
uint64_t fperf_hw_pass_native(struct fperf_sim *sim, const struct fperf_hw_batch *batch);

#endif
