/* SPDX-License-Identifier: BSD-3-Clause */
/* File objects and their page cache. A resident folio of n pages holds n references of the cache. */
#include "mm/mm.h"

#include <string.h>

static const uint32_t ADDRESS_SPACE_BYTES = 192;

int fperf_object_create(struct fperf_sim *sim, const struct fperf_object_desc *desc, uint32_t *ret)
{
	struct fperf_object *object;

	if (desc->kind >= FPERF_NR_OBJECT_KINDS || desc->order > sim->pmd_order || desc->warm > 1 ||
	    desc->nr_pages > sim->end_vpn)
		return FPERF_ERR(CONFIG);
	if (sim->nr_objects == sim->cap_objects) {
		const uint32_t cap = sim->cap_objects ? sim->cap_objects * 2 : 64;
		struct fperf_object **const grown = realloc(sim->objects, cap * sizeof(*grown));

		if (!grown)
			return FPERF_ERR(NO_MEMORY);
		sim->objects = grown;
		sim->cap_objects = cap;
	}
	object = calloc(1, sizeof(*object));
	if (!object)
		return FPERF_ERR(NO_MEMORY);
	object->kind = desc->kind;
	object->order = desc->order;
	object->warm = desc->warm;
	object->nr_pages = desc->nr_pages;
	object->index = sim->nr_objects;
	/* Huge pages may reach beyond the end of the file. */
	object->capacity = (desc->nr_pages + sim->entries) & ~(uint64_t)(sim->entries - 1);
	object->pfns = fperf_reserve(object->capacity * sizeof(*object->pfns));
	object->at = fperf_object_alloc(&sim->mem, ADDRESS_SPACE_BYTES);
	if (!object->pfns || !object->at) {
		fperf_unreserve(object->pfns, object->capacity * sizeof(*object->pfns));
		free(object);
		return FPERF_ERR(ADDR_SPACE);
	}
	*ret = sim->nr_objects;
	sim->objects[sim->nr_objects++] = object;
	return 0;
}

void fperf_object_destroy_all(struct fperf_sim *sim)
{
	for (uint32_t i = 0; i < sim->nr_objects; i++) {
		fperf_unreserve(sim->objects[i]->pfns, sim->objects[i]->capacity * sizeof(*sim->objects[i]->pfns));
		free(sim->objects[i]);
	}
	free(sim->objects);
}

static bool none_resident(const struct fperf_object *object, uint64_t index, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++)
		if (object->pfns[index + i])
			return false;
	return true;
}

int fperf_pagecache_add(struct fperf_sim *sim, struct fperf_object *object, uint64_t index, uint32_t order,
			uint64_t *ret)
{
	const uint64_t nr = 1ull << order;
	enum fperf_cause before;
	uint64_t folio;
	int err;

	if (index & (nr - 1) || nr > object->capacity || index > object->capacity - nr ||
	    !none_resident(object, index, nr))
		return FPERF_ERR(ARGUMENT);
	err = fperf_folio_alloc(sim, order, &folio);
	if (err)
		return err;
	if (fperf_object_is_shmem(object))
		sim->door.stats->pages_zeroed += nr;
	else
		fperf_content_set(sim, folio, nr, FPERF_CONTENT_FILE);
	sim->folios[folio].object = object;
	sim->folios[folio].index = index;
	for (uint64_t i = 0; i < nr; i++)
		object->pfns[index + i] = folio + i;
	if (nr > 1) {
		before = fperf_because(&sim->door, FPERF_CAUSE_FIXED);
		fperf_folio_ref(sim, folio, (int32_t)nr - 1);
		fperf_because(&sim->door, before);
	}
	*ret = folio;
	return 0;
}

/* Since v6.11 a fault takes a large shmem folio only where its VMA holds all of it, aligned as the folio is. */
static bool vma_suits(const struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t index, uint32_t order)
{
	const uint64_t nr = 1ull << order, base = index & ~(nr - 1);

	if (!vma || !fperf_object_is_shmem(vma->object) || sim->prof.version < FPERF_KERNEL(6, 11))
		return true;
	return base >= vma->pgoff && base + nr <= vma->pgoff + (vma->end - vma->start) &&
	       !((vma->start - vma->pgoff) & (nr - 1));
}

/* Make the page resident in a folio of the object's own order, or the largest that fits beside what is there. */
int fperf_pagecache_fill(struct fperf_sim *sim, struct fperf_object *object, const struct fperf_vma *vma,
			 uint64_t index, uint64_t *pfn)
{
	/* A memfd counts as anonymous shmem; its sizes are "always" or not at all, which does not look at the file's. */
	const bool anon_shmem = object->kind == FPERF_OBJECT_MEMFD || object->kind == FPERF_OBJECT_ANON_SHARED;
	const bool beyond_eof = fperf_object_is_shmem(object);
	uint32_t order = object->order;
	uint64_t folio;
	int ret;

	if (object->pfns[index]) {
		*pfn = object->pfns[index];
		return 0;
	}
	if (object->kind == FPERF_OBJECT_TMPFS)
		order = sim->pmd_order;
	else if (anon_shmem && sim->cfg.shmem_huge)
		order = 63 - (uint32_t)__builtin_clzll(sim->cfg.shmem_huge);
	for (; order; order--) {
		const uint64_t base = index >> order << order;

		if (anon_shmem && !(sim->cfg.shmem_huge >> order & 1))
			continue;
		if (vma_suits(sim, vma, index, order) &&
		    base + (1ull << order) <= (beyond_eof ? object->capacity : object->nr_pages) &&
		    none_resident(object, base, 1ull << order))
			break;
		/* tmpfs huge=always knows the PMD size or single pages, nothing between. */
		if (object->kind == FPERF_OBJECT_TMPFS)
			order = 1;
	}
	ret = fperf_pagecache_add(sim, object, index >> order << order, order, &folio);
	if (!ret)
		*pfn = object->pfns[index];
	return ret;
}

int fperf_pagecache_find(struct fperf_sim *sim, struct fperf_object *object, uint64_t index, uint64_t *pfn)
{
	*pfn = 0;
	if (index >= object->nr_pages)
		return 0;
	*pfn = object->pfns[index];
	if (*pfn || !object->warm)
		return 0;
	return fperf_pagecache_fill(sim, object, NULL, index, pfn);
}

/* The cache drops its references; the folio goes unless something else still holds it. */
void fperf_pagecache_remove(struct fperf_sim *sim, uint64_t folio)
{
	struct fperf_folio *const f = &sim->folios[folio];
	const uint64_t nr = 1ull << fperf_folio_order(sim, folio);
	const enum fperf_cause before = fperf_because(&sim->door, FPERF_CAUSE_FIXED);

	for (uint64_t i = 0; i < nr; i++)
		f->object->pfns[f->index + i] = 0;
	f->object = NULL;
	fperf_folio_ref(sim, folio, -(int32_t)nr);
	fperf_because(&sim->door, before);
	fperf_folio_maybe_free(sim, folio);
}

int fperf_unmap_file_folio(struct fperf_sim *sim, uint64_t folio, bool locked)
{
	const struct fperf_query query = { .folio = folio, .order = fperf_folio_order(sim, folio) };
	/* The walk visits everybody, and leaves nobody. */
	const bool recounting = fperf_rmap_recount_begin(sim, &query, FPERF_SITE_RECLAIM);
	struct fperf_rmap_walk walk;

	if (locked ? fperf_rmap_walk_begin_locked(sim, &walk, folio) : fperf_rmap_walk_begin(sim, &walk, folio)) {
		while (fperf_rmap_walk_next(&walk)) {
			struct fperf_rmap_hit hit;
			uint32_t cursor = 0;

			while (fperf_rmap_walk_hit(&walk, &cursor, &hit))
				fperf_unmap_hit(sim, walk.vma, &hit, sim->prof.batch_try_to_unmap, UINT64_MAX);
		}
		fperf_rmap_walk_end(&walk);
	}
	if (recounting)
		fperf_rmap_recount_end(sim, &query, 0);
	return sim->error;
}

/* Reading a hole of shmem brings no page in, and advice to drop shmem's pages does nothing. */
int fperf_read_object(struct fperf_sim *sim, struct fperf_object *object)
{
	if (fperf_object_is_shmem(object))
		return 0;
	for (uint64_t i = 0; i < object->nr_pages; i++) {
		uint64_t pfn;
		const int ret = fperf_pagecache_fill(sim, object, NULL, i, &pfn);

		if (ret)
			return ret;
	}
	return 0;
}

void fperf_drop_object(struct fperf_sim *sim, struct fperf_object *object)
{
	if (fperf_object_is_shmem(object))
		return;
	for (uint64_t i = 0; i < object->capacity; i++) {
		const uint64_t folio = object->pfns[i] ? fperf_folio_head(sim, object->pfns[i]) : 0;
		const struct fperf_query query = { .folio = folio, .order = folio ? fperf_folio_order(sim, folio) : 0 };

		if (!folio)
			continue;
		i += (1ull << query.order) - 1;
		if (fperf_ask(sim, FPERF_ASK_MAPPED, &query, NULL) == FPERF_NO)
			fperf_pagecache_remove(sim, folio);
	}
}
