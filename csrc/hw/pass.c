/* SPDX-License-Identifier: BSD-3-Clause */
/* The hooks of a scheme, called as mm calls them, on one folio after another; compiled once per back end. */
#include "hw/call_inl.h"

/* What presence tests look at. */
int FPERF_FN(fperf_hw_page_tables)(struct fperf_sim *sim, uint32_t process, uint64_t vpn, uint64_t nr, bool ptes)
{
	struct fperf_mm *const mm = mm_of(sim, process);

	if (!mm)
		return FPERF_ERR(ARGUMENT);
	for (uint64_t at = vpn - fperf_pte_index(sim, vpn); at < vpn + nr; at += sim->entries) {
		uint64_t *const pmd = fperf_pmd_alloc(sim, mm, at);

		if (!pmd)
			return FPERF_ERR(NO_MEMORY);
		if (*pmd & FPERF_PTE_LEAF)
			return FPERF_ERR(ARGUMENT);
		if (ptes && !fperf_pte_table_alloc(sim, pmd))
			return FPERF_ERR(NO_MEMORY);
	}
	return 0;
}

/* ns, or UINT64_MAX if a process of the batch does not map the region. */
uint64_t FPERF_FN(fperf_hw_pass)(struct fperf_sim *sim, const struct fperf_hw_batch *batch)
{
	bool (*const volatile empty)(struct fperf_sim *, const struct fperf_run *) = empty_hook;
	const uint64_t untimed = batch->nr_visits - fperf_hw_nr_timed(batch->nr_visits);
	struct prepared prepared[FPERF_HW_MAX_CALLS];
	uint64_t begin, end;

	for (uint32_t i = 0; i < batch->nr_calls; i++)
		if (!prepare(sim, batch, &batch->calls[i], &prepared[i]))
			return UINT64_MAX;
	sim->bare = true;
	fperf_event_begin(&sim->door, FPERF_EV_TOTAL_MAPCOUNT);
	begin = fperf_hw_now();
	for (uint64_t i = 0; i < batch->nr_visits; i++) {
		const uint64_t at = (uint64_t)batch->visit[i] << batch->order;

		if (i == untimed)
			begin = fperf_hw_now();

#if !defined(FPERF_BACKEND_NATIVE)
		if (i)
			fperf_event_begin(&sim->door, FPERF_EV_TOTAL_MAPCOUNT);
#endif
		for (uint32_t j = 0; j < batch->nr_calls; j++) {
			struct prepared *const p = &prepared[j];

			p->run.folio = p->query.folio = batch->folio + at;
			p->run.vpn = batch->vpn + at + p->run.first;
			make(sim, p, &empty);
		}
		fperf_hw_serialise();
	}
	end = fperf_hw_now();
	sim->bare = false;
	return end - begin;
}
