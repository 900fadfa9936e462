/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zero_one_two_stopped: the mms that map a large folio, none, one or two, with the mappings of each; at the third, tracking
 * stops and the folio is taken for shared (a relative of the idea of zero_one_two_many, which the cover letter of
 * <20250224165603.1434404-1-david@redhat.com> names as a way out; never posted in full). schemes.md 3.14.
 *
 * Everything but that idea is our completion. What is tracked is what mm_owner's slots track, under the same lock, but without
 * a total: as long as nobody is untracked, the total is c_0 + c_1. Beside it stands the sum of mapped pages, to notice holes.
 * Each mapping owns a reference, so a folio that is no longer tracked is freed like any other.
 */
#include "scheme/owner_slots.h"

/* Offsets in the first tail. "Stopped" stands where mm_owner has "maybe shared". */
static const struct fperf_owner_layout OWNER = { .mapcount = 32, .ids = 40, .id_bits = 31, .slot_bits = 32 };
static const unsigned int MAPPED_PAGES = 16; /* 64 bits, from 0 */

/* Stopped until the folio is freed: nothing is counted any more. Or until nobody maps it: c_0 is then the total. */
enum { UNTIL_FREED, UNTIL_UNMAPPED, NR_VARIANTS };

static uint64_t *ids_of(struct fperf_sim *sim, uint64_t folio)
{
	return fperf_owner_ids(sim, &OWNER, folio);
}

static uint64_t load_ids(struct fperf_sim *sim, uint64_t folio)
{
	return fperf_load64(&sim->door, FPERF_FIELD_MM_ID, ids_of(sim, folio));
}

static bool stopped(uint64_t ids)
{
	return ids >> fperf_owner_shared_bit(&OWNER) & 1;
}

/* Nobody will ever count this folio again. */
static bool given_up(const struct fperf_sim *sim, uint64_t ids)
{
	return stopped(ids) && sim->cfg.variant == UNTIL_FREED;
}

static int32_t mappings(struct fperf_sim *sim, uint64_t folio, unsigned int slot)
{
	return fperf_owner_load(sim, &OWNER, folio, slot) + 1;
}

static void store_mappings(struct fperf_sim *sim, uint64_t folio, unsigned int slot, int32_t nr)
{
	fperf_owner_store(sim, &OWNER, folio, slot, nr - 1);
}

static uint64_t *mapped_pages(struct fperf_sim *sim, uint64_t folio)
{
	return (uint64_t *)((char *)fperf_tail1(sim, folio) + MAPPED_PAGES);
}

static int64_t load_pages(struct fperf_sim *sim, uint64_t folio)
{
	return (int64_t)fperf_load64(&sim->door, FPERF_FIELD_TOTAL_MAPPED_PAGES, mapped_pages(sim, folio));
}

static int64_t add_pages(struct fperf_sim *sim, uint64_t folio, int64_t nr)
{
	const int64_t now = load_pages(sim, folio) + nr;

	fperf_store64(&sim->door, FPERF_FIELD_TOTAL_MAPPED_PAGES, mapped_pages(sim, folio), (uint64_t)now);
	return now;
}

/* Take the lock, unless nothing is counted any more, which shows without it. */
static bool begin(struct fperf_sim *sim, uint64_t folio, uint64_t *ids)
{
	if (sim->cfg.variant == UNTIL_FREED && given_up(sim, load_ids(sim, folio)))
		return false;
	fperf_lock_bit(&sim->door, FPERF_FIELD_MM_ID_LOCK, ids_of(sim, folio), fperf_owner_lock_bit(&OWNER));
	*ids = load_ids(sim, folio);
	return true;
}

static void end(struct fperf_sim *sim, uint64_t folio, uint64_t before, uint64_t now)
{
	if (now != before)
		fperf_store64(&sim->door, FPERF_FIELD_MM_ID, ids_of(sim, folio), now);
	fperf_unlock_bit(&sim->door, FPERF_FIELD_MM_ID_LOCK, ids_of(sim, folio), fperf_owner_lock_bit(&OWNER));
}

/* The slot of an mm, or one with that number. */
static unsigned int slot_of(uint64_t ids, uint32_t id)
{
	return fperf_owner_of_slot(&OWNER, ids, 0) == id ? 0 :
	       fperf_owner_of_slot(&OWNER, ids, 1) == id ? 1 :
							   FPERF_OWNER_NONE;
}

/* A third mm: from here on shared. The owners go; where a total is kept, it goes on in slot 0. */
static uint64_t stop(struct fperf_sim *sim, uint64_t folio, uint64_t ids)
{
	if (sim->cfg.variant == UNTIL_UNMAPPED) {
		store_mappings(sim, folio, 0, mappings(sim, folio, 0) + mappings(sim, folio, 1));
		store_mappings(sim, folio, 1, 0);
	}
	for (unsigned int slot = 0; slot < FPERF_OWNER_NONE; slot++)
		ids = fperf_owner_with_slot(&OWNER, ids, slot, 0);
	return fperf_owner_with_shared(&OWNER, ids, true);
}

/* One call for `entries` more of so many pages in all. */
static void track(struct fperf_sim *sim, const struct fperf_run *run, uint32_t entries, uint32_t pages)
{
	const uint32_t id = fperf_owner_id(&OWNER, run->mm_id);
	unsigned int slot;
	uint64_t ids, now;

	if (!begin(sim, run->folio, &ids))
		return;
	now = ids;
	slot = stopped(ids) ? 0 : slot_of(ids, id);
	if (slot == FPERF_OWNER_NONE) {
		slot = slot_of(ids, 0);
		if (slot == FPERF_OWNER_NONE) {
			now = stop(sim, run->folio, ids);
			slot = 0;
		} else {
			now = fperf_owner_with_slot(&OWNER, ids, slot, id);
		}
	}
	if (!given_up(sim, now)) {
		store_mappings(sim, run->folio, slot, mappings(sim, run->folio, slot) + (int32_t)entries);
		add_pages(sim, run->folio, pages);
	}
	end(sim, run->folio, ids, now);
}

/* Fewer mapped pages than pages: some page has no mapping. */
static void note_hole(struct fperf_sim *sim, const struct fperf_run *run, int64_t mapped)
{
	if (run->flags & FPERF_RUN_ANON && run->order >= 2 && mapped > 0 && mapped < 1ll << run->order &&
	    !sim->folios[run->folio].deferred)
		fperf_queue_split(sim, run->folio, 1);
}

/* One call for as many fewer. */
static void untrack(struct fperf_sim *sim, const struct fperf_run *run, uint32_t entries, uint32_t pages)
{
	unsigned int slot;
	uint64_t ids, now;
	int32_t left;
	int64_t mapped;

	if (!begin(sim, run->folio, &ids))
		return;
	now = ids;
	if (given_up(sim, ids)) {
		end(sim, run->folio, ids, now);
		return;
	}
	slot = stopped(ids) ? 0 : slot_of(ids, fperf_owner_id(&OWNER, run->mm_id));
	left = mappings(sim, run->folio, slot) - (int32_t)entries;
	store_mappings(sim, run->folio, slot, left);
	if (!left) {
		/* The mm has gone, or with the last of all the reason not to look at them one by one. */
		now = fperf_owner_with_slot(&OWNER, now, slot, 0);
		now = fperf_owner_with_shared(&OWNER, now, false);
	}
	mapped = add_pages(sim, run->folio, -(int64_t)pages);
	end(sim, run->folio, ids, now);
	note_hole(sim, run, mapped);
}

static void folio_init(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	if (!order)
		return;
	for (unsigned int slot = 0; slot < FPERF_OWNER_NONE; slot++)
		store_mappings(sim, folio, slot, 0);
	fperf_store64(&sim->door, FPERF_FIELD_MM_ID, ids_of(sim, folio), 0);
	fperf_store64(&sim->door, FPERF_FIELD_TOTAL_MAPPED_PAGES, mapped_pages(sim, folio), 0);
}

static void folio_free(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	if (order)
		load_ids(sim, folio);
}

static bool map_entries(struct fperf_sim *sim, const struct fperf_run *run, uint32_t entries, uint32_t pages)
{
	const bool taken = fperf_take_refs(sim, run, entries);
	const uint32_t calls = run->batched ? 1 : entries;

	if (run->flags & FPERF_RUN_NEW) {
		/* Nobody else sees the folio yet. */
		store_mappings(sim, run->folio, 0, (int32_t)entries);
		fperf_store64(&sim->door, FPERF_FIELD_MM_ID, ids_of(sim, run->folio),
			      fperf_owner_id(&OWNER, run->mm_id));
		fperf_store64(&sim->door, FPERF_FIELD_TOTAL_MAPPED_PAGES, mapped_pages(sim, run->folio), pages);
		return taken;
	}
	for (uint32_t i = 0; i < calls; i++)
		track(sim, run, entries / calls, pages / calls);
	return taken;
}

static bool map_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	return run->order ? map_entries(sim, run, run->nr, run->nr) : fperf_small_map(sim, run);
}

static bool map_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	return map_entries(sim, run, 1, run->nr);
}

static void unmap_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	const uint32_t calls = run->batched ? 1 : run->nr;

	if (!run->order) {
		fperf_small_unmap(sim, run);
		return;
	}
	for (uint32_t i = 0; i < calls; i++)
		untrack(sim, run, run->nr / calls, run->nr / calls);
	fperf_drop_refs(sim, run, run->nr);
}

static void unmap_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	untrack(sim, run, 1, run->nr);
	fperf_drop_refs(sim, run, 1);
}

static void split_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	const uint32_t calls = run->batched ? 1 : run->nr;

	fperf_split_refs(sim, run);
	for (uint32_t i = 0; i < calls; i++)
		track(sim, run, run->nr / calls, run->nr / calls);
	untrack(sim, run, 1, run->nr);
}

/* All of it unknown: nothing but "shared" is left of a folio given up. */
static enum fperf_answer answer_given_up(enum fperf_question question, int64_t *value)
{
	/* No reference is known to be a mapping's; at some time three mms had it. */
	*value = question == FPERF_ASK_MAPPING_REFS ? 0 : question == FPERF_ASK_PAGE_MAPCOUNT ? 1 : 3;
	return question == FPERF_ASK_SHARED ? FPERF_YES : FPERF_UNKNOWN;
}

static enum fperf_answer answer(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				int64_t *value)
{
	uint64_t ids;
	int32_t first, second;

	if (!query->order)
		return fperf_small_answer(sim, question, query, value);
	/* Is it large? */
	fperf_load64(&sim->door, FPERF_FIELD_FLAGS, &fperf_head(sim, query->folio)->flags);
	ids = load_ids(sim, query->folio);
	if (given_up(sim, ids))
		return answer_given_up(question, value);
	first = mappings(sim, query->folio, 0);
	second = mappings(sim, query->folio, 1);
	*value = (int64_t)first + second;
	switch (question) {
	case FPERF_ASK_MAPPED:
		return *value > 0;
	case FPERF_ASK_SHARED:
		return stopped(ids) || (first && second);
	case FPERF_ASK_TOTAL_MAPCOUNT:
	case FPERF_ASK_MAPPING_REFS:
		return FPERF_COUNT;
	case FPERF_ASK_PAGE_MAPCOUNT:
		/* The average of all pages, one at least. */
		*value = (load_pages(sim, query->folio) + (1ll << query->order) / 2) >> query->order;
		if (!*value)
			*value = 1;
		return FPERF_UNKNOWN;
	case FPERF_NR_QUESTIONS:
		break;
	}
	return FPERF_UNKNOWN;
}

const struct fperf_scheme_ops FPERF_SCHEME(zero_one_two_stopped) = {
	.name = "zero_one_two_stopped",
	.nr_variants = NR_VARIANTS,
	.exclusive_is_certain = true,
	.folio_init = folio_init,
	.folio_free = folio_free,
	.map_run = map_run,
	.fork_run = map_run,
	.map_pmd = map_pmd,
	.unmap_run = unmap_run,
	.unmap_pmd = unmap_pmd,
	.split_pmd = split_pmd,
	.vma_split = fperf_no_border,
	.vma_merge = fperf_no_border,
	.vma_move = fperf_no_move,
	.answer = answer,
};
