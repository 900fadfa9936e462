/* SPDX-License-Identifier: BSD-3-Clause */
/* What must hold before an event starts, so that none fails half done. */
#include "engine/events.h"

/* 2^64 bytes of 4 KiB pages. */
static const uint64_t MAX_FILE_PAGE = 1ull << 52;

static int check_range(const struct fperf_sim *sim, uint64_t vpn, uint64_t nr)
{
	if (!nr)
		return FPERF_ERR(EMPTY_RANGE);
	if (vpn >= sim->end_vpn || nr > sim->end_vpn - vpn)
		return FPERF_ERR(ADDRESS);
	return 0;
}

static int check_object(const struct fperf_sim *sim, uint32_t what)
{
	return what && what <= sim->nr_objects ? 0 : FPERF_ERR(NO_OBJECT);
}

/* A design that writes down whose mappings it counts has so many bits for a number, and zero stands for nobody. */
static int check_mm_ids(const struct fperf_sim *sim)
{
	const unsigned int bits = sim->scheme->mm_id_bits ? sim->scheme->mm_id_bits(sim) : 32;

	return sim->next_mm_id + 1ull < 1ull << bits ? 0 : FPERF_ERR(MM_IDS);
}

/* Room for nr more mappings, so that no event fails half done. */
static int check_room(const struct fperf_sim *sim, const struct fperf_mm *mm, uint32_t nr)
{
	return mm->nr_vmas + nr > sim->prof.max_map_count ? FPERF_ERR(TOO_MANY_VMAS) : 0;
}

/* Unmapping the range leaves two mappings where there was one. */
static bool cuts_middle(struct fperf_mm *mm, uint64_t start, uint64_t end)
{
	const struct fperf_vma *const vma = fperf_vma_at(mm, start);

	return vma && vma->start < start && vma->end > end;
}

static int check_mmap(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	if (e->what != FPERF_WHAT_ANON && check_object(sim, e->what))
		return FPERF_ERR(NO_OBJECT);
	if (e->what == FPERF_WHAT_ANON && e->flags & FPERF_MAP_SHARED)
		return FPERF_ERR(ARGUMENT); /* shared anonymous memory is an object */
	if (e->what != FPERF_WHAT_ANON && e->arg > sim->end_vpn)
		return FPERF_ERR(ARGUMENT);
	if (!(e->flags & FPERF_MAP_FIXED) && !fperf_range_free(mm, e->vpn, e->vpn + e->nr))
		return FPERF_ERR(OVERLAP);
	return check_room(sim, mm, 1 + cuts_middle(mm, e->vpn, e->vpn + e->nr));
}

/* Lenient mode lets a move that fails half way fail there: its target is unmapped by then (up to v6.16). */
static bool remap_goes_through(const struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	const struct fperf_vma *const vma = fperf_vma_at(mm, e->vpn);
	const bool pure_move = e->arg != e->vpn && e->arg2 == e->nr;

	if (pure_move && sim->prof.remap_spans_vmas)
		return !sim->cfg.strict || fperf_range_covered(mm, e->vpn, e->vpn + e->nr);
	if (vma && e->vpn + e->nr <= vma->end)
		return true;
	return !sim->cfg.strict && e->arg != e->vpn && !sim->prof.remap_spans_vmas;
}

static int check_mremap(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	const struct fperf_vma *const vma = fperf_vma_at(mm, e->vpn);
	const int ret = check_range(sim, e->arg, e->arg2);

	if (ret)
		return ret;
	if (!vma && (sim->cfg.strict || sim->prof.version >= FPERF_KERNEL(5, 16) || e->arg == e->vpn))
		return FPERF_ERR(NOT_MAPPED);
	if (!remap_goes_through(sim, mm, e))
		return FPERF_ERR(REMAP);
	if (e->arg != e->vpn && e->arg < e->vpn + e->nr && e->vpn < e->arg + e->arg2)
		return FPERF_ERR(REMAP);
	if (e->arg == e->vpn && e->arg2 > e->nr && !fperf_range_free(mm, e->vpn + e->nr, e->vpn + e->arg2))
		return FPERF_ERR(OVERLAP);
	/* move_vma(): what lies at either place may be cut in three before it goes. */
	if (e->arg != e->vpn)
		return check_room(sim, mm, 4);
	return e->arg2 < e->nr ? check_room(sim, mm, cuts_middle(mm, e->vpn + e->arg2, e->vpn + e->nr)) : 0;
}

static int check_touch_range(const struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e, bool write)
{
	const uint64_t past = e->vpn + e->nr;

	for (uint64_t vpn = e->vpn; vpn < past;) {
		const struct fperf_vma *const vma = fperf_vma_find(mm, vpn, NULL);
		uint64_t stop;
		int ret;

		if (!vma || (vma->start > vpn && !fperf_vma_may_grow_down(sim, vma, vpn)))
			return FPERF_ERR(SEGV);
		stop = vma->end < past ? vma->end : past;
		ret = fperf_check_touch(vma, stop - 1, write);
		if (ret)
			return ret;
		if (fperf_guard_find((struct fperf_sim *)sim, mm, vpn, stop) < stop)
			return FPERF_ERR(SEGV);
		vpn = stop;
	}
	return 0;
}

static int check_flags(const struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	uint32_t clear = FPERF_VM_READ | FPERF_VM_WRITE, set = fperf_flags_of(e->flags) & clear;

	if (e->op == FPERF_OP_MLOCK || e->op == FPERF_OP_MUNLOCK) {
		clear = FPERF_VM_LOCKED;
		set = e->op == FPERF_OP_MLOCK ? clear : 0;
	}

	if (e->op == FPERF_OP_MADVISE && !fperf_advice_flags(e->what, &clear, &set))
		return 0;
	return check_room(sim, mm, fperf_vma_nr_cuts(mm, e->vpn, e->vpn + e->nr, clear, set));
}

/* mlock brings every page in, which an inaccessible mapping or the end of a file does not let it. */
static int check_mlock(struct fperf_mm *mm, const struct fperf_event *e)
{
	for (uint64_t vpn = e->vpn, past = e->vpn + e->nr; vpn < past;) {
		const struct fperf_vma *const vma = fperf_vma_at(mm, vpn);
		const uint64_t stop = vma->end < past ? vma->end : past;
		const int ret = fperf_check_touch(vma, stop - 1, false);

		if (ret)
			return ret;
		vpn = stop;
	}
	return 0;
}

/* It belongs to no process. */
static bool of_machine(uint32_t op)
{
	switch ((enum fperf_op)op) {
	case FPERF_OP_DEFERRED_SPLIT:
	case FPERF_OP_SWAPON:
	case FPERF_OP_SWAPOFF:
	case FPERF_OP_KPAGECOUNT:
	case FPERF_OP_COMPACT:
	case FPERF_OP_RECLAIM:
	case FPERF_OP_PAGE_IDLE:
		return true;
	default:
		return false;
	}
}

/* Rules that hold in any mode; strict mode adds that ranges must be wholly mapped. */
int fperf_check_event(struct fperf_sim *sim, const struct fperf_event *e)
{
	const struct fperf_process *const p = fperf_process_of(sim, e->process);
	const bool of_object = e->op == FPERF_OP_TRUNCATE || e->op == FPERF_OP_READ_OBJECT ||
			       e->op == FPERF_OP_DROP_OBJECT || e->op == FPERF_OP_PUNCH_HOLE;
	struct fperf_mm *mm;
	int ret;

	if (e->op >= FPERF_NR_OPS)
		return FPERF_ERR(EVENT);
	if (e->flags & ~(uint32_t)FPERF_EVENT_FLAGS)
		return FPERF_ERR(ARGUMENT);
	if (of_object) {
		ret = check_object(sim, e->what);
		if (!ret && e->op == FPERF_OP_TRUNCATE && e->nr > sim->objects[e->what - 1]->capacity)
			ret = FPERF_ERR(ARGUMENT);
		if (!ret && e->op == FPERF_OP_PUNCH_HOLE)
			ret = !e->nr					      ? FPERF_ERR(EMPTY_RANGE) :
			      e->vpn > MAX_FILE_PAGE || e->nr > MAX_FILE_PAGE ? FPERF_ERR(ARGUMENT) :
										0;
		return ret;
	}
	if (of_machine(e->op))
		return 0;
	if (e->op == FPERF_OP_KSM)
		return sim->contents ? 0 : FPERF_ERR(ARGUMENT); /* what is equal? */
	if (!p || p->state == FPERF_PROC_NEVER)
		return FPERF_ERR(NO_PROCESS);
	if (p->state == FPERF_PROC_EXITED)
		return FPERF_ERR(EXITED);
	mm = p->mm;
	switch ((enum fperf_op)e->op) {
	case FPERF_OP_FORK: {
		const struct fperf_process *const child = e->arg >> 32 ? NULL : fperf_process_of(sim, (uint32_t)e->arg);

		if (e->arg >= 1u << 26)
			return FPERF_ERR(ARGUMENT);
		if (child && child->state == FPERF_PROC_ALIVE)
			return FPERF_ERR(PROCESS_EXISTS);
		return e->flags & FPERF_FORK_SHARE_MM ? 0 : check_mm_ids(sim);
	}
	case FPERF_OP_EXEC:
		return check_mm_ids(sim);
	case FPERF_OP_EXIT:
	case FPERF_OP_PAGEMAP:
	case FPERF_OP_NUMA_MAPS:
		return 0;
	case FPERF_OP_SMAPS:
		return e->what > FPERF_SMAPS_EXACT ? FPERF_ERR(ARGUMENT) : 0;
	case FPERF_OP_UNPIN:
		return p->ring ? 0 : FPERF_ERR(NOT_HELD);
	case FPERF_OP_UNSPLICE:
		return p->pipe ? 0 : FPERF_ERR(NOT_HELD);
	case FPERF_OP_PIN:
		if (p->ring)
			return FPERF_ERR(BUSY);
		break;
	default:
		break;
	}
	ret = check_range(sim, e->vpn, e->nr);
	if (ret)
		return ret;
	if (e->op == FPERF_OP_MMAP)
		return check_mmap(sim, mm, e);
	if (e->op == FPERF_OP_MREMAP)
		return check_mremap(sim, mm, e);
	if ((e->op == FPERF_OP_MADVISE && e->what >= FPERF_NR_ADVICES) ||
	    (e->op == FPERF_OP_TOUCH && e->what > FPERF_TOUCH_FILL) ||
	    (e->op == FPERF_OP_SPLIT && e->arg > sim->pmd_order))
		return FPERF_ERR(ARGUMENT);
	if (e->op == FPERF_OP_MUNMAP)
		ret = check_room(sim, mm, cuts_middle(mm, e->vpn, e->vpn + e->nr));
	else if (e->op == FPERF_OP_MPROTECT || e->op == FPERF_OP_MADVISE || e->op == FPERF_OP_MLOCK ||
		 e->op == FPERF_OP_MUNLOCK)
		ret = check_flags(sim, mm, e);
	if (ret || !sim->cfg.strict)
		return ret;
	if (e->op == FPERF_OP_TOUCH || e->op == FPERF_OP_SPLICE)
		return check_touch_range(sim, mm, e, e->flags & FPERF_TOUCH_WRITE);
	if (e->op == FPERF_OP_PIN) {
		ret = fperf_check_pinnable(sim, mm, e->vpn, e->vpn + e->nr);
		return ret ? ret : check_touch_range(sim, mm, e, true);
	}
	if (!fperf_range_covered(mm, e->vpn, e->vpn + e->nr))
		return FPERF_ERR(NOT_MAPPED);
	if (e->op == FPERF_OP_MLOCK)
		return check_mlock(mm, e);
	ret = e->op == FPERF_OP_MADVISE ? fperf_check_advice(sim, mm, e) : 0;
	if (ret)
		return ret;
	if (e->op == FPERF_OP_MADVISE &&
	    (e->what == FPERF_ADVICE_POPULATE_READ || e->what == FPERF_ADVICE_POPULATE_WRITE))
		return check_touch_range(sim, mm, e, e->what == FPERF_ADVICE_POPULATE_WRITE);
	return 0;
}
