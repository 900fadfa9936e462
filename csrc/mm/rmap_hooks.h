/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What mm asks of a mapcount scheme, and what a scheme may ask of mm. mm owns this contract and includes no scheme.
 *
 * A hook is called once per run of pages, never per page; `batched` and `refs_batched` say whether the kernel made one
 * rmap (reference) call for the run or one per page, and the scheme charges accordingly.
 */
#ifndef FPERF_RMAP_HOOKS_H
#define FPERF_RMAP_HOOKS_H

#include "mm/sim.h"

enum {
	FPERF_RUN_ANON = 1u << 0,
	FPERF_RUN_NEW = 1u << 1, /* first mapping of a fresh anonymous folio: plain stores suffice */
	FPERF_RUN_DONATED = 1u << 2, /* the caller hands over one reference it holds on the head */
};

/* Pages first .. first + nr - 1 of a folio, mapped (or to be) at vpn by one VMA. */
struct fperf_run {
	uint64_t folio;	 /* pfn of the head */
	uint64_t vpn;  /* of page `first` */
	uint32_t first, nr;
	uint32_t order;
	uint32_t flags;
	bool batched, refs_batched;
	uint32_t mm_id, vma_id;
	struct fperf_vma *vma; /* NULL in a replay */
};

/* Who asks, about what. vma is the mapping the asker stands in, or NULL. */
struct fperf_query {
	uint64_t folio;
	uint32_t order;
	uint32_t page; /* index in the folio */
	bool anon;
	struct fperf_vma *vma;
};

struct fperf_scheme_ops {
	const char *name;
	/* Where the layout leaves room for the pins of a large folio, bytes from page[1]; NULL: 28, as in v6.12 and later. */
	uint32_t (*pincount_at)(const struct fperf_sim *sim);
	uint32_t nr_variants; /* forms that the design has, chosen by the configuration; 0: one */
	/* Bits it has for the number of an mm; NULL: more than there can be mms. */
	unsigned int (*mm_id_bits)(const struct fperf_sim *sim);
	/*
	 * Where pins_exact is configured: count pins in the design's own bits, so that none is 1024 references. NULL: it has
	 * no room.
	 */
	void (*pin_add)(struct fperf_sim *sim, uint64_t folio, int32_t delta);
	int32_t (*pins)(struct fperf_sim *sim, uint64_t folio);
	bool exclusive_is_certain; /* "not shared" is never wrong: a write fault may rely on it */
	bool counts_vmas; /* VMA split, merge and move may change the count */
	bool counts_tables; /* and so may a move to other page tables: told of each piece that stays in one table */
	void (*folio_init)(struct fperf_sim *sim, uint64_t folio, uint32_t order);
	void (*folio_free)(struct fperf_sim *sim, uint64_t folio, uint32_t order);
	/* Mapping hooks return whether a donated reference was taken over. Called before the entries are written. */
	bool (*map_run)(struct fperf_sim *sim, const struct fperf_run *run);
	bool (*fork_run)(struct fperf_sim *sim, const struct fperf_run *run);
	/*
	 * The same for nr small folios side by side, from run->folio on, that are mapped once before already; field by field
	 * rather than folio by folio. mm sees to it that the order makes no difference. NULL: only one by one.
	 */
	void (*fork_small)(struct fperf_sim *sim, const struct fperf_run *run);
	void (*unmap_small)(struct fperf_sim *sim, const struct fperf_run *run);
	bool (*map_pmd)(struct fperf_sim *sim, const struct fperf_run *run);
	/* Called after the entries are gone; drop the references the mappings owned. */
	void (*unmap_run)(struct fperf_sim *sim, const struct fperf_run *run);
	void (*unmap_pmd)(struct fperf_sim *sim, const struct fperf_run *run);
	/* An anonymous PMD mapping becomes nr PTE mappings in place. */
	void (*split_pmd)(struct fperf_sim *sim, const struct fperf_run *run);
	/*
	 * A consumer that is about to visit every candidate, or could, offers the scheme to learn the number: true if it
	 * wants it. recount_end() tells what a complete walk found. Both NULL: the count is never lost.
	 */
	bool (*recount_begin)(struct fperf_sim *sim, const struct fperf_query *query, enum fperf_recount_site site);
	void (*recount_end)(struct fperf_sim *sim, const struct fperf_query *query, uint32_t found);
	/*
	 * A folio that straddles the border, left->page being its first page beyond: after a split in two, before a merge.
	 * After part of it moved.
	 */
	void (*vma_split)(struct fperf_sim *sim, const struct fperf_query *left, struct fperf_vma *right);
	void (*vma_merge)(struct fperf_sim *sim, const struct fperf_query *left, struct fperf_vma *right);
	void (*vma_move)(struct fperf_sim *sim, const struct fperf_query *from, const struct fperf_run *moved);
	/*
	 * Does the state keep the design's own promises, given the truth: so many VMAs, so many pairs of VMA and page table?
	 * NULL if there is nothing to add.
	 */
	bool (*keeps_promises)(struct fperf_sim *sim, const struct fperf_query *query, uint32_t true_vmas,
			       uint32_t true_tables);
	/* Answer a question: one of enum fperf_answer; *value is the count, or the best guess where unknown. */
	enum fperf_answer (*answer)(struct fperf_sim *sim, enum fperf_question question,
				    const struct fperf_query *query, int64_t *value);
};

/* ---- what a scheme may ask of mm: both cost accesses ---- */

/*
 * Does `vma` map a page of the folio, entries [skip, skip + nr_skip) of it aside, which the caller is about to write or
 * has just cleared? `mapping` says which. By the configured policy.
 */
bool fperf_present(struct fperf_sim *sim, uint64_t folio, struct fperf_vma *vma, uint32_t skip, uint32_t nr_skip,
		   bool mapping);

/* The same among the entries of one page table alone: that in which `vma` has, or would have, page `page` of the folio. */
bool fperf_present_in_table(struct fperf_sim *sim, uint64_t folio, struct fperf_vma *vma, uint32_t page, uint32_t skip,
			    uint32_t nr_skip, bool mapping);

/* VMAs that map the folio now, by an rmap walk that stops at `limit`. */
uint32_t fperf_count_vmas(struct fperf_sim *sim, uint64_t folio, uint32_t limit);

/* A recount starts outside an unmap: its answers belong to an entry of the log of their own. */
void fperf_log_recount(struct fperf_sim *sim, const struct fperf_query *query);

/* ---- references that mappings own (the ledger behind refs_peak and leaked_pages; costs nothing) ---- */

static inline void fperf_note_mapping_refs(struct fperf_sim *sim, uint64_t folio, int32_t delta)
{
	struct fperf_folio *const f = &sim->folios[folio];

	if (sim->bare)
		return;
	f->mapping_refs += delta;
	if (f->mapping_refs > 0 && (uint64_t)f->mapping_refs > sim->totals.refs_peak)
		sim->totals.refs_peak = (uint64_t)f->mapping_refs;
}

static inline struct fperf_page *fperf_head(const struct fperf_sim *sim, uint64_t folio)
{
	return fperf_pfn_page(&sim->mem, folio);
}

/* ---- the hooks as mm calls them: log, call, keep the ledger ---- */
void fperf_rmap_map(struct fperf_sim *sim, const struct fperf_run *run, bool fork);
void fperf_rmap_unmap(struct fperf_sim *sim, const struct fperf_run *run);
/* nr small folios side by side, run->folio the first: as map or unmap of one after the other. */
void fperf_rmap_fork_small(struct fperf_sim *sim, const struct fperf_run *run);
void fperf_rmap_unmap_small(struct fperf_sim *sim, const struct fperf_run *run);
void fperf_rmap_map_pmd(struct fperf_sim *sim, const struct fperf_run *run);
void fperf_rmap_unmap_pmd(struct fperf_sim *sim, const struct fperf_run *run);
void fperf_rmap_split_pmd(struct fperf_sim *sim, const struct fperf_run *run);
void fperf_rmap_vma_split(struct fperf_sim *sim, struct fperf_vma *left, struct fperf_vma *right, uint64_t border);
void fperf_rmap_vma_merge(struct fperf_sim *sim, struct fperf_vma *left, struct fperf_vma *right, uint64_t border);

/* Pins, where the scheme counts them. */
void fperf_rmap_pin_add(struct fperf_sim *sim, uint64_t folio, int32_t delta);
int32_t fperf_rmap_pins(struct fperf_sim *sim, uint64_t folio);

/* Part of a folio moved from one VMA of an mm to another (moved->vma). */
void fperf_rmap_vma_move(struct fperf_sim *sim, struct fperf_vma *from, const struct fperf_run *moved);
/* Designs that count page tables: entries of a large folio moved from one table to another. */
void fperf_rmap_table_move(struct fperf_sim *sim, struct fperf_vma *from, const struct fperf_run *moved);

/* A consumer offers a recount, and tells what it found; see recount_begin above. */
bool fperf_rmap_recount_begin(struct fperf_sim *sim, const struct fperf_query *query, enum fperf_recount_site site);
void fperf_rmap_recount_end(struct fperf_sim *sim, const struct fperf_query *query, uint32_t found);
/* Where the scheme wants it, walk for the number and repair the count. */
void fperf_rmap_repair(struct fperf_sim *sim, const struct fperf_query *query, enum fperf_recount_site site);

/* Replay one logged call (native): the same code path without mm around it. */
void fperf_rmap_replay(struct fperf_sim *sim, const struct fperf_rmap_op *op, const int64_t *answers);

/* Put a question of a consumer to the scheme and hold the answer against the truth. */
enum fperf_answer fperf_ask(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
			    int64_t *value);
/* The same by somebody who walks anyway, or is walking: where the scheme does not know, that walk is the answer. */
enum fperf_answer fperf_ask_before_walk(struct fperf_sim *sim, enum fperf_question question,
					const struct fperf_query *query, int64_t *value);

#endif
