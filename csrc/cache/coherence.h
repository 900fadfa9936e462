/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Caches of several CPUs kept coherent, MESI. Levels whose instances serve equally many CPUs make up a place: the private
 * levels of a core, the last level of a CCX. A CPU's path is the places it goes through; all others are foreign to it.
 * Dirty is M, a clean line that no foreign place holds is E, any other is S, so no state is kept but the entries.
 *
 * The rules. Before a line is read, what a foreign place has modified is written back, to where that place's way down
 * meets the reader's; but a copy on the reader's own path that is no older serves alone. Before a line is written, all
 * foreign places lose it; modified data moves along with a store that takes the line in, and is written back first before
 * one that does not. A line that comes from another cache is not fetched from memory.
 *
 * Who may hold a line is looked up in a filter: per slot, the places that any line of the slot was put in since the last
 * rebuild, places that serve all CPUs left out. It names too many at times, never too few, and each is then asked; so its
 * size and age change no result. The fast engine keeps a second one, of dirty lines: a read need ask nobody that has none.
 */
#ifndef FPERF_COHERENCE_H
#define FPERF_COHERENCE_H

#include "cache/hierarchy_inl.h"

#define FPERF_COHERENCE_MAX_PLACES (FPERF_HIERARCHY_MAX_LEVELS * FPERF_HIERARCHY_MAX_CPUS)
#define FPERF_COHERENCE_MAX_WORDS (FPERF_COHERENCE_MAX_PLACES / 64)

struct fperf_place {
	uint32_t first_cpu, end_cpu;
	uint32_t first_level, end_level;
};

/* What serves a CPU: the instance of each level, then NULL, and the place that it belongs to. */
struct fperf_route {
	struct fperf_level *path[FPERF_HIERARCHY_MAX_LEVELS + 1];
	uint32_t place[FPERF_HIERARCHY_MAX_LEVELS];
	uint32_t socket;
};

/* Where a line comes from that the levels asked do not hold. */
enum fperf_source {
	FPERF_SOURCE_MEMORY,
	FPERF_SOURCE_SHARED,
	FPERF_SOURCE_MODIFIED,
	FPERF_SOURCE_CLEAN /* memory or a foreign place that has the line, clean: not asked yet */
};

enum fperf_filter { FPERF_FILTER_HELD, FPERF_FILTER_DIRTY, FPERF_NR_FILTERS };

struct fperf_coherence {
	uint32_t nr_places;
	uint32_t nr_foreign; /* places that some CPU does not go through: the first ones */
	/*
	 * A slot has a bit for each of those and filter: in nr_words words of each filter, one after the other, or, if
	 * they are few, in slot_bits bits, a power of two, of one word that 1 << word_shift slots share.
	 */
	uint32_t nr_words, slot_bits, word_shift;
	uint32_t stride;     /* words of a slot, or of slots that share one */
	uint32_t dirty_words, dirty_shift; /* from a slot's first bit to the filter of dirty lines */
	uint32_t nr_sockets;
	uint32_t cpu; /* whose path h->path is */
	const uint32_t *own; /* its places, by level */
	enum fperf_source source;
	enum fperf_tier tier; /* of source shared */
	uint64_t slot_mask;
	uint64_t nr_noted; /* since the filter was rebuilt */
	uint64_t *filter;
	uint64_t *foreign; /* nr_cpus x nr_words: the places that a CPU does not go through */
	struct fperf_route *route; /* of each CPU */
	struct fperf_place place[FPERF_COHERENCE_MAX_PLACES]; /* innermost first */
};

int fperf_coherence_create(struct fperf_hierarchy *h) FPERF_MUST_CHECK;
void fperf_coherence_destroy(struct fperf_coherence *coherence);

/* The next accesses are those of `cpu`. */
void fperf_coherence_enter(struct fperf_hierarchy *h, uint32_t cpu);

/* The CPU may read, or write, the line hereafter. `first_holds`: its first level had the line before the access. */
void fperf_coherence_acquire(struct fperf_hierarchy *h, uint64_t line, bool write, bool first_holds);

/* The first word of a line's slot. */
static inline uint64_t *fperf_coherence_slot(const struct fperf_coherence *c, enum fperf_filter filter, uint64_t line)
{
	return c->filter + ((line & c->slot_mask) >> c->word_shift) * c->stride +
	       (filter == FPERF_FILTER_DIRTY ? c->dirty_words : 0);
}

/* Where in its word the slot begins: 0 if it has the word for itself. */
static inline unsigned int fperf_coherence_slot_shift(const struct fperf_coherence *c, enum fperf_filter filter,
						      uint64_t line)
{
	return (unsigned int)(line & ((1u << c->word_shift) - 1)) * c->slot_bits +
	       (filter == FPERF_FILTER_DIRTY ? c->dirty_shift : 0);
}

/* Foreign places that could hold the line, or have it dirty: those of the 64 that begin with number 64 x word. */
static inline uint64_t fperf_coherence_candidates(const struct fperf_coherence *c, enum fperf_filter filter,
						  uint64_t line, uint32_t word)
{
	return fperf_coherence_slot(c, filter, line)[word] >> fperf_coherence_slot_shift(c, filter, line) &
	       c->foreign[c->cpu * c->nr_words + word];
}

static inline bool fperf_coherence_has_candidates(const struct fperf_coherence *c, enum fperf_filter filter,
						  uint64_t line)
{
	uint64_t candidates = 0;

	for (uint32_t word = 0; word < c->nr_words; word++)
		candidates |= fperf_coherence_candidates(c, filter, line, word);
	return candidates != 0;
}

/* No level of the path had the line: does it come from another cache? Counts it then. */
bool fperf_coherence_delivers(struct fperf_hierarchy *h, uint64_t line);

/* It comes from memory: count it if that is another socket's. */
void fperf_coherence_look_home(struct fperf_hierarchy *h, uint64_t line);

/* Make the filter what the entries say. */
void fperf_coherence_rebuild(struct fperf_hierarchy *h);

static inline void fperf_coherence_mark(struct fperf_coherence *c, enum fperf_filter filter, uint32_t place,
					uint64_t line)
{
	if (place < c->nr_foreign)
		fperf_coherence_slot(c, filter, line)[place / 64] |=
			1ull << (place % 64 + fperf_coherence_slot_shift(c, filter, line));
}

/* A line was put in a level of this place. */
static inline void fperf_coherence_note(struct fperf_hierarchy *h, uint32_t place, uint64_t line)
{
	struct fperf_coherence *const c = h->coherence;

	if (c->nr_noted++ > c->slot_mask / 4)
		fperf_coherence_rebuild(h);
	fperf_coherence_mark(c, FPERF_FILTER_HELD, place, line);
}

#endif
