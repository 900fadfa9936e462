/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * total_mapped_pages: no count in any page and none of PMD mappings; beside the entries that map a folio, C, the pages they
 * map in all, T, both under the lock of the owner slots (RFC, D. Hildenbrand, 12 April 2026,
 * <20260412-mapcount-v1-0-05e8dfab52e0@kernel.org>). schemes.md 3.11.
 *
 * An entry of any level adds 1 to C; a PTE adds 1 to T, a PMD the pages of a page table.
 */
#include "scheme/owner_slots.h"

/* Offsets in the first tail; C stands in the tail's own _mapcount word. */
static const struct fperf_owner_layout OWNER = {
	.total = 48, .mapcount = 32, .ids = 40, .id_bits = 31, .slot_bits = 32
};
static const unsigned int TOTAL_MAPPED_PAGES = 24; /* 64 bits, from 0 */

static uint32_t pincount_at(const struct fperf_sim *sim)
{
	(void)sim;
	return 16;
}

static uint64_t *mapped_pages(struct fperf_sim *sim, uint64_t folio)
{
	return (uint64_t *)((char *)fperf_tail1(sim, folio) + TOTAL_MAPPED_PAGES);
}

static int64_t load_mapped_pages(struct fperf_sim *sim, uint64_t folio)
{
	return (int64_t)fperf_load64(&sim->door, FPERF_FIELD_TOTAL_MAPPED_PAGES, mapped_pages(sim, folio));
}

static void folio_init(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	if (!order)
		return;
	fperf_owner_init(sim, &OWNER, folio);
	fperf_store64(&sim->door, FPERF_FIELD_TOTAL_MAPPED_PAGES, mapped_pages(sim, folio), 0);
}

static void folio_free(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	if (order)
		load_mapped_pages(sim, folio);
}

/* T belongs to the same critical section as C: no atomic of its own. */
static int64_t add_mapped_pages(struct fperf_sim *sim, uint64_t folio, int64_t nr)
{
	const int64_t now = load_mapped_pages(sim, folio) + nr;

	fperf_store64(&sim->door, FPERF_FIELD_TOTAL_MAPPED_PAGES, mapped_pages(sim, folio), (uint64_t)now);
	return now;
}

/* `entries` more entries of `pages` pages each: one critical section, or one per entry where the kernel does not batch. */
static void count(struct fperf_sim *sim, const struct fperf_run *run, uint32_t entries, uint32_t pages)
{
	const uint32_t calls = run->batched ? 1 : entries;

	for (uint32_t i = 0; i < calls; i++) {
		fperf_owner_add(sim, &OWNER, run->folio, run->mm_id, entries / calls);
		add_mapped_pages(sim, run->folio, (int64_t)(entries / calls) * pages);
	}
}

/* Fewer mapped pages than pages: some page has no mapping. */
static bool has_hole(const struct fperf_run *run, int64_t mapped)
{
	return run->flags & FPERF_RUN_ANON && run->order >= 2 && mapped > 0 && mapped < 1ll << run->order;
}

static void uncount(struct fperf_sim *sim, const struct fperf_run *run, uint32_t entries, uint32_t pages)
{
	const uint32_t calls = run->batched ? 1 : entries;

	for (uint32_t i = 0; i < calls; i++) {
		fperf_owner_sub(sim, &OWNER, run->folio, run->mm_id, entries / calls);
		if (has_hole(run, add_mapped_pages(sim, run->folio, -(int64_t)(entries / calls) * pages)) &&
		    !sim->folios[run->folio].deferred)
			fperf_queue_split(sim, run->folio, 1);
	}
}

static bool map_entries(struct fperf_sim *sim, const struct fperf_run *run, uint32_t entries, uint32_t pages)
{
	const bool taken = fperf_take_refs(sim, run, entries);

	if (run->flags & FPERF_RUN_NEW) {
		fperf_owner_new(sim, &OWNER, run->folio, run->mm_id, entries);
		fperf_store64(&sim->door, FPERF_FIELD_TOTAL_MAPPED_PAGES, mapped_pages(sim, run->folio),
			      (uint64_t)entries * pages);
	} else {
		count(sim, run, entries, pages);
	}
	return taken;
}

static bool map_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	return run->order ? map_entries(sim, run, run->nr, 1) : fperf_small_map(sim, run);
}

static bool map_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	return map_entries(sim, run, 1, run->nr);
}

static void unmap_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	if (!run->order) {
		fperf_small_unmap(sim, run);
		return;
	}
	uncount(sim, run, run->nr, 1);
	fperf_drop_refs(sim, run, run->nr);
}

static void unmap_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	uncount(sim, run, 1, run->nr);
	fperf_drop_refs(sim, run, 1);
}

static void split_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	fperf_split_refs(sim, run);
	count(sim, run, run->nr, 1);
	uncount(sim, run, 1, run->nr);
}

static int64_t load_total(struct fperf_sim *sim, uint64_t folio)
{
	return (int64_t)(int32_t)fperf_load32(&sim->door, FPERF_FIELD_LARGE_MAPCOUNT,
					      fperf_page_s32(fperf_tail1(sim, folio), OWNER.total)) +
	       1;
}

static enum fperf_answer answer(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				int64_t *value)
{
	if (!query->order)
		return fperf_small_answer(sim, question, query, value);
	/* Is it large? */
	fperf_load64(&sim->door, FPERF_FIELD_FLAGS, &fperf_head(sim, query->folio)->flags);
	switch (question) {
	case FPERF_ASK_MAPPED:
		*value = load_total(sim, query->folio);
		return *value > 0;
	case FPERF_ASK_SHARED:
		return fperf_owner_shared(sim, &OWNER, query->folio);
	case FPERF_ASK_TOTAL_MAPCOUNT:
	case FPERF_ASK_MAPPING_REFS:
		*value = load_total(sim, query->folio);
		return FPERF_COUNT;
	case FPERF_ASK_PAGE_MAPCOUNT:
		/* The average of all pages, one at least. */
		*value = (load_mapped_pages(sim, query->folio) + (1ll << query->order) / 2) >> query->order;
		if (!*value)
			*value = 1;
		return FPERF_UNKNOWN;
	case FPERF_NR_QUESTIONS:
		break;
	}
	return FPERF_UNKNOWN;
}

const struct fperf_scheme_ops FPERF_SCHEME(total_mapped_pages) = {
	.name = "total_mapped_pages",
	.exclusive_is_certain = true,
	.pincount_at = pincount_at,
	.folio_init = folio_init,
	.folio_free = folio_free,
	.map_run = map_run,
	.fork_run = map_run,
	.fork_small = fperf_small_fork_each,
	.unmap_small = fperf_small_unmap_each,
	.map_pmd = map_pmd,
	.unmap_run = unmap_run,
	.unmap_pmd = unmap_pmd,
	.split_pmd = split_pmd,
	.vma_split = fperf_no_border,
	.vma_merge = fperf_no_border,
	.vma_move = fperf_no_move,
	.answer = answer,
};
