/* SPDX-License-Identifier: BSD-3-Clause */
/* The arena: what lies where, tables and objects that come back, and its limits. */
#include "tests/fperf_test.h"

#include <sys/resource.h>

#include "memmap/memmap.h"

/* Tables of large pages need more address space than valgrind has to give. */
static bool refused(int ret, unsigned int page_shift)
{
	if (ret != FPERF_ERR(ADDR_SPACE) || page_shift == 12)
		return false;
	printf("skipped from page_shift %u on: no address space\n", page_shift);
	return true;
}

static bool test_parts_of_the_arena_do_not_overlap(void)
{
	for (unsigned int page_shift = 12; page_shift <= 18; page_shift += 2) {
		const uint64_t memory_bytes = 1ull << 40;
		struct fperf_memmap mem;
		const int ret = fperf_memmap_create(&mem, page_shift, memory_bytes);

		if (refused(ret, page_shift))
			return true;
		ASSERT_OK(ret);
		ASSERT_EQ(mem.nr_pfns, memory_bytes >> page_shift);
		ASSERT_TRUE((char *)mem.pages == mem.base);
		ASSERT_TRUE(mem.tables_at >= mem.nr_pfns * 64);
		ASSERT_EQ(mem.tables_at & ((1ull << page_shift) - 1), 0);
		ASSERT_TRUE(mem.ptdescs_at >= mem.tables_at + (mem.nr_tables << page_shift));
		ASSERT_TRUE(mem.objects_at >= mem.ptdescs_at + mem.nr_tables * 64);
		ASSERT_TRUE(mem.objects_end > mem.objects_at && mem.objects_end <= mem.size);
		/* No two parts share a line of 128 bytes. */
		ASSERT_EQ((mem.tables_at | mem.ptdescs_at | mem.objects_at) & 127, 0);
		fperf_memmap_destroy(&mem);
	}
	return true;
}

static bool test_addresses_are_offsets_in_the_arena(void)
{
	struct fperf_memmap mem;

	ASSERT_OK(fperf_memmap_create(&mem, 12, 1ull << 30));
	ASSERT_EQ(fperf_arena_offset(&mem, fperf_pfn_page(&mem, 5)), 5 * 64);
	ASSERT_EQ(fperf_arena_offset(&mem, &fperf_pfn_page(&mem, 5)->refcount), 5 * 64 + 52);
	ASSERT_EQ(fperf_arena_offset(&mem, fperf_table(&mem, 3)), mem.tables_at + 3 * 4096);
	ASSERT_EQ(fperf_ptdesc_at(&mem, 3), mem.ptdescs_at + 3 * 64);
	fperf_memmap_destroy(&mem);
	return true;
}

/* Resident memory of this process. */
static long resident_kib(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss;
}

static bool test_memory_is_reserved_not_committed(void)
{
	/* A machine of 1 TiB has 16 GiB of struct pages; touching first and last costs two pages of the host. */
	const long before = resident_kib();
	struct fperf_memmap mem;

	ASSERT_OK(fperf_memmap_create(&mem, 12, 1ull << 40));
	fperf_pfn_page(&mem, 0)->refcount = 1;
	ASSERT_EQ(fperf_pfn_page(&mem, mem.nr_pfns - 1)->refcount, 0);
	fperf_pfn_page(&mem, mem.nr_pfns - 1)->refcount = 2;
	ASSERT_EQ(fperf_pfn_page(&mem, 0)->refcount, 1);
	ASSERT_TRUE(resident_kib() - before < 64 << 10);
	fperf_memmap_destroy(&mem);
	return true;
}

static bool test_fresh_tables_are_zero_and_numbered_from_one(void)
{
	struct fperf_memmap mem;

	ASSERT_OK(fperf_memmap_create(&mem, 12, 1ull << 30));
	for (uint32_t i = 1; i <= 20; i++) {
		const uint64_t *const table = fperf_table(&mem, i);

		ASSERT_EQ(fperf_table_alloc(&mem), i);
		for (uint32_t entry = 0; entry < 1u << 9; entry++)
			ASSERT_EQ(table[entry], 0);
	}
	fperf_memmap_destroy(&mem);
	return true;
}

static bool test_freed_tables_come_back_last_first(void)
{
	struct fperf_memmap mem;

	ASSERT_OK(fperf_memmap_create(&mem, 12, 1ull << 30));
	for (uint32_t i = 1; i <= 5; i++)
		ASSERT_EQ(fperf_table_alloc(&mem), i);
	fperf_table_free(&mem, 2);
	fperf_table_free(&mem, 4);
	ASSERT_EQ(fperf_table_alloc(&mem), 4);
	ASSERT_EQ(fperf_table_alloc(&mem), 2);
	ASSERT_EQ(fperf_table_alloc(&mem), 6);
	fperf_memmap_destroy(&mem);
	return true;
}

static bool test_arena_says_when_it_is_full(void)
{
	struct fperf_memmap mem;
	uint64_t nr_tables, objects_end, last;

	ASSERT_OK(fperf_memmap_create(&mem, 12, 1ull << 30));
	nr_tables = mem.nr_tables;
	objects_end = mem.objects_end;
	/* Limits of a smaller arena. */
	mem.nr_tables = 4;
	mem.objects_end = mem.next_object + 5 * 64;
	for (uint32_t i = 1; i < 4; i++)
		ASSERT_EQ(fperf_table_alloc(&mem), i);
	ASSERT_EQ(fperf_table_alloc(&mem), 0);
	fperf_table_free(&mem, 3);
	ASSERT_EQ(fperf_table_alloc(&mem), 3);
	ASSERT_EQ(fperf_table_alloc(&mem), 0);
	/* Five lines: 192 and 128 bytes fit, then nothing. */
	ASSERT_TRUE(fperf_object_alloc(&mem, 192));
	ASSERT_EQ(fperf_object_alloc(&mem, 192), 0);
	last = fperf_object_alloc(&mem, 128);
	ASSERT_TRUE(last);
	ASSERT_EQ(fperf_object_alloc(&mem, 64), 0);
	fperf_object_free(&mem, last, 128);
	ASSERT_EQ(fperf_object_alloc(&mem, 64), 0);
	ASSERT_EQ(fperf_object_alloc(&mem, 100), last);
	mem.nr_tables = nr_tables;
	mem.objects_end = objects_end;
	fperf_memmap_destroy(&mem);
	return true;
}

static bool test_objects_are_aligned_and_apart(void)
{
	/* Classes of whole lines: 1-64 bytes take one, 65-128 two, ... 449-512 eight. */
	struct fperf_memmap mem;
	uint64_t past;

	ASSERT_OK(fperf_memmap_create(&mem, 12, 1ull << 30));
	past = mem.objects_at;
	for (uint32_t bytes = 1; bytes <= 512; bytes++) {
		const uint64_t at = fperf_object_alloc(&mem, bytes);

		ASSERT_TRUE(at && at >= past);
		ASSERT_EQ(at & 63, 0);
		past = at + (bytes + 63) / 64 * 64;
		ASSERT_TRUE(past <= mem.objects_end);
	}
	fperf_memmap_destroy(&mem);
	return true;
}

static bool test_freed_objects_serve_their_size_class_only(void)
{
	uint64_t small[3], large[3];
	struct fperf_memmap mem;

	ASSERT_OK(fperf_memmap_create(&mem, 12, 1ull << 30));
	for (unsigned int i = 0; i < 3; i++) {
		small[i] = fperf_object_alloc(&mem, 64);
		large[i] = fperf_object_alloc(&mem, 200);
	}
	fperf_object_free(&mem, large[0], 200);
	fperf_object_free(&mem, small[2], 64);
	fperf_object_free(&mem, large[2], 200);
	/* 200 bytes are four lines: 193 and 256 bytes are the same class, 192 are not. */
	ASSERT_TRUE(fperf_object_alloc(&mem, 192) > large[2]);
	ASSERT_EQ(fperf_object_alloc(&mem, 256), large[2]);
	ASSERT_EQ(fperf_object_alloc(&mem, 193), large[0]);
	ASSERT_EQ(fperf_object_alloc(&mem, 1), small[2]);
	ASSERT_TRUE(fperf_object_alloc(&mem, 256) > large[2]);
	fperf_memmap_destroy(&mem);
	return true;
}

static bool test_too_much_memory_is_an_error(void)
{
	struct fperf_memmap mem;

	/* 2^50 bytes of struct pages: more than a process can address. */
	ASSERT_EQ(fperf_memmap_create(&mem, 12, 1ull << 56), FPERF_ERR(ADDR_SPACE));
	ASSERT_TRUE(!mem.base);
	fperf_memmap_destroy(&mem);
	return true;
}

int main(void)
{
	TEST(memory_is_reserved_not_committed);
	TEST(parts_of_the_arena_do_not_overlap);
	TEST(addresses_are_offsets_in_the_arena);
	TEST(fresh_tables_are_zero_and_numbered_from_one);
	TEST(freed_tables_come_back_last_first);
	TEST(arena_says_when_it_is_full);
	TEST(objects_are_aligned_and_apart);
	TEST(freed_objects_serve_their_size_class_only);
	TEST(too_much_memory_is_an_error);
	return TEST_END();
}
