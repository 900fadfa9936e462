/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a hierarchy and what can be read from it; which engine serves an access. */
#include "cache/hierarchy_inl.h"

#include <string.h>

#include "cache/coherence.h"
#include "cache/coherent.h"
#include "cache/miss_kind.h"
#include "cache/sharing.h"
#include "cache/walk.h"

static bool power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static bool level_is_possible(const struct fperf_level_config *level, unsigned int number, unsigned int line_shift)
{
	const uint64_t lines = level->size_bytes >> line_shift;

	if (!level->nr_ways || level->nr_ways > 1u << 20 || !lines || lines << line_shift != level->size_bytes ||
	    lines % level->nr_ways || lines > 1ull << 32 || level->victim_lines > 4096)
		return false;
	if (level->policy >= FPERF_NR_POLICIES || level->inclusion >= FPERF_NR_INCLUSIONS || level->write_through > 1 ||
	    level->write_allocate > 1 || level->prefetch > 1)
		return false;
	if (level->policy == FPERF_POLICY_PLRU && (!power_of_two(level->nr_ways) || level->nr_ways > 64))
		return false;
	if (!number && level->inclusion != FPERF_INCLUSION_NINE)
		return false;
	/* An exclusive level holds only what left the one above: nothing may be brought into it. */
	return !(level->inclusion == FPERF_INCLUSION_EXCLUSIVE && level->prefetch);
}

static bool level_is_bulk(const struct fperf_level_config *level, uint64_t nr_sets)
{
	return level->policy == FPERF_POLICY_LRU && level->inclusion == FPERF_INCLUSION_NINE && !level->write_through &&
	       level->write_allocate && !level->prefetch && !level->victim_lines &&
	       level->nr_ways <= FPERF_LRU_MAX_WAYS && power_of_two(nr_sets) && nr_sets <= 1ull << 24;
}

/* What the rules of pycachesim say nothing of. */
static bool rules_are_possible(const struct fperf_hierarchy_config *config)
{
	if (config->rules == FPERF_RULES_DINERO)
		return true;
	if (config->rules != FPERF_RULES_PYCACHESIM || config->nr_cpus > 1 || config->split_misses ||
	    config->track_sharing)
		return false;
	for (unsigned int i = 0; i < config->nr_levels; i++) {
		const struct fperf_level_config *const level = &config->level[i];

		if (level->policy != FPERF_POLICY_LRU || level->inclusion != FPERF_INCLUSION_NINE ||
		    level->write_through || !level->write_allocate || level->prefetch || level->victim_lines)
			return false;
	}
	return true;
}

static void shape(struct fperf_store *store, uint64_t nr_sets, uint32_t nr_ways, uint32_t policy)
{
	store->nr_sets = nr_sets;
	store->set_mask = power_of_two(nr_sets) ? nr_sets - 1 : 0;
	store->nr_ways = nr_ways;
	store->policy = policy;
}

/* Hands out `bytes` of the state, in whole cache lines. */
static void *carve(uint8_t *start, size_t *used, size_t bytes)
{
	void *const here = start ? start + *used : NULL;

	*used += (bytes + 63) & ~(size_t)63;
	return here;
}

/* With start NULL: how many bytes are needed. */
static size_t lay_out(struct fperf_hierarchy *h, uint8_t *start)
{
	bool bulk = !h->config.track_sharing && !h->config.split_misses && h->config.rules == FPERF_RULES_DINERO;
	size_t used = 0;

	h->state = carve(start, &used, sizeof(*h->state));
	if (h->tlb) {
		void *const own = carve(start, &used, fperf_tlb_state_bytes(h->tlb));

		if (own)
			fperf_tlb_use_state(h->tlb, own);
	}
	for (unsigned int i = 0; i < h->config.nr_levels; i++)
		bulk = bulk && level_is_bulk(&h->level[i].config, h->level[i].store.nr_sets);
	for (unsigned int i = 0; i < h->config.nr_levels; i++)
		for (uint32_t k = 0; k < fperf_nr_instances(h, i); k++) {
			struct fperf_level *const level = fperf_instance(h, i, k);
			struct fperf_store *const store = &level->store;

			if (bulk)
				level->sets = carve(start, &used, store->nr_sets * sizeof(*level->sets));
			store->way = carve(start, &used, store->nr_sets * store->nr_ways * sizeof(uint64_t));
			if (store->policy == FPERF_POLICY_PLRU)
				store->tree = carve(start, &used, store->nr_sets * sizeof(uint64_t));
			if (store->policy == FPERF_POLICY_RANDOM)
				store->rng = carve(start, &used, sizeof(*store->rng));
			if (level->config.victim_lines)
				level->victims.way = carve(start, &used, level->victims.nr_ways * sizeof(uint64_t));
		}
	return used;
}

static bool cpus_are_possible(const struct fperf_hierarchy_config *config)
{
	uint32_t above = 1;

	if (!config->nr_cpus || config->nr_cpus > FPERF_HIERARCHY_MAX_CPUS || !config->cpus_per_core ||
	    !config->cpus_per_ccx || !config->cpus_per_socket || config->cpus_per_ccx % config->cpus_per_core ||
	    config->cpus_per_socket % config->cpus_per_ccx || config->forward_clean > 1 || config->track_sharing > 1 ||
	    config->split_misses > 1)
		return false;
	if (config->interleave_shift &&
	    (config->interleave_shift < config->line_shift || config->interleave_shift >= FPERF_HIERARCHY_ADDRESS_BITS))
		return false;
	for (unsigned int i = 0; i < config->nr_levels; above = config->level[i++].nr_sharers)
		if (config->level[i].nr_sharers < above || config->level[i].nr_sharers % above)
			return false;
	return true;
}

/* Instance k of a level, still without its state. */
static int set_up_level(struct fperf_hierarchy *h, unsigned int at, uint32_t k)
{
	struct fperf_level *const level = fperf_instance(h, at, k);

	level->config = h->config.level[at];
	level->config.seed += k;
	shape(&level->store, (level->config.size_bytes >> h->config.line_shift) / level->config.nr_ways,
	      level->config.nr_ways, level->config.policy);
	if (level->config.victim_lines)
		shape(&level->victims, 1, level->config.victim_lines, FPERF_POLICY_LRU);
	return h->config.split_misses ?
		       fperf_full_cache_create(level->store.nr_sets * level->store.nr_ways, &level->full) :
		       0;
}

int fperf_hierarchy_create(const struct fperf_hierarchy_config *config, struct fperf_hierarchy **ret)
{
	struct fperf_hierarchy *h;
	void *state;
	int err;

	if (!config->nr_levels || config->nr_levels > FPERF_HIERARCHY_MAX_LEVELS || config->line_shift < 5 ||
	    config->line_shift > 7)
		return FPERF_ERR(CACHE);
	for (unsigned int i = 0; i < config->nr_levels; i++)
		if (!level_is_possible(&config->level[i], i, config->line_shift))
			return FPERF_ERR(CACHE);
	if (!cpus_are_possible(config) || !rules_are_possible(config))
		return FPERF_ERR(CACHE);
	h = calloc(1, sizeof(*h));
	if (!h)
		return FPERF_ERR(NO_MEMORY);
	h->config = *config;
	h->nr_threads = 1;
	h->walk = config->rules == FPERF_RULES_DINERO ? fperf_walk : fperf_walk_as_pycachesim;
	err = fperf_simd_choose(&h->simd);
	if (err)
		goto out;
	if (config->tlb) {
		err = fperf_tlb_create(config->tlb, config->nr_cpus, config->cpus_per_core, &h->tlb);
		if (err)
			goto out;
		h->config.tlb = NULL; /* it is the caller's */
	}
	err = FPERF_ERR(NO_MEMORY);
	for (unsigned int i = 0; i < config->nr_levels; i++) {
		h->path[i] = &h->level[i];
		h->further[i] = calloc(fperf_nr_instances(h, i), sizeof(*h->further[i]));
		if (!h->further[i])
			goto out;
		for (uint32_t k = 0; k < fperf_nr_instances(h, i); k++)
			if (set_up_level(h, i, k))
				goto out;
	}
	h->state_bytes = lay_out(h, NULL);
	if (posix_memalign(&state, 64, h->state_bytes))
		goto out;
	lay_out(h, state);
	if (config->nr_cpus > 1 && fperf_coherence_create(h))
		goto out;
	if (config->track_sharing && fperf_sharing_create(config->nr_cpus, &h->sharing))
		goto out;
	fperf_hierarchy_reset(h);
	*ret = h;
	return 0;
out:
	fperf_hierarchy_destroy(h);
	return err;
}

void fperf_hierarchy_destroy(struct fperf_hierarchy *h)
{
	if (!h)
		return;
	for (unsigned int i = 0; i < h->config.nr_levels; i++) {
		for (uint32_t k = 0; h->further[i] && k < fperf_nr_instances(h, i); k++)
			fperf_full_cache_destroy(fperf_instance(h, i, k)->full);
		free(h->further[i]);
	}
	fperf_coherence_destroy(h->coherence);
	fperf_sharing_destroy(h->sharing);
	fperf_tlb_destroy(h->tlb);
	free(h->state);
	free(h);
}

void fperf_hierarchy_reset(struct fperf_hierarchy *h)
{
	memset(h->state, 0, h->state_bytes);
	h->state->in_bulk = h->level[0].sets != NULL;
	for (unsigned int i = 0; i < h->config.nr_levels; i++)
		for (uint32_t k = 0; k < fperf_nr_instances(h, i); k++) {
			const struct fperf_level *const level = fperf_instance(h, i, k);
			uint64_t *const rng = level->store.rng;

			if (level->full)
				fperf_full_cache_reset(level->full);
			if (!rng)
				continue;
			/* The state of the generator must not be 0; odd multiples keep different seeds different. */
			*rng = level->config.seed * 0x9e3779b97f4a7c15ull ^ 0xbf58476d1ce4e5b9ull;
			if (!*rng)
				*rng = 1;
		}
	if (h->coherence)
		fperf_coherence_rebuild(h);
	if (h->sharing)
		fperf_sharing_reset(h->sharing);
	fperf_hierarchy_serve_class(h, 0);
}

int fperf_hierarchy_set_threads(struct fperf_hierarchy *h, uint32_t nr_threads)
{
	if (!power_of_two(nr_threads) || nr_threads > FPERF_HIERARCHY_MAX_THREADS)
		return FPERF_ERR(CONFIG);
	for (unsigned int i = 0; i < h->config.nr_levels; i++)
		if (!h->level[i].sets || h->level[i].store.nr_sets < nr_threads)
			return nr_threads == 1 ? 0 : FPERF_ERR(CONFIG);
	h->nr_threads = nr_threads;
	return 0;
}

static void leave_sets(struct fperf_hierarchy *h, const struct fperf_level *level)
{
	const struct fperf_store *const store = &level->store;

	for (uint64_t set = 0; set < store->nr_sets; set++)
		for (uint32_t way = 0; way < store->nr_ways; way++) {
			const uint32_t entry = level->sets[set].way[way];

			if (entry)
				store->way[set * store->nr_ways + way] =
					fperf_entry(h->state->base + fperf_lru_line(entry),
						    entry & FPERF_LRU_DIRTY ? FPERF_ENTRY_DIRTY : 0);
		}
}

/* Hand all lines to the general engine. */
static void leave_bulk(struct fperf_hierarchy *h)
{
	if (!h->state->in_bulk)
		return;
	for (unsigned int i = 0; i < h->config.nr_levels; i++)
		for (uint32_t k = 0; k < fperf_nr_instances(h, i); k++)
			leave_sets(h, fperf_instance(h, i, k));
	h->state->in_bulk = 0;
}

/* For what one more access may make what is kept on the side remember: of lines it moves, far fewer than so many. */
static int make_room(struct fperf_hierarchy *h)
{
	const uint64_t many = 64;

	if (h->sharing && fperf_sharing_reserve(h->sharing))
		return FPERF_ERR(NO_MEMORY);
	for (unsigned int at = 0; h->config.split_misses && at < h->config.nr_levels; at++)
		if (fperf_full_cache_reserve(h->path[at]->full, many))
			return FPERF_ERR(NO_MEMORY);
	return 0;
}

int fperf_hierarchy_access(struct fperf_hierarchy *h, const uint64_t *address, const uint8_t *write, const uint8_t *cpu,
			   const uint8_t *klass, size_t nr, size_t *bad)
{
	const unsigned int shift = h->config.line_shift;
	uint64_t min, max;

	if (!nr)
		return 0;
	fperf_bulk_span(h->simd, address, nr, &min, &max);
	if (max >> FPERF_HIERARCHY_ADDRESS_BITS) {
		for (*bad = 0; !(address[*bad] >> FPERF_HIERARCHY_ADDRESS_BITS); ++*bad)
			;
		return FPERF_ERR(CACHE_ADDRESS);
	}
	for (size_t i = 0; cpu && i < nr; i++)
		if (cpu[i] >= h->config.nr_cpus) {
			*bad = i;
			return FPERF_ERR(CACHE_CPU);
		}
	if (h->tlb)
		fperf_tlb_access(h->tlb, address, cpu, klass, nr);
	if (h->coherence)
		fperf_coherence_enter(h, 0);
	if (h->state->in_bulk && fperf_bulk_fits(h, min >> shift, max >> shift)) {
		if (h->coherence) {
			fperf_hierarchy_serve_class(h, 0);
			fperf_coherent_access(h, address, write, cpu, klass, nr);
			return 0;
		}
		if (!klass)
			return fperf_bulk_access(h, address, write, nr);
	}
	leave_bulk(h);
	for (size_t i = 0; i < nr; i++) {
		fperf_hierarchy_serve_class(h, klass ? klass[i] : 0);
		if (h->coherence && cpu && cpu[i] != h->coherence->cpu)
			fperf_coherence_enter(h, cpu[i]);
		if (make_room(h))
			return FPERF_ERR(NO_MEMORY);
		if (h->sharing) {
			h->word = (uint32_t)(address[i] >> FPERF_SHARING_WORD_SHIFT) &
				  ((1u << (shift - FPERF_SHARING_WORD_SHIFT)) - 1);
		}
		h->walk(h, address[i] >> shift, write && write[i]);
	}
	return 0;
}

int fperf_hierarchy_run(struct fperf_hierarchy *h, uint64_t address, uint64_t nr, bool write, uint8_t cpu,
			uint8_t klass)
{
	const unsigned int shift = h->config.line_shift;
	const uint64_t line = address >> shift;
	const uint64_t end = 1ull << (FPERF_HIERARCHY_ADDRESS_BITS - shift);

	if (line >= end || nr > end - line)
		return FPERF_ERR(CACHE_ADDRESS);
	if (cpu >= h->config.nr_cpus)
		return FPERF_ERR(CACHE_CPU);
	if (!nr)
		return 0;
	if (h->tlb)
		fperf_tlb_run(h->tlb, line << shift, 1ull << shift, nr, cpu, klass);
	if (!klass && !h->coherence && h->state->in_bulk && fperf_bulk_fits(h, line, line + nr - 1))
		return fperf_bulk_run(h, line, nr, write);
	leave_bulk(h);
	if (h->coherence)
		fperf_coherence_enter(h, cpu);
	fperf_hierarchy_serve_class(h, klass);
	h->word = 0;
	for (uint64_t i = 0; i < nr; i++) {
		if (make_room(h))
			return FPERF_ERR(NO_MEMORY);
		h->walk(h, line + i, write);
	}
	return 0;
}

void fperf_hierarchy_counters(const struct fperf_hierarchy *h, struct fperf_level_counters *out)
{
	const size_t nr_rows = h->config.nr_levels + 1;

	for (size_t klass = 0; klass < FPERF_HIERARCHY_NR_CLASSES; klass++)
		memcpy(out + klass * nr_rows, h->state->count[klass], nr_rows * sizeof(*out));
}

const struct fperf_tlb *fperf_hierarchy_tlb(const struct fperf_hierarchy *h)
{
	return h->tlb;
}

struct fperf_sharing *fperf_hierarchy_sharing(const struct fperf_hierarchy *h)
{
	return h->sharing;
}

void fperf_hierarchy_transfers(const struct fperf_hierarchy *h, struct fperf_transfer_counters *out)
{
	memcpy(out, h->state->transfers, sizeof(h->state->transfers));
}

uint64_t fperf_hierarchy_nr_sets(const struct fperf_hierarchy *h, unsigned int level)
{
	return h->level[level].store.nr_sets;
}

/* A way in the general engine's form, whichever holds it. */
static uint64_t entry_at(const struct fperf_hierarchy *h, const struct fperf_level *level, uint64_t set, uint32_t way)
{
	uint32_t entry;

	if (!h->state->in_bulk)
		return level->store.way[set * level->store.nr_ways + way];
	entry = level->sets[set].way[way];
	return entry ? fperf_entry(h->state->base + fperf_lru_line(entry), entry & FPERF_LRU_DIRTY) : 0;
}

uint64_t fperf_hierarchy_occupancy(const struct fperf_hierarchy *h, unsigned int level, uint32_t cpu, uint64_t first,
				   uint64_t end)
{
	const struct fperf_level *const l = fperf_instance(h, level, cpu / h->config.level[level].nr_sharers);
	const unsigned int shift = h->config.line_shift;
	uint64_t held = 0;

	for (uint64_t set = 0; set < l->store.nr_sets; set++)
		for (uint32_t way = 0; way < l->store.nr_ways; way++) {
			const uint64_t entry = entry_at(h, l, set, way);
			const uint64_t at = fperf_entry_line(entry) << shift;

			/* Any byte of the line. */
			held += entry && at + (1ull << shift) > first && at < end;
		}
	return held;
}

uint32_t fperf_hierarchy_set(const struct fperf_hierarchy *h, unsigned int level, uint32_t cpu, uint64_t set,
			     struct fperf_held_line *out)
{
	const struct fperf_level *const l = fperf_instance(h, level, cpu / h->config.level[level].nr_sharers);
	uint32_t nr = 0;

	for (uint32_t way = 0; way < l->store.nr_ways; way++) {
		const uint64_t entry = entry_at(h, l, set, way);

		if (entry)
			out[nr++] = (struct fperf_held_line){
				.address = fperf_entry_line(entry) << h->config.line_shift,
				.dirty = (entry & FPERF_ENTRY_DIRTY) != 0,
				.prefetched = (entry & FPERF_ENTRY_PREFETCHED) != 0,
			};
	}
	return nr;
}

size_t fperf_hierarchy_state_bytes(const struct fperf_hierarchy *h)
{
	return h->state_bytes;
}

void fperf_hierarchy_save(const struct fperf_hierarchy *h, uint8_t *out)
{
	memcpy(out, h->state, h->state_bytes);
}

void fperf_hierarchy_restore(struct fperf_hierarchy *h, const uint8_t *state)
{
	memcpy(h->state, state, h->state_bytes);
	if (h->coherence)
		fperf_coherence_rebuild(h);
}
