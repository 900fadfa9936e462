/* SPDX-License-Identifier: BSD-3-Clause */
/* Events that look at every folio a range maps, once each, in order of address. */
#include "engine/events.h"

/* The folio mapped at or behind *vpn, which then stands behind it; 0: none up to past. */
static uint64_t next_folio(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t *vpn, uint64_t past)
{
	while (*vpn < past) {
		const uint64_t *const pmd = fperf_pmd_peek(sim, mm, *vpn);
		const uint64_t behind = fperf_pmd_floor(sim, *vpn) + sim->entries;
		uint64_t entry = pmd ? *pmd : 0;
		uint64_t folio, next = *vpn + 1;

		if (!entry) {
			*vpn = behind;
			continue;
		}
		if (entry & FPERF_PTE_LEAF)
			next = behind;
		else
			entry = fperf_table(&sim->mem, fperf_pmd_table(entry))[fperf_pte_index(sim, *vpn)];
		if ((entry & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) != FPERF_PTE_PRESENT) {
			*vpn = next;
			continue;
		}
		folio = fperf_folio_head(sim, fperf_pte_pfn(entry));
		if (!(entry & FPERF_PTE_LEAF))
			next = *vpn + (folio + (1ull << fperf_folio_order(sim, folio)) - fperf_pte_pfn(entry));
		*vpn = next;
		return folio;
	}
	return 0;
}

int fperf_run_consumer(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	const struct fperf_consumer *consumer = fperf_consumer_table;
	const uint64_t past = e->vpn + e->nr;
	uint64_t vpn = e->vpn, folio;
	bool any = false;

	while (consumer->look && consumer->op != e->op)
		consumer++;
	if (!consumer->look)
		return FPERF_ERR(EVENT);
	while ((folio = next_folio(sim, mm, &vpn, past))) {
		int ret;

		any = true;
		fperf_event_begin(&sim->door, consumer->event);
		ret = consumer->look(sim, folio);
		if (ret < 0)
			return ret;
	}
	return any ? FPERF_APPLIED : FPERF_NOOP;
}

/* As written to debugfs/split_huge_pages; up to v6.8 it knew no orders. */
int fperf_run_split(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	const uint32_t order = sim->prof.version < FPERF_KERNEL(6, 9) ? 0 : (uint32_t)e->arg;
	const uint64_t past = e->vpn + e->nr;
	uint64_t vpn = e->vpn, folio;
	bool any = false;

	while ((folio = next_folio(sim, mm, &vpn, past))) {
		int ret;

		if (fperf_folio_order(sim, folio) <= order)
			continue;
		fperf_event_begin(&sim->door, FPERF_EV_SPLIT);
		ret = fperf_split_huge_page(sim, folio, order);
		if (ret < 0)
			return ret;
		any |= ret == FPERF_APPLIED;
	}
	return any ? FPERF_APPLIED : FPERF_NOOP;
}

int fperf_run_numa_balance(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	const uint64_t past = e->vpn + e->nr;
	uint64_t vpn = e->vpn, folio;
	bool any = false;
	uint32_t i;

	fperf_event_begin(&sim->door, FPERF_EV_NUMA_SCAN);
	for (fperf_vma_find(mm, e->vpn, &i); i < mm->nr_vmas && mm->vmas[i]->start < past; i++)
		fperf_numa_scan(sim, mm->vmas[i], e->vpn, past);
	while ((folio = next_folio(sim, mm, &vpn, past))) {
		int ret;

		if (!sim->folios[folio].misplaced)
			continue;
		fperf_event_begin(&sim->door, FPERF_EV_NUMA_FAULT);
		ret = fperf_numa_fault(sim, folio);
		if (ret < 0)
			return ret;
		any |= ret == FPERF_APPLIED;
	}
	return any ? FPERF_APPLIED : FPERF_NOOP;
}

/* Those that mapped the page die, or are let off. */
static int kill_mappers(struct fperf_sim *sim, bool kill)
{
	int ret = 0;

	for (uint32_t i = 0; !ret && i < sim->cap_processes; i++) {
		struct fperf_process *const process = &sim->processes[i];

		if (process->state != FPERF_PROC_ALIVE || !process->mm->doomed)
			continue;
		if (kill)
			ret = fperf_run_exit(sim, process);
		else
			process->mm->doomed = false;
		sim->totals.killed += kill;
	}
	return ret;
}

int fperf_run_memory_failure(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	const struct fperf_process *const process = fperf_process_of(sim, e->process);
	bool any = false;

	for (uint64_t vpn = e->vpn; vpn < e->vpn + e->nr && process->mm == mm; vpn++) {
		const uint64_t *const pmd = fperf_pmd_peek(sim, mm, vpn);
		uint64_t entry = pmd ? *pmd : 0, pfn;
		bool kill;
		int ret;

		if (entry && !(entry & FPERF_PTE_LEAF))
			entry = fperf_table(&sim->mem, fperf_pmd_table(entry))[fperf_pte_index(sim, vpn)];
		if ((entry & FPERF_PTE_STATE) != FPERF_PTE_PRESENT)
			continue;
		pfn = fperf_pte_pfn(entry) + (entry & FPERF_PTE_LEAF ? fperf_pte_index(sim, vpn) : 0);
		fperf_event_begin(&sim->door, FPERF_EV_MEMORY_FAILURE);
		ret = fperf_memory_failure(sim, pfn, &kill);
		if (ret < 0)
			return ret;
		any |= ret == FPERF_APPLIED;
		ret = kill_mappers(sim, kill);
		if (ret)
			return ret;
	}
	return any ? FPERF_APPLIED : FPERF_NOOP;
}
