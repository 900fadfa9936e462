/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What ksmd remembers (ksm.c). A KSM page is mapped at many offsets by many VMAs, so no interval tree leads to them: it has
 * a list of the places where ksmd put it, and each place an anon_vma, through which forks of it are found.
 */
#ifndef FPERF_KSM_H
#define FPERF_KSM_H

#include "mm/sim.h"

/* A page of an mm that ksmd has looked at; struct ksm_rmap_item. */
struct fperf_ksm_item {
	struct fperf_ksm_item *next; /* of the same mm, ascending */
	struct fperf_ksm_item *newer, *older; /* of the same KSM page */
	struct fperf_ksm_page *page; /* what ksmd mapped here; NULL: nothing */
	struct fperf_anon_vma *anon_vma; /* held, where there is a page */
	struct fperf_ksm_mm *owner;
	uint64_t vpn, at;
	int32_t content; /* when ksmd came by last; -1: it did not */
};

/* A KSM page; struct ksm_stable_node. */
struct fperf_ksm_page {
	struct fperf_ksm_page *next; /* older ones of the same content */
	struct fperf_ksm_item *newest;
	uint64_t folio, at;
	uint32_t nr_items;
	uint16_t content;
	bool listed; /* found by its content; no more than a step on the way where the second page could not join */
	bool astray; /* somebody maps it where no item leads: a walk does not find everybody */
};

/* An mm that ksmd visits; struct ksm_mm_slot. */
struct fperf_ksm_mm {
	struct fperf_ksm_mm *next;
	struct fperf_mm *mm; /* NULL: it exited, and ksmd has not come by since */
	struct fperf_ksm_item *items;
	uint32_t id;
};

enum { FPERF_KSM_CONTENTS = 1 << 16 };
struct fperf_ksm {
	struct fperf_ksm_mm *mms; /* in order of entry */
	/* The two trees. Their order decides nothing here: pages are equal or they are not. */
	struct fperf_ksm_page *stable[FPERF_KSM_CONTENTS]; /* newest first */
	struct fperf_ksm_item *unstable[FPERF_KSM_CONTENTS]; /* of the scan under way */
};

/* The mm has a mergeable VMA, or its parent had; gone, its items stay until ksmd comes by. */
int fperf_ksm_enter(struct fperf_sim *sim, struct fperf_mm *mm) FPERF_MUST_CHECK;
void fperf_ksm_exit(struct fperf_mm *mm);
void fperf_ksm_destroy(struct fperf_sim *sim);

/* The item of a page, made if there is none; those passed by on the way are dropped. *link moves on behind it. */
struct fperf_ksm_item *fperf_ksm_item_at(struct fperf_sim *sim, struct fperf_ksm_mm *owner,
					 struct fperf_ksm_item ***link, uint64_t vpn);
void fperf_ksm_drop_items(struct fperf_sim *sim, struct fperf_ksm_item **link);
/* The item leads to the page, through the VMA's anon_vma; to none any more. */
void fperf_ksm_attach(struct fperf_sim *sim, struct fperf_ksm_item *item, struct fperf_ksm_page *page,
		      const struct fperf_vma *vma);
void fperf_ksm_detach(struct fperf_sim *sim, struct fperf_ksm_item *item);

/* An anonymous page becomes a KSM page, its own mappings included; then one that is found by its content. */
int fperf_ksm_make(struct fperf_sim *sim, uint64_t folio) FPERF_MUST_CHECK;
void fperf_ksm_list(struct fperf_sim *sim, struct fperf_ksm_page *page);
/* A KSM page of that content that may take one more; NULL: none. */
struct fperf_ksm_page *fperf_ksm_candidate(const struct fperf_sim *sim, uint16_t content);
/* The folio is freed; the copy takes its place. */
void fperf_ksm_forget(struct fperf_sim *sim, uint64_t folio);
void fperf_ksm_moved(struct fperf_sim *sim, uint64_t folio, uint64_t copy);

/* Does an item lead to that place? Costs nothing. */
bool fperf_ksm_leads_to(const struct fperf_ksm_page *page, const struct fperf_vma *vma, uint64_t vpn);
/* A mapping that ksmd did not make: the page is astray if no item leads there. */
void fperf_ksm_note_mapping(struct fperf_sim *sim, uint64_t folio, const struct fperf_vma *vma, uint64_t vpn);
/* The same for all mappings there are. */
void fperf_ksm_find_strays(struct fperf_sim *sim);
/* Mappings that items lead to; mms that have some, as far as it matters: 0, 1, or more. Cost nothing. */
uint32_t fperf_ksm_mapcount(struct fperf_sim *sim, uint64_t folio);
uint32_t fperf_ksm_mms(struct fperf_sim *sim, uint64_t folio);

/* Each KSM page of the range becomes an ordinary one of the VMA's own. */
int fperf_ksm_unmerge(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end) FPERF_MUST_CHECK;

/* rmap_walk_ksm(): first the places ksmd knows, then those that forks of their mms have there. */
struct fperf_rmap_walk;
bool fperf_ksm_walk_next(struct fperf_rmap_walk *walk);

static inline bool fperf_is_ksm(const struct fperf_sim *sim, uint64_t folio)
{
	return sim->folios[folio].ksm;
}

/* Can a walk be trusted to find every mapping? */
static inline bool fperf_rmap_complete(const struct fperf_sim *sim, uint64_t folio)
{
	return !sim->folios[folio].ksm || !sim->folios[folio].ksm->astray;
}

#endif
