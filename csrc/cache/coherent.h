/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fast engine for several CPUs: what bulk.c knows (LRU, write-back, write-allocate, NINE, lines within its span), kept
 * coherent. What one CPU does bears on what the others hold, so accesses go one by one, each through all levels; only
 * those that may meet another CPU's line ask the rules of coherence.h.
 */
#ifndef FPERF_COHERENT_H
#define FPERF_COHERENT_H

#include "cache/hierarchy_inl.h"

/* write, cpu and klass may be NULL. */
void fperf_coherent_access(struct fperf_hierarchy *h, const uint64_t *address, const uint8_t *write, const uint8_t *cpu,
			   const uint8_t *klass, size_t nr);

/* FPERF_ENTRY_VALID if an instance of a level holds the line, FPERF_ENTRY_DIRTY too if it is dirty there; 0 if not. */
uint64_t fperf_coherent_held(const struct fperf_hierarchy *h, const struct fperf_level *level, uint64_t line);
void fperf_coherent_clean(const struct fperf_hierarchy *h, const struct fperf_level *level, uint64_t line);
void fperf_coherent_lose(const struct fperf_hierarchy *h, const struct fperf_level *level, uint64_t line);

/* Level `at` of the path sends a dirty line to the one below. */
void fperf_coherent_write_below(struct fperf_hierarchy *h, unsigned int at, uint64_t line);

#endif
