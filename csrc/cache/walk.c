/* SPDX-License-Identifier: BSD-3-Clause */
#include "cache/walk.h"

#include "cache/coherence.h"
#include "cache/miss_kind.h"
#include "cache/sharing.h"

/* At a level, 0 the first; nr_levels is memory. All count into the row of the access's class. */
static uint64_t fetch(struct fperf_hierarchy *h, unsigned int at, uint64_t line, bool write);
static void put(struct fperf_hierarchy *h, unsigned int at, uint64_t entry);

static bool exclusive(const struct fperf_hierarchy *h, unsigned int at)
{
	return at < h->config.nr_levels && h->path[at]->config.inclusion == FPERF_INCLUSION_EXCLUSIVE;
}

/* A prefetched line is gone that nobody asked for. */
static void note_useless(struct fperf_hierarchy *h, unsigned int at, uint64_t entry)
{
	h->count[at].prefetches_useless += (entry & FPERF_ENTRY_PREFETCHED) != 0;
}

uint64_t fperf_walk_lose(struct fperf_hierarchy *h, unsigned int at, struct fperf_level *level, uint64_t line)
{
	uint64_t entry = fperf_store_remove(&level->store, line);

	if (!entry && level->config.victim_lines)
		entry = fperf_store_remove(&level->victims, line);
	note_useless(h, at, entry);
	return entry;
}

/* An inclusive level of the path has lost a line, so all above it lose it; whether one of them had it dirty. */
static uint64_t back_invalidate(struct fperf_hierarchy *h, unsigned int below, uint64_t line)
{
	const uint32_t nr_sharers = h->config.level[below].nr_sharers;
	const uint32_t cpu = h->coherence ? h->coherence->cpu : 0;
	const uint32_t first_cpu = cpu - cpu % nr_sharers;
	uint64_t dirty = 0;

	for (unsigned int at = 0; at < below; at++) {
		const uint32_t width = h->config.level[at].nr_sharers;

		for (uint32_t above = first_cpu; above < first_cpu + nr_sharers && above < h->config.nr_cpus;
		     above += width) {
			const uint64_t entry = fperf_walk_lose(h, at, fperf_instance(h, at, above / width), line);

			h->count[at].back_invalidations += entry != 0;
			dirty |= entry & FPERF_ENTRY_DIRTY;
		}
	}
	return dirty;
}

/* The line is in the victim cache: back it comes. Returns where it is now, or NULL. */
static uint64_t *recall(struct fperf_hierarchy *h, unsigned int at, uint64_t line)
{
	struct fperf_level *const level = h->path[at];
	const uint64_t entry = level->config.victim_lines ? fperf_store_remove(&level->victims, line) : 0;

	if (!entry)
		return NULL;
	h->count[at].victim_hits++;
	put(h, at, entry);
	return fperf_store_find(&level->store, line);
}

/* A clean or dirty line goes down to an exclusive level. */
static void hand_down(struct fperf_hierarchy *h, unsigned int at, uint64_t line, uint64_t dirty)
{
	struct fperf_level *const level = h->path[at];
	uint64_t *here = fperf_store_use(&level->store, line);

	if (!here)
		here = recall(h, at, line);
	if (dirty)
		h->count[at].writebacks_in++;
	else
		h->count[at].victims_in++;
	if (dirty && level->config.write_through) {
		fperf_walk_write_below(h, at, line);
		dirty = 0;
	}
	if (here)
		*here |= dirty;
	else
		put(h, at, fperf_entry(line, dirty));
	if (level->full)
		fperf_full_cache_put(level->full, line);
}

/* An entry has left level `at` for good. */
static void evict(struct fperf_hierarchy *h, unsigned int at, uint64_t entry)
{
	const uint64_t line = fperf_entry_line(entry);
	uint64_t dirty = entry & FPERF_ENTRY_DIRTY;

	note_useless(h, at, entry);
	if (h->path[at]->config.inclusion == FPERF_INCLUSION_INCLUSIVE)
		dirty |= back_invalidate(h, at, line);
	if (exclusive(h, at + 1)) {
		h->count[at].writebacks_out += dirty;
		hand_down(h, at + 1, line, dirty);
	} else if (dirty) {
		fperf_walk_write_below(h, at, line);
	}
}

/* Put a line in that is not there. */
static void put(struct fperf_hierarchy *h, unsigned int at, uint64_t entry)
{
	struct fperf_level *const level = h->path[at];
	uint64_t gone = fperf_store_insert(&level->store, entry);

	if (gone && level->config.victim_lines)
		gone = fperf_store_insert(&level->victims, gone);
	if (h->coherence)
		fperf_coherence_note(h, h->coherence->own[at], fperf_entry_line(entry));
	if (gone)
		evict(h, at, gone);
}

static void write_back(struct fperf_hierarchy *h, unsigned int at, uint64_t line)
{
	struct fperf_level *const level = h->path[at];
	uint64_t *here;

	h->count[at].writebacks_in++;
	if (at == h->config.nr_levels)
		return;
	here = fperf_store_use(&level->store, line);
	if (!here)
		here = recall(h, at, line);
	if (here && !level->config.write_through)
		*here |= FPERF_ENTRY_DIRTY;
	else if (!here && level->config.write_allocate)
		put(h, at, fperf_entry(line, level->config.write_through ? 0 : FPERF_ENTRY_DIRTY));
	if (level->full && (here || level->config.write_allocate))
		fperf_full_cache_put(level->full, line);
	if (level->config.write_through || (!here && !level->config.write_allocate))
		fperf_walk_write_below(h, at, line);
}

void fperf_walk_write_below(struct fperf_hierarchy *h, unsigned int at, uint64_t line)
{
	h->count[at].writebacks_out++;
	write_back(h, at + 1, line);
}

static bool holds(const struct fperf_level *level, uint64_t line)
{
	return fperf_store_find(&level->store, line) ||
	       (level->config.victim_lines && fperf_store_find(&level->victims, line));
}

static void prefetch(struct fperf_hierarchy *h, unsigned int at, uint64_t line)
{
	if (holds(h->path[at], line))
		return;
	if (h->coherence) {
		const uint32_t word = h->word;

		h->word = FPERF_SHARING_NO_WORD;
		fperf_coherence_acquire(h, line, false, holds(h->path[0], line));
		h->word = word;
		/* What another CPU had modified may have been written back to here. */
		if (holds(h->path[at], line))
			return;
	}
	h->count[at].prefetches++;
	put(h, at, fperf_entry(line, FPERF_ENTRY_PREFETCHED | fetch(h, at + 1, line, false)));
	if (h->path[at]->full)
		fperf_full_cache_put(h->path[at]->full, line);
}

/* A level is asked for a line, and may miss it. */
static void split_miss(struct fperf_hierarchy *h, unsigned int at, uint64_t line, bool write, bool missed)
{
	const struct fperf_level *const level = h->path[at];
	const enum fperf_fetch_kind fetch_kind = exclusive(h, at)			? FPERF_FETCH_GIVES_AWAY :
						 write && !level->config.write_allocate ? FPERF_FETCH_PASSES_ON :
											  FPERF_FETCH_TAKES_IN;
	const enum fperf_miss_kind kind = fperf_full_cache_fetch(level->full, line, fetch_kind);
	struct fperf_level_counters *const count = &h->count[at];

	count->compulsory += missed && kind == FPERF_MISS_COMPULSORY;
	count->capacity += missed && kind == FPERF_MISS_CAPACITY;
	count->conflict += missed && kind == FPERF_MISS_CONFLICT;
	count->coherence += missed && kind == FPERF_MISS_COHERENCE;
}

/* Returns the dirty bit that comes up with the line: an exclusive level gives away its only copy. */
static uint64_t fetch(struct fperf_hierarchy *h, unsigned int at, uint64_t line, bool write)
{
	struct fperf_level *const level = h->path[at];
	const bool gives_away = exclusive(h, at);
	uint64_t dirty, *here;

	if (at == h->config.nr_levels) {
		if (h->coherence && fperf_coherence_delivers(h, line))
			return 0;
		if (h->coherence)
			fperf_coherence_look_home(h, line);
		h->count[at].fetches++;
		return 0;
	}
	h->count[at].fetches++;
	here = fperf_store_use(&level->store, line);
	if (level->full)
		split_miss(h, at, line, write, !here);
	if (here) {
		h->count[at].hits++;
		h->count[at].prefetches_useful += (*here & FPERF_ENTRY_PREFETCHED) != 0;
		*here &= ~FPERF_ENTRY_PREFETCHED;
	} else {
		h->count[at].misses++;
		here = recall(h, at, line);
		if (here) {
			h->count[at].prefetches_useful += (*here & FPERF_ENTRY_PREFETCHED) != 0;
			*here &= ~FPERF_ENTRY_PREFETCHED;
		}
	}
	if (here) {
		if (gives_away)
			return fperf_store_remove(&level->store, line) & FPERF_ENTRY_DIRTY;
		if (write && level->config.write_through)
			fperf_walk_write_below(h, at, line);
		else if (write)
			*here |= FPERF_ENTRY_DIRTY;
		return 0;
	}
	if (write && !level->config.write_allocate) {
		fperf_walk_write_below(h, at, line);
		return 0;
	}
	dirty = fetch(h, at + 1, line, false);
	if (gives_away)
		return dirty;
	put(h, at, fperf_entry(line, dirty | (write && !level->config.write_through ? FPERF_ENTRY_DIRTY : 0)));
	if (write && level->config.write_through)
		fperf_walk_write_below(h, at, line);
	if (level->config.prefetch)
		prefetch(h, at, line + 1);
	return 0;
}

void fperf_walk(struct fperf_hierarchy *h, uint64_t line, bool write)
{
	if (h->coherence)
		fperf_coherence_acquire(h, line, write, holds(h->path[0], line));
	if (h->sharing)
		fperf_sharing_use(h->sharing, line, h->coherence ? h->coherence->cpu : 0, h->word, write);
	fetch(h, 0, line, write);
}
