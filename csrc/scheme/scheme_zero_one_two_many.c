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

/*
 * The head's old _mapcount word, zero-based: S in the two low bits; bit 2 says "a recount is running"; the rest is free,
 * the threshold policy counts unmaps at Many there, or pins are counted (J. Hubbard's answer to the mail). Where anonymous folios are counted exactly, their word is the
 * number of VMAs.
 */
enum { MANY = 3, STATE_MASK = 3, BUSY = 1 << 2, UNMAP = 1 << 3, PIN = 1 << 3 };

static int32_t *state_word(struct fperf_sim *sim, uint64_t folio)
{
	return &fperf_head(sim, folio)->mapcount;
}

static bool exact(const struct fperf_sim *sim, bool anon)
{
	return anon && sim->cfg.recount == FPERF_RECOUNT_ANON_EXACT;
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

static int32_t load_word(struct fperf_sim *sim, uint64_t folio)
{
	return (int32_t)fperf_load32(&sim->door, FPERF_FIELD_FOLIO_STATE, state_word(sim, folio));
}

static bool is_many(const struct fperf_sim *sim, int32_t word, bool anon)
{
	return !exact(sim, anon) && (word & STATE_MASK) == MANY;
}

/* VMAs as far as they are known; MANY stands for three or more, or fewer. */
static int32_t count_of(const struct fperf_sim *sim, int32_t word, bool anon)
{
	return exact(sim, anon) ? word : word & STATE_MASK;
}

/* At Many nothing is counted, but a recount under way must learn that somebody came or went. */
static void disturb(struct fperf_sim *sim, uint64_t folio, int32_t word)
{
	if (word & BUSY && sim->recounting != folio)
		fperf_add32(&sim->door, FPERF_FIELD_FOLIO_STATE, state_word(sim, folio), -BUSY);
}

/*
 * One step up, saturating: a compare-exchange, since an add could pass Many. The reference comes first. Where another VMA
 * makes the step to Many first, nobody needs it: a donated one is refused, another one dropped again.
 */
static bool step_up(struct fperf_sim *sim, uint64_t folio, bool anon, bool donated)
{
	int32_t *const refcount = &fperf_head(sim, folio)->refcount;
	int32_t *const word = state_word(sim, folio);
	int32_t old = *word;

	if (!donated)
		fperf_add32(&sim->door, FPERF_FIELD_REFCOUNT, refcount, 1);
	while (!is_many(sim, old, anon)) {
		if (!fperf_cmpxchg32(&sim->door, FPERF_FIELD_FOLIO_STATE, word, &old, old + 1))
			continue;
		if (donated)
			fperf_adopt(&sim->door, refcount);
		fperf_note_mapping_refs(sim, folio, 1);
		return donated;
	}
	disturb(sim, folio, old);
	if (!donated)
		fperf_add32(&sim->door, FPERF_FIELD_REFCOUNT, refcount, -1);
	return false;
}

/* One step down, unless another VMA makes the step to Many first: from there nobody leaves by unmapping. */
static void step_down(struct fperf_sim *sim, uint64_t folio, bool anon)
{
	int32_t *const word = state_word(sim, folio);
	int32_t old = *word;

	while (!is_many(sim, old, anon)) {
		if (!fperf_cmpxchg32(&sim->door, FPERF_FIELD_FOLIO_STATE, word, &old, old - 1))
			continue;
		fperf_note_mapping_refs(sim, folio, -1);
		fperf_add32(&sim->door, FPERF_FIELD_REFCOUNT, &fperf_head(sim, folio)->refcount, -1);
		return;
	}
	disturb(sim, folio, old);
}

static bool map_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	int32_t word;

	if (run->flags & FPERF_RUN_NEW) {
		/* Nobody else sees the folio yet; the allocation's reference is this VMA's. */
		fperf_note_mapping_refs(sim, run->folio, 1);
		fperf_store32(&sim->door, FPERF_FIELD_FOLIO_STATE, state_word(sim, run->folio), 1);
		return false;
	}
	word = load_word(sim, run->folio);
	if (is_many(sim, word, run->flags & FPERF_RUN_ANON)) {
		disturb(sim, run->folio, word);
		return false;
	}
	if (fperf_present(sim, run->folio, run->vma, run->first, run->nr, true))
		return false;
	return step_up(sim, run->folio, run->flags & FPERF_RUN_ANON, run->flags & FPERF_RUN_DONATED);
}

/* May this site recount, under this policy? */
static bool wanted(const struct fperf_sim *sim, enum fperf_recount_site site, int32_t word)
{
	/* Somebody wants the number, and whoever walks for a reason of his own has it on the way. */
	if (sim->cfg.unknown == FPERF_UNKNOWN_REPAIR && site != FPERF_SITE_UNMAP)
		return true;
	switch ((enum fperf_recount)sim->cfg.recount) {
	case FPERF_RECOUNT_EAGER:
	case FPERF_RECOUNT_EAGER_STOP3:
		return site == FPERF_SITE_UNMAP;
	case FPERF_RECOUNT_THRESHOLD:
		return site == FPERF_SITE_UNMAP && (uint32_t)word / UNMAP >= sim->cfg.recount_period;
	case FPERF_RECOUNT_ON_RECLAIM:
		return site == FPERF_SITE_RECLAIM;
	case FPERF_RECOUNT_ON_WRITE_FAULT:
		return site == FPERF_SITE_WRITE_FAULT;
	case FPERF_RECOUNT_LAZY:
	case FPERF_RECOUNT_ANON_EXACT:
	case FPERF_NR_RECOUNTS:
		break;
	}
	return false;
}

/*
 * The safe recount: mark the folio busy, walk with every page-table lock taken, and exchange only if nobody has taken the
 * mark away meanwhile. The naive one walks and stores.
 */
static bool recount_begin(struct fperf_sim *sim, const struct fperf_query *query, enum fperf_recount_site site)
{
	const int32_t word = load_word(sim, query->folio);

	if (!is_many(sim, word, query->anon) || !wanted(sim, site, word))
		return false;
	if (!sim->cfg.recount_naive)
		fperf_add32(&sim->door, FPERF_FIELD_FOLIO_STATE, state_word(sim, query->folio), BUSY);
	return true;
}

/* Bring Many down to what the walk found, references with it, in one exchange of the two neighbouring words. */
static void recount_end(struct fperf_sim *sim, const struct fperf_query *query, uint32_t found)
{
	uint64_t *const pair = (uint64_t *)state_word(sim, query->folio);
	const uint32_t fewer = found < MANY ? MANY - found : 0;
	uint64_t old = *pair;

	for (;;) {
		const bool busy = (uint32_t)old & BUSY;
		const uint64_t new = (old >> 32) - fewer;
		const uint32_t pins = sim->cfg.pins_exact ? (uint32_t)old & ~(uint32_t)(PIN - 1) : 0;

		if (!sim->cfg.recount_naive && !busy)
			return; /* somebody came or went while we walked: the number is worth nothing */
		/* The unmaps counted so far are told to nobody any more. */
		if (!fewer && !busy && !((uint32_t)old / UNMAP - pins / PIN))
			return;
		if (fperf_cmpxchg64(&sim->door, FPERF_FIELD_FOLIO_STATE, pair, &old, new << 32 | pins | (MANY - fewer)))
			break;
	}
	fperf_note_mapping_refs(sim, query->folio, -(int32_t)fewer);
}

static void unmap_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	const struct fperf_query query = {
		.folio = run->folio, .order = run->order, .anon = run->flags & FPERF_RUN_ANON, .vma = run->vma
	};
	const int32_t word = load_word(sim, run->folio);

	if (!is_many(sim, word, query.anon)) {
		if (!fperf_present(sim, run->folio, run->vma, run->first, run->nr, false))
			step_down(sim, run->folio, query.anon);
		return;
	}
	disturb(sim, run->folio, word);
	if (sim->cfg.recount == FPERF_RECOUNT_THRESHOLD)
		fperf_add32(&sim->door, FPERF_FIELD_FOLIO_STATE, state_word(sim, run->folio), UNMAP);
	if (recount_begin(sim, &query, FPERF_SITE_UNMAP))
		recount_end(sim, &query,
			    fperf_count_vmas(sim, run->folio,
					     sim->cfg.recount == FPERF_RECOUNT_EAGER ? UINT32_MAX : MANY));
}

/* The same VMA maps the same folio before and after. */
static void split_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	(void)sim, (void)run;
}

/* Do both VMAs at a border map pages of the folio? Nothing to do at Many. */
static bool both_map(struct fperf_sim *sim, const struct fperf_query *left, struct fperf_vma *right)
{
	return !is_many(sim, load_word(sim, left->folio), left->anon) &&
	       fperf_present(sim, left->folio, left->vma, 0, 0, false) &&
	       fperf_present(sim, left->folio, right, 0, 0, false);
}

/* One VMA became two: the second is a new mapper if both halves map pages. */
static void vma_split(struct fperf_sim *sim, const struct fperf_query *left, struct fperf_vma *right)
{
	if (both_map(sim, left, right))
		step_up(sim, left->folio, left->anon, false);
}

static void vma_merge(struct fperf_sim *sim, const struct fperf_query *left, struct fperf_vma *right)
{
	if (both_map(sim, left, right))
		step_down(sim, left->folio, left->anon);
}

static void vma_move(struct fperf_sim *sim, const struct fperf_query *from, const struct fperf_run *moved)
{
	bool left, had;

	if (is_many(sim, load_word(sim, from->folio), from->anon))
		return;
	left = fperf_present(sim, from->folio, from->vma, 0, 0, false);
	had = fperf_present(sim, from->folio, moved->vma, moved->first, moved->nr, true);
	if (left && !had)
		step_up(sim, from->folio, from->anon, false);
	else if (!left && had)
		step_down(sim, from->folio, from->anon);
}

static void pin_add(struct fperf_sim *sim, uint64_t folio, int32_t delta)
{
	fperf_add32(&sim->door, FPERF_FIELD_FOLIO_STATE, state_word(sim, folio), delta * PIN);
}

static int32_t pins(struct fperf_sim *sim, uint64_t folio)
{
	return load_word(sim, folio) / PIN;
}

/* I1: mappings own S references. I2: below Many, S VMAs map the folio. schemes.md 3.2. */
static bool keeps_promises(struct fperf_sim *sim, const struct fperf_query *query, uint32_t true_vmas,
			   uint32_t true_tables)
{
	const int32_t word = load_word(sim, query->folio);
	const int32_t count = count_of(sim, word, query->anon);

	(void)true_tables;
	return sim->folios[query->folio].mapping_refs == count && !(word & BUSY && !exact(sim, query->anon)) &&
	       (is_many(sim, word, query->anon) || count == (int64_t)true_vmas);
}

static enum fperf_answer answer(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				int64_t *value)
{
	const int32_t word = load_word(sim, query->folio);
	const bool many = is_many(sim, word, query->anon);

	*value = count_of(sim, word, query->anon);
	switch (question) {
	case FPERF_ASK_MAPPED:
		return many ? FPERF_UNKNOWN : *value > 0;
	case FPERF_ASK_SHARED:
		/* Two VMAs may belong to one mm. */
		return *value < 2 ? FPERF_NO : FPERF_UNKNOWN;
	case FPERF_ASK_MAPPING_REFS:
		return FPERF_COUNT;
	case FPERF_ASK_TOTAL_MAPCOUNT:
		/* VMAs, not mappings: exact only where they are the same. */
		return *value == 0 || (!many && !query->order) ? FPERF_COUNT : FPERF_UNKNOWN;
	case FPERF_ASK_PAGE_MAPCOUNT:
		return *value < 2 || (!many && !query->order) ? FPERF_COUNT : FPERF_UNKNOWN;
	case FPERF_NR_QUESTIONS:
		break;
	}
	return FPERF_UNKNOWN;
}

const struct fperf_scheme_ops FPERF_SCHEME(zero_one_two_many) = {
	.name = "zero_one_two_many",
	.pin_add = pin_add,
	.pins = pins,
	.exclusive_is_certain = true,
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
	.recount_begin = recount_begin,
	.recount_end = recount_end,
	.keeps_promises = keeps_promises,
	.answer = answer,
};
