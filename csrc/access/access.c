/* SPDX-License-Identifier: BSD-3-Clause */
#include "access/access.h"

#include <string.h>
#include <sys/mman.h>

#include "access/access_trace.h"

const uint8_t fperf_field_classes[FPERF_NR_FIELDS] = {
#define X(NAME, name, CLASS) [FPERF_FIELD_##NAME] = FPERF_CLASS_##CLASS,
	FPERF_FIELDS(X)
#undef X
};

enum { LINES_PER_RUN = 8 };

void fperf_door_set_cache(struct fperf_door *door, struct fperf_cache *cache)
{
	door->cache = cache;
	door->sure_hits = cache ? fperf_cache_sure_hits(cache) : NULL;
	door->lines_apart = cache ? fperf_cache_lines_apart(cache) : 0;
	door->last_nr = 0;
}

int fperf_door_init(struct fperf_door *door, const struct fperf_memmap *mem, struct fperf_cache *cache,
		    unsigned int line_shift)
{
	memset(door, 0, sizeof(*door));
	door->mem = mem;
	fperf_door_set_cache(door, cache);
	door->line_shift = line_shift;
	door->counters = calloc((size_t)FPERF_NR_EVENT_KINDS * FPERF_NR_CAUSES * FPERF_ROW_SIZE, sizeof(uint64_t));
	door->all_stats = calloc(FPERF_NR_EVENT_KINDS, sizeof(*door->all_stats));
	if (!door->counters || !door->all_stats)
		goto no_memory;
	if (cache) {
		door->stamps_bytes = (mem->size >> line_shift) * sizeof(*door->stamps);
		door->stamps = fperf_reserve(door->stamps_bytes);
		door->run_stamps = fperf_reserve(door->stamps_bytes / LINES_PER_RUN);
		if (!door->stamps || !door->run_stamps) {
			fperf_door_destroy(door);
			return FPERF_ERR(ADDR_SPACE);
		}
	}
	door->stats = door->all_stats;
	fperf_point_row(door);
	return 0;
no_memory:
	fperf_door_destroy(door);
	return FPERF_ERR(NO_MEMORY);
}

void fperf_door_destroy(struct fperf_door *door)
{
	free(door->counters);
	free(door->all_stats);
	free(door->trace);
	fperf_unreserve(door->stamps, door->stamps_bytes);
	fperf_unreserve(door->run_stamps, door->stamps_bytes / LINES_PER_RUN);
	memset(door, 0, sizeof(*door));
}

void fperf_event_begin(struct fperf_door *door, enum fperf_event_kind kind)
{
	door->event = kind;
	door->cause = FPERF_CAUSE_OPERATION;
	door->stats = &door->all_stats[kind];
	door->stats->count++;
	door->flushed = false;
	/* 29 bits of epoch: stamps of 5 x 10^8 events ago must not look like this event's. */
	if (door->stamps && ++door->epoch >> 29) {
		madvise(door->stamps, door->stamps_bytes, MADV_DONTNEED);
		madvise(door->run_stamps, door->stamps_bytes / LINES_PER_RUN, MADV_DONTNEED);
		door->epoch = 1;
	}
	door->last_nr = 0;
	fperf_point_row(door);
}
