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
	default:
		return 0;
	}
}

/* What a VMA refuses: the walk ends there, what came before it is done. */
static int check_vma(const struct fperf_vma *vma, uint32_t advice)
{
	switch ((enum fperf_advice)advice) {
	case FPERF_ADVICE_DONTNEED:
		return vma->flags & FPERF_VM_LOCKED ? FPERF_ERR(ADVICE) : 0;
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
		const int ret = check_vma(mm->vmas[i], e->what);

		if (ret)
			return ret;
	}
	return 0;
}

static int advise_vma(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end, uint32_t advice)
{
	uint32_t clear, set;

	if (fperf_advice_flags(advice, &clear, &set))
		return fperf_vma_modify(sim, vma->mm, start, end, clear, set);
	if (advice == FPERF_ADVICE_DONTNEED || advice == FPERF_ADVICE_DONTNEED_LOCKED)
		return fperf_zap_range(sim, vma, start, end);
	return 0;
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
		ret = check_vma(vma, e->what);
		if (!ret)
			ret = advise_vma(sim, vma, start, stop, e->what);
		if (ret)
			return ret;
	}
	return hole ? FPERF_ERR(NOT_MAPPED) : 0;
}
