/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The modelled physical memory that designs differ in: one arena with the struct page array, the page tables, their
 * descriptors and the kernel objects an rmap walk reads. Reserved, not committed: only what is touched costs the host
 * memory. A modelled address is the offset in the arena; a cache line id is that offset shifted by the line size.
 */
#ifndef FPERF_MEMMAP_H
#define FPERF_MEMMAP_H

#include "core/fperf_error.h"
#include "memmap/struct_page.h"

struct fperf_memmap {
	char *base;
	uint64_t size;
	uint64_t nr_pfns;
	uint64_t nr_tables;
	unsigned int page_shift;
	struct fperf_page *pages; /* at base */
	char *tables; /* page-table pages */
	uint64_t tables_at, ptdescs_at, objects_at, objects_end; /* offsets in the arena */
	uint64_t next_table, next_object;
	uint32_t *free_tables; /* stack of table numbers */
	uint64_t nr_free_tables;
	uint64_t *object_free; /* offsets of free 64-byte-aligned objects, by size class */
	uint64_t object_free_head[8];
};

int fperf_memmap_create(struct fperf_memmap *mem, unsigned int page_shift, uint64_t memory_bytes) FPERF_MUST_CHECK;
void fperf_memmap_destroy(struct fperf_memmap *mem);

/* Reserve sparse, zero-filled host memory; NULL if the host refuses. */
void *fperf_reserve(uint64_t bytes);
void fperf_unreserve(void *p, uint64_t bytes);
/* Huge pages of the host, if it gives any, beyond the first of them: small models stay small. */
void fperf_prefer_huge(void *p, uint64_t bytes);

static inline struct fperf_page *fperf_pfn_page(const struct fperf_memmap *mem, uint64_t pfn)
{
	return &mem->pages[pfn];
}

static inline uint64_t fperf_arena_offset(const struct fperf_memmap *mem, const void *p)
{
	return (uint64_t)((const char *)p - mem->base);
}

/* Entries of page table number `table`; number 0 is no table. */
static inline uint64_t *fperf_table(const struct fperf_memmap *mem, uint32_t table)
{
	return (uint64_t *)(mem->tables + ((uint64_t)table << mem->page_shift));
}

static inline uint64_t fperf_ptdesc_at(const struct fperf_memmap *mem, uint32_t table)
{
	return mem->ptdescs_at + (uint64_t)table * sizeof(struct fperf_page);
}

/* A zeroed page-table page, or 0 if the arena is full. A table is freed only when all its entries are zero again. */
uint32_t fperf_table_alloc(struct fperf_memmap *mem);
void fperf_table_free(struct fperf_memmap *mem, uint32_t table);

/* Address of a kernel object of `bytes` (at most 512, slab of 64-byte multiples); 0 if the arena is full. */
uint64_t fperf_object_alloc(struct fperf_memmap *mem, uint32_t bytes);
void fperf_object_free(struct fperf_memmap *mem, uint64_t at, uint32_t bytes);

#endif
