/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two owners of a large folio beside the count of all its mappings: folio_add_large_mapcount(), folio_sub_large_mapcount()
 * and the bit that says "maybe mapped by more than one mm" (v6.15, commit 6af8cb80d3a9). schemes.md 3.9.
 *
 * C mappings in all; slot j holds the mm it belongs to and c_j mappings of that mm; SH is the shared bit. An mm that finds
 * no slot is not tracked. "Exclusive" is always right; "shared" may be a memory of times when three mms mapped the folio.
 */
#ifndef FPERF_OWNER_SLOTS_H
#define FPERF_OWNER_SLOTS_H

#include "scheme/scheme.h"

#if defined(FPERF_FN)

/*
 * Offsets in the first tail. One word holds both ids, each in slot_bits of it, and in their top bits the lock and SH; so many
 * bits have c_0 and c_1, too.
 */
struct fperf_owner_layout {
	unsigned int total;  /* s32 from -1: C */
	unsigned int mapcount; /* 2 x s32 or s16 from -1: c_0, c_1 */
	unsigned int ids;
	unsigned int id_bits; /* of the mm's number */
	unsigned int slot_bits; /* 32; 16 on 32-bit */
};

enum { FPERF_OWNER_NONE = 2 };

static inline unsigned int fperf_owner_lock_bit(const struct fperf_owner_layout *layout)
{
	return layout->slot_bits - 1;
}

static inline unsigned int fperf_owner_shared_bit(const struct fperf_owner_layout *layout)
{
	return 2 * layout->slot_bits - 1;
}

static inline uint64_t *fperf_owner_ids(struct fperf_sim *sim, const struct fperf_owner_layout *layout, uint64_t folio)
{
	return (uint64_t *)((char *)fperf_tail1(sim, folio) + layout->ids);
}

/* c_j - 1 of slot j. */
static inline int32_t fperf_owner_load(struct fperf_sim *sim, const struct fperf_owner_layout *layout, uint64_t folio,
				       unsigned int slot)
{
	const char *const at = (char *)fperf_tail1(sim, folio) + layout->mapcount + slot * layout->slot_bits / 8;

	return layout->slot_bits == 16 ? (int16_t)fperf_load16(&sim->door, FPERF_FIELD_MM_ID_MAPCOUNT, at) :
					 (int32_t)fperf_load32(&sim->door, FPERF_FIELD_MM_ID_MAPCOUNT, at);
}

static inline void fperf_owner_store(struct fperf_sim *sim, const struct fperf_owner_layout *layout, uint64_t folio,
				     unsigned int slot, int32_t value)
{
	char *const at = (char *)fperf_tail1(sim, folio) + layout->mapcount + slot * layout->slot_bits / 8;

	if (layout->slot_bits == 16)
		fperf_store16(&sim->door, FPERF_FIELD_MM_ID_MAPCOUNT, at, (uint16_t)value);
	else
		fperf_store32(&sim->door, FPERF_FIELD_MM_ID_MAPCOUNT, at, (uint32_t)value);
}

static inline int32_t fperf_owner_most(const struct fperf_owner_layout *layout)
{
	return layout->slot_bits == 16 ? INT16_MAX : INT32_MAX;
}

static inline uint64_t fperf_owner_id_mask(const struct fperf_owner_layout *layout)
{
	return (1ull << layout->id_bits) - 1;
}

/* Numbers of mms count from 0 in the model and from 1 in the slots, where 0 means empty. */
static inline uint32_t fperf_owner_id(const struct fperf_owner_layout *layout, uint32_t mm_id)
{
	return (mm_id + 1) & (uint32_t)fperf_owner_id_mask(layout);
}

static inline uint32_t fperf_owner_of_slot(const struct fperf_owner_layout *layout, uint64_t ids, unsigned int slot)
{
	return (uint32_t)(ids >> slot * layout->slot_bits & fperf_owner_id_mask(layout));
}

static inline uint64_t fperf_owner_with_slot(const struct fperf_owner_layout *layout, uint64_t ids, unsigned int slot,
					     uint32_t id)
{
	const unsigned int shift = slot * layout->slot_bits;

	return (ids & ~(fperf_owner_id_mask(layout) << shift)) | (uint64_t)id << shift;
}

static inline uint64_t fperf_owner_with_shared(const struct fperf_owner_layout *layout, uint64_t ids, bool shared)
{
	const uint64_t bit = 1ull << fperf_owner_shared_bit(layout);

	return shared ? ids | bit : ids & ~bit;
}

static inline void fperf_owner_init(struct fperf_sim *sim, const struct fperf_owner_layout *layout, uint64_t folio)
{
	struct fperf_door *const door = &sim->door;

	fperf_store32(door, FPERF_FIELD_LARGE_MAPCOUNT, fperf_page_s32(fperf_tail1(sim, folio), layout->total),
		      (uint32_t)-1);
	for (unsigned int slot = 0; slot < FPERF_OWNER_NONE; slot++)
		fperf_owner_store(sim, layout, folio, slot, -1);
	fperf_store64(door, FPERF_FIELD_MM_ID, fperf_owner_ids(sim, layout, folio), 0);
}

/* The first mapping of a folio nobody else sees: plain stores, no lock. */
static inline void fperf_owner_new(struct fperf_sim *sim, const struct fperf_owner_layout *layout, uint64_t folio,
				   uint32_t mm_id, uint32_t nr)
{
	struct fperf_door *const door = &sim->door;

	fperf_store32(door, FPERF_FIELD_LARGE_MAPCOUNT, fperf_page_s32(fperf_tail1(sim, folio), layout->total), nr - 1);
	fperf_owner_store(sim, layout, folio, 0, (int32_t)nr - 1);
	fperf_store64(door, FPERF_FIELD_MM_ID, fperf_owner_ids(sim, layout, folio), fperf_owner_id(layout, mm_id));
}

/* Take the lock, change C by delta, find the mm's slot. */
static inline int64_t fperf_owner_begin(struct fperf_sim *sim, const struct fperf_owner_layout *layout, uint64_t folio,
					uint32_t id, int32_t delta, uint64_t *ids, unsigned int *slot)
{
	struct fperf_door *const door = &sim->door;
	int32_t *const total = fperf_page_s32(fperf_tail1(sim, folio), layout->total);
	int32_t now;

	fperf_lock_bit(door, FPERF_FIELD_MM_ID_LOCK, fperf_owner_ids(sim, layout, folio), fperf_owner_lock_bit(layout));
	now = (int32_t)fperf_load32(door, FPERF_FIELD_LARGE_MAPCOUNT, total) + delta;
	fperf_store32(door, FPERF_FIELD_LARGE_MAPCOUNT, total, (uint32_t)now);
	*ids = fperf_load64(door, FPERF_FIELD_MM_ID, fperf_owner_ids(sim, layout, folio));
	*slot = fperf_owner_of_slot(layout, *ids, 0) == id ? 0 : fperf_owner_of_slot(layout, *ids, 1) == id ? 1 : FPERF_OWNER_NONE;
	return (int64_t)now + 1;
}

static inline void fperf_owner_end(struct fperf_sim *sim, const struct fperf_owner_layout *layout, uint64_t folio)
{
	fperf_unlock_bit(&sim->door, FPERF_FIELD_MM_ID_LOCK, fperf_owner_ids(sim, layout, folio), fperf_owner_lock_bit(layout));
}

/* One call for nr mappings more. */
static inline void fperf_owner_add(struct fperf_sim *sim, const struct fperf_owner_layout *layout, uint64_t folio,
				   uint32_t mm_id, uint32_t nr)
{
	struct fperf_door *const door = &sim->door;
	const uint32_t id = fperf_owner_id(layout, mm_id);
	uint64_t ids, now;
	unsigned int slot;
	const int64_t total = fperf_owner_begin(sim, layout, folio, id, (int32_t)nr, &ids, &slot);

	now = ids;
	if (slot != FPERF_OWNER_NONE) {
		int32_t mine = fperf_owner_load(sim, layout, folio, slot) + (int32_t)nr;

		/* 16 bits can be too few. Then nobody tracks this mm any more. */
		if (mine > fperf_owner_most(layout)) {
			mine = -1;
			now = fperf_owner_with_shared(layout, fperf_owner_with_slot(layout, now, slot, 0), true);
		}
		fperf_owner_store(sim, layout, folio, slot, mine);
	} else {
		/* The second owner makes it shared, and so does whoever comes after mappings that nobody tracked. */
		slot = !fperf_owner_of_slot(layout, ids, 0) ? 0 : !fperf_owner_of_slot(layout, ids, 1) ? 1 : FPERF_OWNER_NONE;
		if (slot != FPERF_OWNER_NONE) {
			fperf_owner_store(sim, layout, folio, slot, (int32_t)nr - 1);
			now = fperf_owner_with_slot(layout, now, slot, id);
			if (slot || total != (int64_t)nr)
				now = fperf_owner_with_shared(layout, now, true);
		}
	}
	if (now != ids)
		fperf_store64(door, FPERF_FIELD_MM_ID, fperf_owner_ids(sim, layout, folio), now);
	fperf_owner_end(sim, layout, folio);
}

/* One call for nr mappings fewer; returns how many are left. */
static inline int64_t fperf_owner_sub(struct fperf_sim *sim, const struct fperf_owner_layout *layout, uint64_t folio,
				      uint32_t mm_id, uint32_t nr)
{
	struct fperf_door *const door = &sim->door;
	uint64_t ids, now;
	unsigned int slot;
	const int64_t total =
		fperf_owner_begin(sim, layout, folio, fperf_owner_id(layout, mm_id), -(int32_t)nr, &ids, &slot);
	bool mine_left = false;

	now = ids;
	if (slot != FPERF_OWNER_NONE) {
		const int32_t left = fperf_owner_load(sim, layout, folio, slot) - (int32_t)nr;

		mine_left = left >= 0;
		fperf_owner_store(sim, layout, folio, slot, mine_left ? left : -1);
		if (!mine_left)
			now = fperf_owner_with_slot(layout, now, slot, 0);
	}
	/* Who stays with mappings of its own changes nothing for the others; else one owner may have it alone again. */
	if (!mine_left)
		for (slot = 0; slot < FPERF_OWNER_NONE; slot++)
			if (fperf_owner_load(sim, layout, folio, slot) + 1 == total) {
				now = fperf_owner_with_shared(layout, now, false);
				break;
			}
	if (now != ids)
		fperf_store64(door, FPERF_FIELD_MM_ID, fperf_owner_ids(sim, layout, folio), now);
	fperf_owner_end(sim, layout, folio);
	return total;
}

/* folio_maybe_mapped_shared() of a large folio. */
static inline bool fperf_owner_shared(struct fperf_sim *sim, const struct fperf_owner_layout *layout, uint64_t folio)
{
	const int32_t *const total = fperf_page_s32(fperf_tail1(sim, folio), layout->total);

	if ((int32_t)fperf_load32(&sim->door, FPERF_FIELD_LARGE_MAPCOUNT, total) + 1 <= 1)
		return false;
	return fperf_load64(&sim->door, FPERF_FIELD_MM_ID, fperf_owner_ids(sim, layout, folio)) >>
		       fperf_owner_shared_bit(layout) &
	       1;
}

#endif

#endif
