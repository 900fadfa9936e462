/* SPDX-License-Identifier: BSD-3-Clause */
/* How events are carried out: what the files of the engine that are compiled once per back end offer each other. */
#ifndef FPERF_EVENTS_H
#define FPERF_EVENTS_H

#include "consumer/consumer.h"

#if defined(FPERF_FN)

#define fperf_advice_flags FPERF_FN(fperf_advice_flags)
#define fperf_check_advice FPERF_FN(fperf_check_advice)
#define fperf_check_event FPERF_FN(fperf_check_event)
#define fperf_check_pinnable FPERF_FN(fperf_check_pinnable)
#define fperf_check_touch FPERF_FN(fperf_check_touch)
#define fperf_read_mappings FPERF_FN(fperf_read_mappings)
#define fperf_run_consumer FPERF_FN(fperf_run_consumer)
#define fperf_may_collapse FPERF_FN(fperf_may_collapse)
#define fperf_run_khugepaged FPERF_FN(fperf_run_khugepaged)
#define fperf_run_madvise FPERF_FN(fperf_run_madvise)
#define fperf_run_mlock FPERF_FN(fperf_run_mlock)
#define fperf_run_pin FPERF_FN(fperf_run_pin)
#define fperf_run_splice FPERF_FN(fperf_run_splice)
#define fperf_run_touch FPERF_FN(fperf_run_touch)
#define fperf_run_smaps FPERF_FN(fperf_run_smaps)
#define fperf_run_exit FPERF_FN(fperf_run_exit)
#define fperf_run_memory_failure FPERF_FN(fperf_run_memory_failure)
#define fperf_run_split FPERF_FN(fperf_run_split)
#define fperf_run_numa_balance FPERF_FN(fperf_run_numa_balance)
#define fperf_touch_range FPERF_FN(fperf_touch_range)

static inline struct fperf_process *fperf_process_of(struct fperf_sim *sim, uint32_t process)
{
	return process < sim->cap_processes ? &sim->processes[process] : NULL;
}

static inline uint32_t fperf_flags_of(uint32_t flags)
{
	return (flags & FPERF_PROT_READ ? FPERF_VM_READ : 0u) | (flags & FPERF_PROT_WRITE ? FPERF_VM_WRITE : 0u) |
	       (flags & FPERF_MAP_SHARED ? FPERF_VM_SHARED : 0u) |
	       (flags & FPERF_MAP_GROWSDOWN ? FPERF_VM_GROWSDOWN : 0u);
}

/* event_check.c: rules that hold in any mode; strict mode adds that ranges must be wholly mapped. */
int fperf_check_event(struct fperf_sim *sim, const struct fperf_event *e) FPERF_MUST_CHECK;

/* event_touch.c: one access per page, ascending; each fault is an event of its own. */
int fperf_check_touch(const struct fperf_vma *vma, uint64_t vpn, bool write) FPERF_MUST_CHECK;
int fperf_run_touch(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e) FPERF_MUST_CHECK;
int fperf_touch_range(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t vpn, uint64_t nr, bool write,
		      bool *faulted) FPERF_MUST_CHECK;

/* event_consumer.c: every folio that the range maps, once. */
int fperf_run_consumer(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e) FPERF_MUST_CHECK;
int fperf_run_split(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e) FPERF_MUST_CHECK;
int fperf_run_memory_failure(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e) FPERF_MUST_CHECK;
/* run.c: the process ends, as part of another event, too. */
int fperf_run_exit(struct fperf_sim *sim, struct fperf_process *process) FPERF_MUST_CHECK;
int fperf_run_numa_balance(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e) FPERF_MUST_CHECK;

/* event_hold.c: pin, splice, mlock; check_pinnable(): does io_uring take the pages of these VMAs? */
int fperf_check_pinnable(const struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start,
			 uint64_t end) FPERF_MUST_CHECK;
int fperf_run_pin(struct fperf_sim *sim, struct fperf_process *process, const struct fperf_event *e) FPERF_MUST_CHECK;
int fperf_run_splice(struct fperf_sim *sim, struct fperf_process *process,
		     const struct fperf_event *e) FPERF_MUST_CHECK;
int fperf_run_mlock(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e) FPERF_MUST_CHECK;

/* event_madvise.c; advice_flags(): flags of a VMA that an advice takes and gives, false if none. */
/* Does some VMA of the range, or the kernel, refuse the advice? */
int fperf_check_advice(const struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e) FPERF_MUST_CHECK;
bool fperf_advice_flags(uint32_t advice, uint32_t *clear, uint32_t *set);
bool fperf_may_collapse(const struct fperf_sim *sim, const struct fperf_vma *vma);
int fperf_run_khugepaged(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e) FPERF_MUST_CHECK;
int fperf_run_madvise(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e) FPERF_MUST_CHECK;

/* event_rows.c: what a process maps, which costs nothing; what smaps says of it, which does and is kept. */
int fperf_run_smaps(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e) FPERF_MUST_CHECK;
int fperf_read_mappings(struct fperf_sim *sim, struct fperf_mm *mm, struct fperf_mapping_row *rows, size_t cap,
			size_t *nr) FPERF_MUST_CHECK;

#endif

#endif
