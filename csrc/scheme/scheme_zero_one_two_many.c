/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zero_one_two_many: one count of VMAs per folio with four values (M. Wilcox, linux-mm, January 2022). schemes.md 3.2.
 *
 *   S < 3   exactly S VMAs map the folio, and mappings own S references
 *   S = 3   Many: nothing is known, three references are held, and only a walk can tell more
 *
 * The mail has no code; the presence policies (does this VMA map a page of it already?) and the recount policies (who
 * brings Many down again, and when) are its completion, and parameters.
 */
#include "scheme/scheme.h"

enum { MANY = 3, STATE_MASK = 3 };

/* Zero-based, in the two low bits of the head's old _mapcount word; the rest is free. */
static int32_t *state_word(struct fperf_sim *sim, uint64_t folio)
{
	return &fperf_head(sim, folio)->mapcount;
}

static void folio_init(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	(void)order;
	fperf_store32(&sim->door, FPERF_FIELD_FOLIO_STATE, state_word(sim, folio), 0);
}

static void folio_free(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	(void)order;
	fperf_load32(&sim->door, FPERF_FIELD_FOLIO_STATE, state_word(sim, folio));
}

static int load_state(struct fperf_sim *sim, uint64_t folio)
{
	return (int)(fperf_load32(&sim->door, FPERF_FIELD_FOLIO_STATE, state_word(sim, folio)) & STATE_MASK);
}

/* One step up, saturating: a compare-exchange, since an add could pass Many. The reference comes first. */
static bool step_up(struct fperf_sim *sim, uint64_t folio, bool donated)
{
	int32_t *const refcount = &fperf_head(sim, folio)->refcount;
	int32_t *const word = state_word(sim, folio);
	int32_t old = *word;

	fperf_note_mapping_refs(sim, folio, 1);
	if (donated)
		fperf_adopt(&sim->door, refcount);
	else
		fperf_add32(&sim->door, FPERF_FIELD_REFCOUNT, refcount, 1);
	while ((old & STATE_MASK) < MANY &&
	       !fperf_cmpxchg32(&sim->door, FPERF_FIELD_FOLIO_STATE, word, &old, old + 1))
		;
	return donated;
}

static void step_down(struct fperf_sim *sim, uint64_t folio)
{
	int32_t *const word = state_word(sim, folio);
	int32_t old = *word;

	while (!fperf_cmpxchg32(&sim->door, FPERF_FIELD_FOLIO_STATE, word, &old, old - 1))
		;
	fperf_note_mapping_refs(sim, folio, -1);
	fperf_add32(&sim->door, FPERF_FIELD_REFCOUNT, &fperf_head(sim, folio)->refcount, -1);
}

static bool map_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	if (run->flags & FPERF_RUN_NEW) {
		/* Nobody else sees the folio yet; the allocation's reference is this VMA's. */
		fperf_note_mapping_refs(sim, run->folio, 1);
		fperf_store32(&sim->door, FPERF_FIELD_FOLIO_STATE, state_word(sim, run->folio), 1);
		return false;
	}
	if (load_state(sim, run->folio) == MANY ||
	    fperf_presence(sim, run->folio, run->order, run->vma, run->first, run->nr))
		return false;
	return step_up(sim, run->folio, run->flags & FPERF_RUN_DONATED);
}

/* Bring Many down to what a walk finds, references with it, in one exchange of the two neighbouring words. */
static void recount(struct fperf_sim *sim, uint64_t folio, uint32_t order, uint32_t limit)
{
	uint64_t *const pair = (uint64_t *)state_word(sim, folio);
	const uint32_t found = fperf_count_vmas(sim, folio, order, limit);
	uint64_t old = *pair;
	uint64_t new;

	if (found >= MANY)
		return;
	do {
		const uint32_t state = (uint32_t)old - (MANY - found);
		const uint32_t refs = (uint32_t)(old >> 32) - (MANY - found);

		new = (uint64_t)refs << 32 | state;
	} while (!fperf_cmpxchg64(&sim->door, FPERF_FIELD_FOLIO_STATE, pair, &old, new));
	fperf_note_mapping_refs(sim, folio, -(int32_t)(MANY - found));
}

static void unmap_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	if (load_state(sim, run->folio) == MANY) {
		if (sim->cfg.recount == FPERF_RECOUNT_EAGER)
			recount(sim, run->folio, run->order, UINT32_MAX);
		else if (sim->cfg.recount == FPERF_RECOUNT_EAGER_STOP3)
			recount(sim, run->folio, run->order, MANY);
		return;
	}
	if (!fperf_presence(sim, run->folio, run->order, run->vma, 0, 0))
		step_down(sim, run->folio);
}

/* The same VMA maps the same folio before and after. */
static void split_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	(void)sim, (void)run;
}

/* One VMA became two: the second is a new mapper if both halves map pages. */
static void vma_split(struct fperf_sim *sim, const struct fperf_query *left, struct fperf_vma *right)
{
	if (load_state(sim, left->folio) < MANY && fperf_presence(sim, left->folio, left->order, left->vma, 0, 0) &&
	    fperf_presence(sim, left->folio, left->order, right, 0, 0))
		step_up(sim, left->folio, false);
}

static void vma_merge(struct fperf_sim *sim, const struct fperf_query *left, struct fperf_vma *right)
{
	if (load_state(sim, left->folio) < MANY && fperf_presence(sim, left->folio, left->order, left->vma, 0, 0) &&
	    fperf_presence(sim, left->folio, left->order, right, 0, 0))
		step_down(sim, left->folio);
}

static void vma_move(struct fperf_sim *sim, const struct fperf_query *from, const struct fperf_run *moved)
{
	bool left, had;

	if (load_state(sim, from->folio) == MANY)
		return;
	left = fperf_presence(sim, from->folio, from->order, from->vma, 0, 0);
	had = fperf_presence(sim, from->folio, from->order, moved->vma, moved->first, moved->nr);
	if (left && !had)
		step_up(sim, from->folio, false);
	else if (!left && had)
		step_down(sim, from->folio);
}

static enum fperf_answer answer(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				int64_t *value)
{
	const int state = load_state(sim, query->folio);

	*value = state;
	switch (question) {
	case FPERF_ASK_MAPPED:
		return state == MANY ? FPERF_UNKNOWN : state > 0;
	case FPERF_ASK_SHARED:
		/* Two VMAs may belong to one mm. */
		return state < 2 ? FPERF_NO : FPERF_UNKNOWN;
	case FPERF_ASK_MAPPING_REFS:
		return FPERF_COUNT;
	case FPERF_ASK_TOTAL_MAPCOUNT:
		/* VMAs, not mappings: exact only where they are the same. */
		return state == 0 || (state < MANY && !query->order) ? FPERF_COUNT : FPERF_UNKNOWN;
	case FPERF_ASK_PAGE_MAPCOUNT:
		return state < 2 || (state < MANY && !query->order) ? FPERF_COUNT : FPERF_UNKNOWN;
	case FPERF_NR_QUESTIONS:
		break;
	}
	return FPERF_UNKNOWN;
}

const struct fperf_scheme_ops FPERF_SCHEME(zero_one_two_many) = {
	.name = "zero_one_two_many",
	.counts_vmas = true,
	.folio_init = folio_init,
	.folio_free = folio_free,
	.map_run = map_run,
	.fork_run = map_run,
	.map_pmd = map_run,
	.unmap_run = unmap_run,
	.unmap_pmd = unmap_run,
	.split_pmd = split_pmd,
	.vma_split = vma_split,
	.vma_merge = vma_merge,
	.vma_move = vma_move,
	.answer = answer,
};
