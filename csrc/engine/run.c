/* SPDX-License-Identifier: BSD-3-Clause */
/* Events, one by one: check what was asked for, then let mm or a consumer do it. Compiled once per back end. */
#include "engine/backend.h"

#include "engine/events.h"
#include "scheme/scheme.h"

#include <string.h>

static const struct fperf_scheme_ops *const schemes[] = {
#define X(name) &FPERF_SCHEME(name),
	FPERF_SCHEMES(X)
#undef X
};

static int processes_reserve(struct fperf_sim *sim, uint32_t process)
{
	uint32_t cap = sim->cap_processes ? sim->cap_processes : 64;
	struct fperf_process *grown;

	/* Process numbers are dense; a stray one must not cost the host its memory. */
	if (process >= 1u << 26)
		return FPERF_ERR(ARGUMENT);
	while (cap <= process)
		cap *= 2;
	if (cap == sim->cap_processes)
		return 0;
	grown = realloc(sim->processes, cap * sizeof(*grown));
	if (!grown)
		return FPERF_ERR(NO_MEMORY);
	memset(grown + sim->cap_processes, 0, (cap - sim->cap_processes) * sizeof(*grown));
	sim->processes = grown;
	sim->cap_processes = cap;
	return 0;
}

/* ---- what events do ---- */

static int run_mmap(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	struct fperf_object *const object = e->what == FPERF_WHAT_ANON ? NULL : sim->objects[e->what - 1];
	struct fperf_vma *vma;
	int ret;

	fperf_event_begin(&sim->door, FPERF_EV_MMAP);
	if (e->flags & FPERF_MAP_FIXED) {
		ret = fperf_munmap(sim, mm, e->vpn, e->vpn + e->nr);
		if (ret)
			return ret;
	}
	vma = fperf_vma_new(sim, mm, e->vpn, e->vpn + e->nr, object ? e->arg : e->vpn, fperf_flags_of(e->flags),
			    object);
	if (!vma)
		return FPERF_ERR(NO_MEMORY);
	ret = fperf_vma_insert(sim, vma);
	if (ret)
		return ret;
	fperf_vma_merge_around(sim, vma);
	return 0;
}

static int run_fork(struct fperf_sim *sim, struct fperf_process *parent, const struct fperf_event *e)
{
	struct fperf_mm *const mm = parent->mm;
	struct fperf_process *child;
	struct fperf_mm *copy;
	int ret = processes_reserve(sim, (uint32_t)e->arg);

	if (ret)
		return ret;
	child = &sim->processes[e->arg]; /* parent may have moved */
	fperf_event_begin(&sim->door, FPERF_EV_FORK);
	if (e->flags & FPERF_FORK_SHARE_MM) {
		mm->users++;
		*child = (struct fperf_process){ .mm = mm, .state = FPERF_PROC_ALIVE };
		return fperf_holds_fork(&sim->processes[e->process], child);
	}
	copy = fperf_mm_create(sim);
	if (!copy)
		return FPERF_ERR(TABLE_SPACE);
	*child = (struct fperf_process){ .mm = copy, .state = FPERF_PROC_ALIVE };
	ret = fperf_holds_fork(&sim->processes[e->process], child);
	return ret ? ret : fperf_fork_mm(sim, mm, copy);
}

static int leave_mm(struct fperf_sim *sim, struct fperf_process *process)
{
	struct fperf_mm *const mm = process->mm;
	int ret;

	process->mm = NULL;
	if (--mm->users)
		return 0;
	ret = fperf_exit_mm(sim, mm);
	if (!ret)
		fperf_mm_destroy(sim, mm);
	return ret;
}

static int run_exec(struct fperf_sim *sim, struct fperf_process *process)
{
	struct fperf_mm *const fresh = fperf_mm_create(sim);
	int ret;

	if (!fresh)
		return FPERF_ERR(TABLE_SPACE);
	fperf_event_begin(&sim->door, FPERF_EV_EXEC);
	fperf_holds_close(sim, process, true);
	ret = leave_mm(sim, process);
	process->mm = fresh;
	return ret;
}

/* The mm goes first, then the files: what rings and pipes hold outlives the mappings. */
int fperf_run_exit(struct fperf_sim *sim, struct fperf_process *process)
{
	int ret;

	fperf_event_begin(&sim->door, FPERF_EV_EXIT);
	process->state = FPERF_PROC_EXITED;
	ret = leave_mm(sim, process);
	if (!ret)
		fperf_holds_close(sim, process, false);
	return ret;
}

static int run_object(struct fperf_sim *sim, const struct fperf_event *e)
{
	struct fperf_object *const object = sim->objects[e->what - 1];

	if (e->op == FPERF_OP_TRUNCATE) {
		fperf_event_begin(&sim->door, FPERF_EV_TRUNCATE);
		return fperf_truncate(sim, object, e->nr);
	}
	if (e->op == FPERF_OP_PUNCH_HOLE) {
		fperf_event_begin(&sim->door, FPERF_EV_TRUNCATE);
		return fperf_punch_hole(sim, object, e->vpn, e->vpn + e->nr);
	}
	fperf_event_begin(&sim->door, FPERF_EV_PAGE_CACHE);
	if (e->op == FPERF_OP_READ_OBJECT)
		return fperf_read_object(sim, object);
	fperf_drop_object(sim, object);
	return 0;
}

static int run_one(struct fperf_sim *sim, const struct fperf_event *e)
{
	struct fperf_process *const process = fperf_process_of(sim, e->process);
	struct fperf_mm *const mm = process ? process->mm : NULL;
	int ret;

	switch ((enum fperf_op)e->op) {
	case FPERF_OP_MMAP:
		return run_mmap(sim, mm, e);
	case FPERF_OP_MUNMAP:
		fperf_event_begin(&sim->door, FPERF_EV_MUNMAP);
		if (fperf_range_free(mm, e->vpn, e->vpn + e->nr))
			return FPERF_NOOP;
		return fperf_munmap(sim, mm, e->vpn, e->vpn + e->nr);
	case FPERF_OP_MREMAP:
		fperf_event_begin(&sim->door, FPERF_EV_MREMAP);
		return fperf_mremap(sim, mm, e->vpn, e->nr, e->arg, e->arg2);
	case FPERF_OP_MPROTECT:
		fperf_event_begin(&sim->door, FPERF_EV_MPROTECT);
		ret = fperf_mprotect(sim, mm, e->vpn, e->vpn + e->nr,
				     fperf_flags_of(e->flags & (FPERF_PROT_READ | FPERF_PROT_WRITE)));
		if (!ret && !fperf_range_covered(mm, e->vpn, e->vpn + e->nr))
			ret = FPERF_ERR(NOT_MAPPED);
		return ret;
	case FPERF_OP_MADVISE:
		return fperf_run_madvise(sim, mm, e);
	case FPERF_OP_TOUCH:
		return fperf_run_touch(sim, mm, e);
	case FPERF_OP_FORK:
		return run_fork(sim, process, e);
	case FPERF_OP_EXEC:
		return run_exec(sim, process);
	case FPERF_OP_EXIT:
		return fperf_run_exit(sim, process);
	case FPERF_OP_TRUNCATE:
	case FPERF_OP_READ_OBJECT:
	case FPERF_OP_DROP_OBJECT:
	case FPERF_OP_PUNCH_HOLE:
		return run_object(sim, e);
	case FPERF_OP_SMAPS:
		return fperf_run_smaps(sim, mm, e);
	case FPERF_OP_PAGEMAP:
		fperf_event_begin(&sim->door, FPERF_EV_PAGEMAP);
		return fperf_pagemap(sim, mm);
	case FPERF_OP_NUMA_MAPS:
		fperf_event_begin(&sim->door, FPERF_EV_NUMA_MAPS);
		return fperf_numa_maps(sim, mm);
	case FPERF_OP_KPAGECOUNT:
		return fperf_kpagecount(sim);
	case FPERF_OP_COMPACT:
		return fperf_compact(sim);
	case FPERF_OP_RECLAIM:
		return fperf_reclaim(sim);
	case FPERF_OP_PAGE_IDLE:
		return fperf_page_idle(sim);
	case FPERF_OP_MEMORY_FAILURE:
		return fperf_run_memory_failure(sim, mm, e);
	case FPERF_OP_NUMA_BALANCE:
		return fperf_run_numa_balance(sim, mm, e);
	case FPERF_OP_PIN:
		return fperf_run_pin(sim, process, e);
	case FPERF_OP_UNPIN:
		fperf_event_begin(&sim->door, FPERF_EV_GUP);
		fperf_unpin(sim, process);
		return 0;
	case FPERF_OP_SPLICE:
		return fperf_run_splice(sim, process, e);
	case FPERF_OP_UNSPLICE:
		fperf_event_begin(&sim->door, FPERF_EV_GUP);
		fperf_unsplice(sim, process);
		return 0;
	case FPERF_OP_MLOCK:
	case FPERF_OP_MUNLOCK:
		return fperf_run_mlock(sim, mm, e);
	case FPERF_OP_TOTAL_MAPCOUNT:
	case FPERF_OP_FOLIO_REFERENCED:
	case FPERF_OP_TRY_TO_UNMAP:
	case FPERF_OP_MAYBE_PINNED:
	case FPERF_OP_MIGRATE:
	case FPERF_OP_MOVE_PAGES:
		return fperf_run_consumer(sim, mm, e);
	case FPERF_OP_SPLIT:
		return fperf_run_split(sim, mm, e);
	case FPERF_OP_DEFERRED_SPLIT:
		return fperf_deferred_split(sim);
	case FPERF_OP_KHUGEPAGED:
		return fperf_run_khugepaged(sim, mm, e);
	case FPERF_OP_KSM:
		return fperf_ksmd(sim);
	case FPERF_OP_SWAPON:
		sim->swap_on = true;
		return 0;
	case FPERF_OP_SWAPOFF:
		fperf_event_begin(&sim->door, FPERF_EV_SWAPOFF);
		return fperf_swapoff(sim);
	case FPERF_NR_OPS:
		break;
	}
	return FPERF_ERR(EVENT);
}

static int run_event(struct fperf_sim *sim, const struct fperf_event *event)
{
	int ret;

	sim->cpu = event->cpu;
	ret = run_one(sim, event);
	fperf_truth_event_end(sim);
	return sim->error ? sim->error : ret;
}

/* The armed event runs inside a walk: what it costs is its own, then the walk's event goes on. */
static void interrupt(struct fperf_sim *sim)
{
	const struct fperf_door outer = sim->door;
	const uint64_t recounting = sim->recounting;
	int ret;

	sim->recounting = 0;
	ret = run_one(sim, &sim->interrupt_event);
	sim->recounting = recounting;

	if (ret < 0 && !sim->error)
		sim->error = ret;
	sim->door.event = outer.event;
	sim->door.cause = outer.cause;
	sim->door.stats = outer.stats;
	sim->door.row = outer.row;
}

/* ---- life ---- */

static int init(struct fperf_sim *sim)
{
	int ret = fperf_frames_init(sim);

	if (!ret)
		ret = fperf_truth_init(sim);
	if (!ret)
		ret = processes_reserve(sim, 0);
	if (ret)
		return ret;
	sim->interrupt = interrupt;
	sim->split_queue_lock_at = fperf_object_alloc(&sim->mem, 64);
	sim->processes[0].mm = fperf_mm_create(sim);
	if (!sim->processes[0].mm)
		return FPERF_ERR(NO_MEMORY);
	sim->processes[0].state = FPERF_PROC_ALIVE;
	return 0;
}

static void free_avcs(struct fperf_sim *sim, struct fperf_mm *mm)
{
	for (uint32_t i = 0; i < mm->nr_vmas; i++)
		fperf_vma_unlink(sim, mm->vmas[i]);
	fperf_vma_free_all(sim, mm);
	free(mm->vmas);
	free(mm);
}

/* Host memory only: the modelled pages go with the arena. */
static void destroy(struct fperf_sim *sim)
{
	fperf_ksm_destroy(sim);
	for (uint64_t pfn = 1; sim->folios && pfn < sim->next_pfn; pfn++)
		if (sim->folios[pfn].live && sim->folios[pfn].anon)
			fperf_folio_set_anon_vma(sim, pfn, NULL);
	for (uint32_t i = 0; i < sim->cap_processes; i++) {
		struct fperf_mm *const mm = sim->processes[i].mm;

		fperf_holds_destroy(&sim->processes[i]);
		if (mm && !--mm->users)
			free_avcs(sim, mm);
	}
	free(sim->processes);
	fperf_truth_destroy(sim);
	free(sim->swap);
	free(sim->free_swap);
	fperf_object_destroy_all(sim);
	fperf_frames_destroy(sim);
}

static int populate(struct fperf_sim *sim, struct fperf_object *object, uint64_t index, uint32_t order)
{
	uint64_t folio;

	fperf_event_begin(&sim->door, FPERF_EV_PAGE_CACHE);
	return fperf_pagecache_add(sim, object, index, order, &folio);
}

static uint64_t head(const struct fperf_sim *sim, uint64_t pfn)
{
	return fperf_folio_head(sim, pfn);
}

const struct fperf_engine_ops FPERF_FN(fperf_backend) = {
	.schemes = schemes,
	.init = init,
	.destroy = destroy,
	.add_object = fperf_object_create,
	.populate = populate,
	.run = run_event,
	.check = fperf_check_event,
	.mappings = fperf_read_mappings,
	.smaps = fperf_smaps,
	.truth = fperf_truth_folio,
	.head = head,
	.replay = fperf_rmap_replay,
	.verify = fperf_truth_check,
};
