/* SPDX-License-Identifier: BSD-3-Clause */
#include "cache/coherence.h"

#include <string.h>

#include "cache/coherent.h"
#include "cache/miss_kind.h"
#include "cache/sharing.h"
#include "cache/walk.h"

#define NOWHERE UINT32_MAX

/* The foreign places that hold a line, innermost first. */
struct holders {
	uint32_t nr;
	uint32_t dirty; /* innermost that has it modified, or NOWHERE */
	uint16_t place[FPERF_COHERENCE_MAX_PLACES];
};

static enum fperf_tier tier_of(const struct fperf_hierarchy_config *config, uint32_t one, uint32_t other)
{
	if (one / config->cpus_per_core == other / config->cpus_per_core)
		return FPERF_TIER_SMT;
	if (one / config->cpus_per_ccx == other / config->cpus_per_ccx)
		return FPERF_TIER_CCX;
	if (one / config->cpus_per_socket == other / config->cpus_per_socket)
		return FPERF_TIER_SOCKET;
	return FPERF_TIER_REMOTE;
}

static enum fperf_tier tier_to(const struct fperf_hierarchy *h, uint32_t place)
{
	return tier_of(&h->config, h->coherence->cpu, h->coherence->place[place].first_cpu);
}

/* The instance of level `at` that belongs to a place. */
static struct fperf_level *instance_in(const struct fperf_hierarchy *h, const struct fperf_place *place,
				       unsigned int at)
{
	return fperf_instance(h, at, place->first_cpu / h->config.level[at].nr_sharers);
}

static uint64_t *entry_in(const struct fperf_level *level, uint64_t line)
{
	uint64_t *const entry = fperf_store_find(&level->store, line);

	return entry || !level->config.victim_lines ? entry : fperf_store_find(&level->victims, line);
}

/* VALID if the instance holds the line, DIRTY too if it has it modified; else 0. */
static uint64_t held_at(const struct fperf_hierarchy *h, const struct fperf_level *level, uint64_t line)
{
	const uint64_t *entry;

	if (h->state->in_bulk)
		return fperf_coherent_held(h, level, line);
	entry = entry_in(level, line);
	return entry ? *entry & (FPERF_ENTRY_VALID | FPERF_ENTRY_DIRTY) : 0;
}

/* The same of all levels of a place. */
static uint64_t held_in(const struct fperf_hierarchy *h, const struct fperf_place *place, uint64_t line)
{
	uint64_t flags = 0;

	for (unsigned int at = place->first_level; at < place->end_level; at++)
		flags |= held_at(h, instance_in(h, place, at), line);
	return flags;
}

static void find_foreign(const struct fperf_hierarchy *h, uint64_t line, struct holders *ret)
{
	const struct fperf_coherence *const c = h->coherence;

	ret->nr = 0;
	ret->dirty = NOWHERE;
	for (uint32_t word = 0; word < c->nr_words; word++)
		for (uint64_t bits = fperf_coherence_candidates(c, FPERF_FILTER_HELD, line, word); bits;
		     bits &= bits - 1) {
			const uint32_t place = word * 64 + (uint32_t)__builtin_ctzll(bits);
			const uint64_t held = held_in(h, &c->place[place], line);

			if (!held)
				continue;
			if (held & FPERF_ENTRY_DIRTY && ret->dirty == NOWHERE)
				ret->dirty = place;
			ret->place[ret->nr++] = (uint16_t)place;
		}
}

/* Write what foreign places have modified back, to where their way down meets that of this CPU. */
static void clean(struct fperf_hierarchy *h, uint64_t line, const struct holders *holders)
{
	const struct fperf_coherence *const c = h->coherence;
	const uint32_t owner = c->place[holders->dirty].first_cpu;
	unsigned int meet = 0;

	for (uint32_t i = 0; i < holders->nr; i++) {
		const struct fperf_place *const place = &c->place[holders->place[i]];

		for (unsigned int at = place->first_level; at < place->end_level; at++) {
			const struct fperf_level *const level = instance_in(h, place, at);
			uint64_t *const entry = h->state->in_bulk ? NULL : entry_in(level, line);

			if (h->state->in_bulk)
				fperf_coherent_clean(h, level, line);
			else if (entry)
				*entry &= ~FPERF_ENTRY_DIRTY;
		}
	}
	while (meet < h->config.nr_levels &&
	       owner / h->config.level[meet].nr_sharers != c->cpu / h->config.level[meet].nr_sharers)
		meet++;
	if (h->state->in_bulk)
		fperf_coherent_write_below(h, meet - 1, line);
	else
		fperf_walk_write_below(h, meet - 1, line);
}

static void invalidate(struct fperf_hierarchy *h, uint64_t line, const struct holders *holders)
{
	for (uint32_t i = 0; i < holders->nr; i++) {
		const struct fperf_place *const place = &h->coherence->place[holders->place[i]];

		h->transfers->nr[FPERF_TRANSFER_INVALIDATION][tier_to(h, holders->place[i])]++;
		for (unsigned int at = place->first_level; at < place->end_level; at++) {
			if (h->state->in_bulk)
				fperf_coherent_lose(h, instance_in(h, place, at), line);
			else
				fperf_walk_lose(h, at, instance_in(h, place, at), line);
			if (instance_in(h, place, at)->full)
				fperf_full_cache_lose(instance_in(h, place, at)->full, line);
		}
	}
}

/* The innermost place of the path that holds the line, or NOWHERE. */
static uint32_t find_own(const struct fperf_hierarchy *h, uint64_t line, bool first_holds)
{
	const struct fperf_coherence *const c = h->coherence;

	if (first_holds)
		return c->own[0];
	for (unsigned int at = 1; at < h->config.nr_levels; at++)
		if (held_at(h, h->path[at], line))
			return c->own[at];
	return NOWHERE;
}

static void find_tiers(const struct fperf_hierarchy *h, const struct holders *holders, enum fperf_tier *nearest,
		       enum fperf_tier *farthest)
{
	*nearest = FPERF_TIER_REMOTE;
	*farthest = FPERF_TIER_SMT;
	for (uint32_t i = 0; i < holders->nr; i++) {
		const enum fperf_tier tier = tier_to(h, holders->place[i]);

		*nearest = tier < *nearest ? tier : *nearest;
		*farthest = tier > *farthest ? tier : *farthest;
	}
}

/* A store takes the line from all who held it, a read from who had modified it. */
static void note_taking(struct fperf_hierarchy *h, uint64_t line, bool write, const struct holders *holders)
{
	bool truly = false;

	for (uint32_t i = 0; i < holders->nr; i++) {
		const struct fperf_place *const place = &h->coherence->place[holders->place[i]];

		if (write || holders->place[i] == holders->dirty)
			truly |= fperf_sharing_take(h->sharing, line, place->first_cpu, place->end_cpu, h->word, write);
	}
	fperf_sharing_taken(h->sharing, line, write, truly);
}

void fperf_coherence_acquire(struct fperf_hierarchy *h, uint64_t line, bool write, bool first_holds)
{
	struct fperf_coherence *const c = h->coherence;
	const struct fperf_level *const first = h->path[0];
	enum fperf_tier nearest, farthest;
	bool stale, allocates, taken_over;
	struct holders holders;
	uint32_t mine;

	c->source = FPERF_SOURCE_MEMORY;
	find_foreign(h, line, &holders);
	if (!holders.nr)
		return;
	find_tiers(h, &holders, &nearest, &farthest);
	mine = find_own(h, line, first_holds);
	/* A copy of one's own is stale if one of the CPUs that share it has modified the line since. */
	stale = mine == NOWHERE ||
		(holders.dirty != NOWHERE && c->place[holders.dirty].first_cpu >= c->place[mine].first_cpu &&
		 c->place[holders.dirty].first_cpu < c->place[mine].end_cpu);
	allocates = !write || first->config.write_allocate;
	if (write && mine == c->own[0]) {
		h->transfers->nr[FPERF_TRANSFER_UPGRADE][farthest]++;
	} else if (holders.dirty != NOWHERE && stale && allocates) {
		h->transfers->nr[FPERF_TRANSFER_READ_MODIFIED][tier_to(h, holders.dirty)]++;
		c->source = FPERF_SOURCE_MODIFIED;
	} else if (h->config.forward_clean) {
		c->source = FPERF_SOURCE_SHARED;
		c->tier = nearest;
	}
	taken_over = write && !first->config.write_through && (first->config.write_allocate || first_holds);
	if (holders.dirty != NOWHERE && (write || stale) && !taken_over)
		clean(h, line, &holders);
	if (write)
		invalidate(h, line, &holders);
	if (h->sharing && (write || c->source == FPERF_SOURCE_MODIFIED))
		note_taking(h, line, write, &holders);
}

bool fperf_coherence_delivers(struct fperf_hierarchy *h, uint64_t line)
{
	struct fperf_coherence *const c = h->coherence;

	if (c->source == FPERF_SOURCE_CLEAN) {
		struct holders holders;
		enum fperf_tier farthest;

		find_foreign(h, line, &holders);
		find_tiers(h, &holders, &c->tier, &farthest);
		c->source = holders.nr && h->config.forward_clean ? FPERF_SOURCE_SHARED : FPERF_SOURCE_MEMORY;
	}
	if (c->source == FPERF_SOURCE_SHARED)
		h->transfers->nr[FPERF_TRANSFER_READ_SHARED][c->tier]++;
	return c->source != FPERF_SOURCE_MEMORY;
}

void fperf_coherence_look_home(struct fperf_hierarchy *h, uint64_t line)
{
	const struct fperf_coherence *const c = h->coherence;
	uint64_t home = 0;

	if (c->nr_sockets == 1)
		return;
	if (h->config.interleave_shift)
		home = (line >> (h->config.interleave_shift - h->config.line_shift)) % c->nr_sockets;
	h->transfers->remote_memory += home != c->route[c->cpu].socket;
}

/* ---- the filter -------------------------------------------------------------------------------------------------- */

static void note_store(struct fperf_coherence *c, uint32_t place, const struct fperf_store *store)
{
	for (uint64_t i = 0; i < store->nr_sets * store->nr_ways; i++)
		if (store->way[i])
			fperf_coherence_mark(c, FPERF_FILTER_HELD, place, fperf_entry_line(store->way[i]));
}

static void note_sets(const struct fperf_hierarchy *h, uint32_t place, const struct fperf_level *level)
{
	for (uint64_t set = 0; set < level->store.nr_sets; set++)
		for (uint32_t way = 0; way < level->store.nr_ways && level->sets[set].way[way]; way++) {
			const uint32_t entry = level->sets[set].way[way];
			const uint64_t line = h->state->base + fperf_lru_line(entry);

			fperf_coherence_mark(h->coherence, FPERF_FILTER_HELD, place, line);
			if (entry & FPERF_LRU_DIRTY)
				fperf_coherence_mark(h->coherence, FPERF_FILTER_DIRTY, place, line);
		}
}

void fperf_coherence_rebuild(struct fperf_hierarchy *h)
{
	struct fperf_coherence *const c = h->coherence;

	memset(c->filter, 0, ((c->slot_mask + 1) >> c->word_shift) * c->stride * sizeof(*c->filter));
	c->nr_noted = 0;
	for (uint32_t i = 0; i < c->nr_foreign; i++)
		for (unsigned int at = c->place[i].first_level; at < c->place[i].end_level; at++) {
			const struct fperf_level *const level = instance_in(h, &c->place[i], at);

			if (h->state->in_bulk)
				note_sets(h, i, level);
			else
				note_store(c, i, &level->store);
			if (level->config.victim_lines)
				note_store(c, i, &level->victims);
		}
}

/* ---- set-up ------------------------------------------------------------------------------------------------------ */

void fperf_coherence_enter(struct fperf_hierarchy *h, uint32_t cpu)
{
	struct fperf_coherence *const c = h->coherence;

	c->cpu = cpu;
	c->own = c->route[cpu].place;
	memcpy(h->path, c->route[cpu].path, sizeof(h->path));
}

static void find_route(struct fperf_hierarchy *h, uint32_t cpu)
{
	struct fperf_coherence *const c = h->coherence;

	c->route[cpu].socket = cpu / h->config.cpus_per_socket;
	for (uint32_t i = 0; i < c->nr_foreign; i++)
		c->foreign[cpu * c->nr_words + i / 64] |= 1ull << i % 64;
	for (uint32_t i = 0; i < c->nr_places; i++) {
		const struct fperf_place *const place = &c->place[i];

		if (cpu < place->first_cpu || cpu >= place->end_cpu)
			continue;
		if (i < c->nr_foreign)
			c->foreign[cpu * c->nr_words + i / 64] &= ~(1ull << i % 64);
		for (unsigned int at = place->first_level; at < place->end_level; at++) {
			c->route[cpu].path[at] = instance_in(h, place, at);
			c->route[cpu].place[at] = i;
		}
	}
}

static void lay_slots_out(struct fperf_coherence *c)
{
	c->nr_words = c->nr_foreign > 64 ? (c->nr_foreign + 63) / 64 : 1;
	if (c->nr_foreign <= 64 / FPERF_NR_FILTERS) {
		for (c->dirty_shift = 1; c->dirty_shift < c->nr_foreign; c->dirty_shift *= 2)
			;
		c->slot_bits = c->dirty_shift * FPERF_NR_FILTERS;
		c->word_shift = (uint32_t)__builtin_ctz(64 / c->slot_bits);
		c->stride = 1;
	} else {
		c->dirty_words = c->nr_words;
		c->stride = c->nr_words * FPERF_NR_FILTERS;
	}
}

static void find_places(struct fperf_coherence *c, const struct fperf_hierarchy_config *config)
{
	for (unsigned int first = 0, end; first < config->nr_levels; first = end) {
		const uint32_t width = config->level[first].nr_sharers;

		for (end = first; end < config->nr_levels && config->level[end].nr_sharers == width; end++)
			;
		for (uint32_t cpu = 0; cpu < config->nr_cpus; cpu += width)
			c->place[c->nr_places++] = (struct fperf_place){
				.first_cpu = cpu,
				.end_cpu = cpu + width,
				.first_level = first,
				.end_level = end,
			};
		if (width < config->nr_cpus)
			c->nr_foreign = c->nr_places;
	}
	lay_slots_out(c);
}

/* By the places that the filter knows. */
static uint64_t nr_lines_held(const struct fperf_hierarchy *h)
{
	uint64_t lines = 0;

	for (unsigned int at = 0; at < h->config.nr_levels; at++)
		if (fperf_nr_instances(h, at) > 1)
			lines += (h->level[at].store.nr_sets * h->level[at].store.nr_ways +
				  h->level[at].config.victim_lines) *
				 fperf_nr_instances(h, at);
	return lines;
}

int fperf_coherence_create(struct fperf_hierarchy *h)
{
	struct fperf_coherence *const c = calloc(1, sizeof(*c));
	uint64_t nr_slots = 64;

	h->coherence = c;
	if (!c)
		return FPERF_ERR(NO_MEMORY);
	find_places(c, &h->config);
	c->nr_sockets = (h->config.nr_cpus - 1) / h->config.cpus_per_socket + 1;
	while (nr_slots < 8 * nr_lines_held(h))
		nr_slots *= 2;
	c->slot_mask = nr_slots - 1;
	c->filter = calloc((nr_slots >> c->word_shift) * c->stride, sizeof(*c->filter));
	c->foreign = calloc((size_t)h->config.nr_cpus * c->nr_words, sizeof(*c->foreign));
	c->route = calloc(h->config.nr_cpus, sizeof(*c->route));
	if (!c->filter || !c->foreign || !c->route)
		return FPERF_ERR(NO_MEMORY);
	for (uint32_t cpu = 0; cpu < h->config.nr_cpus; cpu++)
		find_route(h, cpu);
	fperf_coherence_enter(h, 0);
	return 0;
}

void fperf_coherence_destroy(struct fperf_coherence *coherence)
{
	if (!coherence)
		return;
	free(coherence->filter);
	free(coherence->foreign);
	free(coherence->route);
	free(coherence);
}
