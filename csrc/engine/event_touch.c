/* SPDX-License-Identifier: BSD-3-Clause */
/* Accesses of a process to its memory. */
#include "engine/events.h"

int fperf_check_touch(const struct fperf_vma *vma, uint64_t vpn, bool write)
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

/* One access per page, ascending; each fault is an event of its own. */
int fperf_touch_range(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t vpn, uint64_t nr, bool write, bool *faulted)
{
	const uint64_t past = vpn + nr;

	while (vpn < past) {
		const uint64_t mapped = fperf_mapped_extent(sim, mm, vpn, past - vpn, write);
		struct fperf_vma *vma;
		int ret;

		if (mapped) {
			/* Protection is the VMA's: an entry left over from before may allow what it does not. */
			vma = fperf_vma_at(mm, vpn);
			ret = fperf_check_touch(vma, vpn, write);
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
			ret = fperf_check_touch(vma, vpn, write);
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

/* A write stores one byte: the page's number in the event, the process's and one, added up; or 0x5a all over. */
int fperf_run_touch(struct fperf_sim *sim, struct fperf_mm *mm, const struct fperf_event *e)
{
	const bool write = e->flags & FPERF_TOUCH_WRITE, fill = e->what == FPERF_TOUCH_FILL;
	bool faulted = false;
	int ret = 0;

	if (!sim->contents || !write) {
		ret = fperf_touch_range(sim, mm, e->vpn, e->nr, write, &faulted);
	} else {
		for (uint64_t i = 0; i < e->nr && !ret; i++) {
			ret = fperf_touch_range(sim, mm, e->vpn + i, 1, true, &faulted);
			if (!ret)
				fperf_content_write(sim, mm, e->vpn + i, fill ? 0x5a : (uint8_t)(i + e->process + 1),
						    fill);
		}
	}
	return ret ? ret : faulted ? FPERF_APPLIED : FPERF_NOOP;
}
