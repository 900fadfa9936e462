/* SPDX-License-Identifier: BSD-3-Clause */
#include "access/access.h"

#include "access/access_trace.h"

static enum fperf_level level_of(const struct fperf_door *door, unsigned int served)
{
	return served == fperf_cache_nr_levels(door->cache) ? FPERF_LEVEL_DRAM : FPERF_LEVEL_L1 + served;
}

/* Count `line` among the distinct lines of this event; a line that is written counts as written only. */
static void stamp(struct fperf_door *door, enum fperf_field field, uint64_t line, bool write)
{
	const enum fperf_object_class class = fperf_field_class(field);
	uint32_t before = door->stamps[line];

	if (before >> 2 != door->epoch)
		before = door->epoch << 2;
	if (write) {
		if (!(before & 2)) {
			door->stats->lines_written[class]++;
			if (before & 1)
				door->stats->lines_read[class]--;
		}
		door->stamps[line] = before | 3;
	} else {
		if (!(before & 3))
			door->stats->lines_read[class]++;
		door->stamps[line] = before | 1;
	}
}

static bool touched_in_this_event(const struct fperf_door *door, uint64_t line)
{
	return line < door->stamps_bytes / sizeof(*door->stamps) && door->stamps[line] >> 2 == door->epoch;
}

/*
 * An access is streaming if its event has been at the line or a neighbour of it before: that was waited for, and the addresses
 * being known, these come with it. Else it is dependent, the first of a run too. An RMW that finds its line in L1 waits for
 * something else, all stores before it: the first of its event is dependent, wherever its line is.
 */
static enum fperf_dependence dependence_of(const struct fperf_door *door, enum fperf_access access, uint64_t line,
					   unsigned int level)
{
	if (access == FPERF_RMW && level == FPERF_LEVEL_L1)
		return door->rmw_epoch == door->epoch ? FPERF_STREAMING : FPERF_DEPENDENT;
	return touched_in_this_event(door, line) || touched_in_this_event(door, line + 1) ||
			       (line && touched_in_this_event(door, line - 1)) ?
		       FPERF_STREAMING :
		       FPERF_DEPENDENT;
}

static unsigned int touch_line(struct fperf_door *door, enum fperf_field field, enum fperf_access access, uint64_t line,
			       uint32_t times)
{
	const bool write = access != FPERF_LOAD;
	const unsigned int level = level_of(door, fperf_cache_access(door->cache, line, write));
	const enum fperf_dependence dependence = dependence_of(door, access, line, level);

	*fperf_cell(door, field, access, dependence, level) += 1;
	if (times > 1) {
		fperf_cache_again(door->cache, line, times - 1, write);
		*fperf_cell(door, field, access, FPERF_STREAMING, FPERF_LEVEL_L1) += times - 1;
	}
	if (door->cause != FPERF_CAUSE_FIXED)
		stamp(door, field, line, write);
	else if (!touched_in_this_event(door, line))
		door->stamps[line] = door->epoch << 2;
	if (access == FPERF_RMW)
		door->rmw_epoch = door->epoch;
	door->last_level = level;
	door->last_dependence = dependence;
	return level;
}

void fperf_cache_note(struct fperf_door *door, enum fperf_field field, enum fperf_access access, uint64_t at,
		      uint32_t times)
{
	unsigned int level;

	if (!times)
		return;
	level = touch_line(door, field, access, at >> door->line_shift, times);
	if (door->tracing)
		fperf_trace_note(door, field, access, at, times, 0, level);
}

void fperf_cache_note_run(struct fperf_door *door, enum fperf_field field, enum fperf_access access, uint64_t at,
			  uint64_t nr, uint32_t stride)
{
	unsigned int furthest = FPERF_LEVEL_L1;

	for (uint64_t i = 0; i < nr;) {
		const uint64_t line = (at + i * stride) >> door->line_shift;
		uint32_t times = 1;
		unsigned int level;

		while (i + times < nr && (at + (i + times) * stride) >> door->line_shift == line)
			times++;
		level = touch_line(door, field, access, line, times);
		if (level > furthest)
			furthest = level;
		i += times;
	}
	if (door->tracing && nr)
		fperf_trace_note(door, field, access, at, nr, stride, furthest);
}

/* The list has the access under FIXED, where it was made. */
static void trace_adopted(struct fperf_door *door, enum fperf_field field, uint64_t at)
{
	for (size_t i = door->nr_trace; i--;) {
		struct fperf_access_row *const row = &door->trace[i];

		if (row->field == field && row->access == FPERF_RMW && row->address == at &&
		    row->cause == FPERF_CAUSE_FIXED) {
			row->cause = (uint16_t)door->cause;
			return;
		}
	}
}

void fperf_cache_note_adopted(struct fperf_door *door, enum fperf_field field, uint64_t at)
{
	stamp(door, field, at >> door->line_shift, true);
	if (door->tracing)
		trace_adopted(door, field, at);
}

void fperf_trace_note(struct fperf_door *door, enum fperf_field field, enum fperf_access access, uint64_t at,
		      uint64_t nr, uint32_t stride, unsigned int level)
{
	const struct fperf_memmap *const mem = door->mem;
	const enum fperf_object_class class = fperf_field_class(field);
	struct fperf_access_row *row;

	if (door->nr_trace == door->cap_trace) {
		const size_t cap = door->cap_trace ? door->cap_trace * 2 : 1024;
		struct fperf_access_row *const grown = realloc(door->trace, cap * sizeof(*grown));

		if (!grown) {
			door->tracing = false;
			return;
		}
		door->trace = grown;
		door->cap_trace = cap;
	}
	row = &door->trace[door->nr_trace++];
	*row = (struct fperf_access_row){
		.address = at,
		.nr = (uint32_t)nr,
		.stride = stride,
		.field = (uint16_t)field,
		.access = (uint16_t)access,
		.cause = (uint16_t)door->cause,
		.event_kind = (uint16_t)door->event,
		.level = level,
	};
	if (class == FPERF_CLASS_PAGE)
		row->object = (uint32_t)(at / sizeof(struct fperf_page));
	else if (class == FPERF_CLASS_TABLE)
		row->object = (uint32_t)((at - mem->tables_at) >> mem->page_shift);
}
