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
 * rebuild. It names too many at times, never too few, and each is then asked; so its size and age change no result.
 */
#ifndef FPERF_COHERENCE_H
#define FPERF_COHERENCE_H

#include "cache/hierarchy_inl.h"

#define FPERF_COHERENCE_MAX_PLACES (FPERF_HIERARCHY_MAX_LEVELS * FPERF_HIERARCHY_MAX_CPUS)
#define FPERF_COHERENCE_MAX_WORDS (FPERF_COHERENCE_MAX_PLACES / 64)

struct fperf_place {
	uint32_t first_cpu, end_cpu;
	uint32_t first_level, end_level;
	bool foreign; /* to some CPU; the filter knows no others */
};

/* What serves a CPU: the instance of each level, then NULL, and the place that it belongs to. */
struct fperf_route {
	struct fperf_level *path[FPERF_HIERARCHY_MAX_LEVELS + 1];
	uint32_t place[FPERF_HIERARCHY_MAX_LEVELS];
};

/* Where a line comes from that the levels asked do not hold. */
enum fperf_source { FPERF_SOURCE_MEMORY, FPERF_SOURCE_SHARED, FPERF_SOURCE_MODIFIED };

struct fperf_coherence {
	uint32_t nr_places, nr_words; /* nr_words of 64 bits hold a bit for each place */
	uint32_t cpu; /* whose path h->path is */
	const uint32_t *own; /* its places, by level */
	enum fperf_source source;
	enum fperf_tier tier; /* of source shared */
	uint64_t slot_mask;
	uint64_t nr_noted; /* since the filter was rebuilt */
	uint64_t *filter;  /* (slot_mask + 1) x nr_words */
	uint64_t *on_path; /* nr_cpus x nr_words */
	struct fperf_route *route; /* of each CPU */
	struct fperf_place place[FPERF_COHERENCE_MAX_PLACES]; /* innermost first */
};

int fperf_coherence_create(struct fperf_hierarchy *h) FPERF_MUST_CHECK;
void fperf_coherence_destroy(struct fperf_coherence *coherence);

/* The next accesses are those of `cpu`. */
void fperf_coherence_enter(struct fperf_hierarchy *h, uint32_t cpu);

/* The CPU may read, or write, the line hereafter. `first_holds`: its first level had the line before the access. */
void fperf_coherence_acquire(struct fperf_hierarchy *h, uint64_t line, bool write, bool first_holds);

/* Could a foreign place hold the line? If not, acquiring it does nothing but note that memory is its source. */
static inline bool fperf_coherence_is_shared(const struct fperf_coherence *c, uint64_t line)
{
	const uint64_t *const slot = c->filter + (line & c->slot_mask) * c->nr_words;
	const uint64_t *const own = c->on_path + c->cpu * c->nr_words;
	uint64_t foreign = 0;

	for (uint32_t word = 0; word < c->nr_words; word++)
		foreign |= slot[word] & ~own[word];
	return foreign != 0;
}

/* No level of the path had the line: does it come from another cache? Counts it then; else its home is looked at. */
bool fperf_coherence_delivers(struct fperf_hierarchy *h, uint64_t line);

/* Make the filter what the entries say. */
void fperf_coherence_rebuild(struct fperf_hierarchy *h);

/* A line was put in a level of this place. */
static inline void fperf_coherence_note(struct fperf_hierarchy *h, uint32_t place, uint64_t line)
{
	struct fperf_coherence *const c = h->coherence;
	uint64_t *const slot = c->filter + (line & c->slot_mask) * c->nr_words;

	if (!c->place[place].foreign)
		return;
	if (c->nr_noted++ > c->slot_mask)
		fperf_coherence_rebuild(h);
	slot[place / 64] |= 1ull << place % 64;
}

#endif
