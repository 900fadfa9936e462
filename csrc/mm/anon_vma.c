/* SPDX-License-Identifier: BSD-3-Clause */
/* anon_vma and anon_vma_chain: which VMAs an rmap walk of an anonymous folio must visit. */
#include "mm/mm.h"

static const uint32_t AVC_BYTES = 64;

static struct fperf_anon_vma *anon_vma_new(struct fperf_sim *sim)
{
	struct fperf_anon_vma *const anon_vma = calloc(1, sizeof(*anon_vma));

	if (!anon_vma)
		return NULL;
	anon_vma->at = fperf_object_alloc(&sim->mem, sim->prof.anon_vma_bytes);
	if (!anon_vma->at) {
		free(anon_vma);
		return NULL;
	}
	anon_vma->root = anon_vma;
	return anon_vma;
}

void fperf_anon_vma_put(struct fperf_sim *sim, struct fperf_anon_vma *anon_vma)
{
	while (anon_vma && !--anon_vma->refs) {
		struct fperf_anon_vma *const parent = anon_vma->parent, *const root = anon_vma->root;

		fperf_object_free(&sim->mem, anon_vma->at, sim->prof.anon_vma_bytes);
		free(anon_vma);
		if (!parent)
			break;
		/* A child holds its parent and its root. */
		if (root != parent)
			fperf_anon_vma_put(sim, root);
		anon_vma = parent;
	}
}

/* The VMA joins the tree; equal ranges stand in the order they came. */
static int chain_link(struct fperf_sim *sim, struct fperf_vma *vma, struct fperf_anon_vma *anon_vma)
{
	struct fperf_avc *const avc = calloc(1, sizeof(*avc));

	if (!avc)
		return FPERF_ERR(NO_MEMORY);
	avc->node.at = fperf_object_alloc(&sim->mem, AVC_BYTES);
	if (!avc->node.at) {
		free(avc);
		return FPERF_ERR(ADDR_SPACE);
	}
	avc->vma = vma;
	avc->anon_vma = anon_vma;
	avc->node.owner = vma;
	avc->node.start = vma->pgoff;
	avc->node.last = vma->pgoff + (vma->end - vma->start) - 1;
	avc->next = vma->avc_first;
	if (vma->avc_first)
		vma->avc_first->prev = avc;
	else
		vma->avc_last = avc;
	vma->avc_first = avc;
	fperf_itree_insert(&anon_vma->tree, &avc->node);
	anon_vma->refs++;
	return 0;
}

static bool compatible_neighbour(const struct fperf_vma *left, const struct fperf_vma *right)
{
	const uint32_t access = FPERF_VM_READ | FPERF_VM_WRITE | FPERF_VM_MAYBE_GUARD;

	return left->end == right->start && left->object == right->object &&
	       !((left->flags ^ right->flags) & ~access) && right->pgoff == left->pgoff + (left->end - left->start);
}

/* A neighbour that could have been one VMA with this but for its protection lends its anon_vma. */
static struct fperf_anon_vma *find_mergeable(const struct fperf_vma *vma)
{
	struct fperf_mm *const mm = vma->mm;
	uint32_t i;

	fperf_vma_find(mm, vma->start, &i);
	for (int side = 1; side >= 0; side--) {
		const struct fperf_vma *near;

		if (side ? i + 1 >= mm->nr_vmas : i == 0)
			continue;
		near = mm->vmas[side ? i + 1 : i - 1];
		if (!(side ? compatible_neighbour(vma, near) : compatible_neighbour(near, vma)))
			continue;
		if (near->anon_vma && near->avc_first && near->avc_first == near->avc_last)
			return near->anon_vma;
	}
	return NULL;
}

int fperf_anon_vma_prepare(struct fperf_sim *sim, struct fperf_vma *vma)
{
	struct fperf_anon_vma *anon_vma;
	int ret;

	if (vma->anon_vma)
		return 0;
	anon_vma = find_mergeable(vma);
	if (!anon_vma) {
		anon_vma = anon_vma_new(sim);
		if (!anon_vma)
			return FPERF_ERR(NO_MEMORY);
		anon_vma->num_children = 1; /* a root is its own child */
	}
	ret = chain_link(sim, vma, anon_vma);
	if (ret)
		return ret;
	vma->anon_vma = anon_vma;
	anon_vma->num_active_vmas++;
	return 0;
}

int fperf_anon_vma_clone(struct fperf_sim *sim, struct fperf_vma *dst, const struct fperf_vma *src, bool fork)
{
	for (const struct fperf_avc *avc = src->avc_last; avc; avc = avc->prev) {
		const int ret = chain_link(sim, dst, avc->anon_vma);

		if (ret)
			return ret;
		/* Fork may take over an ancestor's anon_vma that no VMA uses as its own and only one child hangs on. */
		if (fork && !dst->anon_vma && avc->anon_vma->num_children < 2 && !avc->anon_vma->num_active_vmas)
			dst->anon_vma = avc->anon_vma;
	}
	if (dst->anon_vma)
		dst->anon_vma->num_active_vmas++;
	return 0;
}

int fperf_anon_vma_fork(struct fperf_sim *sim, struct fperf_vma *dst, const struct fperf_vma *src)
{
	struct fperf_anon_vma *anon_vma;
	int ret;

	dst->anon_vma = NULL;
	if (!src->anon_vma)
		return 0;
	ret = fperf_anon_vma_clone(sim, dst, src, true);
	if (ret || dst->anon_vma)
		return ret;
	anon_vma = anon_vma_new(sim);
	if (!anon_vma)
		return FPERF_ERR(NO_MEMORY);
	anon_vma->parent = src->anon_vma;
	anon_vma->root = src->anon_vma->root;
	anon_vma->parent->refs++;
	if (anon_vma->root != anon_vma->parent)
		anon_vma->root->refs++;
	anon_vma->num_active_vmas = 1;
	ret = chain_link(sim, dst, anon_vma);
	if (ret)
		return ret;
	dst->anon_vma = anon_vma;
	anon_vma->parent->num_children++;
	return 0;
}

void fperf_anon_vma_unlink(struct fperf_sim *sim, struct fperf_vma *vma)
{
	struct fperf_avc *next;

	if (vma->anon_vma)
		vma->anon_vma->num_active_vmas--;
	for (struct fperf_avc *avc = vma->avc_first; avc; avc = next) {
		struct fperf_anon_vma *const anon_vma = avc->anon_vma;

		next = avc->next;
		fperf_itree_remove(&anon_vma->tree, &avc->node);
		if (!anon_vma->tree.root) {
			struct fperf_anon_vma *const parent = anon_vma->parent ? anon_vma->parent : anon_vma;

			parent->num_children--;
			/* The kernel frees it here. Folios that a stale count calls mapped still point to it. */
			if (anon_vma->nr_leaked)
				sim->totals.anon_vma_hazard++;
		}
		fperf_object_free(&sim->mem, avc->node.at, AVC_BYTES);
		free(avc);
		fperf_anon_vma_put(sim, anon_vma);
	}
	vma->avc_first = vma->avc_last = NULL;
	vma->anon_vma = NULL;
}
