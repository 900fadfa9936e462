/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of mm offer each other, consumers and the engine. One group per file. */
#ifndef FPERF_MM_H
#define FPERF_MM_H

#include "mm/ksm.h"
#include "mm/rmap_hooks.h"

/* ---- folio.c: page frames, folio life, references ---- */
int fperf_frames_init(struct fperf_sim *sim) FPERF_MUST_CHECK;
void fperf_frames_destroy(struct fperf_sim *sim);

/* A fresh folio with one reference, the caller's. anon_vma or object is set by the caller. */
int fperf_folio_alloc(struct fperf_sim *sim, uint32_t order, uint64_t *ret) FPERF_MUST_CHECK;
/* Free the folio if nobody holds a reference any more. */
void fperf_folio_maybe_free(struct fperf_sim *sim, uint64_t folio);
/* The parts of alloc and free that a replay repeats. */
void fperf_folio_prepare(struct fperf_sim *sim, uint64_t folio, uint32_t order);
void fperf_folio_release(struct fperf_sim *sim, uint64_t folio, uint32_t order);
/* References other than a mapping's; accounted under the current cause. */
int32_t fperf_folio_ref(struct fperf_sim *sim, uint64_t folio, int32_t delta);
/* The reference a page-cache lookup takes: accounted as FIXED until a mapping adopts it. */
void fperf_folio_lookup_get(struct fperf_sim *sim, uint64_t folio);
void fperf_folio_lookup_put(struct fperf_sim *sim, uint64_t folio);
int32_t fperf_folio_load_refs(struct fperf_sim *sim, uint64_t folio);
void fperf_folio_set_anon_vma(struct fperf_sim *sim, uint64_t folio, struct fperf_anon_vma *anon_vma);
/*
 * A frozen folio, without references and mappings, becomes folios of a smaller order; each comes out with one reference,
 * and belongs to the same anon_vma or object.
 */
void fperf_folio_reshape(struct fperf_sim *sim, uint64_t folio, uint32_t order);
/*
 * An unmapped file folio becomes order-0 folios in the page cache, or, since v6.15, ever smaller halves around `page`, which
 * alone becomes order 0; false: somebody still refers to it.
 */
bool fperf_folio_split_file(struct fperf_sim *sim, uint64_t folio, uint32_t page);

static inline uint64_t fperf_folio_head(const struct fperf_sim *sim, uint64_t pfn)
{
	return pfn >> sim->page_order[pfn] << sim->page_order[pfn];
}

static inline uint32_t fperf_folio_order(const struct fperf_sim *sim, uint64_t pfn)
{
	return sim->page_order[pfn];
}

/* For those that go through memory by page frame number. */
static inline bool fperf_is_live_head(const struct fperf_sim *sim, uint64_t pfn)
{
	return sim->folios[pfn].live && fperf_folio_head(sim, pfn) == pfn;
}

/* On an LRU list: anonymous, or in the page cache. */
static inline bool fperf_is_reclaimable(const struct fperf_sim *sim, uint64_t folio)
{
	return !sim->folios[folio].poisoned && (sim->folios[folio].anon || sim->folios[folio].object);
}

/* ---- anon_exclusive.c: PageAnonExclusive, v5.19+ ---- */
void fperf_exclusive_set(struct fperf_sim *sim, uint64_t pfn, uint32_t nr);
/* Clear what is set among nr pages, looking at each; returns whether any was set. */
bool fperf_exclusive_clear(struct fperf_sim *sim, uint64_t pfn, uint32_t nr);
bool fperf_exclusive_test(struct fperf_sim *sim, uint64_t pfn);

/* ---- content.c: what pages hold, as far as events can tell. Costs nothing; nothing happens unless it is kept ---- */
/* FILE: what the files of a scenario are full of. UNKNOWN: of all pages, where contents are not kept. */
enum { FPERF_CONTENT_ZERO = 0, FPERF_CONTENT_FILE = 0x0707, FPERF_CONTENT_UNKNOWN = UINT16_MAX };
uint16_t fperf_content(const struct fperf_sim *sim, uint64_t pfn);
void fperf_content_set(struct fperf_sim *sim, uint64_t pfn, uint64_t nr, uint16_t content);
void fperf_content_copy(struct fperf_sim *sim, uint64_t to, uint64_t from, uint64_t nr);
/* A process writes the first byte of the page mapped at vpn, or all. */
void fperf_content_write(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t vpn, uint8_t byte, bool all);

/* ---- log.c ---- */
struct fperf_rmap_op *fperf_log_append(struct fperf_sim *sim, enum fperf_rmap_hook hook, uint64_t folio);
void fperf_log_run(struct fperf_sim *sim, enum fperf_rmap_hook hook, const struct fperf_run *run);
void fperf_log_answer(struct fperf_sim *sim, int64_t answer);

/* ---- pgtable.c ---- */
enum {
	FPERF_PTE_PRESENT = 1u << 0,
	FPERF_PTE_WRITE = 1u << 1,
	FPERF_PTE_YOUNG = 1u << 2,
	FPERF_PTE_DIRTY = 1u << 3,
	FPERF_PTE_LEAF = 1u << 4, /* in a PMD: maps a folio, not a table */
	FPERF_PTE_ZERO = 1u << 5, /* the zero page, or the huge zero page */
	FPERF_PTE_SWAP = 1u << 6, /* not present; the number is a swap slot */
	FPERF_PTE_SWAP_EXCLUSIVE = 1u << 7,
	FPERF_PTE_SCHEME = 1u << 8, /* left to the scheme */
	FPERF_PTE_MIGRATION = 1u
		<< 9, /* not present; the number is the page that was mapped; never outlives its event */
	FPERF_PTE_GUARD = 1u << 10, /* not present; whoever touches it gets a signal */
	FPERF_PTE_STATE = FPERF_PTE_PRESENT | FPERF_PTE_ZERO | FPERF_PTE_MIGRATION,
};
#define FPERF_PTE_SHIFT 12
#define FPERF_PTE_FLAGS ((1ull << FPERF_PTE_SHIFT) - 1)

static inline uint64_t fperf_pte(uint64_t number, uint64_t flags)
{
	return number << FPERF_PTE_SHIFT | flags;
}

static inline uint64_t fperf_pte_pfn(uint64_t entry)
{
	return entry >> FPERF_PTE_SHIFT;
}

static inline uint32_t fperf_pte_index(const struct fperf_sim *sim, uint64_t vpn)
{
	return (uint32_t)(vpn & (sim->entries - 1));
}

static inline uint64_t fperf_pmd_floor(const struct fperf_sim *sim, uint64_t vpn)
{
	return vpn & ~(uint64_t)(sim->entries - 1);
}

/* Entry of the PMD level for vpn, NULL if there is none (and alloc is false) or no table could be had. Not charged. */
uint64_t *fperf_pmd_peek(struct fperf_sim *sim, const struct fperf_mm *mm, uint64_t vpn);
/* The same as the kernel walks there: one read per upper level. */
uint64_t *fperf_pmd_walk(struct fperf_sim *sim, const struct fperf_mm *mm, uint64_t vpn);
uint64_t *fperf_pmd_alloc(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t vpn);
/* The table a PMD entry points to, made if the entry is none; 0 if there is no more space. */
uint32_t fperf_pte_table_alloc(struct fperf_sim *sim, uint64_t *pmd);
/* Table of PTEs behind a PMD entry, 0 if none or a leaf. */
static inline uint32_t fperf_pmd_table(uint64_t pmd)
{
	return (pmd & FPERF_PTE_PRESENT) && !(pmd & FPERF_PTE_LEAF) ? (uint32_t)fperf_pte_pfn(pmd) : 0;
}
/* Free the empty tables of [start, end) that no VMA reaches into. */
void fperf_free_tables(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end);
/* Free the empty tables that [start, end) covers whole. */
void fperf_reclaim_tables(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end);
void fperf_free_all_tables(struct fperf_sim *sim, struct fperf_mm *mm);

static inline uint64_t fperf_entry_at(const struct fperf_sim *sim, const uint64_t *entry)
{
	return fperf_arena_offset(&sim->mem, entry);
}

static inline void fperf_charge_ptes(struct fperf_sim *sim, enum fperf_access access, const uint64_t *pte, uint64_t nr)
{
	if (nr == 1)
		fperf_touch(&sim->door, FPERF_FIELD_PTE, access, fperf_entry_at(sim, pte));
	else
		fperf_touch_run(&sim->door, FPERF_FIELD_PTE, access, fperf_entry_at(sim, pte), nr, sizeof(*pte));
}

static inline void fperf_charge_pmd(struct fperf_sim *sim, enum fperf_access access, const uint64_t *pmd)
{
	fperf_touch(&sim->door, FPERF_FIELD_PMD, access, fperf_entry_at(sim, pmd));
}

static inline void fperf_ptl_lock(struct fperf_sim *sim, uint32_t table)
{
	fperf_lock_word(&sim->door, FPERF_FIELD_PTL, fperf_ptdesc_at(&sim->mem, table));
}

static inline void fperf_ptl_unlock(struct fperf_sim *sim, uint32_t table)
{
	fperf_unlock_word(&sim->door, FPERF_FIELD_PTL, fperf_ptdesc_at(&sim->mem, table));
}

/* Number of the table an entry lies in. */
static inline uint32_t fperf_table_of(const struct fperf_sim *sim, const uint64_t *entry)
{
	return (uint32_t)((uint64_t)((const char *)entry - sim->mem.tables) >> sim->mem.page_shift);
}

/* page_folio(): from an entry to the head, by way of the page's own line. */
static inline void fperf_charge_page_folio(struct fperf_sim *sim, uint64_t pfn)
{
	fperf_touch(&sim->door, FPERF_FIELD_COMPOUND_HEAD, FPERF_LOAD,
		    fperf_arena_offset(&sim->mem, &fperf_pfn_page(&sim->mem, pfn)->compound_head));
}

/* Entries are gone through one by one: let the host fetch what the model has on a page that comes soon. */
static inline void fperf_pte_prefetch(const struct fperf_sim *sim, const uint64_t *pte, uint32_t i, uint32_t nr)
{
	enum { AHEAD = 12 };
	uint64_t pfn;

	if (i + AHEAD >= nr || (pte[i + AHEAD] & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) != FPERF_PTE_PRESENT)
		return;
	pfn = fperf_pte_pfn(pte[i + AHEAD]);
	__builtin_prefetch(fperf_pfn_page(&sim->mem, pfn), 1);
	__builtin_prefetch(&sim->folios[pfn], 1);
	__builtin_prefetch((const char *)&sim->folios[pfn + 1] - 1, 1);
	__builtin_prefetch(&sim->page_order[pfn]);
	fperf_prefetch(&sim->door, fperf_arena_offset(&sim->mem, fperf_pfn_page(&sim->mem, pfn)));
}

/* Length of the run of entries, from pte on and at most max, that map consecutive pages of one folio alike. */
uint32_t fperf_pte_batch(const struct fperf_sim *sim, const uint64_t *pte, uint32_t max);
/*
 * Do the eight entries from pte on, one line of them, map eight small anonymous folios side by side, all alike, whose struct
 * pages are as many whole lines? Then what happens to them may happen field by field, where `other`, another line that is
 * accessed in between, lies so that it makes no difference.
 */
enum { FPERF_SMALL_BATCH = 8 };
bool fperf_pte_small_batch(const struct fperf_sim *sim, const uint64_t *pte, uint32_t max, const uint64_t *other);
/* How many entries from pte on, at most max, are none; have all bits of `need`. */
uint32_t fperf_nr_none(const uint64_t *pte, uint32_t max);
uint32_t fperf_nr_with(const uint64_t *pte, uint32_t max, uint64_t need);

/* ---- vma.c ---- */
struct fperf_mm *fperf_mm_create(struct fperf_sim *sim);
void fperf_mm_destroy(struct fperf_sim *sim, struct fperf_mm *mm); /* all mappings must be gone */
/* First VMA that ends above vpn, NULL if none; *index is its place in mm->vmas. */
struct fperf_vma *fperf_vma_find(struct fperf_mm *mm, uint64_t vpn, uint32_t *index);
struct fperf_vma *fperf_vma_at(struct fperf_mm *mm, uint64_t vpn);
/* Is all of [start, end) inside VMAs? */
bool fperf_range_covered(struct fperf_mm *mm, uint64_t start, uint64_t end);
bool fperf_range_free(struct fperf_mm *mm, uint64_t start, uint64_t end);
struct fperf_vma *fperf_vma_new(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end,
				uint64_t pgoff, uint32_t flags, struct fperf_object *object);
int fperf_vma_insert(struct fperf_sim *sim, struct fperf_vma *vma) FPERF_MUST_CHECK;
/* Into the trees directly behind its parent's VMA, as fork does. */
int fperf_vma_insert_behind(struct fperf_sim *sim, struct fperf_vma *vma, struct fperf_vma *parent) FPERF_MUST_CHECK;
void fperf_vma_free_all(struct fperf_sim *sim, struct fperf_mm *mm);
/* Forget a VMA whose pages are unmapped: leave the trees, the list, and free it. */
void fperf_vma_remove(struct fperf_sim *sim, struct fperf_vma *vma);
void fperf_vma_unlink(struct fperf_sim *sim, struct fperf_vma *vma);
/*
 * Cut at border; the lower part stays in vma unless new_below. Splits a PMD mapping across the border. Whoever lets an
 * event in has looked at max_map_count: as in the kernel it may be passed for a moment.
 */
int fperf_vma_split(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t border, bool new_below) FPERF_MUST_CHECK;
/* Merge with the neighbours where the kernel would; returns the VMA that now holds vma's range. */
struct fperf_vma *fperf_vma_merge_around(struct fperf_sim *sim, struct fperf_vma *vma);
/* Give [start, end) of a covered range other flags: split, set, merge. */
int fperf_vma_modify(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end, uint32_t clear,
		     uint32_t set) FPERF_MUST_CHECK;
/* VMAs that such a change cuts in two at the ends of the range. */
uint32_t fperf_vma_nr_cuts(struct fperf_mm *mm, uint64_t start, uint64_t end, uint32_t clear, uint32_t set);
/* A stack, and within the limit? */
bool fperf_vma_may_grow_down(const struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t start);
void fperf_vma_grow_down(struct fperf_vma *vma, uint64_t start);
/* Move the tree nodes of a VMA whose range changed. */
void fperf_vma_set_range(struct fperf_vma *vma, uint64_t start, uint64_t end, uint64_t pgoff);
/* Pages of the folio that vma could map: [*first, *first + return) and the vpn of the first. */
uint32_t fperf_vma_folio_range(const struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t folio,
			       uint32_t *first, uint64_t *vpn);

/* A run of nr pages from pfn on, mapped at vpn by vma. */
static inline struct fperf_run fperf_run_at(const struct fperf_sim *sim, struct fperf_vma *vma, uint64_t pfn,
					    uint32_t nr, uint64_t vpn, bool batched, bool refs_batched)
{
	const uint64_t folio = fperf_folio_head(sim, pfn);

	return (struct fperf_run){
		.folio = folio,
		.vpn = vpn,
		.first = (uint32_t)(pfn - folio),
		.nr = nr,
		.order = fperf_folio_order(sim, pfn),
		.flags = sim->folios[folio].anon ? FPERF_RUN_ANON : 0,
		.batched = batched,
		.refs_batched = refs_batched,
		.mm_id = vma->mm->id,
		.vma_id = vma->id,
		.vma = vma,
	};
}

/* ---- anon_vma.c ---- */
int fperf_anon_vma_prepare(struct fperf_sim *sim, struct fperf_vma *vma) FPERF_MUST_CHECK;
int fperf_anon_vma_clone(struct fperf_sim *sim, struct fperf_vma *dst, const struct fperf_vma *src,
			 bool fork) FPERF_MUST_CHECK;
int fperf_anon_vma_fork(struct fperf_sim *sim, struct fperf_vma *dst, const struct fperf_vma *src) FPERF_MUST_CHECK;
void fperf_anon_vma_unlink(struct fperf_sim *sim, struct fperf_vma *vma);
void fperf_anon_vma_put(struct fperf_sim *sim, struct fperf_anon_vma *anon_vma);

/* ---- truth.c: the ledger. Uncharged, unreadable for schemes ---- */
int fperf_truth_init(struct fperf_sim *sim) FPERF_MUST_CHECK;
void fperf_truth_map(struct fperf_sim *sim, const struct fperf_run *run, bool pmd);
void fperf_truth_unmap(struct fperf_sim *sim, const struct fperf_run *run, bool pmd);
void fperf_truth_split_pmd(struct fperf_sim *sim, const struct fperf_run *run);
/* VMAs of this mm that map the folio changed by delta (split, merge, move). */
void fperf_truth_vmas(struct fperf_sim *sim, uint64_t folio, uint32_t mm_id, int delta);
void fperf_truth_folio(struct fperf_sim *sim, uint64_t folio, uint32_t *vmas, uint32_t *mms);
uint64_t fperf_truth_mappings(const struct fperf_sim *sim, uint64_t folio);
void fperf_truth_leak(struct fperf_sim *sim, uint64_t folio);
/* Does vma map any page of the folio, entries [skip, skip + nr_skip) aside? Reads the tables without cost. */
bool fperf_truth_present_at(struct fperf_sim *sim, uint64_t folio, const struct fperf_mm *mm, uint64_t vpn,
			    uint32_t first, uint32_t nr, uint32_t skip, uint32_t nr_skip);
bool fperf_truth_present(struct fperf_sim *sim, uint64_t folio, const struct fperf_vma *vma, uint32_t skip,
			 uint32_t nr_skip);
void fperf_truth_destroy(struct fperf_sim *sim);
int fperf_truth_check(struct fperf_sim *sim, char *message, size_t size);

/* ---- truth_pages.c: the same page by page, and what consumers did for nothing ---- */
int fperf_truth_pages_init(struct fperf_sim *sim) FPERF_MUST_CHECK;
void fperf_truth_pages_destroy(struct fperf_sim *sim);
void fperf_truth_pages_map(struct fperf_sim *sim, const struct fperf_run *run);
void fperf_truth_pages_unmap(struct fperf_sim *sim, const struct fperf_run *run);
/* After an event: sums over time, and folios that it left mapped in part. */
void fperf_truth_event_end(struct fperf_sim *sim);
/* Mappings of one page, by PTE and by PMD. */
int64_t fperf_truth_mapcount(struct fperf_sim *sim, uint64_t pfn);
/* A page is about to be copied on a write; a split, migration or collapse of the folio was refused; a consumer passes it over as shared. */
void fperf_truth_copied(struct fperf_sim *sim, uint64_t pfn);
void fperf_truth_refused(struct fperf_sim *sim, uint64_t folio);
void fperf_truth_skipped(struct fperf_sim *sim, uint64_t folio);
/*
 * A folio that straddles a border may have had a smaller one faulted into a hole that straddles it too, and so on: one per
 * order, anonymous and file.
 */
#define FPERF_MAX_STRADDLERS 32
/* Large folios mapped on both sides of border in the two VMAs; at most cap. */
uint32_t fperf_straddlers(struct fperf_sim *sim, const struct fperf_vma *left, const struct fperf_vma *right,
			  uint64_t border, uint64_t *folios, uint32_t cap);

/* ---- rmap.c: walks ---- */
struct fperf_rmap_walk {
	struct fperf_sim *sim;
	struct fperf_itnode *node;
	struct fperf_itnode **shuffled; /* random order: all candidates, and how many are left */
	uint32_t nr_shuffled;
	uint64_t folio;
	uint32_t order;
	uint64_t start, last; /* page offsets */
	struct fperf_vma *vma; /* the candidate */
	uint64_t vpn;  /* where it would map page `first` */
	uint32_t first, nr;
	uint64_t lock_at;
	uint32_t batch;	 /* entries one hit may hold; the walk's user lowers it */
	/* What hits look like: FPERF_PTE_PRESENT or _MIGRATION, and the page that the entry of page 0 names. */
	uint64_t state, entry_pfn;
	bool anon, locked;
	/* Of a KSM page: the place whose tree is walked, and whether forks are looked for now. */
	struct fperf_ksm_item *item;
	bool forks;
};
/* false: nothing to walk (no anon_vma). Each next() is one candidate VMA; end() must follow. */
bool fperf_rmap_walk_begin(struct fperf_sim *sim, struct fperf_rmap_walk *walk, uint64_t folio);
/* The same under the tree's lock, which the caller took by fperf_rmap_lock(). */
bool fperf_rmap_walk_begin_locked(struct fperf_sim *sim, struct fperf_rmap_walk *walk, uint64_t folio);
/* down and up of the rwsem of the tree a folio's walk goes through: one RMW each; false if there is no tree. */
bool fperf_rmap_lock(struct fperf_sim *sim, uint64_t folio);
bool fperf_rmap_walk_next(struct fperf_rmap_walk *walk);
void fperf_rmap_walk_end(struct fperf_rmap_walk *walk);

/* One mapping of the folio inside the candidate: a PMD leaf, or a run of entries of one table. */
struct fperf_rmap_hit {
	uint64_t *entry;
	uint64_t vpn;
	uint32_t first, nr; /* pages of the folio; nr entries, or all pages under a PMD */
	bool pmd;
};
/* Next hit at or after page *cursor of the candidate's range; as page_vma_mapped_walk() looks for it. */
bool fperf_rmap_walk_hit(struct fperf_rmap_walk *walk, uint32_t *cursor, struct fperf_rmap_hit *hit);

/* ---- find_out.c ---- */
/* Answer a question by a walk, and tell the scheme what it found if that is the policy. */
enum fperf_answer fperf_find_out(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				 int64_t *value);

/* ---- migrate_entry.c: mappings that stand aside while their folio changes ---- */
/*
 * Turn every mapping into a migration entry, until the scheme says that the folio is not mapped. Entries of a PMD are
 * made per page (split_pmds), or one in its place.
 */
int fperf_mappings_to_entries(struct fperf_sim *sim, uint64_t folio, bool split_pmds, bool locked) FPERF_MUST_CHECK;
/*
 * Turn the migration entries of pages from old on into mappings of the folio, one at a time. `split`: it is what a larger
 * one was split into, and the tree is locked.
 */
int fperf_entries_to_mappings(struct fperf_sim *sim, uint64_t folio, uint64_t old, bool split) FPERF_MUST_CHECK;

/* ---- fault.c ---- */
enum { FPERF_FAULT_DONE = 0, FPERF_FAULT_SATISFIED = 1, FPERF_FAULT_WRITE_PROTECTED = 2 };
/* One access. SATISFIED: was mapped as needed. WRITE_PROTECTED: a consumer decides whether to copy (cow_reuse.c). */
int fperf_fault(struct fperf_sim *sim, struct fperf_mm *mm, struct fperf_vma *vma, uint64_t vpn,
		bool write) FPERF_MUST_CHECK;
/* How many pages from vpn on, at most max, are mapped as the access needs; costs nothing. */
uint64_t fperf_mapped_extent(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t vpn, uint64_t max, bool write);
uint64_t fperf_anon_orders(const struct fperf_sim *sim, const struct fperf_vma *vma);
/* Write fault, decided: map a fresh copy of order 0 in place of what is at pte. */
int fperf_wp_copy(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pte) FPERF_MUST_CHECK;
/* The same for a read, which must not share the page any more: clean and write-protected (FAULT_FLAG_UNSHARE). */
int fperf_unshare(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pte) FPERF_MUST_CHECK;
void fperf_wp_reuse(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t *entry, uint64_t page_pfn, bool moved);
int fperf_huge_zero_write(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd) FPERF_MUST_CHECK;

/* ---- file_fault.c, pagecache.c ---- */
int fperf_file_fault(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, bool write) FPERF_MUST_CHECK;
/* Map a folio that lies in the VMA as a PMD wants it. */
void fperf_file_map_pmd(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd, uint64_t folio);
int fperf_object_create(struct fperf_sim *sim, const struct fperf_object_desc *desc, uint32_t *ret) FPERF_MUST_CHECK;
void fperf_object_destroy_all(struct fperf_sim *sim);
int fperf_pagecache_add(struct fperf_sim *sim, struct fperf_object *object, uint64_t index, uint32_t order,
			uint64_t *ret) FPERF_MUST_CHECK;
/* pfn of the page, 0 if not resident. A warm FILE object makes it resident at this moment. */
int fperf_pagecache_find(struct fperf_sim *sim, struct fperf_object *object, uint64_t index,
			 uint64_t *pfn) FPERF_MUST_CHECK;
/* vma: the fault's, NULL if there is none (read, write). */
int fperf_pagecache_fill(struct fperf_sim *sim, struct fperf_object *object, const struct fperf_vma *vma,
			 uint64_t index, uint64_t *pfn) FPERF_MUST_CHECK;
/* Every mapping of a folio of the page cache goes; `locked`: its tree is locked already. */
int fperf_unmap_file_folio(struct fperf_sim *sim, uint64_t folio, bool locked) FPERF_MUST_CHECK;
void fperf_pagecache_remove(struct fperf_sim *sim, uint64_t folio);
int fperf_read_object(struct fperf_sim *sim, struct fperf_object *object) FPERF_MUST_CHECK;
void fperf_drop_object(struct fperf_sim *sim, struct fperf_object *object);
static inline bool fperf_object_is_shmem(const struct fperf_object *object)
{
	return object->kind != FPERF_OBJECT_FILE;
}

/* ---- truncate.c: the size of an object, and holes in it ---- */
int fperf_truncate(struct fperf_sim *sim, struct fperf_object *object, uint64_t nr_pages) FPERF_MUST_CHECK;
/* Pages [start, past) leave the page cache and every mapping of it; private copies stay. */
int fperf_punch_hole(struct fperf_sim *sim, struct fperf_object *object, uint64_t start,
		     uint64_t past) FPERF_MUST_CHECK;

/* ---- guard.c: MADV_GUARD_INSTALL and _REMOVE ---- */
int fperf_guard_install(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end) FPERF_MUST_CHECK;
void fperf_guard_remove(struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t start, uint64_t end);
/* First guard of the range, or its end; costs nothing. */
uint64_t fperf_guard_find(struct fperf_sim *sim, const struct fperf_mm *mm, uint64_t start, uint64_t end);

/* ---- gup.c: references and pins held by rings and pipes ---- */
enum { FPERF_PIN_BIAS = 1024 };
/*
 * Pages that are mapped as needed. A process has one ring and one pipe at a time. A pin goes on page after page, since what
 * it holds already decides whether the next one may be written in place; unpin gives all of it back.
 */
int fperf_pin_begin(struct fperf_process *process) FPERF_MUST_CHECK;
int fperf_pin_more(struct fperf_sim *sim, struct fperf_process *process, uint64_t vpn, uint64_t nr) FPERF_MUST_CHECK;
void fperf_pin_end(struct fperf_sim *sim, struct fperf_process *process);
void fperf_unpin(struct fperf_sim *sim, struct fperf_process *process);
int fperf_splice(struct fperf_sim *sim, struct fperf_process *process, uint64_t vpn, uint64_t nr) FPERF_MUST_CHECK;
void fperf_unsplice(struct fperf_sim *sim, struct fperf_process *process);
/* A child has open what its parent has; what nobody has open any more is given back. */
int fperf_holds_fork(const struct fperf_process *parent, struct fperf_process *child) FPERF_MUST_CHECK;
void fperf_holds_close(struct fperf_sim *sim, struct fperf_process *process, bool rings_only);
void fperf_holds_destroy(struct fperf_process *process);
/* folio_maybe_dma_pinned(): exact for large folios, for small ones a reference count of 1024 or more. */
bool fperf_maybe_pinned(struct fperf_sim *sim, uint64_t folio);
/* folio_needs_cow_for_dma(): fork must not share what the parent may have pinned. */
bool fperf_needs_copy_for_pin(struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t folio);
void fperf_pin_add(struct fperf_sim *sim, uint64_t folio, int32_t delta);

/* ---- zap.c, huge.c, fork.c, move.c, swap.c ---- */
/* What of a range goes: all; all but guard markers (advice, truncation); pages of the file alone (hole punching). */
enum fperf_zap { FPERF_ZAP_ALL, FPERF_ZAP_PAGES, FPERF_ZAP_FILE_PAGES };
int fperf_zap_range(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end,
		    enum fperf_zap what) FPERF_MUST_CHECK;
int fperf_munmap(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end) FPERF_MUST_CHECK;
int fperf_exit_mm(struct fperf_sim *sim, struct fperf_mm *mm) FPERF_MUST_CHECK;
int fperf_split_pmd(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd) FPERF_MUST_CHECK;
/* The mapping goes and leaves a table of migration entries (split with freeze, v6.2 and later). Anonymous folios. */
int fperf_freeze_pmd(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd) FPERF_MUST_CHECK;
/* Split a PMD mapping that crosses vpn (kernel: vma_adjust_trans_huge). */
int fperf_split_pmd_at(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn) FPERF_MUST_CHECK;
int fperf_fork_mm(struct fperf_sim *sim, struct fperf_mm *parent, struct fperf_mm *child) FPERF_MUST_CHECK;
int fperf_mremap(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t from, uint64_t nr_old, uint64_t to,
		 uint64_t nr_new) FPERF_MUST_CHECK;
/* Unmap one hit of a walk. swap_base: slot of the folio's first page, UINT64_MAX for file folios. */
void fperf_unmap_hit(struct fperf_sim *sim, struct fperf_vma *vma, const struct fperf_rmap_hit *hit, bool batched,
		     uint64_t swap_base);
int fperf_mprotect(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end,
		   uint32_t prot) FPERF_MUST_CHECK;
/* One swap slot per page of a folio, entries to be counted by fperf_swap_dup(). */
int fperf_swap_slots(struct fperf_sim *sim, uint32_t nr, uint64_t *base) FPERF_MUST_CHECK;
/* After a swap-out: give back the slots no entry came to refer to. */
void fperf_swap_slots_settle(struct fperf_sim *sim, uint64_t base, uint32_t nr);
/* An entry of a page that goes to its slot. */
void fperf_swap_out_page(struct fperf_sim *sim, uint64_t slot, uint64_t pfn);
void fperf_swap_dup(struct fperf_sim *sim, uint64_t slot);
void fperf_swap_put(struct fperf_sim *sim, uint64_t slot);
int fperf_swap_in(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pte,
		  bool write) FPERF_MUST_CHECK;
/* The same as part of another event. */
int fperf_swap_in_page(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pte,
		       bool write) FPERF_MUST_CHECK;
/* folio_free_swap(): leave the swap cache if no entry refers to the slot; false: it was not there, or stays. */
bool fperf_swap_cache_free(struct fperf_sim *sim, uint64_t folio);
/*
 * Some mapping of the folio is gone (free_page_and_swap_cache()): it is freed if nobody refers to it, and leaves the swap
 * cache if nobody maps it, as far as the scheme can tell.
 */
void fperf_folio_unmapped(struct fperf_sim *sim, uint64_t folio);
/* Every page comes back, to every mm. */
int fperf_swapoff(struct fperf_sim *sim) FPERF_MUST_CHECK;
/* Is the folio in the swap cache, and could it leave it (no entry refers to the slot any more)? */
bool fperf_swap_cached(const struct fperf_sim *sim, uint64_t folio);

#endif
