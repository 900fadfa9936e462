/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which CPUs used which words of which lines, and which lines they took from each other: what perf c2c samples, counted.
 * A word is 8 bytes. A taking is an access that gets a line another CPU had modified, or takes it from others for a store;
 * it is false if none of those it takes the line from used the same word since they got it: wrote it, for a read; used it
 * at all, for a store.
 */
#ifndef FPERF_SHARING_H
#define FPERF_SHARING_H

#include <stdbool.h>
#include <stdint.h>

#include "core/fperf_error.h"

#define FPERF_SHARING_WORD_SHIFT 3
#define FPERF_SHARING_MAX_WORDS 16
#define FPERF_SHARING_NO_WORD 16 /* of a prefetch, which uses none: what it takes, it takes falsely */

struct fperf_shared_line {
	uint64_t line;
	uint64_t nr_taken_reading, nr_false_reading;
	uint64_t nr_taken_writing, nr_false_writing;
};

/* What one CPU did with one line. */
struct fperf_line_use {
	uint64_t line;
	uint32_t cpu;
	uint16_t read, written; /* bit per word, since the CPU got the line */
	uint32_t nr_read[FPERF_SHARING_MAX_WORDS], nr_written[FPERF_SHARING_MAX_WORDS];
};

struct fperf_sharing;

int fperf_sharing_create(uint32_t nr_cpus, struct fperf_sharing **ret) FPERF_MUST_CHECK;
void fperf_sharing_destroy(struct fperf_sharing *s);
void fperf_sharing_reset(struct fperf_sharing *s);

/* Room for one more access; call it before each. */
int fperf_sharing_reserve(struct fperf_sharing *s) FPERF_MUST_CHECK;

/* An access by a CPU; its line was taken before, if it was. */
void fperf_sharing_use(struct fperf_sharing *s, uint64_t line, uint32_t cpu, uint32_t word, bool write);

/* It takes the line from CPUs [first, end), some of which may never have had it. True if one of them used the word. */
bool fperf_sharing_take(struct fperf_sharing *s, uint64_t line, uint32_t first, uint32_t end, uint32_t word,
			bool write);
/* All takings of an access are done. */
void fperf_sharing_taken(struct fperf_sharing *s, uint64_t line, bool write, bool truly);

uint64_t fperf_sharing_nr_lines(const struct fperf_sharing *s);
uint64_t fperf_sharing_nr_uses(const struct fperf_sharing *s);
/* Lines that were ever taken, and all uses of any line, in no order. */
void fperf_sharing_lines(const struct fperf_sharing *s, struct fperf_shared_line *out);
void fperf_sharing_uses(const struct fperf_sharing *s, struct fperf_line_use *out);

#endif
