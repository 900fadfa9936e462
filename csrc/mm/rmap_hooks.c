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
	fperf_note_flush(&sim->door);
	sim->scheme->unmap_run(sim, run);
	fperf_truth_unmap(sim, run, false);
}

void fperf_rmap_fork_small(struct fperf_sim *sim, const struct fperf_run *run)
{
	struct fperf_run one = *run;

	sim->scheme->fork_small(sim, run);
	for (one.nr = 1; one.folio < run->folio + run->nr; one.folio++)
		fperf_truth_map(sim, &one, false);
}

void fperf_rmap_unmap_small(struct fperf_sim *sim, const struct fperf_run *run)
{
	struct fperf_run one = *run;

	fperf_note_flush(&sim->door);
	sim->scheme->unmap_small(sim, run);
	for (one.nr = 1; one.folio < run->folio + run->nr; one.folio++)
		fperf_truth_unmap(sim, &one, false);
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
	fperf_note_flush(&sim->door);
	sim->scheme->unmap_pmd(sim, run);
	fperf_truth_unmap(sim, run, true);
}

void fperf_rmap_split_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	if (sim->logging)
		fperf_log_run(sim, FPERF_HOOK_SPLIT_PMD, run);
	fperf_note_flush(&sim->door);
	sim->scheme->split_pmd(sim, run);
	fperf_truth_split_pmd(sim, run);
}

static struct fperf_query query_of(const struct fperf_sim *sim, uint64_t folio, struct fperf_vma *vma)
{
	return (struct fperf_query){
		.folio = folio, .order = fperf_folio_order(sim, folio), .anon = sim->folios[folio].anon, .vma = vma
	};
}

/* As above, of a folio that straddles the border where `right` starts. */
static struct fperf_query query_at_border(const struct fperf_sim *sim, uint64_t folio, struct fperf_vma *left,
					  const struct fperf_vma *right)
{
	struct fperf_query query = query_of(sim, folio, left);
	uint64_t vpn;

	fperf_vma_folio_range(sim, right, folio, &query.page, &vpn);
	return query;
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
	op->flags = sim->folios[folio].anon ? FPERF_RUN_ANON : 0;
	op->mm_id = left->mm->id;
	op->vma_id = left->id;
}

void fperf_rmap_vma_split(struct fperf_sim *sim, struct fperf_vma *left, struct fperf_vma *right, uint64_t border)
{
	uint64_t folios[FPERF_MAX_STRADDLERS];
	const uint32_t nr = fperf_straddlers(sim, left, right, border, folios, FPERF_MAX_STRADDLERS);

	for (uint32_t i = 0; i < nr; i++) {
		const struct fperf_query query = query_at_border(sim, folios[i], left, right);

		if (sim->scheme->counts_vmas) {
			log_border(sim, FPERF_HOOK_VMA_SPLIT, folios[i], left);
			sim->scheme->vma_split(sim, &query, right);
		}
		fperf_truth_vmas(sim, folios[i], left->mm->id, 1);
	}
}

void fperf_rmap_vma_merge(struct fperf_sim *sim, struct fperf_vma *left, struct fperf_vma *right, uint64_t border)
{
	uint64_t folios[FPERF_MAX_STRADDLERS];
	const uint32_t nr = fperf_straddlers(sim, left, right, border, folios, FPERF_MAX_STRADDLERS);

	for (uint32_t i = 0; i < nr; i++) {
		const struct fperf_query query = query_at_border(sim, folios[i], left, right);

		if (sim->scheme->counts_vmas) {
			log_border(sim, FPERF_HOOK_VMA_MERGE, folios[i], left);
			sim->scheme->vma_merge(sim, &query, right);
			fperf_folio_maybe_free(sim, folios[i]);
		}
		fperf_truth_vmas(sim, folios[i], left->mm->id, -1);
	}
}

void fperf_rmap_pin_add(struct fperf_sim *sim, uint64_t folio, int32_t delta)
{
	sim->scheme->pin_add(sim, folio, delta);
}

int32_t fperf_rmap_pins(struct fperf_sim *sim, uint64_t folio)
{
	return sim->scheme->pins(sim, folio);
}

void fperf_rmap_vma_move(struct fperf_sim *sim, struct fperf_vma *from, const struct fperf_run *moved)
{
	const bool left = fperf_truth_present(sim, moved->folio, from, 0, 0);
	const bool had = fperf_truth_present(sim, moved->folio, moved->vma, moved->first, moved->nr);
	const struct fperf_query query = query_of(sim, moved->folio, from);

	if (sim->scheme->counts_vmas && !sim->scheme->counts_tables) {
		if (sim->logging)
			fperf_log_run(sim, FPERF_HOOK_VMA_MOVE, moved);
		sim->scheme->vma_move(sim, &query, moved);
	}
	/* The source no longer maps it, or still does; the target newly does, or already did. */
	fperf_truth_vmas(sim, moved->folio, moved->mm_id, !had - !left);
}

void fperf_rmap_table_move(struct fperf_sim *sim, struct fperf_vma *from, const struct fperf_run *moved)
{
	const struct fperf_query query = query_of(sim, moved->folio, from);

	if (sim->logging)
		fperf_log_run(sim, FPERF_HOOK_VMA_MOVE, moved);
	sim->scheme->vma_move(sim, &query, moved);
}

void fperf_rmap_replay(struct fperf_sim *sim, const struct fperf_rmap_op *op, const int64_t *answers)
{
	const struct fperf_run run = {
		.folio = op->folio,
		.vpn = op->vpn,
		.first = op->first,
		.nr = op->nr,
		.order = op->order,
		.flags = op->flags,
		.batched = op->batched,
		.refs_batched = op->refs_batched,
		.mm_id = op->mm_id,
		.vma_id = op->vma_id,
	};
	const struct fperf_query query = { .folio = op->folio, .order = op->order, .anon = op->flags & FPERF_RUN_ANON };

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
	case FPERF_HOOK_PIN_ADD:
		fperf_pin_add(sim, op->folio, op->delta);
		break;
	case FPERF_HOOK_EXCLUSIVE_SET:
		fperf_exclusive_set(sim, op->folio + op->first, op->nr);
		break;
	case FPERF_HOOK_EXCLUSIVE_CLEAR:
		fperf_exclusive_clear(sim, op->folio + op->first, op->nr);
		break;
	case FPERF_HOOK_RECOUNT:
		/* That it wanted to know stands in the log; what was found, in the answers. */
		sim->scheme->recount_begin(sim, &query, (enum fperf_recount_site)op->delta);
		sim->scheme->recount_end(sim, &query, (uint32_t)*sim->replay);
		break;
	case FPERF_NR_HOOKS:
		break;
	}
	sim->replay = NULL;
}

bool fperf_rmap_recount_begin(struct fperf_sim *sim, const struct fperf_query *query, enum fperf_recount_site site)
{
	/* A number that no walk can find is offered to nobody. */
	if (!sim->scheme->recount_begin || !fperf_rmap_complete(sim, query->folio) ||
	    !sim->scheme->recount_begin(sim, query, site))
		return false;
	sim->recounting = query->folio;
	return true;
}

void fperf_rmap_recount_end(struct fperf_sim *sim, const struct fperf_query *query, uint32_t found)
{
	sim->recounting = 0;
	fperf_log_recount(sim, query);
	fperf_log_answer(sim, found);
	sim->scheme->recount_end(sim, query, found);
	if (sim->cfg.truth)
		fperf_truth_leak(sim, query->folio);
}

void fperf_rmap_repair(struct fperf_sim *sim, const struct fperf_query *query, enum fperf_recount_site site)
{
	if (!fperf_rmap_recount_begin(sim, query, site))
		return;
	sim->recounting = 0;
	fperf_log_recount(sim, query);
	sim->scheme->recount_end(sim, query, fperf_count_vmas(sim, query->folio, UINT32_MAX));
	if (sim->cfg.truth)
		fperf_truth_leak(sim, query->folio);
}

uint32_t fperf_count_vmas(struct fperf_sim *sim, uint64_t folio, uint32_t limit)
{
	struct fperf_rmap_walk walk;
	enum fperf_cause before;
	uint32_t found = 0;

	if (sim->replay)
		return (uint32_t)*sim->replay++;
	before = fperf_because(&sim->door, FPERF_CAUSE_RECOUNT);
	if (!fperf_rmap_complete(sim, folio)) {
		found = limit;
	} else if (fperf_rmap_walk_begin(sim, &walk, folio)) {
		walk.batch = 1;
		while (found < limit && fperf_rmap_walk_next(&walk)) {
			struct fperf_rmap_hit hit;
			uint32_t cursor = 0;

			found += fperf_rmap_walk_hit(&walk, &cursor, &hit);
			if (sim->interrupt_after && !--sim->interrupt_after)
				sim->interrupt(sim);
		}
		fperf_rmap_walk_end(&walk);
	}
	fperf_because(&sim->door, before);
	fperf_log_answer(sim, found);
	return found;
}

/* ---- questions ---- */

static void hold_against_truth(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
			       enum fperf_answer answer)
{
	uint32_t vmas, mms;

	sim->totals.asked++;
	if (!sim->cfg.truth)
		return;
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
}

enum fperf_answer fperf_ask_before_walk(struct fperf_sim *sim, enum fperf_question question,
					const struct fperf_query *query, int64_t *value)
{
	int64_t guess = 0;
	const enum fperf_answer answer = sim->scheme->answer(sim, question, query, &guess);

	if (value)
		*value = guess;
	hold_against_truth(sim, question, query, answer);
	return answer;
}

enum fperf_answer fperf_ask(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
			    int64_t *value)
{
	int64_t guess = 0;
	enum fperf_answer answer = sim->scheme->answer(sim, question, query, &guess);

	if (answer == FPERF_UNKNOWN && sim->cfg.unknown != FPERF_UNKNOWN_ASSUME)
		answer = fperf_find_out(sim, question, query, &guess);
	if (value)
		*value = guess;
	hold_against_truth(sim, question, query, answer);
	return answer;
}
