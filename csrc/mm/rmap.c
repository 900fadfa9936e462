/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reverse-map walks: every VMA the interval tree returns for the folio's offset range, mapped or not, in the kernel's
 * order, and inside each the entries that map the folio. Lines per visited VMA as schemes.md 8.4 counts them.
 */
#include "mm/mm.h"

static const unsigned int VMA_LINE_BYTES = 64;

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* Formulas assume that mappers are met in random order (schemes.md 7.1); then all candidates are drawn like lots. */
static void shuffle(struct fperf_rmap_walk *walk)
{
	struct fperf_sim *const sim = walk->sim;
	struct fperf_itnode *node = walk->node;
	uint32_t nr = 0;

	for (; node; node = fperf_itree_next(node, walk->start, walk->last))
		nr++;
	walk->shuffled = malloc((nr + 1) * sizeof(*walk->shuffled));
	if (!walk->shuffled) {
		sim->error = FPERF_ERR(NO_MEMORY);
		return;
	}
	for (node = walk->node; node; node = fperf_itree_next(node, walk->start, walk->last)) {
		const uint32_t at = (uint32_t)(next_random(&sim->walk_rng) % (walk->nr_shuffled + 1));

		walk->shuffled[walk->nr_shuffled++] = walk->shuffled[at];
		walk->shuffled[at] = node;
	}
	walk->node = nr ? walk->shuffled[--walk->nr_shuffled] : NULL;
}

static struct fperf_itnode *next_candidate(struct fperf_rmap_walk *walk)
{
	if (!walk->shuffled)
		return fperf_itree_next(walk->node, walk->start, walk->last);
	return walk->nr_shuffled ? walk->shuffled[--walk->nr_shuffled] : NULL;
}

/* Address of the rwsem that guards the tree, 0 if the folio has none. */
static uint64_t tree_lock(const struct fperf_folio *f)
{
	if (f->anon)
		return f->ksm ? 0 : f->anon_vma->root->at;
	return f->object ? f->object->at : 0;
}

static void charge_lock(struct fperf_sim *sim, const struct fperf_rmap_walk *walk)
{
	if (!walk->locked && walk->lock_at)
		fperf_lock_word(&sim->door, FPERF_FIELD_RMAP_LOCK, walk->lock_at);
}

static bool begin(struct fperf_sim *sim, struct fperf_rmap_walk *walk, uint64_t folio, bool locked)
{
	const struct fperf_folio *const f = &sim->folios[folio];

	*walk = (struct fperf_rmap_walk){ .sim = sim,
					  .folio = folio,
					  .order = fperf_folio_order(sim, folio),
					  .start = f->index,
					  .lock_at = tree_lock(f),
					  .batch = sim->entries,
					  .state = FPERF_PTE_PRESENT,
					  .entry_pfn = folio,
					  .anon = f->anon,
					  .locked = locked };
	walk->last = f->index + (1ull << walk->order) - 1;
	/* folio->mapping tells where the tree is. */
	fperf_touch(&sim->door, FPERF_FIELD_MAPPING, FPERF_LOAD,
		    fperf_arena_offset(&sim->mem, &fperf_head(sim, folio)->mapping));
	/* A KSM page has a lock and a tree for each place it was put. */
	if (f->ksm)
		return true;
	if (!walk->lock_at)
		return false;
	charge_lock(sim, walk);
	if (f->anon) {
		fperf_touch(&sim->door, FPERF_FIELD_ANON_VMA, FPERF_LOAD, f->anon_vma->at + 64);
		walk->node = fperf_itree_first(&f->anon_vma->tree, walk->start, walk->last);
	} else {
		fperf_touch(&sim->door, FPERF_FIELD_MAPPING_OBJECT, FPERF_LOAD, f->object->at + 64);
		walk->node = fperf_itree_first(&f->object->i_mmap, walk->start, walk->last);
	}
	if (sim->cfg.walk_order_seed)
		shuffle(walk);
	return true;
}

bool fperf_rmap_walk_begin(struct fperf_sim *sim, struct fperf_rmap_walk *walk, uint64_t folio)
{
	return begin(sim, walk, folio, false);
}

bool fperf_rmap_walk_begin_locked(struct fperf_sim *sim, struct fperf_rmap_walk *walk, uint64_t folio)
{
	return begin(sim, walk, folio, true);
}

bool fperf_rmap_lock(struct fperf_sim *sim, uint64_t folio)
{
	const uint64_t lock_at = tree_lock(&sim->folios[folio]);

	if (!lock_at)
		return false;
	fperf_lock_word(&sim->door, FPERF_FIELD_RMAP_LOCK, lock_at);
	return true;
}

bool fperf_rmap_walk_next(struct fperf_rmap_walk *walk)
{
	struct fperf_sim *const sim = walk->sim;
	struct fperf_door *const door = &sim->door;
	struct fperf_vma *vma;

	if (fperf_is_ksm(sim, walk->folio)) {
		if (!fperf_ksm_walk_next(walk))
			return false;
		vma = walk->vma;
	} else {
		if (!walk->node)
			return false;
		vma = walk->node->owner;
		walk->vma = vma;
		if (walk->anon)
			fperf_touch(door, FPERF_FIELD_TREE_NODE, FPERF_LOAD, walk->node->at);
	}
	fperf_touch_run(door, FPERF_FIELD_VMA, FPERF_LOAD, vma->at,
			walk->anon ? sim->prof.vma_walk_lines_anon : sim->prof.vma_walk_lines_file, VMA_LINE_BYTES);
	fperf_touch_run(door, FPERF_FIELD_MM, FPERF_LOAD, vma->mm->at, sim->prof.mm_walk_lines, VMA_LINE_BYTES);
	sim->door.stats->vma_visits++;
	if (fperf_is_ksm(sim, walk->folio)) {
		walk->nr = 1;
		return true;
	}
	walk->nr = fperf_vma_folio_range(sim, vma, walk->folio, &walk->first, &walk->vpn);
	walk->node = next_candidate(walk);
	return true;
}

void fperf_rmap_walk_end(struct fperf_rmap_walk *walk)
{
	/* up_read() is an atomic too: two per walk. */
	charge_lock(walk->sim, walk);
	free(walk->shuffled);
	walk->shuffled = NULL;
}

bool fperf_rmap_walk_hit(struct fperf_rmap_walk *walk, uint32_t *cursor, struct fperf_rmap_hit *hit)
{
	struct fperf_sim *const sim = walk->sim;

	while (*cursor < walk->nr) {
		const uint64_t vpn = walk->vpn + *cursor;
		const uint32_t in_table = sim->entries - fperf_pte_index(sim, vpn);
		const uint32_t left = walk->nr - *cursor;
		const uint32_t span = in_table < left ? in_table : left;
		uint64_t *const pmd = fperf_pmd_walk(sim, walk->vma->mm, vpn);
		uint64_t *ptes;
		uint32_t i = 0, nr = 0;

		if (!pmd || !*pmd || *pmd & FPERF_PTE_LEAF) {
			const bool mapped = pmd && *pmd & FPERF_PTE_LEAF && (*pmd & FPERF_PTE_STATE) == walk->state &&
					    fperf_pte_pfn(*pmd) == walk->entry_pfn;

			*cursor += span;
			if (!mapped)
				continue;
			fperf_ptl_lock(sim, fperf_table_of(sim, pmd));
			sim->door.stats->pte_reads++;
			*hit = (struct fperf_rmap_hit){ .entry = pmd,
							.vpn = fperf_pmd_floor(sim, vpn),
							.first = 0,
							.nr = 1u << walk->order,
							.pmd = true };
			fperf_ptl_unlock(sim, fperf_table_of(sim, pmd));
			return true;
		}
		ptes = &fperf_table(&sim->mem, fperf_pmd_table(*pmd))[fperf_pte_index(sim, vpn)];
		while (i < span && !((ptes[i] & FPERF_PTE_STATE) == walk->state &&
				     fperf_pte_pfn(ptes[i]) == walk->entry_pfn + walk->first + *cursor + i))
			i++;
		if (i < span)
			nr = fperf_pte_batch(sim, &ptes[i], span - i < walk->batch ? span - i : walk->batch);
		/* Empty entries are read without the lock; it is taken when a candidate shows. */
		if (i + nr) {
			fperf_charge_ptes(sim, FPERF_LOAD, ptes, i + nr);
			sim->door.stats->pte_reads += i + nr;
		}
		if (!nr) {
			*cursor += span;
			continue;
		}
		fperf_ptl_lock(sim, fperf_pmd_table(*pmd));
		fperf_ptl_unlock(sim, fperf_pmd_table(*pmd));
		*hit = (struct fperf_rmap_hit){
			.entry = &ptes[i], .vpn = vpn + i, .first = walk->first + *cursor + i, .nr = nr
		};
		*cursor += i + nr;
		return true;
	}
	return false;
}
