/* SPDX-License-Identifier: BSD-3-Clause */
/* What keeps pages from going away: pins of io_uring buffers, pages in a pipe, mlock. */
#include "engine/events.h"

/*
 * io_uring takes no pages of files on a filesystem: up to v6.4 of no mapping, later not of shared ones (GUP refuses long
 * pins that would dirty page cache behind the filesystem's back). Shmem is taken since v5.13.
 */
static bool pinnable(const struct fperf_sim *sim, const struct fperf_vma *vma)
{
	if (!vma->object)
		return true;
	if (sim->prof.version >= FPERF_KERNEL(6, 5))
		return vma->object->kind != FPERF_OBJECT_FILE || !(vma->flags & FPERF_VM_SHARED);
	return fperf_object_is_shmem(vma->object) && sim->prof.version >= FPERF_KERNEL(5, 13);
}

int fperf_check_pinnable(const struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end)
{
	uint32_t i;

	for (fperf_vma_find(mm, start, &i); i < mm->nr_vmas && mm->vmas[i]->start < end; i++)
		if (!pinnable(sim, mm->vmas[i]))
			return FPERF_ERR(NOT_PINNABLE);
	return 0;
}

/* Fault a page in for write, take it and what follows it mapped so, and go on. */
static int pin_range(struct fperf_sim *sim, struct fperf_process *process, uint64_t vpn, uint64_t past)
{
	bool first = true;

	for (uint64_t nr; vpn < past; vpn += nr) {
		const struct fperf_vma *vma;
		bool fault = false;
		int ret = fperf_touch_range(sim, process->mm, vpn, 1, true, &fault);

		if (ret)
			return ret;
		vma = fperf_vma_at(process->mm, vpn);
		nr = fperf_mapped_extent(sim, process->mm, vpn, (vma->end < past ? vma->end : past) - vpn, true);
		if (first || fault)
			fperf_event_begin(&sim->door, FPERF_EV_GUP);
		first = false;
		ret = fperf_pin_more(sim, process, vpn, nr);
		if (ret)
			return ret;
	}
	return 0;
}

int fperf_run_pin(struct fperf_sim *sim, struct fperf_process *process, const struct fperf_event *e)
{
	const uint64_t past = e->vpn + e->nr;
	uint64_t stop = past;
	uint32_t i;
	int ret = fperf_pin_begin(process);

	if (ret)
		return ret;
	/* From v6.5 on the walk stops at the first page that may not be pinned; before, all were looked at afterwards. */
	if (sim->prof.version >= FPERF_KERNEL(6, 5)) {
		const struct fperf_mm *const mm = process->mm;

		for (fperf_vma_find(process->mm, e->vpn, &i); i < mm->nr_vmas && pinnable(sim, mm->vmas[i]);)
			i++;
		if (i < mm->nr_vmas && mm->vmas[i]->start < stop)
			stop = mm->vmas[i]->start > e->vpn ? mm->vmas[i]->start : e->vpn;
	}
	ret = pin_range(sim, process, e->vpn, stop);
	if (!ret)
		ret = fperf_check_pinnable(sim, process->mm, e->vpn, past);
	if (ret)
		fperf_unpin(sim, process);
	else
		fperf_pin_end(sim, process);
	return ret;
}

/* Pages from vpn on that may be read, at most max; *ret is why the next one may not. */
static uint64_t readable(struct fperf_mm *mm, uint64_t vpn, uint64_t max, int *ret)
{
	uint64_t nr = 0;

	for (*ret = 0; nr < max && !*ret;) {
		const struct fperf_vma *const vma = fperf_vma_at(mm, vpn + nr);

		*ret = vma ? fperf_check_touch(vma, vpn + nr, false) : FPERF_ERR(SEGV);
		nr += !*ret;
	}
	return nr;
}

/* A pipe of one MiB takes so many pages and no more; pages are looked up in batches of 16. */
int fperf_run_splice(struct fperf_sim *sim, struct fperf_process *process, const struct fperf_event *e)
{
	const uint64_t room = (1u << 20) >> sim->cfg.page_shift, batch = 16;
	const uint64_t wanted = e->nr < room + batch ? e->nr : room + batch;
	bool faulted = false;
	int ret, end;
	/* What cannot be read ends it; the pages before are in the pipe then. */
	const uint64_t looked_at = readable(process->mm, e->vpn, wanted, &end);

	if (!looked_at)
		return end;
	ret = fperf_touch_range(sim, process->mm, e->vpn, looked_at, false, &faulted);
	if (ret)
		return ret;
	fperf_event_begin(&sim->door, FPERF_EV_GUP);
	return fperf_splice(sim, process, e->vpn, looked_at < room ? looked_at : room);
}

/* Lock the pages of VMAs up to the first hole, then bring them in, writable private ones for write. */
int fperf_run_mlock(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	const bool lock = e->op == FPERF_OP_MLOCK;
	const uint64_t past = e->vpn + e->nr;
	uint64_t stop = e->vpn;
	bool faulted = false;
	int ret;

	fperf_event_begin(&sim->door, FPERF_EV_MLOCK);
	for (const struct fperf_vma *vma; stop < past && (vma = fperf_vma_at(mm, stop));)
		stop = vma->end;
	if (stop > past)
		stop = past;
	if (stop > e->vpn) {
		ret = fperf_vma_modify(sim, mm, e->vpn, stop, FPERF_VM_LOCKED, lock ? FPERF_VM_LOCKED : 0);
		if (ret)
			return ret;
	}
	if (stop < past)
		return FPERF_ERR(NOT_MAPPED);
	for (uint64_t vpn = e->vpn; lock && vpn < past; vpn = stop) {
		const struct fperf_vma *const vma = fperf_vma_at(mm, vpn);

		stop = vma->end < past ? vma->end : past;
		ret = fperf_touch_range(sim, mm, vpn, stop - vpn,
					(vma->flags & (FPERF_VM_WRITE | FPERF_VM_SHARED)) == FPERF_VM_WRITE, &faulted);
		if (ret)
			return ret;
	}
	return 0;
}
