/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The primitives of the two counting back ends: plain memory operations, each announced to fperf_note() or
 * fperf_note_run(), which the back end's own header defines before it includes this one.
 */
#ifndef FPERF_ACCESS_PLAIN_H
#define FPERF_ACCESS_PLAIN_H

static inline void fperf_touch(struct fperf_door *door, enum fperf_field field, enum fperf_access access, uint64_t at)
{
	fperf_note(door, field, access, at, 1);
}

/* n fields of one object, `stride` bytes apart, streamed. */
static inline void fperf_touch_run(struct fperf_door *door, enum fperf_field field, enum fperf_access access,
				   uint64_t at, uint64_t nr, uint32_t stride)
{
	fperf_note_run(door, field, access, at, nr, stride);
}

/* The same where each waits for the one before it, as when an operation does several fields one by one. */
static inline void fperf_touch_each(struct fperf_door *door, enum fperf_field field, enum fperf_access access,
				    uint64_t at, uint32_t nr, uint32_t stride)
{
	fperf_note_each(door, field, access, at, nr, stride);
}

/*
 * The reference a page-cache lookup took (one RMW under FIXED) becomes the mapping's own: account it to the operation.
 */
static inline void fperf_adopt(struct fperf_door *door, const int32_t *refcount)
{
	uint64_t *const row = door->row;

	door->row = door->counters + ((size_t)door->event * FPERF_NR_CAUSES + FPERF_CAUSE_FIXED) * FPERF_ROW_SIZE;
	*fperf_cell(door, FPERF_FIELD_REFCOUNT, FPERF_RMW, door->lookup_dependence, door->lookup_level) -= 1;
	door->row = row;
	*fperf_cell(door, FPERF_FIELD_REFCOUNT, FPERF_RMW, door->lookup_dependence, door->lookup_level) += 1;
	fperf_note_adopted(door, FPERF_FIELD_REFCOUNT, fperf_arena_offset(door->mem, refcount));
}

static inline uint32_t fperf_load32(struct fperf_door *door, enum fperf_field field, const void *p)
{
	fperf_note(door, field, FPERF_LOAD, fperf_arena_offset(door->mem, p), 1);
	return *(const uint32_t *)p;
}

static inline uint16_t fperf_load16(struct fperf_door *door, enum fperf_field field, const void *p)
{
	fperf_note(door, field, FPERF_LOAD, fperf_arena_offset(door->mem, p), 1);
	return *(const uint16_t *)p;
}

static inline uint64_t fperf_load64(struct fperf_door *door, enum fperf_field field, const void *p)
{
	fperf_note(door, field, FPERF_LOAD, fperf_arena_offset(door->mem, p), 1);
	return *(const uint64_t *)p;
}

static inline void fperf_store16(struct fperf_door *door, enum fperf_field field, void *p, uint16_t value)
{
	fperf_note(door, field, FPERF_STORE, fperf_arena_offset(door->mem, p), 1);
	*(uint16_t *)p = value;
}

static inline void fperf_store32(struct fperf_door *door, enum fperf_field field, void *p, uint32_t value)
{
	fperf_note(door, field, FPERF_STORE, fperf_arena_offset(door->mem, p), 1);
	*(uint32_t *)p = value;
}

static inline void fperf_store64(struct fperf_door *door, enum fperf_field field, void *p, uint64_t value)
{
	fperf_note(door, field, FPERF_STORE, fperf_arena_offset(door->mem, p), 1);
	*(uint64_t *)p = value;
}

/* Atomic add; returns the new value. */
static inline int32_t fperf_add32(struct fperf_door *door, enum fperf_field field, int32_t *p, int32_t delta)
{
	fperf_note(door, field, FPERF_RMW, fperf_arena_offset(door->mem, p), 1);
	*p = (int32_t)((uint32_t)*p + (uint32_t)delta);
	return *p;
}

/* The same field, `times` atomic adds one after another. */
static inline int32_t fperf_add32_times(struct fperf_door *door, enum fperf_field field, int32_t *p, int32_t delta,
					uint32_t times)
{
	fperf_note(door, field, FPERF_RMW, fperf_arena_offset(door->mem, p), times);
	*p = (int32_t)((uint32_t)*p + (uint32_t)delta * times);
	return *p;
}

/* Atomic bit operations on a flags word; return whether the bit was set before. */
static inline bool fperf_set_bit(struct fperf_door *door, enum fperf_field field, uint64_t *p, unsigned int bit)
{
	const bool was = *p >> bit & 1;

	fperf_note(door, field, FPERF_RMW, fperf_arena_offset(door->mem, p), 1);
	*p |= 1ull << bit;
	return was;
}

static inline void fperf_set_bit_times(struct fperf_door *door, enum fperf_field field, uint64_t *p, unsigned int bit,
				       uint32_t times)
{
	fperf_note(door, field, FPERF_RMW, fperf_arena_offset(door->mem, p), times);
	if (times)
		*p |= 1ull << bit;
}

static inline bool fperf_clear_bit(struct fperf_door *door, enum fperf_field field, uint64_t *p, unsigned int bit)
{
	const bool was = *p >> bit & 1;

	fperf_note(door, field, FPERF_RMW, fperf_arena_offset(door->mem, p), 1);
	*p &= ~(1ull << bit);
	return was;
}

static inline bool fperf_cmpxchg64(struct fperf_door *door, enum fperf_field field, uint64_t *p, uint64_t *old,
				   uint64_t new)
{
	const uint64_t here = *p;

	fperf_note(door, field, FPERF_RMW, fperf_arena_offset(door->mem, p), 1);
	if (here != *old) {
		*old = here;
		return false;
	}
	*p = new;
	return true;
}

static inline bool fperf_cmpxchg32(struct fperf_door *door, enum fperf_field field, int32_t *p, int32_t *old,
				   int32_t new)
{
	const int32_t here = *p;

	fperf_note(door, field, FPERF_RMW, fperf_arena_offset(door->mem, p), 1);
	if (here != *old) {
		*old = here;
		return false;
	}
	*p = new;
	return true;
}

static inline void fperf_lock_bit(struct fperf_door *door, enum fperf_field field, uint64_t *p, unsigned int bit)
{
	fperf_note(door, field, FPERF_RMW, fperf_arena_offset(door->mem, p), 1);
	*p |= 1ull << bit;
}

static inline void fperf_unlock_bit(struct fperf_door *door, enum fperf_field field, uint64_t *p, unsigned int bit)
{
	fperf_note(door, field, FPERF_STORE, fperf_arena_offset(door->mem, p), 1);
	*p &= ~(1ull << bit);
}

/* Runs: the same field of nr consecutive struct pages. */
#define FPERF_NEXT_PAGE(type, p, i) ((type *)((char *)(p) + (size_t)(i) * sizeof(struct fperf_page)))

/* Struct pages that come next in a run: the host's own prefetcher stops at the end of each of its pages. */
static inline void fperf_prefetch_page(const void *field)
{
	__builtin_prefetch((const char *)field + 32 * sizeof(struct fperf_page), 1);
}

/* Atomic increments; returns how many fields went from -1 to 0 (unmapped to mapped). */
static inline uint32_t fperf_run_inc(struct fperf_door *door, enum fperf_field field, int32_t *p, uint32_t nr)
{
	uint32_t first = 0;

	fperf_note_run(door, field, FPERF_RMW, fperf_arena_offset(door->mem, p), nr, sizeof(struct fperf_page));
	for (uint32_t i = 0; i < nr; i++) {
		fperf_prefetch_page(FPERF_NEXT_PAGE(int32_t, p, i));
		first += (*FPERF_NEXT_PAGE(int32_t, p, i))++ == -1;
	}
	return first;
}

/* Atomic decrements; returns how many fields are negative then (mapped to unmapped), as atomic_add_negative() tells. */
static inline uint32_t fperf_run_dec(struct fperf_door *door, enum fperf_field field, int32_t *p, uint32_t nr)
{
	uint32_t last = 0;

	fperf_note_run(door, field, FPERF_RMW, fperf_arena_offset(door->mem, p), nr, sizeof(struct fperf_page));
	for (uint32_t i = 0; i < nr; i++) {
		fperf_prefetch_page(FPERF_NEXT_PAGE(int32_t, p, i));
		last += --*FPERF_NEXT_PAGE(int32_t, p, i) < 0;
	}
	return last;
}

/* Atomic add to the field of each of nr consecutive struct pages, one after the other. */
static inline void fperf_each_add32(struct fperf_door *door, enum fperf_field field, int32_t *p, int32_t delta,
				    uint32_t nr)
{
	fperf_note_each(door, field, FPERF_RMW, fperf_arena_offset(door->mem, p), nr, sizeof(struct fperf_page));
	for (uint32_t i = 0; i < nr; i++)
		*FPERF_NEXT_PAGE(int32_t, p, i) =
			(int32_t)((uint32_t)*FPERF_NEXT_PAGE(int32_t, p, i) + (uint32_t)delta);
}

static inline void fperf_run_store32(struct fperf_door *door, enum fperf_field field, int32_t *p, int32_t value,
				     uint32_t nr)
{
	fperf_note_run(door, field, FPERF_STORE, fperf_arena_offset(door->mem, p), nr, sizeof(struct fperf_page));
	for (uint32_t i = 0; i < nr; i++)
		*FPERF_NEXT_PAGE(int32_t, p, i) = value;
}

/* Sum of (field + 1): the mappings that -1-based counters stand for. *max is the largest of them. */
static inline int64_t fperf_run_sum(struct fperf_door *door, enum fperf_field field, const int32_t *p, uint32_t nr,
				    int32_t *max)
{
	int64_t sum = 0;

	fperf_note_run(door, field, FPERF_LOAD, fperf_arena_offset(door->mem, p), nr, sizeof(struct fperf_page));
	*max = 0;
	for (uint32_t i = 0; i < nr; i++) {
		const int32_t mappings = *FPERF_NEXT_PAGE(const int32_t, p, i) + 1;

		sum += mappings;
		if (mappings > *max)
			*max = mappings;
	}
	return sum;
}

/* How many fields are not -1: pages with a mapping. */
static inline uint32_t fperf_run_nr_mapped(struct fperf_door *door, enum fperf_field field, const int32_t *p,
					   uint32_t nr)
{
	uint32_t mapped = 0;

	fperf_note_run(door, field, FPERF_LOAD, fperf_arena_offset(door->mem, p), nr, sizeof(struct fperf_page));
	for (uint32_t i = 0; i < nr; i++)
		mapped += *FPERF_NEXT_PAGE(const int32_t, p, i) != -1;
	return mapped;
}

/* Index of the first field that is not -1, nr if none; reads up to there. */
static inline uint32_t fperf_run_find_mapped(struct fperf_door *door, enum fperf_field field, const int32_t *p,
					     uint32_t nr)
{
	uint32_t i = 0;

	while (i < nr && *FPERF_NEXT_PAGE(const int32_t, p, i) == -1)
		i++;
	fperf_note_run(door, field, FPERF_LOAD, fperf_arena_offset(door->mem, p), i < nr ? i + 1 : nr,
		       sizeof(struct fperf_page));
	return i;
}

static inline void fperf_run_set_bit(struct fperf_door *door, enum fperf_field field, uint64_t *p, unsigned int bit,
				     uint32_t nr)
{
	fperf_note_run(door, field, FPERF_RMW, fperf_arena_offset(door->mem, p), nr, sizeof(struct fperf_page));
	for (uint32_t i = 0; i < nr; i++)
		*FPERF_NEXT_PAGE(uint64_t, p, i) |= 1ull << bit;
}

static inline void fperf_run_clear_bit(struct fperf_door *door, enum fperf_field field, uint64_t *p, unsigned int bit,
				       uint32_t nr)
{
	fperf_note_run(door, field, FPERF_RMW, fperf_arena_offset(door->mem, p), nr, sizeof(struct fperf_page));
	for (uint32_t i = 0; i < nr; i++)
		*FPERF_NEXT_PAGE(uint64_t, p, i) &= ~(1ull << bit);
}

/* How many of the next fields, counted from p, have the bit equal to that of p; reads up to and including the end. */
static inline uint32_t fperf_run_same_bit(struct fperf_door *door, enum fperf_field field, const uint64_t *p,
					  unsigned int bit, uint32_t nr, bool *set)
{
	uint32_t i = 1;

	*set = *p >> bit & 1;
	while (i < nr && (*FPERF_NEXT_PAGE(const uint64_t, p, i) >> bit & 1) == *set)
		i++;
	fperf_note_run(door, field, FPERF_LOAD, fperf_arena_offset(door->mem, p), i, sizeof(struct fperf_page));
	return i;
}

/* Both in one: the length of the run of equal bits is read, and where they are set, the run is cleared. */
static inline uint32_t fperf_run_clear_same_bit(struct fperf_door *door, enum fperf_field field, uint64_t *p,
						unsigned int bit, uint32_t nr, bool *set)
{
	const uint64_t at = fperf_arena_offset(door->mem, p), mask = 1ull << bit;
	uint32_t i = 1;

	*set = *p & mask;
	if (*set) {
		*p &= ~mask;
		for (; i < nr && *FPERF_NEXT_PAGE(uint64_t, p, i) & mask; i++) {
			fperf_prefetch_page(FPERF_NEXT_PAGE(uint64_t, p, i));
			*FPERF_NEXT_PAGE(uint64_t, p, i) &= ~mask;
		}
	} else {
		for (; i < nr && !(*FPERF_NEXT_PAGE(uint64_t, p, i) & mask); i++)
			fperf_prefetch_page(FPERF_NEXT_PAGE(uint64_t, p, i));
	}
	fperf_note_run(door, field, FPERF_LOAD, at, i, sizeof(struct fperf_page));
	if (*set)
		fperf_note_run(door, field, FPERF_RMW, at, i, sizeof(struct fperf_page));
	return i;
}

#endif
