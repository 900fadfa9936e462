/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages leave a file: its size is set, or a hole is punched. A folio that goes in part is split, if nobody holds it. */
#include "mm/mm.h"

/* unmap_mapping_range(): of every VMA that maps pages from start on. */
static int unmap_range(struct fperf_sim *sim, const struct fperf_object *object, uint64_t start, uint64_t past,
		       enum fperf_zap what)
{
	struct fperf_itnode *node = fperf_itree_first(&object->i_mmap, start, past - 1);

	for (; node; node = fperf_itree_next(node, start, past - 1)) {
		struct fperf_vma *const vma = node->owner;
		const uint64_t vma_past = vma->pgoff + (vma->end - vma->start);
		const uint64_t from = vma->pgoff >= start ? vma->start : vma->start + (start - vma->pgoff);
		const uint64_t to = vma_past <= past ? vma->end : vma->start + (past - vma->pgoff);
		int ret;

		sim->door.stats->vma_visits++;
		ret = fperf_zap_range(sim, vma, from, to, what);
		if (ret)
			return ret;
	}
	return 0;
}

static int split_at(struct fperf_sim *sim, uint64_t folio, uint64_t page, bool *done)
{
	const int ret = fperf_unmap_file_folio(sim, folio, false);

	*done = !ret && fperf_folio_split_file(sim, folio, (uint32_t)page);
	return ret;
}

/* Pages [first, past) of a folio go, not all of it: split at the one end, then, since v6.15, at the other. */
static int remove_part(struct fperf_sim *sim, uint64_t folio, uint64_t first, uint64_t past, bool *done)
{
	const uint64_t nr = 1ull << fperf_folio_order(sim, folio);
	int ret;

	fperf_content_set(sim, folio + first, past - first, FPERF_CONTENT_ZERO);
	ret = split_at(sim, folio, first, done);
	if (!ret && *done && past < nr && fperf_folio_order(sim, folio + past)) {
		const uint64_t other = fperf_folio_head(sim, folio + past);
		bool ignored;

		ret = split_at(sim, other, folio + past - other, &ignored);
	}
	return ret;
}

/* truncate_cleanup_folio(): a folio that is said to be mapped still is looked for in all VMAs once more. */
static int cut_off(struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_query query = { .folio = folio, .order = fperf_folio_order(sim, folio) };
	int ret = 0;

	if (fperf_ask_before_walk(sim, FPERF_ASK_MAPPED, &query, NULL) != FPERF_NO) {
		const enum fperf_cause before = fperf_because(&sim->door, FPERF_CAUSE_WALK);

		ret = fperf_unmap_file_folio(sim, folio, false);
		fperf_because(&sim->door, before);
	}
	if (!ret)
		fperf_pagecache_remove(sim, folio);
	return ret;
}

static int remove_range(struct fperf_sim *sim, struct fperf_object *object, uint64_t start, uint64_t past)
{
	for (uint64_t i = start; i < past;) {
		uint64_t folio, index, nr, behind;
		bool gone = true;
		int ret = 0;

		if (!object->pfns[i]) {
			i++;
			continue;
		}
		folio = fperf_folio_head(sim, object->pfns[i]);
		index = sim->folios[folio].index;
		nr = 1ull << fperf_folio_order(sim, folio);
		behind = index + nr;
		if (index >= start && behind <= past)
			ret = cut_off(sim, folio);
		else
			ret = remove_part(sim, folio, index < start ? start - index : 0,
					  (behind < past ? behind : past) - index, &gone);
		if (ret)
			return ret;
		/* What could not be split stays, its pages zeroed; of what was, the parts are looked at. */
		i = gone && object->pfns[i] ? i : behind;
	}
	return 0;
}

int fperf_truncate(struct fperf_sim *sim, struct fperf_object *object, uint64_t nr_pages)
{
	const uint64_t old = object->nr_pages;
	int ret;

	object->nr_pages = nr_pages;
	if (nr_pages >= old)
		return 0;
	/* Private copies go too. */
	ret = unmap_range(sim, object, nr_pages, UINT64_MAX, FPERF_ZAP_PAGES);
	return ret ? ret : remove_range(sim, object, nr_pages, object->capacity);
}

int fperf_punch_hole(struct fperf_sim *sim, struct fperf_object *object, uint64_t start, uint64_t past)
{
	int ret;

	if (past > object->capacity)
		past = object->capacity;
	if (start >= past)
		return 0;
	ret = unmap_range(sim, object, start, past, FPERF_ZAP_FILE_PAGES);
	return ret ? ret : remove_range(sim, object, start, past);
}
