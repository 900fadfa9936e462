/* SPDX-License-Identifier: BSD-3-Clause */
/* Page tables: real entries in the arena. Level 0 holds PTEs, level 1 PMDs, the root is level nr_levels - 1. */
#include "mm/mm.h"

static uint32_t index_at(const struct fperf_sim *sim, uint64_t vpn, unsigned int level)
{
	return (uint32_t)(vpn >> (level * sim->table_bits) & (sim->entries - 1));
}

uint64_t *fperf_pmd_peek(struct fperf_sim *sim, const struct fperf_mm *mm, uint64_t vpn)
{
	uint32_t table = mm->root_table;

	for (unsigned int level = sim->nr_levels - 1; level > 1; level--) {
		const uint64_t entry = fperf_table(&sim->mem, table)[index_at(sim, vpn, level)];

		if (!entry)
			return NULL;
		table = (uint32_t)fperf_pte_pfn(entry);
	}
	return &fperf_table(&sim->mem, table)[index_at(sim, vpn, 1)];
}

uint64_t *fperf_pmd_walk(struct fperf_sim *sim, const struct fperf_mm *mm, uint64_t vpn)
{
	uint32_t table = mm->root_table;
	uint64_t *pmd;

	for (unsigned int level = sim->nr_levels - 1; level > 1; level--) {
		const uint64_t *const entry = &fperf_table(&sim->mem, table)[index_at(sim, vpn, level)];

		fperf_touch(&sim->door, FPERF_FIELD_UPPER_TABLE, FPERF_LOAD, fperf_entry_at(sim, entry));
		if (!*entry)
			return NULL;
		table = (uint32_t)fperf_pte_pfn(*entry);
	}
	pmd = &fperf_table(&sim->mem, table)[index_at(sim, vpn, 1)];
	fperf_charge_pmd(sim, FPERF_LOAD, pmd);
	return pmd;
}

uint64_t *fperf_pmd_alloc(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t vpn)
{
	uint32_t table = mm->root_table;
	uint64_t *pmd;

	for (unsigned int level = sim->nr_levels - 1; level > 1; level--) {
		uint64_t *const entry = &fperf_table(&sim->mem, table)[index_at(sim, vpn, level)];

		fperf_touch(&sim->door, FPERF_FIELD_UPPER_TABLE, FPERF_LOAD, fperf_entry_at(sim, entry));
		if (!*entry) {
			const uint32_t fresh = fperf_table_alloc(&sim->mem);

			if (!fresh)
				return NULL;
			*entry = fperf_pte(fresh, FPERF_PTE_PRESENT);
			fperf_touch(&sim->door, FPERF_FIELD_UPPER_TABLE, FPERF_STORE, fperf_entry_at(sim, entry));
		}
		table = (uint32_t)fperf_pte_pfn(*entry);
	}
	pmd = &fperf_table(&sim->mem, table)[index_at(sim, vpn, 1)];
	fperf_charge_pmd(sim, FPERF_LOAD, pmd);
	return pmd;
}

uint32_t fperf_pte_table_alloc(struct fperf_sim *sim, uint64_t *pmd)
{
	uint32_t table = fperf_pmd_table(*pmd);

	if (table)
		return table;
	FPERF_BUG_ON(*pmd);
	table = fperf_table_alloc(&sim->mem);
	if (!table)
		return 0;
	*pmd = fperf_pte(table, FPERF_PTE_PRESENT);
	fperf_charge_pmd(sim, FPERF_STORE, pmd);
	return table;
}

/*
 * Entries are looked at in blocks of eight without a branch inside, which the compiler turns into vector code; the last
 * block is gone through one by one.
 */
enum { BLOCK = FPERF_SMALL_BATCH };

uint32_t fperf_pte_batch(const struct fperf_sim *sim, const uint64_t *pte, uint32_t max)
{
	const uint64_t entry = *pte;
	const uint64_t pfn = fperf_pte_pfn(entry);
	const uint64_t left = fperf_folio_head(sim, pfn) + (1ull << fperf_folio_order(sim, pfn)) - pfn;
	const uint64_t alike = ~(uint64_t)(FPERF_PTE_YOUNG | FPERF_PTE_DIRTY | FPERF_PTE_SCHEME);
	const uint64_t step = 1ull << FPERF_PTE_SHIFT;
	uint32_t nr = 1;

	if (left < max)
		max = (uint32_t)left;
	for (; nr + BLOCK <= max; nr += BLOCK) {
		uint64_t differ = 0;

		for (uint32_t i = 0; i < BLOCK; i++)
			differ |= (pte[nr + i] ^ (entry + (nr + i) * step)) & alike;
		if (differ)
			break;
	}
	while (nr < max && !((pte[nr] ^ (entry + nr * step)) & alike))
		nr++;
	return nr;
}

bool fperf_pte_small_batch(const struct fperf_sim *sim, const uint64_t *pte, uint32_t max, const uint64_t *other)
{
	const uint64_t entry = *pte, pfn = fperf_pte_pfn(entry);
	const uint64_t alike = ~(uint64_t)(FPERF_PTE_YOUNG | FPERF_PTE_DIRTY | FPERF_PTE_SCHEME);
	const uint64_t step = 1ull << FPERF_PTE_SHIFT;
	uint64_t differ = 0, page_at, last_at;
	uint32_t large = 0, anon = 1;

	/* Most often it is the next one already. */
	if (max < BLOCK || (pte[1] ^ (entry + step)) & alike || (uintptr_t)pte % (BLOCK * sizeof(*pte)) ||
	    sim->page_order[pfn] || sim->logging || !sim->scheme->fork_small || !sim->scheme->unmap_small)
		return false;
	for (uint32_t i = 0; i < BLOCK; i++) {
		differ |= (pte[i] ^ (entry + i * step)) & alike;
		large |= sim->page_order[pfn + i];
		anon &= sim->folios[pfn + i].anon && !sim->folios[pfn + i].ksm;
	}
	if (differ || large || !anon)
		return false;
	page_at = fperf_arena_offset(&sim->mem, fperf_pfn_page(&sim->mem, pfn));
	last_at = fperf_arena_offset(&sim->mem, fperf_pfn_page(&sim->mem, pfn + BLOCK - 1));
	return fperf_may_regroup(&sim->door, page_at, fperf_entry_at(sim, pte), fperf_entry_at(sim, other)) &&
	       fperf_may_regroup(&sim->door, last_at, fperf_entry_at(sim, pte), fperf_entry_at(sim, other));
}

uint32_t fperf_nr_none(const uint64_t *pte, uint32_t max)
{
	uint32_t nr = 0;

	for (; nr + BLOCK <= max; nr += BLOCK) {
		uint64_t any = 0;

		for (uint32_t i = 0; i < BLOCK; i++)
			any |= pte[nr + i];
		if (any)
			break;
	}
	while (nr < max && !pte[nr])
		nr++;
	return nr;
}

uint32_t fperf_nr_with(const uint64_t *pte, uint32_t max, uint64_t need)
{
	uint32_t nr = 0;

	for (; nr + BLOCK <= max; nr += BLOCK) {
		uint64_t all = need;

		for (uint32_t i = 0; i < BLOCK; i++)
			all &= pte[nr + i];
		if (all != need)
			break;
	}
	while (nr < max && (pte[nr] & need) == need)
		nr++;
	return nr;
}

/* Free the tables below `table` in whose span no mapping is left; their entries are all zero by then. */
static void free_below(struct fperf_sim *sim, struct fperf_mm *mm, uint32_t table, unsigned int level, uint64_t base,
		       uint64_t start, uint64_t end)
{
	const uint64_t span = 1ull << (level * sim->table_bits);
	uint64_t *const entries = fperf_table(&sim->mem, table);
	const uint64_t first = start > base ? (start - base) / span : 0;
	const uint64_t past = end < base + span * sim->entries ? (end - base + span - 1) / span : sim->entries;

	for (uint64_t i = first; i < past; i++) {
		const uint64_t entry = entries[i];

		if (!entry || entry & FPERF_PTE_LEAF)
			continue;
		if (level > 1)
			free_below(sim, mm, (uint32_t)fperf_pte_pfn(entry), level - 1, base + i * span, start, end);
		/* As free_pgd_range() with floor and ceiling: a table goes if no mapping is left in its span. */
		if (!fperf_range_free(mm, base + i * span, base + (i + 1) * span))
			continue;
		fperf_table_free(&sim->mem, (uint32_t)fperf_pte_pfn(entry));
		entries[i] = 0;
		fperf_touch(&sim->door, level > 1 ? FPERF_FIELD_UPPER_TABLE : FPERF_FIELD_PMD, FPERF_STORE,
			    fperf_entry_at(sim, &entries[i]));
	}
}

void fperf_free_tables(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end)
{
	free_below(sim, mm, mm->root_table, sim->nr_levels - 1, 0, start, end);
}

/* v6.14: madvise gives back the tables it has emptied, though the VMA stays. */
void fperf_reclaim_tables(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end)
{
	uint64_t base = fperf_pmd_floor(sim, start + sim->entries - 1);

	for (; base + sim->entries <= end; base += sim->entries) {
		uint64_t *const pmd = fperf_pmd_peek(sim, mm, base);
		const uint32_t table = pmd ? fperf_pmd_table(*pmd) : 0;

		if (!table || fperf_nr_none(fperf_table(&sim->mem, table), sim->entries) < sim->entries)
			continue;
		fperf_table_free(&sim->mem, table);
		*pmd = 0;
		fperf_charge_pmd(sim, FPERF_STORE, pmd);
	}
}

static void free_all_below(struct fperf_sim *sim, uint32_t table, unsigned int level)
{
	uint64_t *const entries = fperf_table(&sim->mem, table);

	for (uint32_t i = 0; i < sim->entries; i++) {
		if (!entries[i])
			continue;
		if (level > 1)
			free_all_below(sim, (uint32_t)fperf_pte_pfn(entries[i]), level - 1);
		fperf_table_free(&sim->mem, (uint32_t)fperf_pte_pfn(entries[i]));
		entries[i] = 0;
	}
}

/* Everything is unmapped; the root stays. */
void fperf_free_all_tables(struct fperf_sim *sim, struct fperf_mm *mm)
{
	free_all_below(sim, mm->root_table, sim->nr_levels - 1);
}
