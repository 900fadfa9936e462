/* SPDX-License-Identifier: BSD-3-Clause */
/* Back end `native`: the atomics themselves, on the real struct page array. Objects without bytes cost nothing here. */
#ifndef FPERF_ACCESS_NATIVE_H
#define FPERF_ACCESS_NATIVE_H

#define FPERF_FN(name) name##_native

static inline void fperf_touch(struct fperf_door *door, enum fperf_field field, enum fperf_access access, uint64_t at)
{
	(void)door, (void)field, (void)access, (void)at;
}

static inline void fperf_touch_run(struct fperf_door *door, enum fperf_field field, enum fperf_access access,
				   uint64_t at, uint64_t nr, uint32_t stride)
{
	(void)door, (void)field, (void)access, (void)at, (void)nr, (void)stride;
}

static inline void fperf_adopt(struct fperf_door *door, const int32_t *refcount)
{
	(void)door, (void)refcount;
}

static inline uint32_t fperf_load32(struct fperf_door *door, enum fperf_field field, const void *p)
{
	(void)door, (void)field;
	return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
}

static inline uint16_t fperf_load16(struct fperf_door *door, enum fperf_field field, const void *p)
{
	(void)door, (void)field;
	return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
}

static inline uint64_t fperf_load64(struct fperf_door *door, enum fperf_field field, const void *p)
{
	(void)door, (void)field;
	return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
}

static inline void fperf_store16(struct fperf_door *door, enum fperf_field field, void *p, uint16_t value)
{
	(void)door, (void)field;
	__atomic_store_n((uint16_t *)p, value, __ATOMIC_RELAXED);
}

static inline void fperf_store32(struct fperf_door *door, enum fperf_field field, void *p, uint32_t value)
{
	(void)door, (void)field;
	__atomic_store_n((uint32_t *)p, value, __ATOMIC_RELAXED);
}

static inline void fperf_store64(struct fperf_door *door, enum fperf_field field, void *p, uint64_t value)
{
	(void)door, (void)field;
	__atomic_store_n((uint64_t *)p, value, __ATOMIC_RELAXED);
}

static inline int32_t fperf_add32(struct fperf_door *door, enum fperf_field field, int32_t *p, int32_t delta)
{
	(void)door, (void)field;
	return __atomic_add_fetch(p, delta, __ATOMIC_SEQ_CST);
}

static inline int32_t fperf_add32_times(struct fperf_door *door, enum fperf_field field, int32_t *p, int32_t delta,
					uint32_t times)
{
	(void)door, (void)field;
	for (uint32_t i = 0; i < times; i++)
		__atomic_fetch_add(p, delta, __ATOMIC_SEQ_CST);
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline bool fperf_set_bit(struct fperf_door *door, enum fperf_field field, uint64_t *p, unsigned int bit)
{
	(void)door, (void)field;
	return __atomic_fetch_or(p, 1ull << bit, __ATOMIC_SEQ_CST) >> bit & 1;
}

static inline void fperf_set_bit_times(struct fperf_door *door, enum fperf_field field, uint64_t *p, unsigned int bit,
				       uint32_t times)
{
	(void)door, (void)field;
	for (uint32_t i = 0; i < times; i++)
		__atomic_fetch_or(p, 1ull << bit, __ATOMIC_SEQ_CST);
}

static inline bool fperf_clear_bit(struct fperf_door *door, enum fperf_field field, uint64_t *p, unsigned int bit)
{
	(void)door, (void)field;
	return __atomic_fetch_and(p, ~(1ull << bit), __ATOMIC_SEQ_CST) >> bit & 1;
}

static inline bool fperf_cmpxchg64(struct fperf_door *door, enum fperf_field field, uint64_t *p, uint64_t *old,
				   uint64_t new)
{
	(void)door, (void)field;
	return __atomic_compare_exchange_n(p, old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static inline bool fperf_cmpxchg32(struct fperf_door *door, enum fperf_field field, int32_t *p, int32_t *old,
				   int32_t new)
{
	(void)door, (void)field;
	return __atomic_compare_exchange_n(p, old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static inline void fperf_lock_bit(struct fperf_door *door, enum fperf_field field, uint64_t *p, unsigned int bit)
{
	(void)door, (void)field;
	while (__atomic_fetch_or(p, 1ull << bit, __ATOMIC_ACQUIRE) >> bit & 1)
		while (__atomic_load_n(p, __ATOMIC_RELAXED) >> bit & 1)
			;
}

/* Nobody else changes the word while the bit is held, so the release is a plain store, as in the kernel. */
static inline void fperf_unlock_bit(struct fperf_door *door, enum fperf_field field, uint64_t *p, unsigned int bit)
{
	(void)door, (void)field;
	__atomic_store_n(p, *p & ~(1ull << bit), __ATOMIC_RELEASE);
}

#define FPERF_NEXT_PAGE(type, p, i) ((type *)((char *)(p) + (size_t)(i) * sizeof(struct fperf_page)))

static inline uint32_t fperf_run_inc(struct fperf_door *door, enum fperf_field field, int32_t *p, uint32_t nr)
{
	uint32_t first = 0;

	(void)door, (void)field;
	for (uint32_t i = 0; i < nr; i++)
		first += __atomic_fetch_add(FPERF_NEXT_PAGE(int32_t, p, i), 1, __ATOMIC_SEQ_CST) == -1;
	return first;
}

static inline uint32_t fperf_run_dec(struct fperf_door *door, enum fperf_field field, int32_t *p, uint32_t nr)
{
	uint32_t last = 0;

	(void)door, (void)field;
	for (uint32_t i = 0; i < nr; i++)
		last += __atomic_sub_fetch(FPERF_NEXT_PAGE(int32_t, p, i), 1, __ATOMIC_SEQ_CST) < 0;
	return last;
}

static inline void fperf_run_store32(struct fperf_door *door, enum fperf_field field, int32_t *p, int32_t value,
				     uint32_t nr)
{
	(void)door, (void)field;
	for (uint32_t i = 0; i < nr; i++)
		__atomic_store_n(FPERF_NEXT_PAGE(int32_t, p, i), value, __ATOMIC_RELAXED);
}

static inline int64_t fperf_run_sum(struct fperf_door *door, enum fperf_field field, const int32_t *p, uint32_t nr,
				    int32_t *max)
{
	int64_t sum = 0;

	(void)door, (void)field;
	*max = 0;
	for (uint32_t i = 0; i < nr; i++) {
		const int32_t mappings = __atomic_load_n(FPERF_NEXT_PAGE(const int32_t, p, i), __ATOMIC_RELAXED) + 1;

		sum += mappings;
		if (mappings > *max)
			*max = mappings;
	}
	return sum;
}

static inline uint32_t fperf_run_nr_mapped(struct fperf_door *door, enum fperf_field field, const int32_t *p,
					   uint32_t nr)
{
	uint32_t mapped = 0;

	(void)door, (void)field;
	for (uint32_t i = 0; i < nr; i++)
		mapped += __atomic_load_n(FPERF_NEXT_PAGE(const int32_t, p, i), __ATOMIC_RELAXED) != -1;
	return mapped;
}

static inline uint32_t fperf_run_find_mapped(struct fperf_door *door, enum fperf_field field, const int32_t *p,
					     uint32_t nr)
{
	uint32_t i = 0;

	(void)door, (void)field;
	while (i < nr && __atomic_load_n(FPERF_NEXT_PAGE(const int32_t, p, i), __ATOMIC_RELAXED) == -1)
		i++;
	return i;
}

static inline void fperf_run_set_bit(struct fperf_door *door, enum fperf_field field, uint64_t *p, unsigned int bit,
				     uint32_t nr)
{
	(void)door, (void)field;
	for (uint32_t i = 0; i < nr; i++)
		__atomic_fetch_or(FPERF_NEXT_PAGE(uint64_t, p, i), 1ull << bit, __ATOMIC_SEQ_CST);
}

static inline void fperf_run_clear_bit(struct fperf_door *door, enum fperf_field field, uint64_t *p, unsigned int bit,
				       uint32_t nr)
{
	(void)door, (void)field;
	for (uint32_t i = 0; i < nr; i++)
		__atomic_fetch_and(FPERF_NEXT_PAGE(uint64_t, p, i), ~(1ull << bit), __ATOMIC_SEQ_CST);
}

static inline uint32_t fperf_run_same_bit(struct fperf_door *door, enum fperf_field field, const uint64_t *p,
					  unsigned int bit, uint32_t nr, bool *set)
{
	uint32_t i = 1;

	(void)door, (void)field;
	*set = __atomic_load_n(p, __ATOMIC_RELAXED) >> bit & 1;
	while (i < nr && (__atomic_load_n(FPERF_NEXT_PAGE(const uint64_t, p, i), __ATOMIC_RELAXED) >> bit & 1) == *set)
		i++;
	return i;
}

static inline uint32_t fperf_run_clear_same_bit(struct fperf_door *door, enum fperf_field field, uint64_t *p,
						unsigned int bit, uint32_t nr, bool *set)
{
	const uint32_t same = fperf_run_same_bit(door, field, p, bit, nr, set);

	if (*set)
		fperf_run_clear_bit(door, field, p, bit, same);
	return same;
}

/* Real accesses happen in their own order. */
static inline void fperf_touch_each(struct fperf_door *door, enum fperf_field field, enum fperf_access access,
				    uint64_t at, uint32_t nr, uint32_t stride)
{
	(void)door, (void)field, (void)access, (void)at, (void)nr, (void)stride;
}

static inline void fperf_each_add32(struct fperf_door *door, enum fperf_field field, int32_t *p, int32_t delta,
				    uint32_t nr)
{
	(void)door, (void)field;
	for (uint32_t i = 0; i < nr; i++)
		__atomic_fetch_add(FPERF_NEXT_PAGE(int32_t, p, i), delta, __ATOMIC_SEQ_CST);
}

static inline bool fperf_may_regroup(const struct fperf_door *door, uint64_t pages, uint64_t a, uint64_t b)
{
	(void)door, (void)pages, (void)a, (void)b;
	return false;
}

static inline void fperf_prefetch(const struct fperf_door *door, uint64_t at)
{
	(void)door, (void)at;
}

#endif
