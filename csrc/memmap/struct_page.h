/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * struct page as the kernel lays it out on 64-bit: 64 bytes, one cache line of 64. The bytes hold what the kernel's hold:
 * counters that start at -1 there start at -1 here. Offsets inside the first tail page differ between designs; each
 * scheme file names its own.
 */
#ifndef FPERF_STRUCT_PAGE_H
#define FPERF_STRUCT_PAGE_H

#include <stddef.h>
#include <stdint.h>

struct fperf_page {
	uint64_t flags;
	uint64_t compound_head; /* tail: address of the head, bit 0 set; head: list pointer */
	uint64_t word2;
	uint64_t mapping;
	uint64_t index;
	uint64_t private_word;
	int32_t mapcount; /* starts at -1 */
	int32_t refcount; /* 0 in a tail */
	uint64_t memcg;
};

_Static_assert(sizeof(struct fperf_page) == 64, "one struct page is one 64-byte line");
_Static_assert(offsetof(struct fperf_page, mapcount) == 48, "struct page layout");
_Static_assert(offsetof(struct fperf_page, refcount) == 52, "struct page layout");

/* Bits of fperf_page.flags. */
enum {
	FPERF_PG_HEAD = 6,
	FPERF_PG_ANON_EXCLUSIVE = 17,
	FPERF_PG_DOUBLE_MAP = 20, /* of the first tail, up to v6.1 */
};

static inline int32_t *fperf_page_s32(struct fperf_page *page, unsigned int offset)
{
	return (int32_t *)((char *)page + offset);
}

#endif
