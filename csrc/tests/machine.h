/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of the whole library: small machines, events in one line each, and a picture of all state to compare. */
#ifndef FPERF_TESTS_MACHINE_H
#define FPERF_TESTS_MACHINE_H

#include "tests/fperf_test.h"

#include <stdlib.h>

#include "engine/engine.h"

/* folio_perf/profiles/7.0.toml: everything in batches. */
static inline struct fperf_profile kernel_7_0(void)
{
	return (struct fperf_profile){
		.version = FPERF_KERNEL(7, 0),
		.anon_exclusive = 1,
		.batch_file_fault = 1,
		.batch_file_fault_refs = 1,
		.batch_fork = 1,
		.batch_zap = 1,
		.batch_pmd_split = 1,
		.batch_try_to_unmap = 1,
		.batch_referenced = 1,
		.lookup_ref_donated = 1,
		.fault_maps_folio = 1,
		.shmem_fault_maps_folio = 1,
		.cow_reuses_large = 1,
		.huge_zero_write_thp = 1,
		.mthp = 1,
		.remap_spans_vmas = 1,
		.vma_bytes = 192,
		.vma_walk_lines_file = 3,
		.vma_walk_lines_anon = 2,
		.anon_vma_bytes = 96,
		.mm_walk_lines = 1,
		.max_map_count = 65530,
		.fault_around_bytes = 64 << 10,
		.stack_limit_bytes = 8 << 20,
	};
}

/* folio_perf/profiles/5.17.toml: one call per page; and with small folios, so that tests can have them. */
static inline struct fperf_profile kernel_5_17(void)
{
	return (struct fperf_profile){
		.version = FPERF_KERNEL(5, 17),
		.lookup_ref_donated = 1,
		.deferred_split_relock = 1,
		.mthp = 1,
		.vma_bytes = 200,
		.vma_walk_lines_file = 3,
		.vma_walk_lines_anon = 3,
		.anon_vma_bytes = 80,
		.mm_walk_lines = 1,
		.max_map_count = 65530,
		.fault_around_bytes = 64 << 10,
		.stack_limit_bytes = 8 << 20,
	};
}

/* 4 KiB pages, 1 GiB, order 0 only, the ledger kept, the first failing event ends the run. */
static inline struct fperf_config small_machine(void)
{
	return (struct fperf_config){
		.abi_version = FPERF_ABI_VERSION,
		.page_shift = 12,
		.line_shift = 6,
		.truth = 1,
		.strict = 1,
		.nr_cache_levels = 2,
		.cache = { { 4 << 10, 4, 0 }, { 48 << 10, 12, 0 } },
		.memory_bytes = 1ull << 30,
		.profile = kernel_7_0(),
	};
}

static inline uint32_t scheme_number(const char *name)
{
	const char *const *const names = fperf_name_table(FPERF_NAMES_SCHEMES);
	uint32_t i = 0;

	while (names[i] && strcmp(names[i], name))
		i++;
	return i;
}

static inline uint32_t nr_schemes(void)
{
	return scheme_number("");
}

/* ---- events ---- */

#define EVENT(name, ...) ((struct fperf_event){ .op = FPERF_OP_##name, __VA_ARGS__ })

enum { READ_WRITE = FPERF_PROT_READ | FPERF_PROT_WRITE };

static inline struct fperf_event map_anon(uint32_t process, uint64_t vpn, uint64_t nr)
{
	return EVENT(MMAP, .process = process, .vpn = vpn, .nr = nr, .flags = READ_WRITE);
}

static inline struct fperf_event map_object(uint32_t process, uint64_t vpn, uint64_t nr, uint32_t object,
					    uint64_t offset, uint32_t flags)
{
	return EVENT(MMAP, .process = process, .vpn = vpn, .nr = nr, .what = object + 1, .arg = offset,
		     .flags = READ_WRITE | flags);
}

static inline struct fperf_event unmap(uint32_t process, uint64_t vpn, uint64_t nr)
{
	return EVENT(MUNMAP, .process = process, .vpn = vpn, .nr = nr);
}

static inline struct fperf_event touch(uint32_t process, uint64_t vpn, uint64_t nr, char access)
{
	return EVENT(TOUCH, .process = process, .vpn = vpn, .nr = nr, .flags = access == 'w' ? FPERF_TOUCH_WRITE : 0);
}

static inline struct fperf_event remap(uint32_t process, uint64_t from, uint64_t nr, uint64_t to, uint64_t nr_new)
{
	return EVENT(MREMAP, .process = process, .vpn = from, .nr = nr, .arg = to, .arg2 = nr_new);
}

static inline struct fperf_event protect(uint32_t process, uint64_t vpn, uint64_t nr, uint32_t prot)
{
	return EVENT(MPROTECT, .process = process, .vpn = vpn, .nr = nr, .flags = prot);
}

static inline struct fperf_event advise(uint32_t process, uint64_t vpn, uint64_t nr, enum fperf_advice advice)
{
	return EVENT(MADVISE, .process = process, .vpn = vpn, .nr = nr, .what = advice);
}

static inline struct fperf_event dontneed(uint32_t process, uint64_t vpn, uint64_t nr)
{
	return advise(process, vpn, nr, FPERF_ADVICE_DONTNEED);
}

static inline struct fperf_event fork_to(uint32_t process, uint64_t child)
{
	return EVENT(FORK, .process = process, .arg = child);
}

static inline struct fperf_event vfork_to(uint32_t process, uint64_t child)
{
	return EVENT(FORK, .process = process, .arg = child, .flags = FPERF_FORK_SHARE_MM);
}

static inline struct fperf_event exec_in(uint32_t process)
{
	return EVENT(EXEC, .process = process);
}

static inline struct fperf_event exit_of(uint32_t process)
{
	return EVENT(EXIT, .process = process);
}

static inline struct fperf_event truncate_to(uint32_t object, uint64_t nr_pages)
{
	return EVENT(TRUNCATE, .what = object + 1, .nr = nr_pages);
}

static inline struct fperf_event reclaim(uint32_t process, uint64_t vpn, uint64_t nr)
{
	return EVENT(TRY_TO_UNMAP, .process = process, .vpn = vpn, .nr = nr);
}

/* Status of one event. */
static inline int run(struct fperf_sim *sim, struct fperf_event event)
{
	int32_t status = 0;
	size_t done;
	const int ret = fperf_sim_run(sim, &event, 1, &status, &done);

	return ret ? ret : status;
}

static inline uint32_t add_object(struct fperf_sim *sim, enum fperf_object_kind kind, uint64_t nr_pages, uint32_t order)
{
	const struct fperf_object_desc desc = {
		.kind = kind, .order = order, .nr_pages = nr_pages, .warm = kind == FPERF_OBJECT_FILE
	};
	uint32_t index;

	if (fperf_sim_add_object(sim, &desc, &index)) {
		printf("add_object failed\n");
		abort();
	}
	return index;
}

/* The ledger, the references and the scheme's exact answers agree with the page tables. */
static inline bool sound(struct fperf_sim *sim)
{
	char message[256] = "";

	if (!fperf_sim_check(sim, message, sizeof(message)))
		return true;
	printf("%s\n", message);
	return false;
}

#define ASSERT_RUN(sim, event)									\
	do {											\
		ASSERT_EQ(run(sim, event), FPERF_APPLIED);					\
		ASSERT_TRUE(sound(sim));							\
	} while (0)

/* ---- looking ---- */

/* pfn that the process maps at vpn, UINT64_MAX for the zero page; 0 if none, or a swap entry. */
static inline uint64_t pfn_at(struct fperf_sim *sim, uint32_t process, uint64_t vpn)
{
	static struct fperf_mapping_row rows[1 << 16];
	size_t nr;

	if (fperf_sim_mappings(sim, process, rows, sizeof(rows) / sizeof(*rows), &nr))
		return 0;
	for (size_t i = 0; i < nr; i++)
		if (vpn - rows[i].vpn < rows[i].nr && rows[i].kind != FPERF_MAPPING_SWAP)
			return rows[i].pfn == UINT64_MAX ? UINT64_MAX : rows[i].pfn + (vpn - rows[i].vpn);
	return 0;
}

/* Head of the folio a process maps at vpn. */
static inline uint64_t folio_at(struct fperf_sim *sim, uint32_t process, uint64_t vpn)
{
	struct fperf_folio_row row;

	return fperf_sim_folio(sim, pfn_at(sim, process, vpn), &row) ? 0 : row.pfn;
}

/* What the scheme answers; the count is at *value. */
static inline int ask(struct fperf_sim *sim, enum fperf_question question, uint64_t folio, uint32_t page,
		      int64_t *value)
{
	return fperf_sim_ask(sim, question, folio, page, value);
}

static inline struct fperf_totals totals_of(const struct fperf_sim *sim)
{
	struct fperf_totals totals;

	fperf_sim_totals(sim, &totals);
	return totals;
}

/* ---- everything that may change, as one number ---- */

static inline uint64_t fnv(uint64_t hash, const void *bytes, size_t size)
{
	const unsigned char *b = bytes;

	for (; size; b += 8, size -= size < 8 ? size : 8) {
		uint64_t word = 0;

		memcpy(&word, b, size < 8 ? size : 8);
		hash = (hash ^ word) * 1099511628211u;
		hash ^= hash >> 29;
	}
	return hash;
}

/* Struct pages, VMAs and entries of processes 0 .. nr_processes - 1, totals and events so far. */
static inline uint64_t picture(struct fperf_sim *sim, uint32_t nr_processes)
{
	static struct fperf_mapping_row rows[1 << 16];
	static struct fperf_vma_row vmas[1 << 12];
	struct fperf_event_stats stats[FPERF_NR_EVENT_KINDS];
	const struct fperf_totals totals = totals_of(sim);
	uint64_t nr_pages, hash = 14695981039346656037u;
	const void *const pages = fperf_sim_struct_pages(sim, &nr_pages);
	size_t nr;

	hash = fnv(hash, pages, nr_pages * 64);
	hash = fnv(hash, &totals, sizeof(totals));
	fperf_sim_event_stats(sim, stats);
	hash = fnv(hash, stats, sizeof(stats));
	for (uint32_t process = 0; process < nr_processes; process++) {
		const int ret = fperf_sim_mappings(sim, process, rows, sizeof(rows) / sizeof(*rows), &nr);

		hash = fnv(hash, &ret, sizeof(ret));
		if (ret)
			continue;
		hash = fnv(hash, rows, (nr < 1 << 16 ? nr : 1 << 16) * sizeof(*rows));
		if (fperf_sim_smaps(sim, process, vmas, sizeof(vmas) / sizeof(*vmas), &nr))
			abort();
		hash = fnv(hash, vmas, (nr < 1 << 12 ? nr : 1 << 12) * sizeof(*vmas));
	}
	return hash;
}

/* The same, and every counter. */
static inline uint64_t picture_with_counters(struct fperf_sim *sim, uint32_t nr_processes)
{
	size_t nr;
	const uint64_t *const counters = fperf_sim_counters(sim, &nr);

	return fnv(picture(sim, nr_processes), counters, nr * sizeof(*counters));
}

/* xorshift64*; the state is the caller's, so every run is the same. */
static inline uint64_t random_below(uint64_t *state, uint64_t past)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (*state * 2685821657736338717u >> 11) % past;
}

#endif
