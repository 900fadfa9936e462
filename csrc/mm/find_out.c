/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a consumer does that will not put up with "unknown": an rmap walk finds the answer and, under `repair`, the scheme is
 * told how many VMAs it met. schemes.md 6.
 */
#include "mm/mm.h"

struct found {
	uint32_t vmas, first_mm;
	bool several_mms;
	int64_t mappings, of_page;
};

static void note_hit(struct found *found, const struct fperf_query *query, const struct fperf_rmap_hit *hit)
{
	found->mappings += hit->pmd ? 1 : hit->nr;
	found->of_page += query->page - hit->first < hit->nr;
}

/* Is there nothing left to learn? Not if somebody wants all VMAs counted. */
static bool enough(const struct found *found, enum fperf_question question)
{
	return question == FPERF_ASK_MAPPED ? found->mappings > 0 : question == FPERF_ASK_SHARED && found->several_mms;
}

static void walk_all(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query, bool all,
		     struct found *found)
{
	struct fperf_rmap_walk walk;

	if (!fperf_rmap_walk_begin(sim, &walk, query->folio))
		return;
	while ((all || !enough(found, question)) && fperf_rmap_walk_next(&walk)) {
		const int64_t before = found->mappings;
		struct fperf_rmap_hit hit;
		uint32_t cursor = 0;

		while (fperf_rmap_walk_hit(&walk, &cursor, &hit)) {
			note_hit(found, query, &hit);
			/* One hit says that this VMA maps it. */
			if (question == FPERF_ASK_MAPPED || question == FPERF_ASK_SHARED)
				break;
		}
		if (found->mappings == before)
			continue;
		if (!found->vmas++)
			found->first_mm = walk.vma->mm->id;
		found->several_mms |= walk.vma->mm->id != found->first_mm;
	}
	fperf_rmap_walk_end(&walk);
}

enum fperf_answer fperf_find_out(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				 int64_t *value)
{
	const bool repair =
		sim->cfg.unknown == FPERF_UNKNOWN_REPAIR && fperf_rmap_recount_begin(sim, query, FPERF_SITE_ANSWER);
	const enum fperf_cause before = fperf_because(&sim->door, repair ? FPERF_CAUSE_RECOUNT : FPERF_CAUSE_WALK);
	struct found found = { 0 };

	walk_all(sim, question, query, repair, &found);
	fperf_because(&sim->door, before);
	if (repair)
		fperf_rmap_recount_end(sim, query, found.vmas);
	sim->totals.answers_walked++;
	switch (question) {
	case FPERF_ASK_MAPPED:
		return found.mappings > 0;
	case FPERF_ASK_SHARED:
		return found.several_mms;
	case FPERF_ASK_TOTAL_MAPCOUNT:
		*value = found.mappings;
		return FPERF_COUNT;
	case FPERF_ASK_PAGE_MAPCOUNT:
		*value = found.of_page;
		return FPERF_COUNT;
	case FPERF_ASK_MAPPING_REFS:
	case FPERF_NR_QUESTIONS:
		break;
	}
	return FPERF_UNKNOWN;
}
