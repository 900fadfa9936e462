/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The presence test of designs that count VMAs: does this VMA map a page of the folio already? Each page of a folio can
 * appear at one address only in one VMA, so the test looks at the entries there. schemes.md 3.2.
 */
#include "mm/mm.h"

/* The test has read the entries of [from, to). */
static void read_entries(struct fperf_sim *sim, const uint64_t *from, const uint64_t *to)
{
	if (to == from)
		return;
	fperf_charge_ptes(sim, FPERF_LOAD, from, (uint64_t)(to - from));
	sim->door.stats->pte_reads += (uint64_t)(to - from);
}

static bool maps(uint64_t entry, uint64_t pfn)
{
	return (entry & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) == FPERF_PTE_PRESENT && fperf_pte_pfn(entry) == pfn;
}

/* Where a VMA could map the folio, and what the caller knows of it. */
struct place {
	struct fperf_vma *vma;
	uint64_t folio, vpn;
	uint32_t first, nr; /* pages of the folio inside the VMA, the first at vpn */
	uint32_t skip, nr_skip;
};

/* Ascending, entry by entry, until the first hit; the entries of the run itself are known. */
static bool scan(struct fperf_sim *sim, const struct place *place)
{
	for (uint32_t i = 0; i < place->nr;) {
		const uint64_t *const pmd = fperf_pmd_peek(sim, place->vma->mm, place->vpn + i);
		const uint32_t in_table = sim->entries - fperf_pte_index(sim, place->vpn + i);
		const uint32_t stop = i + (in_table < place->nr - i ? in_table : place->nr - i);
		const uint64_t *pte, *run;

		if (pmd)
			fperf_charge_pmd(sim, FPERF_LOAD, pmd);
		if (!pmd || !*pmd || *pmd & FPERF_PTE_LEAF) {
			if (pmd && *pmd & FPERF_PTE_LEAF && maps(*pmd, place->folio))
				return true;
			i = stop;
			continue;
		}
		run = pte = &fperf_table(&sim->mem, fperf_pmd_table(*pmd))[fperf_pte_index(sim, place->vpn + i)];
		while (i < stop) {
			if (place->first + i - place->skip < place->nr_skip) {
				const uint32_t known = place->skip + place->nr_skip - (place->first + i);
				const uint32_t jump = known < stop - i ? known : stop - i;

				read_entries(sim, run, pte);
				i += jump;
				run = pte += jump;
				continue;
			}
			if (maps(*pte, place->folio + place->first + i)) {
				read_entries(sim, run, pte + 1);
				return true;
			}
			i++;
			pte++;
		}
		read_entries(sim, run, pte);
	}
	return false;
}

/* One entry of the folio, by page index. */
static bool look_at(struct fperf_sim *sim, const struct place *place, uint32_t page)
{
	const uint64_t vpn = place->vpn + (page - place->first);
	const uint64_t *const pmd = fperf_pmd_peek(sim, place->vma->mm, vpn);
	const uint64_t *pte;

	if (!pmd || !*pmd || *pmd & FPERF_PTE_LEAF)
		return pmd && *pmd & FPERF_PTE_LEAF && maps(*pmd, place->folio);
	pte = &fperf_table(&sim->mem, fperf_pmd_table(*pmd))[fperf_pte_index(sim, vpn)];
	read_entries(sim, pte, pte + 1);
	return maps(*pte, place->folio + page);
}

static bool neighbours(struct fperf_sim *sim, const struct place *place)
{
	const uint32_t before = place->skip - 1, behind = place->skip + place->nr_skip;

	if (place->nr_skip && place->skip > place->first && look_at(sim, place, before))
		return true;
	if (place->nr_skip && behind < place->first + place->nr && look_at(sim, place, behind))
		return true;
	return scan(sim, place);
}

/*
 * A software bit in the PMD entry says that this VMA has taken its count; proposed for per-VMA counts by P. Xu and
 * J. Houghton in March 2023. Set, it is trusted by those who map; clear, it says nothing. Only for folios that fill the
 * entry's range in one VMA: elsewhere it is taken away, since nobody would keep it right.
 */
static bool pmd_special(struct fperf_sim *sim, const struct place *place, bool mapping)
{
	uint64_t *const pmd = fperf_pmd_peek(sim, place->vma->mm, place->vpn);
	const bool fills = place->nr == sim->entries && !fperf_pte_index(sim, place->vpn);
	bool found;

	if (!pmd || !*pmd || *pmd & FPERF_PTE_LEAF)
		return scan(sim, place);
	if (fills && mapping && *pmd & FPERF_PTE_SCHEME) {
		fperf_charge_pmd(sim, FPERF_LOAD, pmd);
		return true;
	}
	found = scan(sim, place);
	if (fills && (found || mapping) != !!(*pmd & FPERF_PTE_SCHEME)) {
		*pmd ^= FPERF_PTE_SCHEME;
		fperf_charge_pmd(sim, FPERF_STORE, pmd);
	} else if (!fills && *pmd & FPERF_PTE_SCHEME) {
		*pmd &= ~(uint64_t)FPERF_PTE_SCHEME;
		fperf_charge_pmd(sim, FPERF_STORE, pmd);
	}
	return found;
}

/* By the configured policy; `place` has at least one entry. */
static bool look(struct fperf_sim *sim, const struct place *place, bool mapping)
{
	switch ((enum fperf_presence)sim->cfg.presence) {
	case FPERF_PRESENCE_ORACLE:
		return fperf_truth_present_at(sim, place->folio, place->vma->mm, place->vpn, place->first, place->nr,
					      place->skip, place->nr_skip);
	case FPERF_PRESENCE_NEIGHBOURS:
		return neighbours(sim, place);
	case FPERF_PRESENCE_PMD_SPECIAL:
		return pmd_special(sim, place, mapping);
	case FPERF_PRESENCE_BATCH:
		return place->nr_skip < place->nr && scan(sim, place);
	case FPERF_PRESENCE_SCAN:
	case FPERF_NR_PRESENCES:
		break;
	}
	return scan(sim, place);
}

/* Only the entries of the table that holds page `page`. */
static void keep_to_table(const struct fperf_sim *sim, struct place *place, uint32_t page)
{
	const uint64_t low = fperf_pmd_floor(sim, place->vpn + page - place->first);
	const uint64_t from = low > place->vpn ? low : place->vpn;
	const uint64_t end = place->vpn + place->nr;
	const uint64_t to = low + sim->entries < end ? low + sim->entries : end;

	place->first += (uint32_t)(from - place->vpn);
	place->vpn = from;
	place->nr = to > from ? (uint32_t)(to - from) : 0;
}

static bool present(struct fperf_sim *sim, struct place *place, bool mapping, bool one_table, uint32_t page)
{
	const enum fperf_cause before = fperf_because(&sim->door, FPERF_CAUSE_PRESENCE);
	bool found;

	place->nr = fperf_vma_folio_range(sim, place->vma, place->folio, &place->first, &place->vpn);
	if (one_table)
		keep_to_table(sim, place, page);
	/* One VMA may map a KSM page anywhere, and often: only a search of all of it could tell, so each entry counts. */
	found = !fperf_is_ksm(sim, place->folio) && place->nr && look(sim, place, mapping);
	fperf_because(&sim->door, before);
	fperf_log_answer(sim, found);
	return found;
}

bool fperf_present(struct fperf_sim *sim, uint64_t folio, struct fperf_vma *vma, uint32_t skip, uint32_t nr_skip,
		   bool mapping)
{
	struct place place = { .vma = vma, .folio = folio, .skip = skip, .nr_skip = nr_skip };

	return sim->replay ? *sim->replay++ : present(sim, &place, mapping, false, 0);
}

bool fperf_present_in_table(struct fperf_sim *sim, uint64_t folio, struct fperf_vma *vma, uint32_t page, uint32_t skip,
			    uint32_t nr_skip, bool mapping)
{
	struct place place = { .vma = vma, .folio = folio, .skip = skip, .nr_skip = nr_skip };

	return sim->replay ? *sim->replay++ : present(sim, &place, mapping, true, page);
}
