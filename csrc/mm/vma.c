/* SPDX-License-Identifier: BSD-3-Clause */
/* VMAs of one mm: find, insert, split, merge. */
#include "mm/mm.h"

#include <string.h>

struct fperf_mm *fperf_mm_create(struct fperf_sim *sim)
{
	struct fperf_mm *const mm = calloc(1, sizeof(*mm));

	if (!mm)
		return NULL;
	mm->root_table = fperf_table_alloc(&sim->mem);
	mm->at = fperf_object_alloc(&sim->mem, 512);
	if (!mm->root_table || !mm->at) {
		free(mm);
		return NULL;
	}
	mm->id = sim->next_mm_id++;
	mm->users = 1;
	return mm;
}

void fperf_mm_destroy(struct fperf_sim *sim, struct fperf_mm *mm)
{
	FPERF_BUG_ON(mm->nr_vmas);
	fperf_table_free(&sim->mem, mm->root_table);
	fperf_object_free(&sim->mem, mm->at, 512);
	free(mm->vmas);
	free(mm);
}

struct fperf_vma *fperf_vma_find(struct fperf_mm *mm, uint64_t vpn, uint32_t *index)
{
	uint32_t low = 0, high = mm->nr_vmas;

	if (mm->cached < mm->nr_vmas && mm->vmas[mm->cached]->start <= vpn && vpn < mm->vmas[mm->cached]->end) {
		if (index)
			*index = mm->cached;
		return mm->vmas[mm->cached];
	}
	while (low < high) {
		const uint32_t middle = (low + high) / 2;

		if (mm->vmas[middle]->end > vpn)
			high = middle;
		else
			low = middle + 1;
	}
	if (index)
		*index = low;
	if (low == mm->nr_vmas)
		return NULL;
	mm->cached = low;
	return mm->vmas[low];
}

struct fperf_vma *fperf_vma_at(struct fperf_mm *mm, uint64_t vpn)
{
	struct fperf_vma *const vma = fperf_vma_find(mm, vpn, NULL);

	return vma && vma->start <= vpn ? vma : NULL;
}

bool fperf_range_covered(struct fperf_mm *mm, uint64_t start, uint64_t end)
{
	uint32_t i;

	for (fperf_vma_find(mm, start, &i); start < end; i++) {
		if (i >= mm->nr_vmas || mm->vmas[i]->start > start)
			return false;
		start = mm->vmas[i]->end;
	}
	return true;
}

bool fperf_range_free(struct fperf_mm *mm, uint64_t start, uint64_t end)
{
	const struct fperf_vma *const vma = fperf_vma_find(mm, start, NULL);

	return !vma || vma->start >= end;
}

struct fperf_vma *fperf_vma_new(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end,
				uint64_t pgoff, uint32_t flags, struct fperf_object *object)
{
	struct fperf_vma *const vma = calloc(1, sizeof(*vma));

	if (!vma)
		return NULL;
	vma->at = fperf_object_alloc(&sim->mem, sim->prof.vma_bytes);
	if (!vma->at) {
		free(vma);
		return NULL;
	}
	vma->mm = mm;
	vma->start = start;
	vma->end = end;
	vma->pgoff = pgoff;
	vma->flags = flags;
	vma->object = object;
	vma->id = sim->next_vma_id++;
	vma->node.owner = vma;
	vma->node.at = vma->at;
	vma->node.start = pgoff;
	vma->node.last = pgoff + (end - start) - 1;
	return vma;
}

/* Into the list of its mm; the object's tree is the caller's, since fork inserts there in another place. */
static int list_insert(struct fperf_vma *vma)
{
	struct fperf_mm *const mm = vma->mm;
	uint32_t i;

	if (mm->nr_vmas == mm->cap_vmas) {
		const uint32_t cap = mm->cap_vmas ? mm->cap_vmas * 2 : 16;
		struct fperf_vma **const grown = realloc(mm->vmas, cap * sizeof(*grown));

		if (!grown)
			return FPERF_ERR(NO_MEMORY);
		mm->vmas = grown;
		mm->cap_vmas = cap;
	}
	fperf_vma_find(mm, vma->start, &i);
	memmove(&mm->vmas[i + 1], &mm->vmas[i], (mm->nr_vmas - i) * sizeof(*mm->vmas));
	mm->vmas[i] = vma;
	mm->nr_vmas++;
	mm->cached = i;
	return 0;
}

int fperf_vma_insert(struct fperf_sim *sim, struct fperf_vma *vma)
{
	(void)sim;
	if (vma->object)
		fperf_itree_insert(&vma->object->i_mmap, &vma->node);
	return list_insert(vma);
}

int fperf_vma_insert_behind(struct fperf_sim *sim, struct fperf_vma *vma, struct fperf_vma *parent)
{
	(void)sim;
	if (vma->object)
		fperf_itree_insert_after(&vma->object->i_mmap, &vma->node, &parent->node);
	return list_insert(vma);
}

void fperf_vma_unlink(struct fperf_sim *sim, struct fperf_vma *vma)
{
	fperf_anon_vma_unlink(sim, vma);
	if (vma->object)
		fperf_itree_remove(&vma->object->i_mmap, &vma->node);
}

static void vma_free(struct fperf_sim *sim, struct fperf_vma *vma)
{
	fperf_object_free(&sim->mem, vma->at, sim->prof.vma_bytes);
	free(vma);
}

void fperf_vma_remove(struct fperf_sim *sim, struct fperf_vma *vma)
{
	struct fperf_mm *const mm = vma->mm;
	uint32_t i;

	fperf_vma_unlink(sim, vma);
	fperf_vma_find(mm, vma->start, &i);
	memmove(&mm->vmas[i], &mm->vmas[i + 1], (mm->nr_vmas - i - 1) * sizeof(*mm->vmas));
	mm->nr_vmas--;
	vma_free(sim, vma);
}

/* Forget all VMAs at once; pages and trees are dealt with. */
void fperf_vma_free_all(struct fperf_sim *sim, struct fperf_mm *mm)
{
	for (uint32_t i = 0; i < mm->nr_vmas; i++)
		vma_free(sim, mm->vmas[i]);
	mm->nr_vmas = 0;
}

/* The kernel takes a VMA out of its trees to change its range, and puts it back behind its equals. */
void fperf_vma_set_range(struct fperf_vma *vma, uint64_t start, uint64_t end, uint64_t pgoff)
{
	for (struct fperf_avc *avc = vma->avc_first; avc; avc = avc->next)
		fperf_itree_remove(&avc->anon_vma->tree, &avc->node);
	if (vma->object)
		fperf_itree_remove(&vma->object->i_mmap, &vma->node);
	vma->start = start;
	vma->end = end;
	vma->pgoff = pgoff;
	vma->node.start = pgoff;
	vma->node.last = pgoff + (end - start) - 1;
	if (vma->object)
		fperf_itree_insert(&vma->object->i_mmap, &vma->node);
	for (struct fperf_avc *avc = vma->avc_first; avc; avc = avc->next) {
		avc->node.start = vma->node.start;
		avc->node.last = vma->node.last;
		fperf_itree_insert(&avc->anon_vma->tree, &avc->node);
	}
}

int fperf_vma_split(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t border, bool new_below)
{
	struct fperf_mm *const mm = vma->mm;
	const uint64_t start = vma->start, end = vma->end, pgoff = vma->pgoff;
	struct fperf_vma *new;
	int ret;

	ret = fperf_split_pmd_at(sim, vma, border);
	if (ret)
		return ret;
	new = new_below ? fperf_vma_new(sim, mm, start, border, pgoff, vma->flags, vma->object) :
			  fperf_vma_new(sim, mm, border, end, pgoff + (border - start), vma->flags, vma->object);
	if (!new)
		return FPERF_ERR(NO_MEMORY);
	/* The ledger remembers by id which VMA maps a folio; neither half may pass for the whole. */
	vma->id = sim->next_vma_id++;
	new->anon_vma = vma->anon_vma;
	ret = fperf_anon_vma_clone(sim, new, vma, false);
	if (ret)
		return ret;
	if (new_below)
		fperf_vma_set_range(vma, border, end, pgoff + (border - start));
	else
		fperf_vma_set_range(vma, start, border, pgoff);
	ret = fperf_vma_insert(sim, new);
	if (ret)
		return ret;
	fperf_rmap_vma_split(sim, new_below ? new : vma, new_below ? vma : new, border);
	return 0;
}

/*
 * is_mergeable_anon_vma(): a VMA that has none may join one that has a single chain; VMAs cloned from a parent keep apart.
 * `into` is the neighbour that would take `other` up.
 */
static bool anon_vma_mergeable(const struct fperf_vma *into, const struct fperf_vma *other)
{
	const bool singular = into->avc_first && into->avc_first == into->avc_last;

	if ((!into->anon_vma || !other->anon_vma) && singular)
		return true;
	return into->anon_vma == other->anon_vma;
}

static bool adjacent_alike(const struct fperf_vma *left, const struct fperf_vma *right)
{
	return left->end == right->start && !((left->flags ^ right->flags) & ~(uint32_t)FPERF_VM_MAYBE_GUARD) &&
	       left->object == right->object && !(left->flags & FPERF_VM_GROWSDOWN) &&
	       right->pgoff == left->pgoff + (left->end - left->start);
}

/* left swallows right. */
static void merge(struct fperf_sim *sim, struct fperf_vma *left, struct fperf_vma *right)
{
	const uint64_t border = right->start, end = right->end;

	fperf_rmap_vma_merge(sim, left, right, border);
	left->flags |= right->flags & FPERF_VM_MAYBE_GUARD;
	if (!left->anon_vma && right->anon_vma) {
		left->anon_vma = right->anon_vma;
		left->avc_first = right->avc_first;
		left->avc_last = right->avc_last;
		for (struct fperf_avc *avc = left->avc_first; avc; avc = avc->next) {
			avc->vma = left;
			avc->node.owner = left;
		}
		right->anon_vma = NULL;
		right->avc_first = right->avc_last = NULL;
	}
	fperf_vma_remove(sim, right);
	fperf_vma_set_range(left, left->start, end, left->pgoff);
}

struct fperf_vma *fperf_vma_merge_around(struct fperf_sim *sim, struct fperf_vma *vma)
{
	struct fperf_mm *const mm = vma->mm;
	uint32_t i;

	fperf_vma_find(mm, vma->start, &i);
	if (i && adjacent_alike(mm->vmas[i - 1], vma) && anon_vma_mergeable(mm->vmas[i - 1], vma)) {
		struct fperf_vma *const left = mm->vmas[i - 1];

		merge(sim, left, vma);
		vma = left;
		i--;
	}
	if (i + 1 < mm->nr_vmas && adjacent_alike(vma, mm->vmas[i + 1]) && anon_vma_mergeable(mm->vmas[i + 1], vma))
		merge(sim, vma, mm->vmas[i + 1]);
	return vma;
}

int fperf_vma_modify(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end, uint32_t clear,
		     uint32_t set)
{
	while (start < end) {
		struct fperf_vma *vma = fperf_vma_find(mm, start, NULL);
		uint64_t stop;
		int ret;

		if (!vma || vma->start >= end)
			break;
		if (vma->start > start)
			start = vma->start;
		stop = vma->end < end ? vma->end : end;
		if (((vma->flags & ~clear) | set) == vma->flags) {
			start = stop;
			continue;
		}
		if (vma->start < start) {
			ret = fperf_vma_split(sim, vma, start, true);
			if (ret)
				return ret;
			vma = fperf_vma_at(mm, start);
		}
		if (vma->end > stop) {
			ret = fperf_vma_split(sim, vma, stop, false);
			if (ret)
				return ret;
		}
		vma->flags = (vma->flags & ~clear) | set;
		fperf_vma_merge_around(sim, vma);
		start = stop;
	}
	return 0;
}

uint32_t fperf_vma_nr_cuts(struct fperf_mm *mm, uint64_t start, uint64_t end, uint32_t clear, uint32_t set)
{
	const struct fperf_vma *const first = fperf_vma_at(mm, start), *const last = fperf_vma_at(mm, end - 1);
	uint32_t nr = 0;

	if (first && first->start < start && ((first->flags & ~clear) | set) != first->flags)
		nr++;
	if (last && last->end > end && ((last->flags & ~clear) | set) != last->flags)
		nr++;
	return nr;
}

bool fperf_vma_may_grow_down(const struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t start)
{
	return vma->flags & FPERF_VM_GROWSDOWN &&
	       vma->end - start <= sim->prof.stack_limit_bytes >> sim->cfg.page_shift &&
	       fperf_range_free(vma->mm, start, vma->start) && vma->pgoff >= vma->start - start;
}

void fperf_vma_grow_down(struct fperf_vma *vma, uint64_t start)
{
	fperf_vma_set_range(vma, start, vma->end, vma->pgoff - (vma->start - start));
}

uint32_t fperf_vma_folio_range(const struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t folio,
			       uint32_t *first, uint64_t *vpn)
{
	const uint64_t index = sim->folios[folio].index;
	const uint64_t nr = 1ull << fperf_folio_order(sim, folio);
	const uint64_t from = index > vma->pgoff ? index : vma->pgoff;
	const uint64_t vma_past = vma->pgoff + (vma->end - vma->start);
	const uint64_t past = index + nr < vma_past ? index + nr : vma_past;

	if (from >= past)
		return 0;
	*first = (uint32_t)(from - index);
	*vpn = vma->start + (from - vma->pgoff);
	return (uint32_t)(past - from);
}
