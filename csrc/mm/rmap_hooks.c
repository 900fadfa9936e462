/* SPDX-License-Identifier: BSD-3-Clause */
/* The hooks as mm calls them: log the call, make it, keep the ledger. */
#include "mm/mm.h"

/*
 * A page-cache lookup's reference that the scheme did not take over has to be dropped again: get and put are then this
 * design's own cost (schemes.md 3.2).
 */
static void refuse_donation(struct fperf_sim *sim, const struct fperf_run *run)
{
	int32_t *const refcount = &fperf_head(sim, run->folio)->refcount;

	fperf_adopt(&sim->door, refcount);
	fperf_add32(&sim->door, FPERF_FIELD_REFCOUNT, refcount, -1);
}

void fperf_rmap_map(struct fperf_sim *sim, const struct fperf_run *run, bool fork)
{
	bool taken;

	if (sim->logging)
		fperf_log_run(sim, fork ? FPERF_HOOK_FORK_RUN : FPERF_HOOK_MAP_RUN, run);
	taken = fork ? sim->scheme->fork_run(sim, run) : sim->scheme->map_run(sim, run);
	if (run->flags & FPERF_RUN_DONATED && !taken)
		refuse_donation(sim, run);
	fperf_truth_map(sim, run, false);
}

void fperf_rmap_unmap(struct fperf_sim *sim, const struct fperf_run *run)
{
	if (sim->logging)
		fperf_log_run(sim, FPERF_HOOK_UNMAP_RUN, run);
	sim->scheme->unmap_run(sim, run);
	fperf_truth_unmap(sim, run, false);
}

void fperf_rmap_map_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	bool taken;

	if (sim->logging)
		fperf_log_run(sim, FPERF_HOOK_MAP_PMD, run);
	taken = sim->scheme->map_pmd(sim, run);
	if (run->flags & FPERF_RUN_DONATED && !taken)
		refuse_donation(sim, run);
	fperf_truth_map(sim, run, true);
}

void fperf_rmap_unmap_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	if (sim->logging)
		fperf_log_run(sim, FPERF_HOOK_UNMAP_PMD, run);
	sim->scheme->unmap_pmd(sim, run);
	fperf_truth_unmap(sim, run, true);
}

void fperf_rmap_split_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	if (sim->logging)
		fperf_log_run(sim, FPERF_HOOK_SPLIT_PMD, run);
	sim->scheme->split_pmd(sim, run);
	fperf_truth_split_pmd(sim, run);
}

static struct fperf_query query_of(const struct fperf_sim *sim, uint64_t folio, struct fperf_vma *vma)
{
	return (struct fperf_query){ .folio = folio, .order = fperf_folio_order(sim, folio),
				     .anon = sim->folios[folio].anon, .vma = vma };
}

static void log_border(struct fperf_sim *sim, enum fperf_rmap_hook hook, uint64_t folio, const struct fperf_vma *left)
{
	struct fperf_rmap_op *op;

	if (!sim->logging)
		return;
	op = fperf_log_append(sim, hook, folio);
	if (!op)
		return;
	op->order = fperf_folio_order(sim, folio);
	op->mm_id = left->mm->id;
	op->vma_id = left->id;
}

void fperf_rmap_vma_split(struct fperf_sim *sim, struct fperf_vma *left, struct fperf_vma *right, uint64_t border)
{
	uint64_t folios[4];
	const uint32_t nr = fperf_straddlers(sim, left, right, border, folios, 4);

	for (uint32_t i = 0; i < nr; i++) {
		const struct fperf_query query = query_of(sim, folios[i], left);

		if (sim->scheme->counts_vmas) {
			log_border(sim, FPERF_HOOK_VMA_SPLIT, folios[i], left);
			sim->scheme->vma_split(sim, &query, right);
		}
		fperf_truth_vmas(sim, folios[i], left->mm->id, 1);
	}
}

void fperf_rmap_vma_merge(struct fperf_sim *sim, struct fperf_vma *left, struct fperf_vma *right, uint64_t border)
{
	uint64_t folios[4];
	const uint32_t nr = fperf_straddlers(sim, left, right, border, folios, 4);

	for (uint32_t i = 0; i < nr; i++) {
		const struct fperf_query query = query_of(sim, folios[i], left);

		if (sim->scheme->counts_vmas) {
			log_border(sim, FPERF_HOOK_VMA_MERGE, folios[i], left);
			sim->scheme->vma_merge(sim, &query, right);
			fperf_folio_maybe_free(sim, folios[i]);
		}
		fperf_truth_vmas(sim, folios[i], left->mm->id, -1);
	}
}

void fperf_rmap_vma_move(struct fperf_sim *sim, struct fperf_vma *from, const struct fperf_run *moved)
{
	const bool left = fperf_truth_present(sim, moved->folio, from, 0, 0);
	const bool had = fperf_truth_present(sim, moved->folio, moved->vma, moved->first, moved->nr);
	const struct fperf_query query = query_of(sim, moved->folio, from);

	if (sim->scheme->counts_vmas) {
		if (sim->logging)
			fperf_log_run(sim, FPERF_HOOK_VMA_MOVE, moved);
		sim->scheme->vma_move(sim, &query, moved);
	}
	/* The source no longer maps it, or still does; the target newly does, or already did. */
	fperf_truth_vmas(sim, moved->folio, moved->mm_id, !had - !left);
}

void fperf_rmap_replay(struct fperf_sim *sim, const struct fperf_rmap_op *op, const int64_t *answers)
{
	const struct fperf_run run = {
		.folio = op->folio, .vpn = op->vpn, .first = op->first, .nr = op->nr, .order = op->order,
		.flags = op->flags, .batched = op->batched, .refs_batched = op->refs_batched, .mm_id = op->mm_id,
		.vma_id = op->vma_id,
	};
	const struct fperf_query query = { .folio = op->folio, .order = op->order,
					   .anon = op->flags & FPERF_RUN_ANON };

	sim->replay = answers + op->first_answer;
	switch ((enum fperf_rmap_hook)op->hook) {
	case FPERF_HOOK_FOLIO_INIT:
		sim->folios[op->folio] = (struct fperf_folio){ .live = true };
		fperf_folio_prepare(sim, op->folio, op->order);
		break;
	case FPERF_HOOK_FOLIO_FREE:
		fperf_folio_release(sim, op->folio, op->order);
		break;
	case FPERF_HOOK_MAP_RUN:
	case FPERF_HOOK_FORK_RUN:
		fperf_rmap_map(sim, &run, op->hook == FPERF_HOOK_FORK_RUN);
		break;
	case FPERF_HOOK_UNMAP_RUN:
		fperf_rmap_unmap(sim, &run);
		break;
	case FPERF_HOOK_MAP_PMD:
		fperf_rmap_map_pmd(sim, &run);
		break;
	case FPERF_HOOK_UNMAP_PMD:
		fperf_rmap_unmap_pmd(sim, &run);
		break;
	case FPERF_HOOK_SPLIT_PMD:
		fperf_rmap_split_pmd(sim, &run);
		break;
	case FPERF_HOOK_VMA_SPLIT:
		sim->scheme->vma_split(sim, &query, NULL);
		break;
	case FPERF_HOOK_VMA_MERGE:
		sim->scheme->vma_merge(sim, &query, NULL);
		break;
	case FPERF_HOOK_VMA_MOVE:
		sim->scheme->vma_move(sim, &query, &run);
		break;
	case FPERF_HOOK_REF_ADD:
		fperf_add32(&sim->door, FPERF_FIELD_REFCOUNT, &fperf_head(sim, op->folio)->refcount, op->delta);
		break;
	case FPERF_HOOK_EXCLUSIVE_SET:
		fperf_exclusive_set(sim, op->folio + op->first, op->nr);
		break;
	case FPERF_HOOK_EXCLUSIVE_CLEAR:
		fperf_exclusive_clear(sim, op->folio + op->first, op->nr);
		break;
	case FPERF_HOOK_RECOUNT:
	case FPERF_NR_HOOKS:
		break;
	}
	sim->replay = NULL;
}

/* A presence test has read the entries of [from, to). */
static void read_entries(struct fperf_sim *sim, const uint64_t *from, const uint64_t *to)
{
	if (to == from)
		return;
	fperf_charge_ptes(sim, FPERF_LOAD, from, (uint64_t)(to - from));
	sim->door.stats->pte_reads += (uint64_t)(to - from);
}

bool fperf_presence(struct fperf_sim *sim, uint64_t folio, uint32_t order, struct fperf_vma *vma, uint32_t skip,
		    uint32_t nr_skip)
{
	enum fperf_cause before;
	uint32_t first, nr;
	uint64_t vpn;
	bool found = false;

	(void)order;
	if (sim->replay)
		return *sim->replay++;
	if (sim->cfg.presence == FPERF_PRESENCE_ORACLE) {
		found = fperf_truth_present(sim, folio, vma, skip, nr_skip);
		fperf_log_answer(sim, found);
		return found;
	}
	before = fperf_because(&sim->door, FPERF_CAUSE_PRESENCE);
	nr = fperf_vma_folio_range(sim, vma, folio, &first, &vpn);
	for (uint32_t i = 0; i < nr && !found; ) {
		const uint64_t *const pmd = fperf_pmd_peek(sim, vma->mm, vpn + i);
		const uint32_t in_table = sim->entries - fperf_pte_index(sim, vpn + i);
		const uint32_t stop = i + (in_table < nr - i ? in_table : nr - i);
		const uint64_t *pte, *run;

		if (pmd)
			fperf_charge_pmd(sim, FPERF_LOAD, pmd);
		if (!pmd || !*pmd || *pmd & FPERF_PTE_LEAF) {
			found = pmd && *pmd & FPERF_PTE_LEAF && !(*pmd & FPERF_PTE_ZERO) &&
				fperf_pte_pfn(*pmd) == folio;
			i = stop;
			continue;
		}
		/* Ascending, entry by entry, until the first hit; the entries of the run itself are known. */
		run = pte = &fperf_table(&sim->mem, fperf_pmd_table(*pmd))[fperf_pte_index(sim, vpn + i)];
		while (i < stop && !found) {
			if (first + i - skip < nr_skip) {
				const uint32_t known = skip + nr_skip - (first + i);
				const uint32_t jump = known < stop - i ? known : stop - i;

				read_entries(sim, run, pte);
				i += jump;
				run = pte += jump;
				continue;
			}
			found = (*pte & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) == FPERF_PTE_PRESENT &&
				fperf_pte_pfn(*pte) == folio + first + i;
			i++;
			pte++;
		}
		read_entries(sim, run, pte);
	}
	fperf_because(&sim->door, before);
	fperf_log_answer(sim, found);
	return found;
}

enum fperf_answer fperf_ask(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
			    int64_t *value)
{
	int64_t guess = 0;
	const enum fperf_answer answer = sim->scheme->answer(sim, question, query, &guess);
	uint32_t vmas, mms;

	if (value)
		*value = guess;
	sim->totals.asked++;
	if (!sim->cfg.truth)
		return answer;
	fperf_truth_folio(sim, query->folio, &vmas, &mms);
	if (question == FPERF_ASK_SHARED) {
		if (answer != FPERF_NO && mms <= 1)
			sim->totals.false_shared++;
		if (answer == FPERF_NO && mms > 1)
			sim->totals.false_exclusive++;
	}
	if (question == FPERF_ASK_MAPPED && answer != FPERF_NO && !fperf_truth_mappings(sim, query->folio))
		sim->totals.false_mapped++;
	/* More references than mapping VMAs: a count that nobody brought down again. */
	if (answer == FPERF_UNKNOWN && sim->folios[query->folio].mapping_refs > (int64_t)vmas)
		sim->totals.stale_many++;
	return answer;
}
