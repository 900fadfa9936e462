/* SPDX-License-Identifier: BSD-3-Clause */
#include "cache/miss_kind.h"

#include <stdlib.h>
#include <string.h>

#define NONE 0u

enum state { GONE, HELD, LOST };

/* A line ever seen. Those held are a list, youngest first; number 0 is nobody, and the ring's anchor. */
struct row {
	uint64_t line;
	uint32_t younger, older;
	uint32_t state;
	uint32_t pad;
};

struct fperf_full_cache {
	struct row *rows;
	uint32_t *slot; /* number of a row, NONE where empty; open addressing */
	uint64_t mask;
	uint64_t nr, room; /* rows, the anchor included */
	uint64_t nr_held, nr_lines;
};

static uint32_t *slot_of(const struct fperf_full_cache *full, uint64_t line)
{
	const uint64_t x = line * 0x9e3779b97f4a7c15ull;
	uint64_t at = (x ^ x >> 32) & full->mask;

	while (full->slot[at] != NONE && full->rows[full->slot[at]].line != line)
		at = (at + 1) & full->mask;
	return &full->slot[at];
}

int fperf_full_cache_reserve(struct fperf_full_cache *full, uint64_t nr)
{
	uint64_t room = full->room ? full->room : 512;
	struct row *rows;
	uint32_t *slot;

	if (full->nr + nr <= full->room)
		return 0;
	while (room < full->nr + nr)
		room *= 2;
	rows = room > UINT32_MAX / 2 ? NULL : realloc(full->rows, room * sizeof(*rows));
	if (!rows)
		return FPERF_ERR(NO_MEMORY);
	full->rows = rows;
	slot = calloc(2 * room, sizeof(*slot));
	if (!slot)
		return FPERF_ERR(NO_MEMORY);
	free(full->slot);
	full->slot = slot;
	full->mask = 2 * room - 1;
	full->room = room;
	for (uint32_t i = 1; i < full->nr; i++)
		*slot_of(full, rows[i].line) = i;
	return 0;
}

static void unlink_row(struct fperf_full_cache *full, uint32_t number, enum state state)
{
	struct row *const row = &full->rows[number];

	full->rows[row->younger].older = row->older;
	full->rows[row->older].younger = row->younger;
	row->state = state;
	full->nr_held--;
}

/* The youngest from now on; the oldest leaves if there are too many. */
static void link_row(struct fperf_full_cache *full, uint32_t number)
{
	struct row *const rows = full->rows;

	rows[number].younger = NONE;
	rows[number].older = rows[NONE].older;
	rows[rows[NONE].older].younger = number;
	rows[NONE].older = number;
	rows[number].state = HELD;
	if (++full->nr_held > full->nr_lines)
		unlink_row(full, rows[NONE].younger, GONE);
}

/* The line's row, made if it is new. */
static uint32_t find(struct fperf_full_cache *full, uint64_t line, bool *seen)
{
	uint32_t *const slot = slot_of(full, line);

	*seen = *slot != NONE;
	if (!*seen) {
		*slot = (uint32_t)full->nr++;
		full->rows[*slot] = (struct row){ .line = line, .state = GONE };
	}
	return *slot;
}

enum fperf_miss_kind fperf_full_cache_fetch(struct fperf_full_cache *full, uint64_t line, enum fperf_fetch_kind kind)
{
	bool seen;
	const uint32_t number = find(full, line, &seen);
	const enum state state = (enum state)full->rows[number].state;

	if (state == HELD)
		unlink_row(full, number, GONE);
	if (kind == FPERF_FETCH_TAKES_IN || (kind == FPERF_FETCH_PASSES_ON && state == HELD))
		link_row(full, number);
	else
		full->rows[number].state = GONE;
	if (!seen)
		return FPERF_MISS_COMPULSORY;
	return state == LOST ? FPERF_MISS_COHERENCE : state == HELD ? FPERF_MISS_CONFLICT : FPERF_MISS_CAPACITY;
}

void fperf_full_cache_put(struct fperf_full_cache *full, uint64_t line)
{
	bool seen;
	const uint32_t number = find(full, line, &seen);

	if (full->rows[number].state == HELD)
		unlink_row(full, number, GONE);
	link_row(full, number);
}

void fperf_full_cache_lose(struct fperf_full_cache *full, uint64_t line)
{
	const uint32_t number = *slot_of(full, line);

	if (number == NONE)
		return;
	if (full->rows[number].state == HELD)
		unlink_row(full, number, LOST);
	full->rows[number].state = LOST;
}

void fperf_full_cache_reset(struct fperf_full_cache *full)
{
	memset(full->slot, 0, (full->mask + 1) * sizeof(*full->slot));
	full->rows[NONE] = (struct row){ 0 };
	full->nr = 1;
	full->nr_held = 0;
}

int fperf_full_cache_create(uint64_t nr_lines, struct fperf_full_cache **ret)
{
	struct fperf_full_cache *const full = calloc(1, sizeof(*full));

	if (!full)
		return FPERF_ERR(NO_MEMORY);
	full->nr_lines = nr_lines;
	full->nr = 1;
	if (fperf_full_cache_reserve(full, 0)) {
		fperf_full_cache_destroy(full);
		return FPERF_ERR(NO_MEMORY);
	}
	fperf_full_cache_reset(full);
	*ret = full;
	return 0;
}

void fperf_full_cache_destroy(struct fperf_full_cache *full)
{
	if (!full)
		return;
	free(full->rows);
	free(full->slot);
	free(full);
}
