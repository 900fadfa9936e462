/* SPDX-License-Identifier: BSD-3-Clause */
/* Back end `count`: every access is one counter; levels are unknown. */
#ifndef FPERF_ACCESS_COUNT_H
#define FPERF_ACCESS_COUNT_H

#define FPERF_FN(name) name##_count

static inline void fperf_note(struct fperf_door *door, enum fperf_field field, enum fperf_access access, uint64_t at,
			      uint32_t times)
{
	(void)at;
	*fperf_cell(door, field, access, FPERF_DEPENDENT, FPERF_LEVEL_UNKNOWN) += times;
}

static inline void fperf_note_run(struct fperf_door *door, enum fperf_field field, enum fperf_access access,
				  uint64_t at, uint64_t nr, uint32_t stride)
{
	(void)at;
	(void)stride;
	*fperf_cell(door, field, access, FPERF_STREAMING, FPERF_LEVEL_UNKNOWN) += nr;
}

static inline void fperf_note_each(struct fperf_door *door, enum fperf_field field, enum fperf_access access,
				   uint64_t at, uint32_t nr, uint32_t stride)
{
	(void)stride;
	fperf_note(door, field, access, at, nr);
}

/* Not counted by line, accesses may be done in any order. */
static inline bool fperf_may_regroup(const struct fperf_door *door, uint64_t pages, uint64_t a, uint64_t b)
{
	(void)door, (void)pages, (void)a, (void)b;
	return true;
}

static inline void fperf_prefetch(const struct fperf_door *door, uint64_t at)
{
	(void)door, (void)at;
}

static inline void fperf_note_adopted(struct fperf_door *door, enum fperf_field field, uint64_t at)
{
	(void)door, (void)field, (void)at;
}

#include "access/access_plain.h"

#endif
