/* SPDX-License-Identifier: BSD-3-Clause */
/* The hooks of a scheme, called as mm calls them, on one folio after another; compiled once per back end. */
#include "hw/pass.h"

#include "mm/mm.h"

/* What a call needs, ready before the clock starts; only folio and address differ from one folio to the next. */
struct prepared {
	enum fperf_rmap_hook hook;
	bool ask, present, empty;
	enum fperf_question question;
	uint32_t found;
	struct fperf_run run;
	struct fperf_query query;
};

static struct fperf_mm *mm_of(const struct fperf_sim *sim, uint32_t process)
{
	return process < sim->cap_processes && sim->processes[process].state == FPERF_PROC_ALIVE ?
		       sim->processes[process].mm :
		       NULL;
}

static bool prepare(const struct fperf_sim *sim, const struct fperf_hw_batch *batch, const struct fperf_hw_call *call,
		    struct prepared *p)
{
	struct fperf_mm *const mm = mm_of(sim, call->process);
	struct fperf_vma *const vma = mm ? fperf_vma_at(mm, batch->vpn) : NULL;

	if (!vma)
		return false;
	*p = (struct prepared){
		.hook = (enum fperf_rmap_hook)call->hook,
		.ask = call->hook == FPERF_HW_ASK,
		.present = call->hook == FPERF_HW_PRESENT,
		.empty = call->hook == FPERF_HW_EMPTY,
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

/* What presence tests look at. */
int FPERF_FN(fperf_hw_page_tables)(struct fperf_sim *sim, uint32_t process, uint64_t vpn, uint64_t nr, bool ptes)
{
	struct fperf_mm *const mm = mm_of(sim, process);

	if (!mm)
		return FPERF_ERR(ARGUMENT);
	for (uint64_t at = vpn - fperf_pte_index(sim, vpn); at < vpn + nr; at += sim->entries) {
		uint64_t *const pmd = fperf_pmd_alloc(sim, mm, at);

		if (!pmd)
			return FPERF_ERR(NO_MEMORY);
		if (*pmd & FPERF_PTE_LEAF)
			return FPERF_ERR(ARGUMENT);
		if (ptes && !fperf_pte_table_alloc(sim, pmd))
			return FPERF_ERR(NO_MEMORY);
	}
	return 0;
}

/* A hook that finds the struct page it is about and leaves it alone; the compiler must call it. */
static bool empty_hook(struct fperf_sim *sim, const struct fperf_run *run)
{
	const struct fperf_page *const head = fperf_head(sim, run->folio);

	__asm__ volatile("" : : "r"(head));
	return false;
}

static void make(struct fperf_sim *sim, struct prepared *p,
		 bool (*const volatile *empty)(struct fperf_sim *, const struct fperf_run *))
{
	const struct fperf_scheme_ops *const scheme = sim->scheme;
	int64_t value;

	if (p->ask) {
		scheme->answer(sim, p->question, &p->query, &value);
		return;
	}
	if (p->present) {
		fperf_present(sim, p->run.folio, p->run.vma, p->run.first, p->run.nr, true);
		return;
	}
	if (p->empty) {
		(*empty)(sim, &p->run);
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

/* ns, or UINT64_MAX if a process of the batch does not map the region. */
uint64_t FPERF_FN(fperf_hw_pass)(struct fperf_sim *sim, const struct fperf_hw_batch *batch)
{
	bool (*const volatile empty)(struct fperf_sim *, const struct fperf_run *) = empty_hook;
	const uint64_t untimed = batch->nr_visits - fperf_hw_nr_timed(batch->nr_visits);
	struct prepared prepared[FPERF_HW_MAX_CALLS];
	uint64_t begin, end;

	for (uint32_t i = 0; i < batch->nr_calls; i++)
		if (!prepare(sim, batch, &batch->calls[i], &prepared[i]))
			return UINT64_MAX;
	sim->bare = true;
	fperf_event_begin(&sim->door, FPERF_EV_TOTAL_MAPCOUNT);
	begin = fperf_hw_now();
	for (uint64_t i = 0; i < batch->nr_visits; i++) {
		const uint64_t at = (uint64_t)batch->visit[i] << batch->order;

		if (i == untimed)
			begin = fperf_hw_now();

#if !defined(FPERF_BACKEND_NATIVE)
		if (i)
			fperf_event_begin(&sim->door, FPERF_EV_TOTAL_MAPCOUNT);
#endif
		for (uint32_t j = 0; j < batch->nr_calls; j++) {
			struct prepared *const p = &prepared[j];

			p->run.folio = p->query.folio = batch->folio + at;
			p->run.vpn = batch->vpn + at + p->run.first;
			make(sim, p, &empty);
		}
		fperf_hw_serialise();
	}
	end = fperf_hw_now();
	sim->bare = false;
	return end - begin;
}
