/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading what a process maps: its entries, and what smaps says. */
#include "engine/events.h"

struct rows {
	struct fperf_mapping_row *rows;
	size_t cap, nr;
	struct fperf_mapping_row last;
	uint64_t last_folio;
};

static void row_flush(struct rows *r)
{
	if (r->last.nr) {
		if (r->nr < r->cap)
			r->rows[r->nr] = r->last;
		r->nr++;
	}
	r->last.nr = 0;
}

static void row_add(struct fperf_sim *sim, struct rows *r, uint64_t vpn, uint64_t entry, uint32_t nr)
{
	struct fperf_mapping_row row = {
		.vpn = vpn, .nr = nr, .pmd = !!(entry & FPERF_PTE_LEAF), .writable = !!(entry & FPERF_PTE_WRITE)
	};
	uint64_t folio = 0;

	if (entry & FPERF_PTE_SWAP) {
		row.pfn = fperf_pte_pfn(entry);
		row.kind = FPERF_MAPPING_SWAP;
	} else if (entry & FPERF_PTE_GUARD) {
		row.pfn = UINT64_MAX;
		row.kind = FPERF_MAPPING_GUARD;
	} else if (entry & FPERF_PTE_ZERO) {
		row.pfn = UINT64_MAX;
		row.kind = entry & FPERF_PTE_LEAF ? FPERF_MAPPING_HUGE_ZERO : FPERF_MAPPING_ZERO;
	} else {
		row.pfn = fperf_pte_pfn(entry);
		folio = fperf_folio_head(sim, row.pfn);
		row.kind = sim->folios[folio].anon ? FPERF_MAPPING_ANON : FPERF_MAPPING_FILE;
	}
	if (r->last.nr && r->last.vpn + r->last.nr == vpn && folio == r->last_folio && r->last.kind == row.kind &&
	    r->last.pmd == row.pmd && r->last.writable == row.writable &&
	    (row.pfn == UINT64_MAX || r->last.pfn + r->last.nr == row.pfn)) {
		r->last.nr += nr;
		return;
	}
	row_flush(r);
	r->last = row;
	r->last_folio = folio;
}

int fperf_read_mappings(struct fperf_sim *sim, struct fperf_mm *mm, struct fperf_mapping_row *rows, size_t cap,
			size_t *nr)
{
	struct rows r = { .rows = rows, .cap = cap };

	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		const struct fperf_vma *const vma = mm->vmas[i];

		for (uint64_t vpn = vma->start; vpn < vma->end;) {
			const uint64_t *const pmd = fperf_pmd_peek(sim, mm, vpn);
			uint64_t entry;

			if (!pmd || !*pmd) {
				vpn = fperf_pmd_floor(sim, vpn) + sim->entries;
				continue;
			}
			if (*pmd & FPERF_PTE_LEAF) {
				row_add(sim, &r, vpn, *pmd, sim->entries);
				vpn += sim->entries;
				continue;
			}
			entry = fperf_table(&sim->mem, fperf_pmd_table(*pmd))[fperf_pte_index(sim, vpn)];
			if (entry)
				row_add(sim, &r, vpn, entry, 1);
			vpn++;
		}
		row_flush(&r);
	}
	*nr = r.nr;
	return 0;
}

static int log_smaps(struct fperf_sim *sim, const struct fperf_smaps_row *row)
{
	if (sim->nr_smaps == sim->cap_smaps) {
		const size_t cap = sim->cap_smaps ? sim->cap_smaps * 2 : 64;
		struct fperf_smaps_row *const grown = realloc(sim->smaps, cap * sizeof(*grown));

		if (!grown)
			return FPERF_ERR(NO_MEMORY);
		sim->smaps = grown;
		sim->cap_smaps = cap;
	}
	sim->smaps[sim->nr_smaps++] = *row;
	return 0;
}

int fperf_run_smaps(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	const unsigned int shift = sim->cfg.page_shift;
	struct fperf_smaps_row sum = { .process = e->process };
	struct fperf_vma_row *rows = NULL;
	size_t nr;
	int ret;

	if (mm->nr_vmas) {
		rows = malloc(mm->nr_vmas * sizeof(*rows));
		if (!rows)
			return FPERF_ERR(NO_MEMORY);
	}
	fperf_event_begin(&sim->door, FPERF_EV_SMAPS);
	ret = fperf_smaps(sim, mm, e->what == FPERF_SMAPS_EXACT, rows, mm->nr_vmas, &nr);
	for (size_t i = 0; !ret && i < nr; i++) {
		sum.rss_bytes += rows[i].rss_pages << shift;
		sum.pss_bytes += rows[i].pss_bytes;
		sum.pss_true_bytes += rows[i].pss_true_bytes;
		sum.uss_bytes += rows[i].uss_pages << shift;
		sum.uss_true_bytes += rows[i].uss_true_pages << shift;
	}
	free(rows);
	return ret ? ret : log_smaps(sim, &sum);
}
