/* SPDX-License-Identifier: BSD-3-Clause */
/* madvise, VMA by VMA. */
#include "engine/events.h"

/* Flags of a VMA that an advice takes and gives; false: none. */
bool fperf_advice_flags(uint32_t advice, uint32_t *clear, uint32_t *set)
{
	static const struct {
		uint32_t clear, set;
	} flags[FPERF_NR_ADVICES] = {
		[FPERF_ADVICE_HUGEPAGE] = { FPERF_VM_NOHUGEPAGE, FPERF_VM_HUGEPAGE },
		[FPERF_ADVICE_NOHUGEPAGE] = { FPERF_VM_HUGEPAGE, FPERF_VM_NOHUGEPAGE },
		[FPERF_ADVICE_DONTFORK] = { 0, FPERF_VM_DONTCOPY },
		[FPERF_ADVICE_DOFORK] = { FPERF_VM_DONTCOPY, 0 },
		[FPERF_ADVICE_WIPEONFORK] = { 0, FPERF_VM_WIPEONFORK },
		[FPERF_ADVICE_KEEPONFORK] = { FPERF_VM_WIPEONFORK, 0 },
		[FPERF_ADVICE_NORMAL] = { FPERF_VM_RAND_READ | FPERF_VM_SEQ_READ, 0 },
		[FPERF_ADVICE_RANDOM] = { FPERF_VM_SEQ_READ, FPERF_VM_RAND_READ },
		[FPERF_ADVICE_SEQUENTIAL] = { FPERF_VM_RAND_READ, FPERF_VM_SEQ_READ },
		[FPERF_ADVICE_DONTDUMP] = { 0, FPERF_VM_DONTDUMP },
		[FPERF_ADVICE_DODUMP] = { FPERF_VM_DONTDUMP, 0 },
		[FPERF_ADVICE_MERGEABLE] = { 0, FPERF_VM_MERGEABLE },
		[FPERF_ADVICE_UNMERGEABLE] = { FPERF_VM_MERGEABLE, 0 },
	};

	*clear = flags[advice].clear;
	*set = flags[advice].set;
	return *clear | *set;
}

static int populate_range(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e, bool write)
{
	bool faulted = false;

	return fperf_touch_range(sim, mm, e->vpn, e->nr, write, &faulted);
}

/* First kernel that knows the advice; earlier ones refuse it. */
static uint32_t known_since(uint32_t advice)
{
	switch ((enum fperf_advice)advice) {
	case FPERF_ADVICE_POPULATE_READ:
	case FPERF_ADVICE_POPULATE_WRITE:
		return FPERF_KERNEL(5, 14);
	case FPERF_ADVICE_DONTNEED_LOCKED:
		return FPERF_KERNEL(5, 18);
	case FPERF_ADVICE_COLLAPSE:
		return FPERF_KERNEL(6, 1);
	case FPERF_ADVICE_GUARD_INSTALL:
	case FPERF_ADVICE_GUARD_REMOVE:
		return FPERF_KERNEL(6, 13);
	default:
		return 0;
	}
}

/* A PMD's range lies in the VMA, and a file is not open for writing, which mattered up to v7.1. */
bool fperf_may_collapse(const struct fperf_sim *sim, const struct fperf_vma *vma)
{
	const uint64_t first = fperf_pmd_floor(sim, vma->start + sim->entries - 1);

	return first + sim->entries <= vma->end && !(vma->flags & FPERF_VM_NOHUGEPAGE) &&
	       (!vma->object || fperf_object_is_shmem(vma->object) || sim->prof.version >= FPERF_KERNEL(7, 2));
}

/* What a VMA refuses: the walk ends there, what came before it is done. */
static int check_vma(const struct fperf_sim *sim, const struct fperf_vma *vma, uint32_t advice)
{
	switch ((enum fperf_advice)advice) {
	case FPERF_ADVICE_DONTNEED:
	case FPERF_ADVICE_COLD:
	case FPERF_ADVICE_PAGEOUT:
		return vma->flags & FPERF_VM_LOCKED ? FPERF_ERR(ADVICE) : 0;
	case FPERF_ADVICE_FREE:
		return vma->flags & FPERF_VM_LOCKED || vma->object ? FPERF_ERR(ADVICE) : 0;
	case FPERF_ADVICE_COLLAPSE:
		return fperf_may_collapse(sim, vma) ? 0 : FPERF_ERR(ADVICE);
	case FPERF_ADVICE_REMOVE:
		return vma->flags & FPERF_VM_LOCKED || !vma->object || !(vma->flags & FPERF_VM_SHARED) ?
			       FPERF_ERR(ADVICE) :
			       0;
	case FPERF_ADVICE_GUARD_INSTALL:
		if (vma->flags & FPERF_VM_LOCKED)
			return FPERF_ERR(ADVICE);
		return vma->object && sim->prof.version < FPERF_KERNEL(6, 15) ? FPERF_ERR(ADVICE) : 0;
	case FPERF_ADVICE_GUARD_REMOVE:
		return vma->object && sim->prof.version < FPERF_KERNEL(6, 15) ? FPERF_ERR(ADVICE) : 0;
	case FPERF_ADVICE_WIPEONFORK:
		return vma->object ? FPERF_ERR(ADVICE) : 0;
	default:
		return 0;
	}
}

int fperf_check_advice(const struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	uint32_t i;

	if (sim->prof.version < known_since(e->what))
		return FPERF_ERR(ADVICE);
	for (fperf_vma_find(mm, e->vpn, &i); i < mm->nr_vmas && mm->vmas[i]->start < e->vpn + e->nr; i++) {
		const int ret = check_vma(sim, mm->vmas[i], e->what);

		if (ret)
			return ret;
	}
	return 0;
}

/* NOOP: the advice means nothing to this VMA. */
static int advise_ksm(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end, uint32_t advice)
{
	if (advice == FPERF_ADVICE_MERGEABLE)
		return vma->flags & FPERF_VM_SHARED ? FPERF_NOOP : fperf_ksm_enter(sim, vma->mm);
	if (!(vma->flags & FPERF_VM_MERGEABLE))
		return FPERF_NOOP;
	return fperf_ksm_unmerge(sim, vma, start, end);
}

static int advise_vma(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end, uint32_t advice)
{
	uint32_t clear, set;

	if (advice == FPERF_ADVICE_MERGEABLE || advice == FPERF_ADVICE_UNMERGEABLE) {
		const int ret = advise_ksm(sim, vma, start, end, advice);

		if (ret)
			return ret < 0 ? ret : 0;
	}
	if (fperf_advice_flags(advice, &clear, &set))
		return fperf_vma_modify(sim, vma->mm, start, end, clear, set);
	if (advice == FPERF_ADVICE_DONTNEED || advice == FPERF_ADVICE_DONTNEED_LOCKED) {
		const int ret = fperf_zap_range(sim, vma, start, end, FPERF_ZAP_PAGES);

		if (!ret && sim->prof.version >= FPERF_KERNEL(6, 14))
			fperf_reclaim_tables(sim, vma->mm, start, end);
		return ret;
	}
	if (advice == FPERF_ADVICE_COLD || advice == FPERF_ADVICE_PAGEOUT || advice == FPERF_ADVICE_FREE)
		return fperf_advise_reclaim(sim, vma, start, end, advice);
	if (advice == FPERF_ADVICE_REMOVE)
		return fperf_punch_hole(sim, vma->object, vma->pgoff + (start - vma->start),
					vma->pgoff + (end - vma->start));
	if (advice == FPERF_ADVICE_GUARD_INSTALL)
		return fperf_guard_install(sim, vma, start, end);
	if (advice == FPERF_ADVICE_GUARD_REMOVE)
		fperf_guard_remove(sim, vma, start, end);
	if (advice == FPERF_ADVICE_COLLAPSE)
		return fperf_collapse(sim, vma, start, end, false);
	return 0;
}

/* khugepaged goes where the policy lets faults have a PMD. */
int fperf_run_khugepaged(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	const uint64_t past = e->vpn + e->nr;
	struct fperf_vma *vma;
	bool any = false;
	int ret;

	for (uint64_t vpn = e->vpn; (vma = fperf_vma_find(mm, vpn, NULL)) && vma->start < past; vpn = vma->end) {
		if (!fperf_may_collapse(sim, vma) || !(fperf_anon_orders(sim, vma) >> sim->pmd_order & 1))
			continue;
		ret = fperf_collapse(sim, vma, vma->start > e->vpn ? vma->start : e->vpn,
				     vma->end < past ? vma->end : past, true);
		if (ret < 0)
			return ret;
		any |= ret == FPERF_APPLIED;
	}
	return any ? FPERF_APPLIED : FPERF_NOOP;
}

int fperf_run_madvise(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	const uint64_t end = e->vpn + e->nr;
	bool hole = false;

	if (sim->prof.version < known_since(e->what))
		return FPERF_ERR(ADVICE);
	fperf_event_begin(&sim->door, FPERF_EV_MADVISE);
	if (e->what == FPERF_ADVICE_POPULATE_READ || e->what == FPERF_ADVICE_POPULATE_WRITE)
		return populate_range(sim, mm, e, e->what == FPERF_ADVICE_POPULATE_WRITE);
	/* Holes are passed over, and reported in the end. */
	for (uint64_t start = e->vpn, stop; start < end; start = stop) {
		struct fperf_vma *const vma = fperf_vma_find(mm, start, NULL);
		int ret;

		if (!vma || vma->start >= end)
			return FPERF_ERR(NOT_MAPPED);
		if (vma->start > start) {
			hole = true;
			start = vma->start;
		}
		stop = vma->end < end ? vma->end : end;
		ret = check_vma(sim, vma, e->what);
		if (!ret)
			ret = advise_vma(sim, vma, start, stop, e->what);
		if (ret)
			return ret;
	}
	return hole ? FPERF_ERR(NOT_MAPPED) : 0;
}
