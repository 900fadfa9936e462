/* SPDX-License-Identifier: BSD-3-Clause */
#include "access/access.h"

#include "access/access_trace.h"

static enum fperf_level level_of(const struct fperf_door *door, unsigned int served)
{
	return served == fperf_cache_nr_levels(door->cache) ? FPERF_LEVEL_DRAM : FPERF_LEVEL_L1 + served;
}

/*
 * Stamps say what this event has done to a line, and to the eight lines of an aligned run where it is the same for all: then
 * those of the lines are out of date. Of a run that this event has not touched, all are. A line that only FIXED touched is
 * neither read nor written.
 */
enum { READ = 1, WRITTEN = 2, MIXED = 4, GROUP_SHIFT = 3, GROUP_LINES = 1 << GROUP_SHIFT };

/* Count a line among the distinct lines of this event; a line that is written counts as written only. */
static uint32_t count_line(struct fperf_door *door, enum fperf_object_class class, uint32_t before, bool write,
			   uint32_t nr)
{
	struct fperf_event_stats *const stats = door->stats;

	if (door->cause == FPERF_CAUSE_FIXED)
		return before;
	if (!write) {
		if (!before)
			stats->lines_read[class] += nr;
		return before | READ;
	}
	if (!(before & WRITTEN)) {
		stats->lines_written[class] += nr;
		if (before & READ)
			stats->lines_read[class] -= nr;
	}
	return WRITTEN | READ;
}

static void stamp_in_mixed(struct fperf_door *door, enum fperf_object_class class, uint64_t line, bool write)
{
	const uint32_t stamp = door->stamps[line], before = stamp >> 2 == door->epoch ? stamp & (READ | WRITTEN) : 0;

	door->stamps[line] = door->epoch << 2 | count_line(door, class, before, write, 1);
}

static void stamp(struct fperf_door *door, enum fperf_field field, uint64_t line, bool write)
{
	uint32_t *const run = &door->run_stamps[line >> GROUP_SHIFT];
	const uint32_t here = *run;

	if (here >> 3 != door->epoch) {
		*run = door->epoch << 3 | MIXED;
	} else if (!(here & MIXED)) {
		if (here & (write ? WRITTEN : READ) || door->cause == FPERF_CAUSE_FIXED)
			return;
		*run = door->epoch << 3 | MIXED;
		for (unsigned int i = 0; i < GROUP_LINES; i++)
			door->stamps[(line & ~(uint64_t)(GROUP_LINES - 1)) + i] =
				door->epoch << 2 | (here & (READ | WRITTEN));
	}
	stamp_in_mixed(door, fperf_field_class(field), line, write);
}

static void stamp_lines(struct fperf_door *door, enum fperf_field field, uint64_t first, uint64_t nr, bool write)
{
	const enum fperf_object_class class = fperf_field_class(field);

	for (const uint64_t end = first + nr; first < end;) {
		uint32_t *const run = &door->run_stamps[first >> GROUP_SHIFT];
		const uint32_t here = *run;

		if (first & (GROUP_LINES - 1) || end - first < GROUP_LINES) {
			stamp(door, field, first++, write);
			while (first & (GROUP_LINES - 1) && first < end && *run & MIXED)
				stamp_in_mixed(door, class, first++, write);
			continue;
		}
		if (here >> 3 == door->epoch && here & MIXED) {
			for (unsigned int i = 0; i < GROUP_LINES; i++)
				stamp_in_mixed(door, class, first + i, write);
			if (write && door->cause != FPERF_CAUSE_FIXED)
				*run = door->epoch << 3 | WRITTEN | READ;
		} else {
			*run = door->epoch << 3 |
			       count_line(door, class, here >> 3 == door->epoch ? here & (READ | WRITTEN) : 0, write,
					  GROUP_LINES);
		}
		first += GROUP_LINES;
	}
}

static bool touched_in_this_event(const struct fperf_door *door, uint64_t line)
{
	uint32_t run;

	if (line >= door->stamps_bytes / sizeof(*door->stamps))
		return false;
	run = door->run_stamps[line >> GROUP_SHIFT];
	return run >> 3 == door->epoch && (!(run & MIXED) || door->stamps[line] >> 2 == door->epoch);
}

/*
 * An access is streaming if its event has been at the line or a neighbour of it before: that was waited for, and the addresses
 * being known, these come with it. Else it is dependent, the first of a run too. An RMW that finds its line in L1 waits for
 * something else, all stores before it: the first of its event is dependent, wherever its line is.
 */
static bool is_near(const struct fperf_door *door, uint64_t line)
{
	return touched_in_this_event(door, line) || touched_in_this_event(door, line + 1) ||
	       (line && touched_in_this_event(door, line - 1));
}

static enum fperf_dependence dependence_of(const struct fperf_door *door, enum fperf_access access, unsigned int level,
					   bool near)
{
	if (access == FPERF_RMW && level == FPERF_LEVEL_L1)
		near = door->rmw_epoch == door->epoch;
	return near ? FPERF_STREAMING : FPERF_DEPENDENT;
}

/* What is done to these lines next, and only that, needs no visit. Nothing is sure while accesses are listed. */
static void remember(struct fperf_door *door, uint64_t first, uint64_t nr, bool write)
{
	if (door->tracing || door->cause == FPERF_CAUSE_FIXED || nr > door->lines_apart) {
		door->last_nr = 0;
		return;
	}
	if (first != door->last_line || nr != door->last_nr)
		door->last_rights = 0;
	door->last_line = first;
	door->last_nr = nr;
	door->last_rights |= write ? FPERF_MAY_READ | FPERF_MAY_WRITE : FPERF_MAY_READ;
}

/* The first access to the first of some lines has been served; the other lines are its neighbours. */
static void count_first(struct fperf_door *door, enum fperf_field field, enum fperf_access access, unsigned int level,
			bool near)
{
	const enum fperf_dependence dependence = dependence_of(door, access, level, near);

	*fperf_cell(door, field, access, dependence, level) += 1;
	if (access == FPERF_RMW)
		door->rmw_epoch = door->epoch;
	door->last_level = level;
	door->last_dependence = dependence;
}

static unsigned int touch_line(struct fperf_door *door, enum fperf_field field, enum fperf_access access, uint64_t line,
			       uint32_t times)
{
	const bool write = access != FPERF_LOAD;
	const unsigned int level = level_of(door, fperf_cache_access(door->cache, line, write));

	/* Where the level decides, the neighbours need not be looked at. */
	count_first(door, field, access, level,
		    (access != FPERF_RMW || level != FPERF_LEVEL_L1) && is_near(door, line));
	*fperf_cell(door, field, access, FPERF_STREAMING, FPERF_LEVEL_L1) += times - 1;
	*door->sure_hits += times - 1;
	stamp(door, field, line, write);
	remember(door, line, 1, write);
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

/* Fields further apart than lines. */
static unsigned int note_scattered(struct fperf_door *door, enum fperf_field field, enum fperf_access access,
				   uint64_t at, uint64_t nr, uint32_t stride)
{
	unsigned int furthest = FPERF_LEVEL_L1;

	for (uint64_t i = 0; i < nr; i++) {
		const unsigned int level = touch_line(door, field, access, (at + i * stride) >> door->line_shift, 1);

		if (level > furthest)
			furthest = level;
	}
	return furthest;
}

static unsigned int note_lines(struct fperf_door *door, enum fperf_field field, enum fperf_access access,
			       uint64_t first, uint64_t nr_lines, uint64_t nr)
{
	uint64_t *const cell = fperf_cell(door, field, access, FPERF_STREAMING, FPERF_LEVEL_UNKNOWN);
	const unsigned int nr_levels = fperf_cache_nr_levels(door->cache);
	const bool write = access != FPERF_LOAD, near = is_near(door, first);
	struct fperf_cache_served served = { 0 };
	unsigned int furthest = FPERF_LEVEL_L1;

	fperf_cache_run(door->cache, first, nr_lines, write, &served);
	for (unsigned int i = 0; i <= nr_levels; i++) {
		cell[level_of(door, i)] += served.nr[i];
		if (served.nr[i])
			furthest = level_of(door, i);
	}
	cell[level_of(door, served.first)]--;
	count_first(door, field, access, level_of(door, served.first), near);
	cell[FPERF_LEVEL_L1] += nr - nr_lines;
	*door->sure_hits += nr - nr_lines;
	stamp_lines(door, field, first, nr_lines, write);
	remember(door, first, nr_lines, write);
	return furthest;
}

void fperf_cache_note_run(struct fperf_door *door, enum fperf_field field, enum fperf_access access, uint64_t at,
			  uint64_t nr, uint32_t stride)
{
	const uint64_t first = at >> door->line_shift;
	const uint64_t nr_lines = nr ? ((at + (nr - 1) * stride) >> door->line_shift) - first + 1 : 0;
	unsigned int furthest = FPERF_LEVEL_L1;

	if (!nr)
		return;
	if (first - door->last_line < door->last_nr && first + nr_lines <= door->last_line + door->last_nr &&
	    door->last_rights & (access == FPERF_LOAD ? FPERF_MAY_READ : FPERF_MAY_WRITE)) {
		fperf_note_sure_hits(door, field, access, nr);
		return;
	}
	if (stride > 1u << door->line_shift)
		furthest = note_scattered(door, field, access, at, nr, stride);
	else
		furthest = note_lines(door, field, access, first, nr_lines, nr);
	if (door->tracing)
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
