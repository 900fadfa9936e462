/* SPDX-License-Identifier: BSD-3-Clause */
/* The general engine: one access at a time, depth first. */
#ifndef FPERF_WALK_H
#define FPERF_WALK_H

#include "cache/hierarchy_inl.h"

void fperf_walk(struct fperf_hierarchy *h, uint64_t line, bool write);

/* By the other rules (enum fperf_rules). */
void fperf_walk_as_pycachesim(struct fperf_hierarchy *h, uint64_t line, bool write);

/* Level `at`, 0 the first, sends a dirty line, or a store, to the one below. */
void fperf_walk_write_below(struct fperf_hierarchy *h, unsigned int at, uint64_t line);

/* Take a line from an instance of level `at`; returns its entry, or 0. */
uint64_t fperf_walk_lose(struct fperf_hierarchy *h, unsigned int at, struct fperf_level *level, uint64_t line);

#endif
