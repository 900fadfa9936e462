/* SPDX-License-Identifier: BSD-3-Clause */
/* The general engine: one access at a time, depth first. */
#ifndef FPERF_WALK_H
#define FPERF_WALK_H

#include "cache/hierarchy_inl.h"

void fperf_walk(struct fperf_hierarchy *h, uint64_t line, bool write);

#endif
