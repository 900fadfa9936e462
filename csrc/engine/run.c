/* SPDX-License-Identifier: BSD-3-Clause */
/* Events, one by one: check what was asked for, then let mm or a consumer do it. Compiled once per back end. */
#include "engine/backend.h"

#include "consumer/consumer.h"
#include "scheme/scheme.h"

#include <string.h>

static const struct fperf_scheme_ops *const schemes[] = {
#define X(name) &FPERF_SCHEME(name),
	FPERF_SCHEMES(X)
#undef X
};

static struct fperf_process *process_of(struct fperf_sim *sim, uint32_t process)
{
	return process < sim->cap_processes ? &sim->processes[process] : NULL;
}

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

static uint32_t vma_flags(uint32_t flags)
{
	return (flags & FPERF_PROT_READ ? FPERF_VM_READ : 0u) | (flags & FPERF_PROT_WRITE ? FPERF_VM_WRITE : 0u) |
	       (flags & FPERF_MAP_SHARED ? FPERF_VM_SHARED : 0u) |
	       (flags & FPERF_MAP_GROWSDOWN ? FPERF_VM_GROWSDOWN : 0u);
}

/* ---- what must hold before an event starts ---- */

static int check_range(const struct fperf_sim *sim, uint64_t vpn, uint64_t nr)
{
	if (!nr)
		return FPERF_ERR(EMPTY_RANGE);
	if (vpn >= sim->end_vpn || nr > sim->end_vpn - vpn)
		return FPERF_ERR(ADDRESS);
	return 0;
}

static int check_object(const struct fperf_sim *sim, uint32_t what)
{
	return what && what <= sim->nr_objects ? 0 : FPERF_ERR(NO_OBJECT);
}

/* Room for nr more mappings, so that no event fails half done. */
static int check_room(const struct fperf_sim *sim, const struct fperf_mm *mm, uint32_t nr)
{
	return mm->nr_vmas + nr > sim->prof.max_map_count ? FPERF_ERR(TOO_MANY_VMAS) : 0;
}

/* Unmapping the range leaves two mappings where there was one. */
static bool cuts_middle(struct fperf_mm *mm, uint64_t start, uint64_t end)
{
	const struct fperf_vma *const vma = fperf_vma_at(mm, start);

	return vma && vma->start < start && vma->end > end;
}

static int check_mmap(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	if (e->what != FPERF_WHAT_ANON && check_object(sim, e->what))
		return FPERF_ERR(NO_OBJECT);
	if (e->what == FPERF_WHAT_ANON && e->flags & FPERF_MAP_SHARED)
		return FPERF_ERR(ARGUMENT); /* shared anonymous memory is an object */
	if (e->what != FPERF_WHAT_ANON && e->arg > sim->end_vpn)
		return FPERF_ERR(ARGUMENT);
	if (!(e->flags & FPERF_MAP_FIXED) && !fperf_range_free(mm, e->vpn, e->vpn + e->nr))
		return FPERF_ERR(OVERLAP);
	return check_room(sim, mm, 1 + cuts_middle(mm, e->vpn, e->vpn + e->nr));
}

static int check_mremap(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	const struct fperf_vma *const vma = fperf_vma_at(mm, e->vpn);
	const int ret = check_range(sim, e->arg, e->arg2);

	if (ret)
		return ret;
	if (!fperf_range_covered(mm, e->vpn, e->vpn + e->nr))
		return vma ? FPERF_ERR(REMAP) : FPERF_ERR(NOT_MAPPED);
	if (e->vpn + e->nr > vma->end && !(sim->prof.remap_spans_vmas && e->arg2 == e->nr))
		return FPERF_ERR(REMAP);
	if (e->arg != e->vpn && e->arg < e->vpn + e->nr && e->vpn < e->arg + e->arg2)
		return FPERF_ERR(REMAP);
	if (e->arg == e->vpn && e->arg2 > e->nr && !fperf_range_free(mm, e->vpn + e->nr, e->vpn + e->arg2))
		return FPERF_ERR(OVERLAP);
	/* move_vma(): what lies at either place may be cut in three before it goes. */
	if (e->arg != e->vpn)
		return check_room(sim, mm, 4);
	return e->arg2 < e->nr ? check_room(sim, mm, cuts_middle(mm, e->vpn + e->arg2, e->vpn + e->nr)) : 0;
}

static int check_touch(const struct fperf_vma *vma, uint64_t vpn, bool write)
{
	if (!(vma->flags & (write ? FPERF_VM_WRITE : FPERF_VM_READ)))
		return FPERF_ERR(ACCESS);
	if (vma->object && vma->pgoff + (vpn - vma->start) >= vma->object->nr_pages)
		return FPERF_ERR(BEYOND_EOF);
	return 0;
}

/* VMA of an access; a stack grows down to it. */
static int vma_for_touch(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t vpn, struct fperf_vma **ret)
{
	struct fperf_vma *const vma = fperf_vma_find(mm, vpn, NULL);

	if (!vma)
		return FPERF_ERR(SEGV);
	*ret = vma;
	if (vma->start <= vpn)
		return 0;
	if (!fperf_vma_may_grow_down(sim, vma, vpn))
		return FPERF_ERR(SEGV);
	fperf_vma_grow_down(vma, vpn);
	return 0;
}

static int check_touch_range(const struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e, bool write)
{
	const uint64_t past = e->vpn + e->nr;

	for (uint64_t vpn = e->vpn; vpn < past;) {
		const struct fperf_vma *const vma = fperf_vma_find(mm, vpn, NULL);
		uint64_t stop;
		int ret;

		if (!vma || (vma->start > vpn && !fperf_vma_may_grow_down(sim, vma, vpn)))
			return FPERF_ERR(SEGV);
		stop = vma->end < past ? vma->end : past;
		ret = check_touch(vma, stop - 1, write);
		if (ret)
			return ret;
		vpn = stop;
	}
	return 0;
}

/* Flags of a VMA that an advice takes and gives; false: none. */
static bool advice_flags(uint32_t advice, uint32_t *clear, uint32_t *set)
{
	static const struct {
		uint32_t clear, set;
	} flags[FPERF_NR_ADVICES] = {
		[FPERF_ADVICE_HUGEPAGE] = { FPERF_VM_NOHUGEPAGE, FPERF_VM_HUGEPAGE },
		[FPERF_ADVICE_NOHUGEPAGE] = { FPERF_VM_HUGEPAGE, FPERF_VM_NOHUGEPAGE },
		[FPERF_ADVICE_DONTFORK] = { 0, FPERF_VM_DONTCOPY },
		[FPERF_ADVICE_DOFORK] = { FPERF_VM_DONTCOPY, 0 },
		[FPERF_ADVICE_WIPEONFORK] = { 0, FPERF_VM_WIPEONFORK },
		[FPERF_ADVICE_KEEPONFORK] = { FPERF_VM_WIPEONFORK, 0 },
	};

	*clear = flags[advice].clear;
	*set = flags[advice].set;
	return *clear | *set;
}

static int check_flags(const struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	uint32_t clear = FPERF_VM_READ | FPERF_VM_WRITE, set = vma_flags(e->flags) & clear;

	if (e->op == FPERF_OP_MADVISE && !advice_flags(e->what, &clear, &set))
		return 0;
	return check_room(sim, mm, fperf_vma_nr_cuts(mm, e->vpn, e->vpn + e->nr, clear, set));
}

/* Rules that hold in any mode; strict mode adds that ranges must be wholly mapped. */
static int check_event(struct fperf_sim *sim, const struct fperf_event *e)
{
	const struct fperf_process *const p = process_of(sim, e->process);
	const bool of_object =
		e->op == FPERF_OP_TRUNCATE || e->op == FPERF_OP_READ_OBJECT || e->op == FPERF_OP_DROP_OBJECT;
	struct fperf_mm *mm;
	int ret;

	if (e->op >= FPERF_NR_OPS)
		return FPERF_ERR(EVENT);
	if (e->flags & ~(uint32_t)FPERF_EVENT_FLAGS)
		return FPERF_ERR(ARGUMENT);
	if (of_object) {
		ret = check_object(sim, e->what);
		if (!ret && e->op == FPERF_OP_TRUNCATE && e->nr > sim->objects[e->what - 1]->capacity)
			ret = FPERF_ERR(ARGUMENT);
		return ret;
	}
	if (!p || p->state == FPERF_PROC_NEVER)
		return FPERF_ERR(NO_PROCESS);
	if (p->state == FPERF_PROC_EXITED)
		return FPERF_ERR(EXITED);
	mm = p->mm;
	switch ((enum fperf_op)e->op) {
	case FPERF_OP_FORK: {
		const struct fperf_process *const child = e->arg >> 32 ? NULL : process_of(sim, (uint32_t)e->arg);

		if (e->arg >= 1u << 26)
			return FPERF_ERR(ARGUMENT);
		return child && child->state == FPERF_PROC_ALIVE ? FPERF_ERR(PROCESS_EXISTS) : 0;
	}
	case FPERF_OP_EXEC:
	case FPERF_OP_EXIT:
	case FPERF_OP_SMAPS:
		return 0;
	default:
		break;
	}
	ret = check_range(sim, e->vpn, e->nr);
	if (ret)
		return ret;
	if (e->op == FPERF_OP_MMAP)
		return check_mmap(sim, mm, e);
	if (e->op == FPERF_OP_MREMAP)
		return check_mremap(sim, mm, e);
	if (e->op == FPERF_OP_MADVISE && e->what >= FPERF_NR_ADVICES)
		return FPERF_ERR(ARGUMENT);
	if (e->op == FPERF_OP_MUNMAP)
		ret = check_room(sim, mm, cuts_middle(mm, e->vpn, e->vpn + e->nr));
	else if (e->op == FPERF_OP_MPROTECT || e->op == FPERF_OP_MADVISE)
		ret = check_flags(sim, mm, e);
	if (ret || !sim->cfg.strict)
		return ret;
	if (e->op == FPERF_OP_TOUCH)
		return check_touch_range(sim, mm, e, e->flags & FPERF_TOUCH_WRITE);
	if (!fperf_range_covered(mm, e->vpn, e->vpn + e->nr))
		return FPERF_ERR(NOT_MAPPED);
	if (e->op == FPERF_OP_MADVISE &&
	    (e->what == FPERF_ADVICE_POPULATE_READ || e->what == FPERF_ADVICE_POPULATE_WRITE))
		return check_touch_range(sim, mm, e, e->what == FPERF_ADVICE_POPULATE_WRITE);
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
	vma = fperf_vma_new(sim, mm, e->vpn, e->vpn + e->nr, object ? e->arg : e->vpn, vma_flags(e->flags), object);
	if (!vma)
		return FPERF_ERR(NO_MEMORY);
	ret = fperf_vma_insert(sim, vma);
	if (ret)
		return ret;
	fperf_vma_merge_around(sim, vma);
	return 0;
}

/* One access per page, ascending; each fault is an event of its own. */
static int touch_range(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t vpn, uint64_t nr, bool write, bool *faulted)
{
	const uint64_t past = vpn + nr;

	while (vpn < past) {
		const uint64_t mapped = fperf_mapped_extent(sim, mm, vpn, past - vpn, write);
		struct fperf_vma *vma;
		int ret;

		if (mapped) {
			/* Protection is the VMA's: an entry left over from before may allow what it does not. */
			vma = fperf_vma_at(mm, vpn);
			ret = check_touch(vma, vpn, write);
			if (ret)
				return ret;
			if (vma->end - vpn < mapped) {
				sim->totals.faults_satisfied += vma->end - vpn;
				vpn = vma->end;
			} else {
				sim->totals.faults_satisfied += mapped;
				vpn += mapped;
			}
			continue;
		}
		ret = vma_for_touch(sim, mm, vpn, &vma);
		if (!ret)
			ret = check_touch(vma, vpn, write);
		if (ret)
			return ret;
		*faulted = true;
		ret = fperf_fault(sim, mm, vma, vpn, write);
		if (ret == FPERF_FAULT_WRITE_PROTECTED)
			ret = fperf_write_fault(sim, vma, vpn);
		if (ret < 0)
			return ret;
		if (sim->error)
			return sim->error;
		vpn++;
	}
	return 0;
}

static int populate_range(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e, bool write)
{
	bool faulted = false;

	return touch_range(sim, mm, e->vpn, e->nr, write, &faulted);
}

static int zap_covered(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end)
{
	uint32_t i;

	for (fperf_vma_find(mm, start, &i); i < mm->nr_vmas && mm->vmas[i]->start < end; i++) {
		struct fperf_vma *const vma = mm->vmas[i];
		const int ret = fperf_zap_range(sim, vma, vma->start > start ? vma->start : start,
						vma->end < end ? vma->end : end);

		if (ret)
			return ret;
	}
	return 0;
}

static int run_madvise(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	const uint64_t start = e->vpn, end = e->vpn + e->nr;
	uint32_t clear, set;
	int ret = 0;

	fperf_event_begin(&sim->door, FPERF_EV_MADVISE);
	switch ((enum fperf_advice)e->what) {
	case FPERF_ADVICE_DONTNEED:
		ret = zap_covered(sim, mm, start, end);
		break;
	case FPERF_ADVICE_HUGEPAGE:
	case FPERF_ADVICE_NOHUGEPAGE:
	case FPERF_ADVICE_DONTFORK:
	case FPERF_ADVICE_DOFORK:
	case FPERF_ADVICE_WIPEONFORK:
	case FPERF_ADVICE_KEEPONFORK:
		advice_flags(e->what, &clear, &set);
		ret = fperf_vma_modify(sim, mm, start, end, clear, set);
		break;
	case FPERF_ADVICE_POPULATE_READ:
		return populate_range(sim, mm, e, false);
	case FPERF_ADVICE_POPULATE_WRITE:
		return populate_range(sim, mm, e, true);
	case FPERF_ADVICE_IGNORED:
	case FPERF_NR_ADVICES:
		break;
	}
	if (!ret && !fperf_range_covered(mm, start, end))
		return FPERF_ERR(NOT_MAPPED);
	return ret;
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
		return 0;
	}
	copy = fperf_mm_create(sim);
	if (!copy)
		return FPERF_ERR(TABLE_SPACE);
	*child = (struct fperf_process){ .mm = copy, .state = FPERF_PROC_ALIVE };
	return fperf_fork_mm(sim, mm, copy);
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
	ret = leave_mm(sim, process);
	process->mm = fresh;
	return ret;
}

static int run_exit(struct fperf_sim *sim, struct fperf_process *process)
{
	fperf_event_begin(&sim->door, FPERF_EV_EXIT);
	process->state = FPERF_PROC_EXITED;
	return leave_mm(sim, process);
}

/* A consumer looks at every folio the range maps, once each, in order of address. */
static int run_consumer(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	const struct fperf_consumer *consumer = fperf_consumer_table;
	bool any = false;

	while (consumer->look && consumer->op != e->op)
		consumer++;
	if (!consumer->look)
		return FPERF_ERR(EVENT);
	for (uint64_t vpn = e->vpn, past = e->vpn + e->nr; vpn < past;) {
		const uint64_t *const pmd = fperf_pmd_peek(sim, mm, vpn);
		uint64_t entry = pmd ? *pmd : 0;
		uint64_t folio, next = vpn + 1;
		int ret;

		if (!entry) {
			vpn = fperf_pmd_floor(sim, vpn) + sim->entries;
			continue;
		}
		if (entry & FPERF_PTE_LEAF)
			next = fperf_pmd_floor(sim, vpn) + sim->entries;
		else
			entry = fperf_table(&sim->mem, fperf_pmd_table(entry))[fperf_pte_index(sim, vpn)];
		if ((entry & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) != FPERF_PTE_PRESENT) {
			vpn = next;
			continue;
		}
		folio = fperf_folio_head(sim, fperf_pte_pfn(entry));
		if (!(entry & FPERF_PTE_LEAF))
			next = vpn + (folio + (1ull << fperf_folio_order(sim, folio)) - fperf_pte_pfn(entry));
		any = true;
		fperf_event_begin(&sim->door, consumer->event);
		ret = consumer->look(sim, folio);
		if (ret)
			return ret;
		vpn = next;
	}
	return any ? FPERF_APPLIED : FPERF_NOOP;
}

static int run_object(struct fperf_sim *sim, const struct fperf_event *e)
{
	struct fperf_object *const object = sim->objects[e->what - 1];

	if (e->op == FPERF_OP_TRUNCATE) {
		fperf_event_begin(&sim->door, FPERF_EV_TRUNCATE);
		return fperf_truncate(sim, object, e->nr);
	}
	fperf_event_begin(&sim->door, FPERF_EV_PAGE_CACHE);
	if (e->op == FPERF_OP_READ_OBJECT)
		return fperf_read_object(sim, object);
	fperf_drop_object(sim, object);
	return 0;
}

static int run_one(struct fperf_sim *sim, const struct fperf_event *e)
{
	struct fperf_process *const process = process_of(sim, e->process);
	struct fperf_mm *const mm = process ? process->mm : NULL;
	bool faulted = false;
	size_t nr;
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
				     vma_flags(e->flags & (FPERF_PROT_READ | FPERF_PROT_WRITE)));
		if (!ret && !fperf_range_covered(mm, e->vpn, e->vpn + e->nr))
			ret = FPERF_ERR(NOT_MAPPED);
		return ret;
	case FPERF_OP_MADVISE:
		return run_madvise(sim, mm, e);
	case FPERF_OP_TOUCH:
		ret = touch_range(sim, mm, e->vpn, e->nr, e->flags & FPERF_TOUCH_WRITE, &faulted);
		return ret ? ret : faulted ? FPERF_APPLIED : FPERF_NOOP;
	case FPERF_OP_FORK:
		return run_fork(sim, process, e);
	case FPERF_OP_EXEC:
		return run_exec(sim, process);
	case FPERF_OP_EXIT:
		return run_exit(sim, process);
	case FPERF_OP_TRUNCATE:
	case FPERF_OP_READ_OBJECT:
	case FPERF_OP_DROP_OBJECT:
		return run_object(sim, e);
	case FPERF_OP_SMAPS:
		fperf_event_begin(&sim->door, FPERF_EV_SMAPS);
		return fperf_smaps(sim, mm, NULL, 0, &nr);
	case FPERF_OP_TOTAL_MAPCOUNT:
	case FPERF_OP_FOLIO_REFERENCED:
	case FPERF_OP_TRY_TO_UNMAP:
		return run_consumer(sim, mm, e);
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
	for (uint64_t pfn = 1; sim->folios && pfn < sim->next_pfn; pfn++)
		if (sim->folios[pfn].live && sim->folios[pfn].anon)
			fperf_folio_set_anon_vma(sim, pfn, NULL);
	for (uint32_t i = 0; i < sim->cap_processes; i++) {
		struct fperf_mm *const mm = sim->processes[i].mm;

		if (mm && !--mm->users)
			free_avcs(sim, mm);
	}
	free(sim->processes);
	free(sim->shares);
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

/* ---- reading what a process maps ---- */

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

static int mappings(struct fperf_sim *sim, struct fperf_mm *mm, struct fperf_mapping_row *rows, size_t cap, size_t *nr)
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
	.check = check_event,
	.mappings = mappings,
	.smaps = fperf_smaps,
	.truth = fperf_truth_folio,
	.head = head,
	.replay = fperf_rmap_replay,
	.verify = fperf_truth_check,
};
