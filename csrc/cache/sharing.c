/* SPDX-License-Identifier: BSD-3-Clause */
#include "cache/sharing.h"

#include <stdlib.h>
#include <string.h>

/* An array, and a hash table of positions in it, open addressing; 0 is empty, else position + 1. */
struct table {
	uint32_t *slot;
	uint64_t mask;
	uint64_t nr, room;
	void *rows;
};

struct fperf_sharing {
	uint32_t nr_cpus;
	struct table lines, uses;
};

static uint64_t hash(uint64_t line, uint32_t cpu)
{
	uint64_t x = (line << 8 ^ cpu) * 0x9e3779b97f4a7c15ull;

	return x ^ x >> 32;
}

static struct fperf_shared_line *line_rows(const struct fperf_sharing *s)
{
	return s->lines.rows;
}

static struct fperf_line_use *use_rows(const struct fperf_sharing *s)
{
	return s->uses.rows;
}

/* The slot of a line, or the empty one where it would go. */
static uint32_t *line_slot(const struct fperf_sharing *s, uint64_t line)
{
	uint64_t at = hash(line, 0) & s->lines.mask;

	while (s->lines.slot[at] && line_rows(s)[s->lines.slot[at] - 1].line != line)
		at = (at + 1) & s->lines.mask;
	return &s->lines.slot[at];
}

static uint32_t *use_slot(const struct fperf_sharing *s, uint64_t line, uint32_t cpu)
{
	uint64_t at = hash(line, cpu) & s->uses.mask;

	while (s->uses.slot[at] &&
	       (use_rows(s)[s->uses.slot[at] - 1].line != line || use_rows(s)[s->uses.slot[at] - 1].cpu != cpu))
		at = (at + 1) & s->uses.mask;
	return &s->uses.slot[at];
}

/* Twice the room; the table is empty afterwards and must be filled again. */
static int grow(struct table *table, size_t row_bytes)
{
	const uint64_t room = table->room ? 2 * table->room : 1024;
	void *const rows = realloc(table->rows, room * row_bytes);
	uint32_t *const slot = calloc(2 * room, sizeof(*slot));

	if (rows)
		table->rows = rows;
	if (!rows || !slot || room > UINT32_MAX / 2) {
		free(slot);
		return FPERF_ERR(NO_MEMORY);
	}
	free(table->slot);
	table->slot = slot;
	table->room = room;
	table->mask = 2 * room - 1;
	return 0;
}

int fperf_sharing_reserve(struct fperf_sharing *s)
{
	if (s->lines.nr == s->lines.room) {
		if (grow(&s->lines, sizeof(struct fperf_shared_line)))
			return FPERF_ERR(NO_MEMORY);
		for (uint64_t i = 0; i < s->lines.nr; i++)
			*line_slot(s, line_rows(s)[i].line) = (uint32_t)i + 1;
	}
	if (s->uses.nr == s->uses.room) {
		if (grow(&s->uses, sizeof(struct fperf_line_use)))
			return FPERF_ERR(NO_MEMORY);
		for (uint64_t i = 0; i < s->uses.nr; i++)
			*use_slot(s, use_rows(s)[i].line, use_rows(s)[i].cpu) = (uint32_t)i + 1;
	}
	return 0;
}

void fperf_sharing_use(struct fperf_sharing *s, uint64_t line, uint32_t cpu, uint32_t word, bool write)
{
	uint32_t *const slot = use_slot(s, line, cpu);
	struct fperf_line_use *use;

	if (!*slot) {
		*slot = (uint32_t)++s->uses.nr;
		use_rows(s)[*slot - 1] = (struct fperf_line_use){ .line = line, .cpu = cpu };
	}
	use = &use_rows(s)[*slot - 1];
	if (write) {
		use->written |= (uint16_t)(1u << word);
		use->nr_written[word]++;
	} else {
		use->read |= (uint16_t)(1u << word);
		use->nr_read[word]++;
	}
}

bool fperf_sharing_take(struct fperf_sharing *s, uint64_t line, uint32_t first, uint32_t end, uint32_t word, bool write)
{
	bool truly = false;

	for (uint32_t cpu = first; cpu < end && cpu < s->nr_cpus; cpu++) {
		const uint32_t slot = *use_slot(s, line, cpu);
		struct fperf_line_use *use;

		if (!slot)
			continue;
		use = &use_rows(s)[slot - 1];
		truly |= ((write ? use->read | use->written : use->written) >> word & 1) != 0;
		use->written = 0;
		if (write)
			use->read = 0;
	}
	return truly;
}

void fperf_sharing_taken(struct fperf_sharing *s, uint64_t line, bool write, bool truly)
{
	uint32_t *const slot = line_slot(s, line);
	struct fperf_shared_line *row;

	if (!*slot) {
		*slot = (uint32_t)++s->lines.nr;
		line_rows(s)[*slot - 1] = (struct fperf_shared_line){ .line = line };
	}
	row = &line_rows(s)[*slot - 1];
	if (write) {
		row->nr_taken_writing++;
		row->nr_false_writing += !truly;
	} else {
		row->nr_taken_reading++;
		row->nr_false_reading += !truly;
	}
}

uint64_t fperf_sharing_nr_lines(const struct fperf_sharing *s)
{
	return s->lines.nr;
}

uint64_t fperf_sharing_nr_uses(const struct fperf_sharing *s)
{
	return s->uses.nr;
}

void fperf_sharing_lines(const struct fperf_sharing *s, struct fperf_shared_line *out)
{
	memcpy(out, s->lines.rows, s->lines.nr * sizeof(*out));
}

void fperf_sharing_uses(const struct fperf_sharing *s, struct fperf_line_use *out)
{
	memcpy(out, s->uses.rows, s->uses.nr * sizeof(*out));
}

int fperf_sharing_create(uint32_t nr_cpus, struct fperf_sharing **ret)
{
	struct fperf_sharing *const s = calloc(1, sizeof(*s));

	if (!s)
		return FPERF_ERR(NO_MEMORY);
	s->nr_cpus = nr_cpus;
	if (fperf_sharing_reserve(s)) {
		fperf_sharing_destroy(s);
		return FPERF_ERR(NO_MEMORY);
	}
	*ret = s;
	return 0;
}

void fperf_sharing_reset(struct fperf_sharing *s)
{
	s->lines.nr = s->uses.nr = 0;
	memset(s->lines.slot, 0, (s->lines.mask + 1) * sizeof(*s->lines.slot));
	memset(s->uses.slot, 0, (s->uses.mask + 1) * sizeof(*s->uses.slot));
}

void fperf_sharing_destroy(struct fperf_sharing *s)
{
	if (!s)
		return;
	free(s->lines.slot);
	free(s->lines.rows);
	free(s->uses.slot);
	free(s->uses.rows);
	free(s);
}
