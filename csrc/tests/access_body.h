/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every primitive of the access room, for the back end its program defines: the value it returns and the bytes it leaves
 * are told beforehand by plain arithmetic, the same for all three; what is counted, by hand.
 */
#ifndef FPERF_TESTS_ACCESS_BODY_H
#define FPERF_TESTS_ACCESS_BODY_H

#include "tests/fperf_test.h"

#include <stdlib.h>

#include "access/access.h"
#include "core/fperf_abi.h"

#if defined(FPERF_BACKEND_COUNT)
enum { COUNTS = true, HAS_CACHE = false };
#elif defined(FPERF_BACKEND_CACHE)
enum { COUNTS = true, HAS_CACHE = true };
#elif defined(FPERF_BACKEND_NATIVE)
enum { COUNTS = false, HAS_CACHE = false };
#endif

enum { NR_PAGES = 256 };

struct machine {
	struct fperf_memmap mem;
	struct fperf_cache *cache;
	struct fperf_door door;
};

static bool machine_create(struct machine *m, unsigned int line_shift)
{
	/* 16 and 256 lines. */
	const struct fperf_cache_geometry levels[] = { { 16ull << line_shift, 4 }, { 256ull << line_shift, 8 } };

	m->cache = NULL;
	ASSERT_OK(fperf_memmap_create(&m->mem, 12, 1ull << 24));
	if (HAS_CACHE)
		ASSERT_OK(fperf_cache_create(levels, 2, line_shift, &m->cache));
	ASSERT_OK(fperf_door_init(&m->door, &m->mem, m->cache, line_shift));
	fperf_event_begin(&m->door, FPERF_EV_MMAP);
	return true;
}

static void machine_destroy(struct machine *m)
{
	fperf_door_destroy(&m->door);
	fperf_cache_destroy(m->cache);
	fperf_memmap_destroy(&m->mem);
}

static int64_t cell_of(const struct machine *m, enum fperf_cause cause, enum fperf_field field,
		       enum fperf_access access, enum fperf_dependence dependence, unsigned int level)
{
	const uint64_t *const row =
		m->door.counters + ((size_t)m->door.event * FPERF_NR_CAUSES + cause) * FPERF_ROW_SIZE;

	return (int64_t)
		row[((field * FPERF_NR_ACCESSES + access) * FPERF_NR_DEPENDENCES + dependence) * FPERF_NR_LEVELS +
		    level];
}

/*
 * Accesses counted under one cause of the current event, over all levels. Single forms are dependent and runs streaming where
 * there is no cache; where there is one it depends on the lines, which test_dependence_is_told_by_lines() looks at, and both
 * are taken together here.
 */
static int64_t counted(const struct machine *m, enum fperf_cause cause, enum fperf_field field,
		       enum fperf_access access, enum fperf_dependence dependence)
{
	int64_t sum = 0;

	for (unsigned int level = 0; level < FPERF_NR_LEVELS; level++)
		for (unsigned int each = 0; each < FPERF_NR_DEPENDENCES; each++)
			if (HAS_CACHE || each == dependence)
				sum += cell_of(m, cause, field, access, each, level);
	return sum;
}

static int64_t counted_at_all(const struct machine *m)
{
	const size_t nr = (size_t)FPERF_NR_EVENT_KINDS * FPERF_NR_CAUSES * FPERF_ROW_SIZE;
	int64_t sum = 0;

	for (size_t i = 0; i < nr; i++)
		sum += (int64_t)m->door.counters[i];
	return sum;
}

#define ASSERT_COUNTED(m, field, access, dependence, nr)					\
	ASSERT_EQ(counted(m, FPERF_CAUSE_OPERATION, FPERF_FIELD_##field, FPERF_##access, FPERF_##dependence), \
		  COUNTS ? (nr) : 0)

/* ---- single forms ---- */

static bool test_loads_and_stores(void)
{
	struct machine m;
	struct fperf_page *page;

	ASSERT_TRUE(machine_create(&m, 6));
	page = fperf_pfn_page(&m.mem, 3);
	fperf_store32(&m.door, FPERF_FIELD_MAPCOUNT, &page->mapcount, UINT32_MAX);
	fperf_store64(&m.door, FPERF_FIELD_FLAGS, &page->flags, 1ull << 63 | 5);
	ASSERT_EQ(page->mapcount, -1);
	ASSERT_EQ(page->refcount, 0);
	ASSERT_EQ(fperf_load32(&m.door, FPERF_FIELD_MAPCOUNT, &page->mapcount), UINT32_MAX);
	ASSERT_EQ(fperf_load64(&m.door, FPERF_FIELD_FLAGS, &page->flags), (int64_t)(1ull << 63 | 5));
	ASSERT_COUNTED(&m, MAPCOUNT, STORE, DEPENDENT, 1);
	ASSERT_COUNTED(&m, MAPCOUNT, LOAD, DEPENDENT, 1);
	ASSERT_COUNTED(&m, FLAGS, STORE, DEPENDENT, 1);
	ASSERT_COUNTED(&m, FLAGS, LOAD, DEPENDENT, 1);
	ASSERT_EQ(counted_at_all(&m), COUNTS ? 4 : 0);
	machine_destroy(&m);
	return true;
}

static bool test_adds(void)
{
	struct machine m;
	int32_t *refcount, *mapcount;

	ASSERT_TRUE(machine_create(&m, 6));
	refcount = &fperf_pfn_page(&m.mem, 3)->refcount;
	mapcount = &fperf_pfn_page(&m.mem, 3)->mapcount;
	ASSERT_EQ(fperf_add32(&m.door, FPERF_FIELD_REFCOUNT, refcount, 7), 7);
	ASSERT_EQ(fperf_add32(&m.door, FPERF_FIELD_REFCOUNT, refcount, -9), -2);
	ASSERT_EQ(fperf_add32_times(&m.door, FPERF_FIELD_REFCOUNT, refcount, 1, 512), 510);
	ASSERT_EQ(fperf_add32_times(&m.door, FPERF_FIELD_REFCOUNT, refcount, -1, 3), 507);
	ASSERT_EQ(*mapcount, 0);
	/* Counters wrap, as atomics do. */
	*mapcount = INT32_MAX;
	ASSERT_EQ(fperf_add32(&m.door, FPERF_FIELD_MAPCOUNT, mapcount, 1), INT32_MIN);
	ASSERT_EQ(fperf_add32_times(&m.door, FPERF_FIELD_MAPCOUNT, mapcount, -1, 2), INT32_MAX - 1);
	ASSERT_EQ(*refcount, 507);
	ASSERT_COUNTED(&m, REFCOUNT, RMW, DEPENDENT, 2 + 512 + 3);
	ASSERT_COUNTED(&m, MAPCOUNT, RMW, DEPENDENT, 3);
	ASSERT_EQ(counted_at_all(&m), COUNTS ? 520 : 0);
	machine_destroy(&m);
	return true;
}

static bool test_bits(void)
{
	struct machine m;
	uint64_t *flags;

	ASSERT_TRUE(machine_create(&m, 6));
	flags = &fperf_pfn_page(&m.mem, 3)->flags;
	*flags = 1;
	ASSERT_FALSE(fperf_set_bit(&m.door, FPERF_FIELD_FLAGS, flags, 63));
	ASSERT_TRUE(fperf_set_bit(&m.door, FPERF_FIELD_FLAGS, flags, 63));
	ASSERT_EQ(*flags, (int64_t)(1ull << 63 | 1));
	fperf_set_bit_times(&m.door, FPERF_FIELD_FLAGS, flags, 5, 16);
	ASSERT_EQ(*flags, (int64_t)(1ull << 63 | 33));
	ASSERT_TRUE(fperf_clear_bit(&m.door, FPERF_FIELD_FLAGS, flags, 0));
	ASSERT_FALSE(fperf_clear_bit(&m.door, FPERF_FIELD_FLAGS, flags, 0));
	ASSERT_EQ(*flags, (int64_t)(1ull << 63 | 32));
	ASSERT_COUNTED(&m, FLAGS, RMW, DEPENDENT, 4 + 16);
	machine_destroy(&m);
	return true;
}

static bool test_compare_exchange(void)
{
	int32_t old32 = 4;
	uint64_t old64 = 1;
	struct machine m;
	struct fperf_page *page;

	ASSERT_TRUE(machine_create(&m, 6));
	page = fperf_pfn_page(&m.mem, 3);
	page->mapcount = 5;
	/* A failed exchange brings the value that stood in its way. */
	ASSERT_FALSE(fperf_cmpxchg32(&m.door, FPERF_FIELD_FOLIO_STATE, &page->mapcount, &old32, 6));
	ASSERT_EQ(old32, 5);
	ASSERT_EQ(page->mapcount, 5);
	ASSERT_TRUE(fperf_cmpxchg32(&m.door, FPERF_FIELD_FOLIO_STATE, &page->mapcount, &old32, 6));
	ASSERT_EQ(page->mapcount, 6);
	ASSERT_EQ(page->refcount, 0);
	page->private_word = 1ull << 40;
	ASSERT_FALSE(fperf_cmpxchg64(&m.door, FPERF_FIELD_FOLIO_STATE, &page->private_word, &old64, 2));
	ASSERT_EQ(old64, 1ll << 40);
	ASSERT_TRUE(fperf_cmpxchg64(&m.door, FPERF_FIELD_FOLIO_STATE, &page->private_word, &old64, 2));
	ASSERT_EQ(page->private_word, 2);
	ASSERT_COUNTED(&m, FOLIO_STATE, RMW, DEPENDENT, 4);
	machine_destroy(&m);
	return true;
}

static bool test_bit_lock(void)
{
	struct machine m;
	uint64_t *word;

	ASSERT_TRUE(machine_create(&m, 6));
	word = &fperf_pfn_page(&m.mem, 3)->private_word;
	*word = 2;
	fperf_lock_bit(&m.door, FPERF_FIELD_MM_ID_LOCK, word, 0);
	ASSERT_EQ(*word, 3);
	fperf_unlock_bit(&m.door, FPERF_FIELD_MM_ID_LOCK, word, 0);
	ASSERT_EQ(*word, 2);
	/* Taken with an atomic, given back with a store. */
	ASSERT_COUNTED(&m, MM_ID_LOCK, RMW, DEPENDENT, 1);
	ASSERT_COUNTED(&m, MM_ID_LOCK, STORE, DEPENDENT, 1);
	machine_destroy(&m);
	return true;
}

/* Objects without bytes of their own: VMAs, locks of page tables. */
static bool test_touches_change_nothing(void)
{
	struct machine m;
	uint64_t at;

	ASSERT_TRUE(machine_create(&m, 6));
	at = fperf_object_alloc(&m.mem, 192);
	fperf_touch(&m.door, FPERF_FIELD_VMA, FPERF_LOAD, at);
	fperf_touch_run(&m.door, FPERF_FIELD_VMA, FPERF_LOAD, at, 3, 64);
	fperf_touch_run(&m.door, FPERF_FIELD_VMA, FPERF_LOAD, at, 0, 64);
	fperf_lock_word(&m.door, FPERF_FIELD_PTL, fperf_ptdesc_at(&m.mem, 1));
	fperf_unlock_word(&m.door, FPERF_FIELD_PTL, fperf_ptdesc_at(&m.mem, 1));
	for (uint64_t byte = at; byte < at + 192; byte++)
		ASSERT_EQ(m.mem.base[byte], 0);
	ASSERT_EQ(m.mem.base[fperf_ptdesc_at(&m.mem, 1)], 0);
	ASSERT_COUNTED(&m, VMA, LOAD, DEPENDENT, HAS_CACHE ? 4 : 1);
	ASSERT_COUNTED(&m, VMA, LOAD, STREAMING, HAS_CACHE ? 4 : 3);
	ASSERT_COUNTED(&m, PTL, RMW, DEPENDENT, 1);
	ASSERT_COUNTED(&m, PTL, STORE, DEPENDENT, 1);
	ASSERT_EQ(counted_at_all(&m), COUNTS ? 6 : 0);
	machine_destroy(&m);
	return true;
}

/* ---- run forms: the same field of consecutive struct pages ---- */

static void set_mapcounts(struct fperf_page *page, const int32_t *mapcounts, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		page[i].mapcount = mapcounts[i];
}

static bool has_mapcounts(const struct fperf_page *page, const int32_t *mapcounts, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		ASSERT_EQ(page[i].mapcount, mapcounts[i]);
	return true;
}

static bool test_run_of_increments_and_decrements(void)
{
	/* _mapcount of 8 pages    0  1  2  3  4  5  6  7
	 *                before  -1  0 -1  3 -1 -1 -2  9
	 *               1..5 +1      1  0  4  0  0         three became mapped
	 *               2..7 -1        -1  3 -1 -1 -3  8   four are below zero then */
	static const int32_t before[] = { -1, 0, -1, 3, -1, -1, -2, 9 }, up[] = { -1, 1, 0, 4, 0, 0, -2, 9 },
			     down[] = { -1, 1, -1, 3, -1, -1, -3, 8 };
	struct machine m;
	struct fperf_page *page;

	ASSERT_TRUE(machine_create(&m, 6));
	page = fperf_pfn_page(&m.mem, 10);
	set_mapcounts(page, before, 8);
	ASSERT_EQ(fperf_run_inc(&m.door, FPERF_FIELD_MAPCOUNT, &page[1].mapcount, 5), 3);
	ASSERT_TRUE(has_mapcounts(page, up, 8));
	ASSERT_COUNTED(&m, MAPCOUNT, RMW, STREAMING, 5);
	ASSERT_EQ(fperf_run_dec(&m.door, FPERF_FIELD_MAPCOUNT, &page[2].mapcount, 6), 4);
	ASSERT_TRUE(has_mapcounts(page, down, 8));
	ASSERT_COUNTED(&m, MAPCOUNT, RMW, STREAMING, 11);
	ASSERT_EQ(fperf_run_inc(&m.door, FPERF_FIELD_MAPCOUNT, &page[0].mapcount, 0), 0);
	ASSERT_EQ(fperf_run_dec(&m.door, FPERF_FIELD_MAPCOUNT, &page[0].mapcount, 0), 0);
	ASSERT_TRUE(has_mapcounts(page, down, 8));
	ASSERT_EQ(counted_at_all(&m), COUNTS ? 11 : 0);
	/* Nothing beside the field. */
	for (unsigned int i = 0; i < 8; i++)
		ASSERT_TRUE(!page[i].refcount && !page[i].private_word && !page[i].memcg);
	machine_destroy(&m);
	return true;
}

static bool test_run_of_stores(void)
{
	static const int32_t after[] = { 0, 7, 7, 7, 0 };
	struct machine m;
	struct fperf_page *page;

	ASSERT_TRUE(machine_create(&m, 6));
	page = fperf_pfn_page(&m.mem, 10);
	fperf_run_store32(&m.door, FPERF_FIELD_MAPCOUNT, &page[1].mapcount, 7, 3);
	ASSERT_TRUE(has_mapcounts(page, after, 5));
	ASSERT_COUNTED(&m, MAPCOUNT, STORE, STREAMING, 3);
	machine_destroy(&m);
	return true;
}

static bool test_run_sum_is_zero_based(void)
{
	/* stored  -1  0  4 -1     mappings  0 1 5 0 */
	static const int32_t mapcounts[] = { -1, 0, 4, -1 };
	struct machine m;
	struct fperf_page *page;
	int32_t max;

	ASSERT_TRUE(machine_create(&m, 6));
	page = fperf_pfn_page(&m.mem, 10);
	set_mapcounts(page, mapcounts, 4);
	ASSERT_EQ(fperf_run_sum(&m.door, FPERF_FIELD_MAPCOUNT, &page->mapcount, 4, &max), 6);
	ASSERT_EQ(max, 5);
	ASSERT_EQ(fperf_run_sum(&m.door, FPERF_FIELD_MAPCOUNT, &page->mapcount, 1, &max), 0);
	ASSERT_EQ(max, 0);
	ASSERT_COUNTED(&m, MAPCOUNT, LOAD, STREAMING, 5);
	ASSERT_TRUE(has_mapcounts(page, mapcounts, 4));
	machine_destroy(&m);
	return true;
}

static bool test_run_find_reads_up_to_the_first(void)
{
	static const int32_t mapcounts[] = { -1, -1, 0, -1 };
	struct machine m;
	struct fperf_page *page;

	ASSERT_TRUE(machine_create(&m, 6));
	page = fperf_pfn_page(&m.mem, 10);
	set_mapcounts(page, mapcounts, 4);
	ASSERT_EQ(fperf_run_find_mapped(&m.door, FPERF_FIELD_MAPCOUNT, &page->mapcount, 4), 2);
	ASSERT_COUNTED(&m, MAPCOUNT, LOAD, STREAMING, 3);
	ASSERT_EQ(fperf_run_find_mapped(&m.door, FPERF_FIELD_MAPCOUNT, &page->mapcount, 2), 2);
	ASSERT_COUNTED(&m, MAPCOUNT, LOAD, STREAMING, 5);
	machine_destroy(&m);
	return true;
}

static bool test_runs_of_bits(void)
{
	/* bit 17 of 6 pages   0 1 2 3 4 5
	 *            set 1-4  . x x x x .
	 *          clear 2-3  . x . . x .    runs of equals: 1, 1, 2, 1, 1 */
	const unsigned int bit = FPERF_PG_ANON_EXCLUSIVE;
	struct machine m;
	struct fperf_page *page;
	bool set;

	ASSERT_TRUE(machine_create(&m, 6));
	page = fperf_pfn_page(&m.mem, 10);
	page[2].flags = 64;
	fperf_run_set_bit(&m.door, FPERF_FIELD_ANON_EXCLUSIVE, &page[1].flags, bit, 4);
	fperf_run_clear_bit(&m.door, FPERF_FIELD_ANON_EXCLUSIVE, &page[2].flags, bit, 2);
	ASSERT_COUNTED(&m, ANON_EXCLUSIVE, RMW, STREAMING, 6);
	ASSERT_EQ(page[2].flags, 64);
	ASSERT_EQ(page[4].flags, 1 << bit);
	ASSERT_EQ(fperf_run_same_bit(&m.door, FPERF_FIELD_ANON_EXCLUSIVE, &page[0].flags, bit, 6, &set), 1);
	ASSERT_FALSE(set);
	ASSERT_EQ(fperf_run_same_bit(&m.door, FPERF_FIELD_ANON_EXCLUSIVE, &page[1].flags, bit, 5, &set), 1);
	ASSERT_TRUE(set);
	ASSERT_EQ(fperf_run_same_bit(&m.door, FPERF_FIELD_ANON_EXCLUSIVE, &page[2].flags, bit, 4, &set), 2);
	ASSERT_FALSE(set);
	ASSERT_EQ(fperf_run_same_bit(&m.door, FPERF_FIELD_ANON_EXCLUSIVE, &page[5].flags, bit, 1, &set), 1);
	ASSERT_COUNTED(&m, ANON_EXCLUSIVE, LOAD, STREAMING, 5);
	machine_destroy(&m);
	return true;
}

/* ---- random programs against plain arithmetic on a copy ---- */

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

/* Counts of what the program did, summed over fields. */
struct sums {
	int64_t nr[FPERF_NR_ACCESSES][FPERF_NR_DEPENDENCES];
};

/* One primitive on the machine and by hand on `copy`; false if they return different values. */
static bool step(struct machine *m, struct fperf_page *copy, uint64_t *state, struct sums *sums)
{
	const uint32_t page = (uint32_t)(next_random(state) % NR_PAGES);
	const uint32_t nr = (uint32_t)(next_random(state) % (NR_PAGES - page)) + 1;
	const uint32_t times = (uint32_t)(next_random(state) % 5);
	const int32_t delta = (int32_t)(next_random(state) % 7) - 3;
	const unsigned int bit = (unsigned int)(next_random(state) % 64);
	struct fperf_page *const here = fperf_pfn_page(&m->mem, page), *const there = &copy[page];
	struct fperf_door *const door = &m->door;
	uint32_t changed = 0;
	int64_t sum = 0;
	uint64_t old;
	int32_t old32, max = 0, most;
	bool set;

	switch (next_random(state) % 14) {
	case 0:
		sums->nr[FPERF_STORE][FPERF_DEPENDENT]++;
		fperf_store32(door, FPERF_FIELD_MAPCOUNT, &here->mapcount, (uint32_t)delta);
		there->mapcount = delta;
		return true;
	case 1:
		sums->nr[FPERF_STORE][FPERF_DEPENDENT]++;
		fperf_store64(door, FPERF_FIELD_MAPPING, &here->mapping, *state);
		there->mapping = *state;
		return true;
	case 2:
		sums->nr[FPERF_LOAD][FPERF_DEPENDENT] += 2;
		ASSERT_EQ((int32_t)fperf_load32(door, FPERF_FIELD_MAPCOUNT, &here->mapcount), there->mapcount);
		ASSERT_EQ(fperf_load64(door, FPERF_FIELD_MAPPING, &here->mapping), (int64_t)there->mapping);
		return true;
	case 3:
		sums->nr[FPERF_RMW][FPERF_DEPENDENT]++;
		there->refcount += delta;
		ASSERT_EQ(fperf_add32(door, FPERF_FIELD_REFCOUNT, &here->refcount, delta), there->refcount);
		return true;
	case 4:
		sums->nr[FPERF_RMW][FPERF_DEPENDENT] += times;
		there->refcount += delta * (int32_t)times;
		ASSERT_EQ(fperf_add32_times(door, FPERF_FIELD_REFCOUNT, &here->refcount, delta, times),
			  there->refcount);
		return true;
	case 5:
		sums->nr[FPERF_RMW][FPERF_DEPENDENT] += 2 + times;
		ASSERT_EQ(fperf_set_bit(door, FPERF_FIELD_FLAGS, &here->flags, bit), there->flags >> bit & 1);
		ASSERT_EQ(fperf_clear_bit(door, FPERF_FIELD_FLAGS, &here->flags, 63 - bit),
			  (there->flags | 1ull << bit) >> (63 - bit) & 1);
		fperf_set_bit_times(door, FPERF_FIELD_FLAGS, &here->flags, 3, times);
		there->flags = (there->flags | 1ull << bit) & ~(1ull << (63 - bit));
		there->flags |= times ? 8 : 0;
		return true;
	case 6:
		sums->nr[FPERF_RMW][FPERF_DEPENDENT] += 2;
		old = there->private_word + times / 3;
		ASSERT_EQ(fperf_cmpxchg64(door, FPERF_FIELD_FOLIO_STATE, &here->private_word, &old, *state), times < 3);
		ASSERT_EQ(old, (int64_t)there->private_word);
		if (times < 3)
			there->private_word = *state;
		old32 = there->mapcount + (int32_t)times / 3;
		ASSERT_EQ(fperf_cmpxchg32(door, FPERF_FIELD_FOLIO_STATE, &here->mapcount, &old32, delta), times < 3);
		ASSERT_EQ(old32, there->mapcount);
		if (times < 3)
			there->mapcount = delta;
		return true;
	case 7:
		sums->nr[FPERF_RMW][FPERF_DEPENDENT]++;
		sums->nr[FPERF_STORE][FPERF_DEPENDENT]++;
		here->word2 = there->word2 &= ~2ull;
		fperf_lock_bit(door, FPERF_FIELD_MM_ID_LOCK, &here->word2, 1);
		here->word2 += 4;
		fperf_unlock_bit(door, FPERF_FIELD_MM_ID_LOCK, &here->word2, 1);
		there->word2 += 4;
		return true;
	case 8:
		sums->nr[FPERF_RMW][FPERF_STREAMING] += nr;
		for (uint32_t i = 0; i < nr; i++)
			changed += !++there[i].mapcount;
		ASSERT_EQ(fperf_run_inc(door, FPERF_FIELD_MAPCOUNT, &here->mapcount, nr), changed);
		return true;
	case 9:
		sums->nr[FPERF_RMW][FPERF_STREAMING] += nr;
		for (uint32_t i = 0; i < nr; i++)
			changed += --there[i].mapcount < 0;
		ASSERT_EQ(fperf_run_dec(door, FPERF_FIELD_MAPCOUNT, &here->mapcount, nr), changed);
		return true;
	case 10:
		sums->nr[FPERF_STORE][FPERF_STREAMING] += nr;
		fperf_run_store32(door, FPERF_FIELD_MAPCOUNT, &here->mapcount, delta, nr);
		for (uint32_t i = 0; i < nr; i++)
			there[i].mapcount = delta;
		return true;
	case 11:
		sums->nr[FPERF_LOAD][FPERF_STREAMING] += nr;
		for (uint32_t i = 0; i < nr; i++) {
			sum += there[i].mapcount + 1;
			if (there[i].mapcount + 1 > max)
				max = there[i].mapcount + 1;
		}
		ASSERT_EQ(fperf_run_sum(door, FPERF_FIELD_MAPCOUNT, &here->mapcount, nr, &most), sum);
		ASSERT_EQ(most, max);
		return true;
	case 12:
		while (changed < nr && there[changed].mapcount == -1)
			changed++;
		sums->nr[FPERF_LOAD][FPERF_STREAMING] += changed < nr ? changed + 1 : nr;
		ASSERT_EQ(fperf_run_find_mapped(door, FPERF_FIELD_MAPCOUNT, &here->mapcount, nr), changed);
		return true;
	default:
		while (changed < nr && (there[changed].flags ^ ~there->flags) >> bit & 1)
			changed++;
		sums->nr[FPERF_LOAD][FPERF_STREAMING] += changed;
		ASSERT_EQ(fperf_run_same_bit(door, FPERF_FIELD_ANON_EXCLUSIVE, &here->flags, bit, nr, &set), changed);
		ASSERT_EQ(set, there->flags >> bit & 1);
		sums->nr[FPERF_RMW][FPERF_STREAMING] += changed;
		if (set)
			fperf_run_clear_bit(door, FPERF_FIELD_ANON_EXCLUSIVE, &here->flags, bit, changed);
		else
			fperf_run_set_bit(door, FPERF_FIELD_ANON_EXCLUSIVE, &here->flags, bit, changed);
		for (uint32_t i = 0; i < changed; i++)
			there[i].flags ^= 1ull << bit;
		return true;
	}
}

static bool test_random_programs_leave_the_same_bytes(void)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct fperf_page *const copy = calloc(NR_PAGES, sizeof(*copy));
		struct sums sums = { 0 };
		uint64_t state = seed;
		struct machine m;

		ASSERT_TRUE(copy && machine_create(&m, 6 + seed % 2));
		for (unsigned int i = 0; i < 3000; i++)
			ASSERT_TRUE(step(&m, copy, &state, &sums));
		ASSERT_TRUE(!memcmp(copy, m.mem.pages, NR_PAGES * sizeof(*copy)));
		for (unsigned int access = 0; access < FPERF_NR_ACCESSES; access++) {
			for (unsigned int dependence = 0; dependence < FPERF_NR_DEPENDENCES; dependence++) {
				int64_t sum = 0;

				for (unsigned int field = 0; field < FPERF_NR_FIELDS; field++)
					sum += counted(&m, FPERF_CAUSE_OPERATION, field, access, dependence);
				ASSERT_EQ(sum, HAS_CACHE ? sums.nr[access][FPERF_DEPENDENT] +
								   sums.nr[access][FPERF_STREAMING] :
					       COUNTS	 ? sums.nr[access][dependence] :
							   0);
			}
		}
		machine_destroy(&m);
		free(copy);
	}
	return true;
}

/* ---- what accesses are accounted to ---- */

static bool test_cause_and_event_are_those_of_the_moment(void)
{
	struct machine m;
	int32_t *refcount;

	ASSERT_TRUE(machine_create(&m, 6));
	refcount = &fperf_pfn_page(&m.mem, 3)->refcount;
	ASSERT_EQ(fperf_because(&m.door, FPERF_CAUSE_WALK), FPERF_CAUSE_OPERATION);
	fperf_add32(&m.door, FPERF_FIELD_REFCOUNT, refcount, 1);
	ASSERT_EQ(fperf_because(&m.door, FPERF_CAUSE_OPERATION), FPERF_CAUSE_WALK);
	ASSERT_EQ(counted(&m, FPERF_CAUSE_WALK, FPERF_FIELD_REFCOUNT, FPERF_RMW, FPERF_DEPENDENT), COUNTS);
	ASSERT_COUNTED(&m, REFCOUNT, RMW, DEPENDENT, 0);
	fperf_because(&m.door, FPERF_CAUSE_FIXED);
	/* A new event starts as an operation. */
	fperf_event_begin(&m.door, FPERF_EV_FORK);
	fperf_add32(&m.door, FPERF_FIELD_REFCOUNT, refcount, 1);
	ASSERT_COUNTED(&m, REFCOUNT, RMW, DEPENDENT, 1);
	ASSERT_EQ(m.door.all_stats[FPERF_EV_FORK].count, 1);
	ASSERT_EQ(m.door.all_stats[FPERF_EV_MMAP].count, 1);
	machine_destroy(&m);
	return true;
}

static bool test_adopted_reference_moves_to_the_operation(void)
{
	struct machine m;
	struct fperf_page *page;

	ASSERT_TRUE(machine_create(&m, 6));
	page = fperf_pfn_page(&m.mem, 3);
	/* What a page-cache lookup does (folio.c). */
	fperf_because(&m.door, FPERF_CAUSE_FIXED);
	fperf_add32(&m.door, FPERF_FIELD_REFCOUNT, &page->refcount, 1);
	m.door.lookup_level = m.door.last_level;
	m.door.lookup_dependence = m.door.last_dependence;
	fperf_because(&m.door, FPERF_CAUSE_OPERATION);
	ASSERT_EQ(counted(&m, FPERF_CAUSE_FIXED, FPERF_FIELD_REFCOUNT, FPERF_RMW, FPERF_DEPENDENT), COUNTS);
	ASSERT_EQ(m.door.all_stats[FPERF_EV_MMAP].lines_written[FPERF_CLASS_PAGE], 0);
	/* Other accesses in between do not matter. */
	fperf_run_inc(&m.door, FPERF_FIELD_MAPCOUNT, &page->mapcount, 200);

	fperf_adopt(&m.door, &page->refcount);
	ASSERT_EQ(page->refcount, 1);
	ASSERT_EQ(counted(&m, FPERF_CAUSE_FIXED, FPERF_FIELD_REFCOUNT, FPERF_RMW, FPERF_DEPENDENT), 0);
	ASSERT_COUNTED(&m, REFCOUNT, RMW, DEPENDENT, 1);
	/* Each level for itself: nothing is left below zero. */
	for (size_t i = 0; i < (size_t)FPERF_NR_EVENT_KINDS * FPERF_NR_CAUSES * FPERF_ROW_SIZE; i++)
		ASSERT_TRUE(m.door.counters[i] < 1000);
	ASSERT_EQ(m.door.all_stats[FPERF_EV_MMAP].lines_written[FPERF_CLASS_PAGE], HAS_CACHE ? 200 : 0);
	machine_destroy(&m);
	return true;
}

/* ---- the cache back end: levels, and distinct lines per event ---- */

/* Levels are known to the cache back end alone; the count back end files everything under unknown. */
static int64_t at_level(const struct machine *m, enum fperf_field field, enum fperf_access access, unsigned int level)
{
	return cell_of(m, FPERF_CAUSE_OPERATION, field, access, FPERF_DEPENDENT, level) +
	       cell_of(m, FPERF_CAUSE_OPERATION, field, access, FPERF_STREAMING, level);
}

static bool test_level_that_served(void)
{
	struct machine m;
	int32_t *refcount;

	ASSERT_TRUE(machine_create(&m, 6));
	refcount = &fperf_pfn_page(&m.mem, 3)->refcount;
	fperf_add32_times(&m.door, FPERF_FIELD_REFCOUNT, refcount, 1, 5);
	ASSERT_EQ(at_level(&m, FPERF_FIELD_REFCOUNT, FPERF_RMW, FPERF_LEVEL_UNKNOWN), COUNTS && !HAS_CACHE ? 5 : 0);
	/* One miss, then the line is there. */
	ASSERT_EQ(at_level(&m, FPERF_FIELD_REFCOUNT, FPERF_RMW, FPERF_LEVEL_DRAM), HAS_CACHE);
	ASSERT_EQ(at_level(&m, FPERF_FIELD_REFCOUNT, FPERF_RMW, FPERF_LEVEL_L1), HAS_CACHE ? 4 : 0);
	/* 64 lines push it out of the first level's 16, not out of the second's 256. */
	fperf_run_inc(&m.door, FPERF_FIELD_MAPCOUNT, &fperf_pfn_page(&m.mem, 64)->mapcount, 64);
	fperf_add32(&m.door, FPERF_FIELD_REFCOUNT, refcount, 1);
	ASSERT_EQ(at_level(&m, FPERF_FIELD_REFCOUNT, FPERF_RMW, FPERF_LEVEL_L2), HAS_CACHE);
	ASSERT_EQ(m.door.last_level, HAS_CACHE ? FPERF_LEVEL_L2 : 0);
	ASSERT_EQ(at_level(&m, FPERF_FIELD_MAPCOUNT, FPERF_RMW, FPERF_LEVEL_DRAM), HAS_CACHE ? 64 : 0);
	machine_destroy(&m);
	return true;
}

#define ASSERT_CELL(m, field, access, dependence, level, nr)				\
	ASSERT_EQ(cell_of(m, FPERF_CAUSE_OPERATION, FPERF_FIELD_##field, FPERF_##access, FPERF_##dependence,	\
			  FPERF_LEVEL_##level), HAS_CACHE ? (nr) : 0)

static bool test_dependence_is_told_by_lines(void)
{
	struct machine m;
	struct fperf_page *page;

	ASSERT_TRUE(machine_create(&m, 6));
	page = fperf_pfn_page(&m.mem, 100);
	/* Alone, then the same line, then its neighbours on both sides. */
	fperf_load64(&m.door, FPERF_FIELD_FLAGS, &page->flags);
	ASSERT_CELL(&m, FLAGS, LOAD, DEPENDENT, DRAM, 1);
	fperf_load64(&m.door, FPERF_FIELD_MAPPING, &page->mapping);
	ASSERT_CELL(&m, MAPPING, LOAD, STREAMING, L1, 1);
	fperf_load32(&m.door, FPERF_FIELD_REFCOUNT, &page[1].refcount);
	fperf_load32(&m.door, FPERF_FIELD_REFCOUNT, &page[-1].refcount);
	ASSERT_CELL(&m, REFCOUNT, LOAD, STREAMING, DRAM, 2);
	/* Two lines away nobody has been. */
	fperf_load32(&m.door, FPERF_FIELD_REFCOUNT, &page[3].refcount);
	ASSERT_CELL(&m, REFCOUNT, LOAD, DEPENDENT, DRAM, 1);
	/* The first of a run is waited for, the others are not. */
	fperf_run_inc(&m.door, FPERF_FIELD_MAPCOUNT, &page[20].mapcount, 10);
	ASSERT_CELL(&m, MAPCOUNT, RMW, DEPENDENT, DRAM, 1);
	ASSERT_CELL(&m, MAPCOUNT, RMW, STREAMING, DRAM, 9);
	/* Another event knows nothing of this one's lines, and its first RMW in L1 waits for the stores before it. */
	fperf_event_begin(&m.door, FPERF_EV_FORK);
	fperf_load64(&m.door, FPERF_FIELD_FLAGS, &page[20].flags);
	ASSERT_CELL(&m, FLAGS, LOAD, DEPENDENT, L1, 1);
	fperf_add32_times(&m.door, FPERF_FIELD_REFCOUNT, &page[20].refcount, 1, 3);
	ASSERT_CELL(&m, REFCOUNT, RMW, DEPENDENT, L1, 1);
	ASSERT_CELL(&m, REFCOUNT, RMW, STREAMING, L1, 2);
	/* What every design pays alike brings lines too. */
	fperf_event_begin(&m.door, FPERF_EV_EXIT);
	fperf_because(&m.door, FPERF_CAUSE_FIXED);
	fperf_load64(&m.door, FPERF_FIELD_FLAGS, &page[50].flags);
	fperf_because(&m.door, FPERF_CAUSE_OPERATION);
	fperf_load64(&m.door, FPERF_FIELD_FLAGS, &page[51].flags);
	ASSERT_CELL(&m, FLAGS, LOAD, STREAMING, DRAM, 1);
	machine_destroy(&m);
	return true;
}

static bool lines_are(const struct machine *m, enum fperf_object_class class, uint64_t read, uint64_t written)
{
	ASSERT_EQ(m->door.stats->lines_read[class], HAS_CACHE ? read : 0);
	ASSERT_EQ(m->door.stats->lines_written[class], HAS_CACHE ? written : 0);
	return true;
}

static bool test_distinct_lines_of_an_event(void)
{
	struct machine m;
	struct fperf_page *page;

	ASSERT_TRUE(machine_create(&m, 6));
	page = fperf_pfn_page(&m.mem, 0);
	/* Two fields of one struct page are one line, however often they are read. */
	fperf_load32(&m.door, FPERF_FIELD_REFCOUNT, &page->refcount);
	fperf_load64(&m.door, FPERF_FIELD_FLAGS, &page->flags);
	fperf_load64(&m.door, FPERF_FIELD_FLAGS, &page->flags);
	ASSERT_TRUE(lines_are(&m, FPERF_CLASS_PAGE, 1, 0));
	/* A line that is written counts as written only, read before or after. */
	fperf_add32(&m.door, FPERF_FIELD_REFCOUNT, &page->refcount, 1);
	ASSERT_TRUE(lines_are(&m, FPERF_CLASS_PAGE, 0, 1));
	fperf_load64(&m.door, FPERF_FIELD_FLAGS, &page->flags);
	fperf_store32(&m.door, FPERF_FIELD_MAPCOUNT, &page->mapcount, 1);
	ASSERT_TRUE(lines_are(&m, FPERF_CLASS_PAGE, 0, 1));
	/* Ten pages, three of them written. */
	fperf_run_find_mapped(&m.door, FPERF_FIELD_MAPCOUNT, &page[10].mapcount, 1);
	for (unsigned int i = 11; i < 20; i++)
		fperf_load64(&m.door, FPERF_FIELD_FLAGS, &page[i].flags);
	fperf_run_store32(&m.door, FPERF_FIELD_MAPCOUNT, &page[12].mapcount, -1, 3);
	ASSERT_TRUE(lines_are(&m, FPERF_CLASS_PAGE, 7, 4));
	/* Page tables and the rest are counted apart: 512 entries are 64 lines. */
	fperf_touch_run(&m.door, FPERF_FIELD_PTE, FPERF_LOAD, m.mem.tables_at, 512, 8);
	fperf_touch(&m.door, FPERF_FIELD_PMD, FPERF_STORE, m.mem.tables_at + 4096);
	fperf_lock_word(&m.door, FPERF_FIELD_PTL, m.mem.ptdescs_at);
	ASSERT_TRUE(lines_are(&m, FPERF_CLASS_TABLE, 64, 1));
	ASSERT_TRUE(lines_are(&m, FPERF_CLASS_REST, 0, 1));
	ASSERT_TRUE(lines_are(&m, FPERF_CLASS_PAGE, 7, 4));
	/* What every design pays alike is no line of this one. */
	fperf_because(&m.door, FPERF_CAUSE_FIXED);
	fperf_add32(&m.door, FPERF_FIELD_REFCOUNT, &page[100].refcount, 1);
	fperf_because(&m.door, FPERF_CAUSE_OPERATION);
	ASSERT_TRUE(lines_are(&m, FPERF_CLASS_PAGE, 7, 4));
	/* The next event starts afresh and leaves the last one's sum alone. */
	fperf_event_begin(&m.door, FPERF_EV_FORK);
	fperf_load64(&m.door, FPERF_FIELD_FLAGS, &page->flags);
	ASSERT_TRUE(lines_are(&m, FPERF_CLASS_PAGE, 1, 0));
	fperf_event_begin(&m.door, FPERF_EV_MMAP);
	fperf_load64(&m.door, FPERF_FIELD_FLAGS, &page->flags);
	ASSERT_TRUE(lines_are(&m, FPERF_CLASS_PAGE, 8, 4));
	machine_destroy(&m);
	return true;
}

static bool test_line_of_128_bytes_holds_two_struct_pages(void)
{
	/* pages  0 1 | 2 3 | 4 5    the run 1..4 lies in three lines */
	struct machine m;

	ASSERT_TRUE(machine_create(&m, 7));
	fperf_run_inc(&m.door, FPERF_FIELD_MAPCOUNT, &fperf_pfn_page(&m.mem, 1)->mapcount, 4);
	ASSERT_TRUE(lines_are(&m, FPERF_CLASS_PAGE, 0, 3));
	ASSERT_EQ(at_level(&m, FPERF_FIELD_MAPCOUNT, FPERF_RMW, FPERF_LEVEL_DRAM), HAS_CACHE ? 3 : 0);
	ASSERT_EQ(at_level(&m, FPERF_FIELD_MAPCOUNT, FPERF_RMW, FPERF_LEVEL_L1), HAS_CACHE);
	machine_destroy(&m);
	return true;
}

static bool test_epoch_starts_over_without_ghosts(void)
{
	struct machine m;
	struct fperf_page *page;

	ASSERT_TRUE(machine_create(&m, 6));
	page = fperf_pfn_page(&m.mem, 0);
	/* A stamp of event 1 must not look like one of the event that gets number 1 after 2^30 of them. */
	fperf_load64(&m.door, FPERF_FIELD_FLAGS, &page->flags);
	m.door.epoch = (1u << 30) - 2;
	for (unsigned int i = 0; i < 3; i++) {
		fperf_event_begin(&m.door, FPERF_EV_FORK);
		fperf_load64(&m.door, FPERF_FIELD_FLAGS, &page->flags);
		ASSERT_TRUE(lines_are(&m, FPERF_CLASS_PAGE, i + 1, 0));
	}
	machine_destroy(&m);
	return true;
}

/* The list of accesses, in order; a run is one row. */
static bool test_list_of_accesses(void)
{
	const struct fperf_access_row *row;
	struct machine m;
	uint64_t at;

	ASSERT_TRUE(machine_create(&m, 6));
	at = fperf_object_alloc(&m.mem, 64);
	fperf_load64(&m.door, FPERF_FIELD_FLAGS, &fperf_pfn_page(&m.mem, 9)->flags);
	m.door.tracing = true;
	fperf_run_inc(&m.door, FPERF_FIELD_MAPCOUNT, &fperf_pfn_page(&m.mem, 8)->mapcount, 4);
	fperf_touch(&m.door, FPERF_FIELD_PTE, FPERF_STORE, m.mem.tables_at + 2 * 4096 + 24);
	fperf_add32_times(&m.door, FPERF_FIELD_REFCOUNT, &fperf_pfn_page(&m.mem, 8)->refcount, 1, 4);
	fperf_touch(&m.door, FPERF_FIELD_VMA, FPERF_LOAD, at);
	for (unsigned int i = 0; i < 2000; i++)
		fperf_touch(&m.door, FPERF_FIELD_MM, FPERF_LOAD, at);
	ASSERT_EQ(m.door.nr_trace, HAS_CACHE ? 2004 : 0);
	row = m.door.trace;
	if (HAS_CACHE) {
		ASSERT_EQ(row[0].field, FPERF_FIELD_MAPCOUNT);
		ASSERT_EQ(row[0].access, FPERF_RMW);
		ASSERT_EQ(row[0].address, 8 * 64 + 48);
		ASSERT_EQ(row[0].nr, 4);
		ASSERT_EQ(row[0].stride, 64);
		ASSERT_EQ(row[0].object, 8);
		/* Page 9 was there already, the others were not: the slowest of the run is told. */
		ASSERT_EQ(row[0].level, FPERF_LEVEL_DRAM);
		ASSERT_EQ(row[1].object, 2);
		ASSERT_EQ(row[1].access, FPERF_STORE);
		ASSERT_EQ(row[1].nr, 1);
		ASSERT_EQ(row[2].nr, 4);
		ASSERT_EQ(row[2].stride, 0);
		ASSERT_EQ(row[2].level, FPERF_LEVEL_L1);
		ASSERT_EQ(row[3].object, 0);
		ASSERT_EQ(row[3].event_kind, FPERF_EV_MMAP);
		ASSERT_EQ(row[3].cause, FPERF_CAUSE_OPERATION);
	}
	machine_destroy(&m);
	return true;
}

int main(void)
{
	TEST(loads_and_stores);
	TEST(adds);
	TEST(bits);
	TEST(compare_exchange);
	TEST(bit_lock);
	TEST(touches_change_nothing);
	TEST(run_of_increments_and_decrements);
	TEST(run_of_stores);
	TEST(run_sum_is_zero_based);
	TEST(run_find_reads_up_to_the_first);
	TEST(runs_of_bits);
	TEST(random_programs_leave_the_same_bytes);
	TEST(cause_and_event_are_those_of_the_moment);
	TEST(adopted_reference_moves_to_the_operation);
	TEST(level_that_served);
	TEST(dependence_is_told_by_lines);
	TEST(distinct_lines_of_an_event);
	TEST(line_of_128_bytes_holds_two_struct_pages);
	TEST(epoch_starts_over_without_ghosts);
	TEST(list_of_accesses);
	return TEST_END();
}

#endif
