/* SPDX-License-Identifier: BSD-3-Clause */
#include "memmap/memmap.h"

#include <string.h>
#include <sys/mman.h>

/* Page-table pages and kernel objects the arena has room for; address space, not memory. */
enum { MAX_TABLES = 1 << 22 };
static const uint64_t OBJECT_BYTES = 16ull << 30;

/* From a border of huge pages on, so that whoever asks for them gets them from the first byte. */
void *fperf_reserve(uint64_t bytes)
{
	const uint64_t huge = 2u << 20;
	char *const p =
		mmap(NULL, bytes + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	const uint64_t before = -(uint64_t)(uintptr_t)p & (huge - 1);
	const uint64_t end = (before + bytes + 4095) & ~4095ull;

	if (p == MAP_FAILED)
		return NULL;
	if (before)
		munmap(p, before);
	if (end < bytes + huge)
		munmap(p + end, bytes + huge - end);
	return p + before;
}

void fperf_prefer_huge(void *p, uint64_t bytes)
{
	const uint64_t huge = 2u << 20;
	const uintptr_t from = ((uintptr_t)p + 2 * huge - 1) & ~(uintptr_t)(huge - 1);
	const uintptr_t to = ((uintptr_t)p + bytes) & ~(uintptr_t)(huge - 1);

	if (to > from)
		(void)madvise((void *)from, to - from, MADV_HUGEPAGE);
}

void fperf_unreserve(void *p, uint64_t bytes)
{
	if (p)
		munmap(p, bytes);
}

int fperf_memmap_create(struct fperf_memmap *mem, unsigned int page_shift, uint64_t memory_bytes)
{
	memset(mem, 0, sizeof(*mem));
	mem->page_shift = page_shift;
	mem->nr_pfns = memory_bytes >> page_shift;
	mem->nr_tables = MAX_TABLES;
	mem->tables_at = (mem->nr_pfns * sizeof(struct fperf_page) + (1ull << page_shift) - 1) >> page_shift
													  << page_shift;
	mem->ptdescs_at = mem->tables_at + (mem->nr_tables << page_shift);
	mem->objects_at = mem->ptdescs_at + mem->nr_tables * sizeof(struct fperf_page);
	mem->objects_end = mem->objects_at + OBJECT_BYTES;
	mem->size = mem->objects_end;
	mem->base = fperf_reserve(mem->size);
	mem->free_tables = fperf_reserve(mem->nr_tables * sizeof(*mem->free_tables));
	/* A free object's link to the next one; a parallel array, since objects themselves have no bytes. */
	mem->object_free = fperf_reserve(OBJECT_BYTES / 64 * sizeof(*mem->object_free));
	if (!mem->base || !mem->free_tables || !mem->object_free) {
		fperf_memmap_destroy(mem);
		return FPERF_ERR(ADDR_SPACE);
	}
	mem->pages = (struct fperf_page *)mem->base;
	mem->tables = mem->base + mem->tables_at;
	mem->next_table = 1;
	fperf_prefer_huge(mem->pages, mem->nr_pfns * sizeof(struct fperf_page));
	fperf_prefer_huge(mem->tables, mem->nr_tables << page_shift);
	mem->next_object = mem->objects_at + 64;
	return 0;
}

void fperf_memmap_destroy(struct fperf_memmap *mem)
{
	fperf_unreserve(mem->base, mem->size);
	fperf_unreserve(mem->free_tables, mem->nr_tables * sizeof(*mem->free_tables));
	fperf_unreserve(mem->object_free, OBJECT_BYTES / 64 * sizeof(*mem->object_free));
	memset(mem, 0, sizeof(*mem));
}

uint32_t fperf_table_alloc(struct fperf_memmap *mem)
{
	if (mem->nr_free_tables)
		return mem->free_tables[--mem->nr_free_tables];
	if (mem->next_table == mem->nr_tables)
		return 0;
	return (uint32_t)mem->next_table++;
}

void fperf_table_free(struct fperf_memmap *mem, uint32_t table)
{
	mem->free_tables[mem->nr_free_tables++] = table;
}

uint64_t fperf_object_alloc(struct fperf_memmap *mem, uint32_t bytes)
{
	const uint32_t class = (bytes - 1) / 64;
	uint64_t at = mem->object_free_head[class];

	FPERF_BUG_ON(class >= 8);
	if (at) {
		mem->object_free_head[class] = mem->object_free[(at - mem->objects_at) / 64];
		return at;
	}
	at = mem->next_object;
	if (at + (class + 1) * 64ull > mem->objects_end)
		return 0;
	mem->next_object = at + (class + 1) * 64ull;
	return at;
}

void fperf_object_free(struct fperf_memmap *mem, uint64_t at, uint32_t bytes)
{
	const uint32_t class = (bytes - 1) / 64;

	mem->object_free[(at - mem->objects_at) / 64] = mem->object_free_head[class];
	mem->object_free_head[class] = at;
}
