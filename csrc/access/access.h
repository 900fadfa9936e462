/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The only door to modelled memory. Rooms above include this header and are compiled once per back end:
 *
 *   count   plain operation + one counter
 *   cache   the same + the line goes through the simulated hierarchy, and the event's distinct lines are counted
 *   native  the C11 atomic on the real struct page array, nothing else
 *
 * Primitives take a constant field id. A run form touches n fields one struct page apart. Single forms are dependent accesses
 * and runs streaming ones, unless there is a cache, which knows the lines (access_cache.c). After the same events all back
 * ends leave the same bytes.
 */
#ifndef FPERF_ACCESS_H
#define FPERF_ACCESS_H

#include <stdbool.h>

#include "core/fperf_types.h"
#include "cache/cache.h"
#include "memmap/memmap.h"

struct fperf_access_row;

enum { FPERF_MAY_READ = 1, FPERF_MAY_WRITE = 2 };

/* State of the door. One per simulation; `row` is where the current event and cause count. */
struct fperf_door {
	uint64_t *row; /* counters of [event][cause], FPERF_ROW_SIZE wide */
	uint64_t *counters;
	const struct fperf_memmap *mem;
	enum fperf_event_kind event;
	enum fperf_cause cause;
	struct fperf_event_stats *stats; /* of the current event kind */
	struct fperf_event_stats *all_stats;
	bool flushed; /* this event has flushed a TLB */
	/* cache back end */
	struct fperf_cache *cache;
	unsigned int line_shift;
	unsigned int last_level; /* enum fperf_level that served the latest access */
	unsigned int lookup_level; /* ... and the latest page-cache lookup's reference */
	enum fperf_dependence last_dependence, lookup_dependence; /* of the same two */
	uint64_t *sure_hits; /* of the first level, where the cache counts hits it is not asked for */
	uint64_t last_line, last_nr; /* lines accessed last; what this event may do to them again without any change */
	unsigned int last_rights;
	uint32_t lines_apart; /* fperf_cache_lines_apart() */
	uint32_t epoch; /* number of the current event, for distinct lines */
	uint32_t rmw_epoch; /* of the latest event with an RMW */
	uint32_t *stamps; /* per line: epoch << 2 | written << 1 | read; neither: FIXED alone */
	uint32_t *run_stamps; /* per aligned run of eight: epoch << 3 | lines differ << 2 | ... of all eight */
	uint64_t stamps_bytes;
	/* list of accesses, when asked for */
	struct fperf_access_row *trace;
	size_t nr_trace, cap_trace;
	bool tracing;
};

static inline uint64_t *fperf_cell(struct fperf_door *door, enum fperf_field field, enum fperf_access access,
				   enum fperf_dependence dependence, unsigned int level)
{
	return &door->row[((field * FPERF_NR_ACCESSES + access) * FPERF_NR_DEPENDENCES + dependence) * FPERF_NR_LEVELS +
			  level];
}

/* Cache back end: hits that change nothing, on a line that this event has touched: only its first RMW waits for something. */
static inline void fperf_note_sure_hits(struct fperf_door *door, enum fperf_field field, enum fperf_access access,
					uint64_t nr)
{
	enum fperf_dependence dependence = FPERF_STREAMING;

	if (access == FPERF_RMW) {
		dependence = door->rmw_epoch == door->epoch ? FPERF_STREAMING : FPERF_DEPENDENT;
		door->rmw_epoch = door->epoch;
	}
	*fperf_cell(door, field, access, dependence, FPERF_LEVEL_L1) += 1;
	*fperf_cell(door, field, access, FPERF_STREAMING, FPERF_LEVEL_L1) += nr - 1;
	*door->sure_hits += nr;
	door->last_level = FPERF_LEVEL_L1;
	door->last_dependence = dependence;
}

static inline void fperf_point_row(struct fperf_door *door)
{
	door->row = door->counters + ((size_t)door->event * FPERF_NR_CAUSES + door->cause) * FPERF_ROW_SIZE;
}

/* Account what follows under another cause; returns the one to go back to. */
static inline enum fperf_cause fperf_because(struct fperf_door *door, enum fperf_cause cause)
{
	const enum fperf_cause before = door->cause;

	door->cause = cause;
	fperf_point_row(door);
	return before;
}

/* The event takes a mapping or a permission away, so that it flushes TLBs, once. */
static inline void fperf_note_flush(struct fperf_door *door)
{
	door->stats->tlb_flushes += !door->flushed;
	door->flushed = true;
}

/* A new event begins: its lines are counted afresh. */
void fperf_event_begin(struct fperf_door *door, enum fperf_event_kind kind);

int fperf_door_init(struct fperf_door *door, const struct fperf_memmap *mem, struct fperf_cache *cache,
		    unsigned int line_shift) FPERF_MUST_CHECK;
void fperf_door_destroy(struct fperf_door *door);
/* Go on with other caches, whose owner is the caller as ever. */
void fperf_door_set_cache(struct fperf_door *door, struct fperf_cache *cache);

extern const uint8_t fperf_field_classes[FPERF_NR_FIELDS];

static inline enum fperf_object_class fperf_field_class(enum fperf_field field)
{
	return (enum fperf_object_class)fperf_field_classes[field];
}

#if defined(FPERF_BACKEND_COUNT)
#include "access/access_count.h"
#elif defined(FPERF_BACKEND_CACHE)
#include "access/access_cache.h"
#elif defined(FPERF_BACKEND_NATIVE)
#include "access/access_native.h"
#endif

#if defined(FPERF_FN)

static inline void fperf_lock_word(struct fperf_door *door, enum fperf_field field, uint64_t at)
{
	fperf_touch(door, field, FPERF_RMW, at);
}

static inline void fperf_unlock_word(struct fperf_door *door, enum fperf_field field, uint64_t at)
{
	fperf_touch(door, field, FPERF_STORE, at);
}

#endif

#endif
