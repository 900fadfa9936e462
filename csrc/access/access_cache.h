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

static inline void fperf_note(struct fperf_door *door, enum fperf_field field, enum fperf_access access, uint64_t at,
			      uint32_t times)
{
	fperf_cache_note(door, field, access, at, times);
}

static inline void fperf_note_run(struct fperf_door *door, enum fperf_field field, enum fperf_access access,
				  uint64_t at, uint64_t nr, uint32_t stride)
{
	fperf_cache_note_run(door, field, access, at, nr, stride);
}

#include "access/access_plain.h"

#endif
