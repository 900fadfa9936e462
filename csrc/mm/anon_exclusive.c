/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PageAnonExclusive (v5.19+): one flag per page, known private to one mm. Apart from every count: designs without
 * per-page mapcounts still pay for it.
 */
#include "mm/mm.h"

static void log_run(struct fperf_sim *sim, enum fperf_rmap_hook hook, uint64_t pfn, uint32_t nr)
{
	struct fperf_rmap_op *op;

	if (!sim->logging)
		return;
	op = fperf_log_append(sim, hook, fperf_folio_head(sim, pfn));
	if (!op)
		return;
	op->first = (uint32_t)(pfn - op->folio);
	op->nr = nr;
}

void fperf_exclusive_set(struct fperf_sim *sim, uint64_t pfn, uint32_t nr)
{
	uint64_t *const flags = &fperf_pfn_page(&sim->mem, pfn)->flags;

	if (!sim->prof.anon_exclusive)
		return;
	log_run(sim, FPERF_HOOK_EXCLUSIVE_SET, pfn, nr);
	if (nr == 1)
		fperf_set_bit(&sim->door, FPERF_FIELD_ANON_EXCLUSIVE, flags, FPERF_PG_ANON_EXCLUSIVE);
	else
		fperf_run_set_bit(&sim->door, FPERF_FIELD_ANON_EXCLUSIVE, flags, FPERF_PG_ANON_EXCLUSIVE, nr);
}

bool fperf_exclusive_clear(struct fperf_sim *sim, uint64_t pfn, uint32_t nr)
{
	bool any = false;

	if (!sim->prof.anon_exclusive)
		return false;
	while (nr) {
		uint64_t *const flags = &fperf_pfn_page(&sim->mem, pfn)->flags;
		bool set;
		const uint32_t same = fperf_run_clear_same_bit(&sim->door, FPERF_FIELD_ANON_EXCLUSIVE, flags,
							       FPERF_PG_ANON_EXCLUSIVE, nr, &set);

		if (set) {
			any = true;
			log_run(sim, FPERF_HOOK_EXCLUSIVE_CLEAR, pfn, same);
		}
		pfn += same;
		nr -= same;
	}
	return any;
}

bool fperf_exclusive_test(struct fperf_sim *sim, uint64_t pfn)
{
	if (!sim->prof.anon_exclusive)
		return false;
	return fperf_load64(&sim->door, FPERF_FIELD_ANON_EXCLUSIVE, &fperf_pfn_page(&sim->mem, pfn)->flags) >>
		       FPERF_PG_ANON_EXCLUSIVE &
	       1;
}
