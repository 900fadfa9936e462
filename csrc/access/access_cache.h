/* SPDX-License-Identifier: BSD-3-Clause */
/* Back end `cache`: every access goes line by line through the simulated hierarchy. */
#ifndef FPERF_ACCESS_CACHE_H
#define FPERF_ACCESS_CACHE_H

#define FPERF_FN(name) name##_cache

void fperf_cache_note(struct fperf_door *door, enum fperf_field field, enum fperf_access access, uint64_t at,
		      uint32_t times);
void fperf_cache_note_run(struct fperf_door *door, enum fperf_field field, enum fperf_access access, uint64_t at,
			  uint64_t nr, uint32_t stride);

/* The line of an access made under FIXED now belongs to the operation. */
void fperf_cache_note_adopted(struct fperf_door *door, enum fperf_field field, uint64_t at);

static inline void fperf_note_adopted(struct fperf_door *door, enum fperf_field field, uint64_t at)
{
	fperf_cache_note_adopted(door, field, at);
}

/* What the event has just done to the same line it may do again: a hit that changes nothing. */
static inline void fperf_note(struct fperf_door *door, enum fperf_field field, enum fperf_access access, uint64_t at,
			      uint32_t times)
{
	if (times && (at >> door->line_shift) - door->last_line < door->last_nr &&
	    door->last_rights & (access == FPERF_LOAD ? FPERF_MAY_READ : FPERF_MAY_WRITE)) {
		fperf_note_sure_hits(door, field, access, times);
		return;
	}
	fperf_cache_note(door, field, access, at, times);
}

static inline void fperf_note_run(struct fperf_door *door, enum fperf_field field, enum fperf_access access,
				  uint64_t at, uint64_t nr, uint32_t stride)
{
	fperf_cache_note_run(door, field, access, at, nr, stride);
}

static inline void fperf_note_each(struct fperf_door *door, enum fperf_field field, enum fperf_access access,
				   uint64_t at, uint32_t nr, uint32_t stride)
{
	fperf_cache_note_run(door, field, access, at, nr, stride);
}

/*
 * May accesses to `pages` (an aligned run of eight lines), to `a` and to `b`, which alternate, be done field by field? Where
 * pages share no set with a or b, nor does what they push out; two lines that alternate leave a set as each by itself does
 * in turn. The list of accesses keeps their order.
 */
static inline bool fperf_may_regroup(const struct fperf_door *door, uint64_t pages, uint64_t a, uint64_t b)
{
	const unsigned int shift = door->line_shift;

	return !door->tracing && fperf_cache_are_apart(door->cache, pages >> shift, a >> shift) &&
	       fperf_cache_are_apart(door->cache, pages >> shift, b >> shift);
}

/* The host is to have at hand what an access there will need. */
static inline void fperf_prefetch(const struct fperf_door *door, uint64_t at)
{
	fperf_cache_prefetch(door->cache, at >> door->line_shift);
	__builtin_prefetch(&door->stamps[at >> door->line_shift], 1);
	__builtin_prefetch(&door->run_stamps[at >> door->line_shift >> 3], 1);
}

#include "access/access_plain.h"

#endif
