/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recount everything from the page tables and hold it against the ledger, the references and the scheme's own answers.
 * For tests: reads all tables of all processes.
 */
#include "mm/mm.h"

#include <stdarg.h>
#include <string.h>

struct recount {
	uint32_t *page;	 /* mappings of each page, by PTE or under a PMD */
	uint32_t *pte, *pmd; /* per head */
	uint32_t *vmas, *tables, *mms; /* per head; tables: pairs of VMA and page table */
	uint32_t *last_vma, *last_table, *last_mm;
	char *message;
	size_t size;
	bool failed;
};

static void fail(struct recount *r, const char *format, ...)
{
	va_list args;

	if (r->failed)
		return;
	r->failed = true;
	va_start(args, format);
	vsnprintf(r->message, r->size, format, args);
	va_end(args);
}

/* Is this VMA where an rmap walk of the folio would find it, at the right page? */
static void check_reachable(struct fperf_sim *sim, struct recount *r, const struct fperf_vma *vma, uint64_t vpn,
			    uint64_t pfn)
{
	const uint64_t folio = fperf_folio_head(sim, pfn);
	const struct fperf_folio *const f = &sim->folios[folio];
	const uint64_t index = f->index + (pfn - folio);

	if (!f->live)
		fail(r, "page %#llx: entry of a freed folio, pfn %llu", (unsigned long long)vpn,
		     (unsigned long long)pfn);
	else if (f->ksm) {
		if (!f->ksm->astray && !fperf_ksm_leads_to(f->ksm, vma, vpn))
			fail(r, "page %#llx: no item of KSM page %llu leads here", (unsigned long long)vpn,
			     (unsigned long long)pfn);
	} else if (index != vma->pgoff + (vpn - vma->start))
		fail(r, "page %#llx: pfn %llu has offset %llu, its place in the VMA says %llu", (unsigned long long)vpn,
		     (unsigned long long)pfn, (unsigned long long)index,
		     (unsigned long long)(vma->pgoff + (vpn - vma->start)));
	else if (f->anon) {
		const struct fperf_avc *avc = vma->avc_first;

		while (avc && avc->anon_vma != f->anon_vma)
			avc = avc->next;
		if (!avc)
			fail(r, "page %#llx: pfn %llu points to an anon_vma its VMA is not chained to",
			     (unsigned long long)vpn, (unsigned long long)pfn);
	} else if (f->object != vma->object) {
		fail(r, "page %#llx: pfn %llu belongs to another object", (unsigned long long)vpn,
		     (unsigned long long)pfn);
	}
}

static void count_entry(struct fperf_sim *sim, struct recount *r, const struct fperf_vma *vma, uint64_t vpn,
			uint64_t entry, uint32_t nr)
{
	const uint64_t pfn = fperf_pte_pfn(entry);
	const uint64_t folio = fperf_folio_head(sim, pfn);
	const uint32_t table = (uint32_t)(vpn >> sim->table_bits);

	if ((entry & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) != FPERF_PTE_PRESENT)
		return;
	if (pfn >= sim->next_pfn) {
		fail(r, "page %#llx: pfn %llu was never handed out", (unsigned long long)vpn, (unsigned long long)pfn);
		return;
	}
	check_reachable(sim, r, vma, vpn, pfn);
	for (uint32_t i = 0; i < nr; i++)
		r->page[pfn + i]++;
	if (nr > 1)
		r->pmd[folio]++;
	else
		r->pte[folio]++;
	/* VMA by VMA, each in the order of addresses. */
	if (r->last_vma[folio] != vma->id || r->last_table[folio] != table)
		r->tables[folio]++;
	if (r->last_vma[folio] != vma->id)
		r->vmas[folio]++;
	r->last_vma[folio] = vma->id;
	r->last_table[folio] = table;
	if (r->last_mm[folio] != vma->mm->id) {
		r->last_mm[folio] = vma->mm->id;
		r->mms[folio]++;
	}
}

static void count_mm(struct fperf_sim *sim, struct recount *r, const struct fperf_mm *mm)
{
	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		const struct fperf_vma *const vma = mm->vmas[i];

		if (i && mm->vmas[i - 1]->end > vma->start)
			fail(r, "mm %u: VMAs overlap at page %#llx", mm->id, (unsigned long long)vma->start);
		for (uint64_t vpn = vma->start; vpn < vma->end;) {
			const uint64_t *const pmd = fperf_pmd_peek(sim, mm, vpn);

			if (!pmd || !*pmd) {
				vpn = fperf_pmd_floor(sim, vpn) + sim->entries;
			} else if (*pmd & FPERF_PTE_LEAF) {
				if (fperf_pte_index(sim, vpn) || vpn + sim->entries > vma->end)
					fail(r, "page %#llx: a PMD mapping crosses the VMA's border",
					     (unsigned long long)vpn);
				count_entry(sim, r, vma, vpn, *pmd, sim->entries);
				vpn = fperf_pmd_floor(sim, vpn) + sim->entries;
			} else {
				count_entry(sim, r, vma, vpn,
					    fperf_table(&sim->mem, fperf_pmd_table(*pmd))[fperf_pte_index(sim, vpn)],
					    1);
				vpn++;
			}
		}
	}
}

static void check_answer(struct fperf_sim *sim, struct recount *r, enum fperf_question question, const char *name,
			 const struct fperf_query *query, int64_t truth)
{
	int64_t value = 0;
	const enum fperf_answer answer = sim->scheme->answer(sim, question, query, &value);

	if (answer == FPERF_COUNT && value != truth)
		fail(r, "folio %llu page %u: %s answers %lld, the page tables say %lld",
		     (unsigned long long)query->folio, query->page, name, (long long)value, (long long)truth);
}

static void check_folio(struct fperf_sim *sim, struct recount *r, uint64_t folio)
{
	const struct fperf_folio *const f = &sim->folios[folio];
	const uint32_t order = fperf_folio_order(sim, folio);
	struct fperf_query query = { .folio = folio, .order = order, .anon = f->anon };
	const int64_t total = (int64_t)r->pte[folio] + r->pmd[folio];
	const int32_t refs = fperf_head(sim, folio)->refcount;
	const int32_t held =
		f->mapping_refs + (!f->anon && f->object ? 1 << order : 0) + (f->swap_slot ? 1 : 0) + f->held_refs;

	if (sim->cfg.truth && (f->true_pte != r->pte[folio] || f->true_pmd != r->pmd[folio]))
		fail(r, "folio %llu: ledger has %u+%u mappings, the page tables %u+%u", (unsigned long long)folio,
		     f->true_pte, f->true_pmd, r->pte[folio], r->pmd[folio]);
	if (sim->cfg.truth && order && (f->true_vmas != r->vmas[folio] || f->true_mms != r->mms[folio]))
		fail(r, "folio %llu: ledger has %u VMAs and %u mms, the page tables %u and %u",
		     (unsigned long long)folio, f->true_vmas, f->true_mms, r->vmas[folio], r->mms[folio]);
	for (uint32_t i = 0; sim->cfg.truth && i < 1u << order; i++)
		if (fperf_truth_mapcount(sim, folio + i) != r->page[folio + i])
			fail(r, "folio %llu page %u: ledger has %lld mappings, the page tables %u",
			     (unsigned long long)folio, i, (long long)fperf_truth_mapcount(sim, folio + i),
			     r->page[folio + i]);
	if (refs != held)
		fail(r, "folio %llu: %d references, %d accounted for", (unsigned long long)folio, refs, held);
	check_answer(sim, r, FPERF_ASK_TOTAL_MAPCOUNT, "total_mapcount", &query, total);
	check_answer(sim, r, FPERF_ASK_MAPPING_REFS, "mapping_refs", &query, f->mapping_refs);
	for (uint32_t i = 0; i < 1u << order; i++) {
		query.page = i;
		/* A design may promise the count of a page only to somebody who maps it. */
		if (r->page[folio + i])
			check_answer(sim, r, FPERF_ASK_PAGE_MAPCOUNT, "page_mapcount", &query, r->page[folio + i]);
	}
	query.page = 0;
	if (sim->scheme->keeps_promises) {
		const uint32_t vmas = order ? r->vmas[folio] : (uint32_t)total;

		if (!sim->scheme->keeps_promises(sim, &query, vmas, r->tables[folio]))
			fail(r,
			     "folio %llu: the state breaks a promise of %s: %u VMAs by %u tables map it, mappings own "
			     "%d references",
			     (unsigned long long)folio, sim->scheme->name, vmas, r->tables[folio], f->mapping_refs);
	}
	if (sim->scheme->answer(sim, FPERF_ASK_MAPPED, &query, &(int64_t){ 0 }) == FPERF_NO && total)
		fail(r, "folio %llu: \"not mapped\", the page tables have %lld mappings", (unsigned long long)folio,
		     (long long)total);
	if (sim->scheme->answer(sim, FPERF_ASK_MAPPED, &query, &(int64_t){ 0 }) == FPERF_YES && !total)
		fail(r, "folio %llu: \"mapped\", the page tables have no mapping", (unsigned long long)folio);
}

int fperf_truth_check(struct fperf_sim *sim, char *message, size_t size)
{
	const uint64_t nr = sim->next_pfn;
	uint32_t *const arrays = calloc(nr * 9, sizeof(*arrays));
	struct recount r = { .page = arrays,
			     .pte = arrays + nr,
			     .pmd = arrays + nr * 2,
			     .vmas = arrays + nr * 3,
			     .mms = arrays + nr * 4,
			     .last_vma = arrays + nr * 5,
			     .last_mm = arrays + nr * 6,
			     .tables = arrays + nr * 7,
			     .last_table = arrays + nr * 8,
			     .message = message,
			     .size = size };

	if (!arrays)
		return FPERF_ERR(NO_MEMORY);
	if (size)
		message[0] = 0;
	for (uint32_t i = 0; i < sim->cap_processes; i++) {
		const struct fperf_mm *const mm = sim->processes[i].mm;
		bool seen = false;

		/* Children of a vfork share their parent's mm. */
		for (uint32_t j = 0; mm && mm->users > 1 && j < i && !seen; j++)
			seen = sim->processes[j].mm == mm;
		if (mm && !seen)
			count_mm(sim, &r, mm);
	}
	for (uint64_t pfn = 1; pfn < nr && !r.failed; pfn++)
		if (fperf_folio_head(sim, pfn) == pfn && sim->folios[pfn].live)
			check_folio(sim, &r, pfn);
	free(arrays);
	return r.failed ? 1 : 0;
}
