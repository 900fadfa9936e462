/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls of hooks as mm makes them: prepared before a clock starts, then made on one folio after another. */
#ifndef FPERF_HW_CALL_INL_H
#define FPERF_HW_CALL_INL_H

#include "hw/pass.h"
#include "mm/mm.h"

#if defined(FPERF_FN)

/* What a call needs, ready before the clock starts; only folio and address differ from one folio to the next. */
struct prepared {
	enum fperf_rmap_hook hook;
	uint32_t beside; /* what it is beside the hooks, or 0 */
	enum fperf_question question;
	uint32_t found;
	struct fperf_run run;
	struct fperf_query query;
};

static inline struct fperf_mm *mm_of(const struct fperf_sim *sim, uint32_t process)
{
	return process < sim->cap_processes && sim->processes[process].state == FPERF_PROC_ALIVE ?
		       sim->processes[process].mm :
		       NULL;
}

static inline bool prepare(const struct fperf_sim *sim, const struct fperf_hw_batch *batch,
			   const struct fperf_hw_call *call, struct prepared *p)
{
	struct fperf_mm *const mm = mm_of(sim, call->process);
	struct fperf_vma *const vma = mm ? fperf_vma_at(mm, batch->vpn) : NULL;

	if (!vma)
		return false;
	*p = (struct prepared){
		.hook = (enum fperf_rmap_hook)call->hook,
		.beside = call->hook >= FPERF_HW_ASK ? call->hook : 0,
		.question = (enum fperf_question)call->value,
		.found = call->value,
		.run = { .order = batch->order,
			 .first = call->first,
			 .nr = call->nr,
			 .flags = call->flags,
			 .batched = call->batched,
			 .refs_batched = call->refs_batched,
			 .mm_id = mm->id,
			 .vma_id = vma->id,
			 .vma = vma },
		.query = { .order = batch->order, .anon = call->flags & FPERF_RUN_ANON, .vma = vma },
	};
	return true;
}

/* A hook that finds the struct page it is about and leaves it alone; the compiler must call it. */
static bool empty_hook(struct fperf_sim *sim, const struct fperf_run *run)
{
	const struct fperf_page *const head = fperf_head(sim, run->folio);

	__asm__ volatile("" : : "r"(head));
	return false;
}

/* A word of the folio's first page, as a lock or a count of it is used. */
static inline void use_word(struct fperf_sim *sim, uint32_t use, uint64_t folio)
{
	enum { LOCK_BIT = 0, ONE = 2 };
	struct fperf_door *const door = &sim->door;
	struct fperf_page *const head = fperf_head(sim, folio);
	int32_t old;

	switch (use) {
	case FPERF_HW_ADD:
		fperf_add32(door, FPERF_FIELD_MAPCOUNT, &head->mapcount, 1);
		break;
	case FPERF_HW_CMPXCHG:
		old = (int32_t)fperf_load32(door, FPERF_FIELD_MAPCOUNT, &head->mapcount);
		while (!fperf_cmpxchg32(door, FPERF_FIELD_MAPCOUNT, &head->mapcount, &old, old ^ 1))
			;
		break;
	case FPERF_HW_BIT_LOCK:
		fperf_lock_bit(door, FPERF_FIELD_MM_ID_LOCK, &head->word2, LOCK_BIT);
		head->word2 += ONE;
		fperf_unlock_bit(door, FPERF_FIELD_MM_ID_LOCK, &head->word2, LOCK_BIT);
		break;
	case FPERF_HW_RWSEM:
		fperf_add32(door, FPERF_FIELD_RMAP_LOCK, &head->mapcount, 1);
		fperf_add32(door, FPERF_FIELD_RMAP_LOCK, &head->mapcount, -1);
		break;
	case FPERF_HW_READ:
		fperf_load32(door, FPERF_FIELD_MAPCOUNT, &head->mapcount);
		break;
	default:
		break;
	}
}

static inline void make(struct fperf_sim *sim, struct prepared *p,
			bool (*const volatile *empty)(struct fperf_sim *, const struct fperf_run *))
{
	const struct fperf_scheme_ops *const scheme = sim->scheme;
	int64_t value;

	if (p->beside) {
		if (p->beside == FPERF_HW_ASK)
			scheme->answer(sim, p->question, &p->query, &value);
		else if (p->beside == FPERF_HW_PRESENT)
			fperf_present(sim, p->run.folio, p->run.vma, p->run.first, p->run.nr, true);
		else if (p->beside == FPERF_HW_EMPTY)
			(*empty)(sim, &p->run);
		else
			use_word(sim, p->beside, p->run.folio);
		return;
	}
	switch (p->hook) {
	case FPERF_HOOK_MAP_RUN:
		scheme->map_run(sim, &p->run);
		break;
	case FPERF_HOOK_FORK_RUN:
		scheme->fork_run(sim, &p->run);
		break;
	case FPERF_HOOK_UNMAP_RUN:
		scheme->unmap_run(sim, &p->run);
		break;
	case FPERF_HOOK_MAP_PMD:
		scheme->map_pmd(sim, &p->run);
		break;
	case FPERF_HOOK_UNMAP_PMD:
		scheme->unmap_pmd(sim, &p->run);
		break;
	case FPERF_HOOK_SPLIT_PMD:
		scheme->split_pmd(sim, &p->run);
		break;
	case FPERF_HOOK_RECOUNT:
		if (scheme->recount_begin && scheme->recount_begin(sim, &p->query, FPERF_SITE_RECLAIM))
			scheme->recount_end(sim, &p->query, p->found);
		break;
	case FPERF_HOOK_EXCLUSIVE_SET:
		fperf_exclusive_set(sim, p->run.folio + p->run.first, p->run.nr);
		break;
	case FPERF_HOOK_EXCLUSIVE_CLEAR:
		fperf_exclusive_clear(sim, p->run.folio + p->run.first, p->run.nr);
		break;
	default:
		break;
	}
}

#endif

#endif
