/* SPDX-License-Identifier: BSD-3-Clause */
/* A pass by whichever back end a simulation has, its arguments checked. */
#include "hw/hw.h"

#include <errno.h>
#include <sys/mman.h>

#include "hw/pass.h"
#include "mm/rmap_hooks.h"

static bool is_pmd_hook(uint32_t hook)
{
	return hook == FPERF_HOOK_MAP_PMD || hook == FPERF_HOOK_UNMAP_PMD || hook == FPERF_HOOK_SPLIT_PMD;
}

static bool call_is_possible(uint32_t hook)
{
	switch (hook) {
	case FPERF_HOOK_MAP_RUN:
	case FPERF_HOOK_UNMAP_RUN:
	case FPERF_HOOK_FORK_RUN:
	case FPERF_HOOK_RECOUNT:
	case FPERF_HOOK_EXCLUSIVE_SET:
	case FPERF_HOOK_EXCLUSIVE_CLEAR:
		return true;
	default:
		return is_pmd_hook(hook) || (hook >= FPERF_HW_ASK && hook < FPERF_HW_NR_CALLS);
	}
}

const char *const fperf_hw_use_names[FPERF_HW_NR_CALLS - FPERF_HW_ADD + 1] = {
#define X(NAME, name) #name,
	FPERF_HW_USES(X)
#undef X
};

static int check(const struct fperf_sim *sim, const struct fperf_hw_batch *batch)
{
	const uint64_t nr_pages = 1ull << batch->order;

	if (batch->order > sim->pmd_order)
		return FPERF_ERR(ORDER);
	if (batch->nr_calls > FPERF_HW_MAX_CALLS || !batch->folio || batch->folio & (nr_pages - 1))
		return FPERF_ERR(ARGUMENT);
	for (uint32_t i = 0; i < batch->nr_calls; i++) {
		const struct fperf_hw_call *const call = &batch->calls[i];

		if (!call_is_possible(call->hook) || (uint64_t)call->first + call->nr > nr_pages ||
		    (is_pmd_hook(call->hook) && batch->order != sim->pmd_order) ||
		    (call->hook == FPERF_HW_ASK && call->value >= FPERF_NR_QUESTIONS))
			return FPERF_ERR(ARGUMENT);
	}
	for (uint64_t i = 0; i < batch->nr_visits; i++) {
		const uint64_t folio = batch->folio + ((uint64_t)batch->visit[i] << batch->order);

		if (folio + nr_pages > sim->next_pfn || !sim->folios[folio].live ||
		    sim->page_order[folio] != batch->order)
			return FPERF_ERR(ARGUMENT);
	}
	return 0;
}

int fperf_hw_pass(struct fperf_sim *sim, const struct fperf_hw_batch *batch, uint64_t *ns)
{
	const int err = check(sim, batch);

	if (err)
		return err;
	switch ((enum fperf_backend)sim->cfg.backend) {
	case FPERF_BACKEND_ID_CACHE:
		*ns = fperf_hw_pass_cache(sim, batch);
		break;
	case FPERF_BACKEND_ID_NATIVE:
		*ns = fperf_hw_pass_native(sim, batch);
		break;
	default:
		*ns = fperf_hw_pass_count(sim, batch);
		break;
	}
	return *ns == UINT64_MAX ? FPERF_ERR(NOT_MAPPED) : 0;
}

int fperf_hw_page_tables(struct fperf_sim *sim, uint32_t process, uint64_t vpn, uint64_t nr, bool ptes)
{
	switch ((enum fperf_backend)sim->cfg.backend) {
	case FPERF_BACKEND_ID_CACHE:
		return fperf_hw_page_tables_cache(sim, process, vpn, nr, ptes);
	case FPERF_BACKEND_ID_NATIVE:
		return fperf_hw_page_tables_native(sim, process, vpn, nr, ptes);
	default:
		return fperf_hw_page_tables_count(sim, process, vpn, nr, ptes);
	}
}

int fperf_hw_contend(struct fperf_sim *sim, const struct fperf_hw_batch *place, const struct fperf_hw_crowd *crowd,
		     uint64_t duration_ns)
{
	if (sim->cfg.backend != FPERF_BACKEND_ID_NATIVE || !crowd->nr)
		return FPERF_ERR(ARGUMENT);
	for (uint32_t i = 0; i < crowd->nr; i++) {
		const struct fperf_hw_batch one = { .calls = &crowd->calls[(size_t)i * crowd->nr_calls],
						    .nr_calls = crowd->nr_calls,
						    .order = place->order,
						    .visit = &crowd->folios[i],
						    .nr_visits = 1,
						    .folio = place->folio,
						    .vpn = place->vpn };
		const int err = check(sim, &one);

		if (err)
			return err;
	}
	return fperf_hw_contend_native(sim, place, crowd, duration_ns);
}

bool fperf_hw_recounts(const struct fperf_sim *sim)
{
	return sim->scheme->recount_begin;
}

int fperf_hw_evict_sim(struct fperf_sim *sim)
{
	struct fperf_cache_geometry levels[FPERF_MAX_CACHE_LEVELS];
	struct fperf_cache *cold;
	int err;

	if (sim->cfg.backend == FPERF_BACKEND_ID_NATIVE) {
		fperf_hw_evict(sim->mem.pages, sim->next_pfn * sizeof(struct fperf_page));
		fperf_hw_evict(sim->mem.tables, sim->mem.next_table << sim->mem.page_shift);
		return 0;
	}
	if (!sim->door.cache)
		return 0;
	for (unsigned int i = 0; i < sim->cfg.nr_cache_levels; i++)
		levels[i] = (struct fperf_cache_geometry){ sim->cfg.cache[i].size_bytes, sim->cfg.cache[i].nr_ways };
	err = fperf_cache_create(levels, sim->cfg.nr_cache_levels, sim->cfg.line_shift, &cold);
	if (err)
		return err;
	fperf_cache_destroy(sim->door.cache);
	fperf_door_set_cache(&sim->door, cold);
	return 0;
}

int fperf_hw_huge_pages(struct fperf_sim *sim, uint64_t nr)
{
	const uint64_t huge = 2u << 20;
	const uint64_t bytes = (nr * sizeof(struct fperf_page) + huge - 1) & ~(huge - 1);

	if (nr > sim->mem.nr_pfns)
		return -EINVAL;
	return madvise(sim->mem.base, bytes < sim->mem.size ? bytes : sim->mem.size, MADV_HUGEPAGE) ? -errno : 0;
}
