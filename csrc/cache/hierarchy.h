/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hierarchy of one to four cache levels for 1 to 256 CPUs: any replacement policy, write policy and inclusion, with
 * victim caches and next-line prefetchers. Sees addresses only. Caches of several CPUs are kept coherent (coherence.h).
 *
 * The rules. A miss first fetches from the level below, then puts the line in, then the line that must leave goes below
 * (Dinero IV's order). A write-back or a store sent below takes a way without a fetch. Neither counts as a fetch.
 */
#ifndef FPERF_HIERARCHY_H
#define FPERF_HIERARCHY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/tlb.h"
#include "core/fperf_error.h"

#define FPERF_HIERARCHY_MAX_LEVELS 4
#define FPERF_HIERARCHY_NR_CLASSES 256
#define FPERF_HIERARCHY_ADDRESS_BITS 57
#define FPERF_HIERARCHY_MAX_THREADS 64
#define FPERF_HIERARCHY_MAX_CPUS 256

enum fperf_policy {
	FPERF_POLICY_LRU,
	FPERF_POLICY_PLRU, /* binary tree; the number of ways is a power of two, at most 64 */
	FPERF_POLICY_FIFO,
	FPERF_POLICY_RANDOM,
	FPERF_NR_POLICIES
};

/* What counts, and in which order. */
enum fperf_rules {
	FPERF_RULES_DINERO, /* those above */
	FPERF_RULES_PYCACHESIM, /* for comparison; only one CPU, LRU, NINE, write-back, write-allocate, nothing more */
	FPERF_NR_RULES
};

/* How a level stands to those above it. */
enum fperf_inclusion {
	FPERF_INCLUSION_NINE,
	FPERF_INCLUSION_INCLUSIVE, /* what leaves it leaves all levels above */
	FPERF_INCLUSION_EXCLUSIVE, /* takes what leaves the level above; what is hit moves up */
	FPERF_NR_INCLUSIONS
};

struct fperf_level_config {
	uint64_t size_bytes; /* nr_ways x line x any number of sets */
	uint32_t nr_ways;
	uint32_t policy;
	uint32_t inclusion; /* of the first level: NINE */
	uint32_t write_through; /* 0 or 1 */
	uint32_t write_allocate; /* 0 or 1 */
	uint32_t prefetch; /* 1: a demand miss also brings the next line */
	uint32_t victim_lines; /* of the victim cache behind the level, LRU; 0 for none */
	uint32_t nr_sharers; /* CPUs of one instance of the level, at least those of the level above */
	uint64_t seed; /* of policy random; of instance k: seed + k */
};

struct fperf_hierarchy_config {
	uint32_t nr_levels;
	uint32_t line_shift; /* 5, 6 or 7 */
	uint32_t nr_cpus;
	/* CPUs of a core, a CCX and a socket; each a multiple of the one before. The last of each may have fewer. */
	uint32_t cpus_per_core, cpus_per_ccx, cpus_per_socket;
	uint32_t interleave_shift; /* so many bytes are of one socket, the next of the next; 0: all are of the first */
	uint32_t forward_clean; /* 1: a clean line that another cache holds comes from there, 0: from memory */
	uint32_t track_sharing; /* 1: keep who used and took which words (sharing.h), which costs speed */
	uint32_t rules;
	uint32_t split_misses; /* 1: count misses by kind (miss_kind.h), which costs speed */
	const struct fperf_tlb_config *tlb; /* NULL: addresses are not translated */
	struct fperf_level_config level[FPERF_HIERARCHY_MAX_LEVELS];
};

/* In lines. fetches == hits + misses; of memory (the row after the last level) only fetches and writebacks_in. */
struct fperf_level_counters {
	uint64_t fetches, hits, misses;
	uint64_t writebacks_in, writebacks_out; /* dirty lines, and stores that a level sends on */
	uint64_t victim_hits; /* misses that the victim cache served */
	uint64_t victims_in; /* clean lines an exclusive level took from above */
	uint64_t back_invalidations; /* lines lost because an inclusive level below lost them */
	uint64_t prefetches, prefetches_useful, prefetches_useless;
	uint64_t compulsory, capacity, conflict, coherence; /* misses by kind; 0 unless split */
};

/* How far the CPU is whose cache is concerned. */
enum fperf_tier {
	FPERF_TIER_SMT, /* the same core */
	FPERF_TIER_CCX,
	FPERF_TIER_SOCKET,
	FPERF_TIER_REMOTE,
	FPERF_NR_TIERS
};

enum fperf_transfer {
	FPERF_TRANSFER_READ_SHARED, /* a clean line came from another CPU's cache, not from memory */
	FPERF_TRANSFER_READ_MODIFIED, /* a line came that another CPU had modified */
	FPERF_TRANSFER_UPGRADE, /* a store to a line held already; the tier is that of the farthest other holder */
	FPERF_TRANSFER_INVALIDATION, /* a store took the line from a place (coherence.h) that held it */
	FPERF_NR_TRANSFERS
};

struct fperf_transfer_counters {
	uint64_t nr[FPERF_NR_TRANSFERS][FPERF_NR_TIERS];
	uint64_t remote_memory; /* fetches from memory of another socket */
};

/* A line that a level holds. */
struct fperf_held_line {
	uint64_t address;
	uint32_t dirty;
	uint32_t prefetched; /* and not asked for since */
};

struct fperf_hierarchy;
struct fperf_sharing;

int fperf_hierarchy_create(const struct fperf_hierarchy_config *config, struct fperf_hierarchy **ret) FPERF_MUST_CHECK;
void fperf_hierarchy_destroy(struct fperf_hierarchy *h);

/*
 * Threads that share the sets of a large access between them, 1 to 64, a power of two; more than 1 needs LRU, NINE,
 * write-back and write-allocate throughout. Nothing counted depends on it.
 */
int fperf_hierarchy_set_threads(struct fperf_hierarchy *h, uint32_t nr_threads) FPERF_MUST_CHECK;

/* Empty caches and zero counters. */
void fperf_hierarchy_reset(struct fperf_hierarchy *h);

/*
 * Accesses in order; write, cpu and klass may be NULL (reads, CPU 0, class 0). FPERF_ERR(CACHE_ADDRESS) or
 * FPERF_ERR(CACHE_CPU), before anything happens, if an address is 2^57 or more or there is no such CPU; *bad is then its
 * position.
 */
int fperf_hierarchy_access(struct fperf_hierarchy *h, const uint64_t *address, const uint8_t *write, const uint8_t *cpu,
			   const uint8_t *klass, size_t nr, size_t *bad) FPERF_MUST_CHECK;

/* One access of a CPU to each of nr consecutive lines, the first being that of `address`. */
int fperf_hierarchy_run(struct fperf_hierarchy *h, uint64_t address, uint64_t nr, bool write, uint8_t cpu,
			uint8_t klass) FPERF_MUST_CHECK;

/* out[FPERF_HIERARCHY_NR_CLASSES][nr_levels + 1]; all instances of a level together. */
void fperf_hierarchy_counters(const struct fperf_hierarchy *h, struct fperf_level_counters *out);

/* out[FPERF_HIERARCHY_NR_CLASSES]; zero with one CPU. */
void fperf_hierarchy_transfers(const struct fperf_hierarchy *h, struct fperf_transfer_counters *out);

/* NULL if addresses are not translated. */
const struct fperf_tlb *fperf_hierarchy_tlb(const struct fperf_hierarchy *h);

/* NULL unless tracked; resets and snapshots leave it alone but for fperf_hierarchy_reset(). */
struct fperf_sharing *fperf_hierarchy_sharing(const struct fperf_hierarchy *h);

/* Lines of [first, end) that the instance of a level which serves `cpu` holds, its victim cache left out. */
uint64_t fperf_hierarchy_occupancy(const struct fperf_hierarchy *h, unsigned int level, uint32_t cpu, uint64_t first,
				   uint64_t end);

uint64_t fperf_hierarchy_nr_sets(const struct fperf_hierarchy *h, unsigned int level);

/*
 * What a set holds of the instance that serves `cpu`: LRU youngest first, FIFO latest first, else by way. Writes up to
 * nr_ways lines, returns how many.
 */
uint32_t fperf_hierarchy_set(const struct fperf_hierarchy *h, unsigned int level, uint32_t cpu, uint64_t set,
			     struct fperf_held_line *out);

/* The whole state as bytes; it fits any hierarchy of the same configuration. */
size_t fperf_hierarchy_state_bytes(const struct fperf_hierarchy *h);
void fperf_hierarchy_save(const struct fperf_hierarchy *h, uint8_t *out);
void fperf_hierarchy_restore(struct fperf_hierarchy *h, const uint8_t *state);

#endif
