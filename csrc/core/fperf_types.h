/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vocabulary all rooms share: what an event is, what is counted, and along which axes.
 * Each list stands once, here; names for Python come from the same lists (fperf_name_table()).
 */
#ifndef FPERF_TYPES_H
#define FPERF_TYPES_H

#include <stddef.h>
#include <stdint.h>

#define FPERF_ABI_VERSION 1

#define FPERF_KERNEL(major, minor) ((major) * 100u + (minor))

/* What a scenario may ask for: one entry of the event array (struct fperf_event). */
#define FPERF_OPS(X)						\
	X(MMAP,		mmap)					\
	X(MUNMAP,	munmap)					\
	X(MREMAP,	mremap)					\
	X(MPROTECT,	mprotect)				\
	X(MADVISE,	madvise)				\
	X(TOUCH,	touch)					\
	X(FORK,		fork)					\
	X(EXEC,		exec)					\
	X(EXIT,		exit)					\
	X(TRUNCATE,	truncate)				\
	X(READ_OBJECT,	read_object)				\
	X(DROP_OBJECT,	drop_object)				\
	X(TOTAL_MAPCOUNT, total_mapcount)			\
	X(FOLIO_REFERENCED, folio_referenced)			\
	X(TRY_TO_UNMAP,	try_to_unmap)				\
	X(SMAPS,	smaps)					\
	X(PIN,		pin)					\
	X(UNPIN,	unpin)					\
	X(SPLICE,	splice)					\
	X(UNSPLICE,	unsplice)				\
	X(MLOCK,	mlock)					\
	X(MUNLOCK,	munlock)				\
	X(MAYBE_PINNED,	maybe_pinned)			\
	X(SPLIT,	split)					\
	X(DEFERRED_SPLIT, deferred_split)			\
	X(MIGRATE,	migrate)			\
	X(KHUGEPAGED,	khugepaged)				\
	X(SWAPON,	swapon)				\
	X(SWAPOFF,	swapoff)				\
	X(PAGEMAP,	pagemap)				\
	X(NUMA_MAPS,	numa_maps)				\
	X(KPAGECOUNT,	kpagecount)				\
	X(MOVE_PAGES,	move_pages)				\
	X(NUMA_BALANCE,	numa_balance)				\
	X(COMPACT,	compact)				\
	X(RECLAIM,	reclaim)				\
	X(PAGE_IDLE,	page_idle)				\
	X(MEMORY_FAILURE, memory_failure)			\
	X(KSM,		ksm)				\
	X(PUNCH_HOLE,	punch_hole)

enum fperf_op {
#define X(NAME, name) FPERF_OP_##NAME,
	FPERF_OPS(X)
#undef X
		FPERF_NR_OPS
};

/* What costs are accounted under. A touch becomes one event per fault it takes. */
#define FPERF_EVENT_KINDS(X)					\
	X(MMAP,		mmap)					\
	X(MUNMAP,	munmap)					\
	X(MREMAP,	mremap)					\
	X(MPROTECT,	mprotect)				\
	X(MADVISE,	madvise)				\
	X(ANON_FAULT,	anon_fault)				\
	X(FILE_FAULT,	file_fault)				\
	X(COW_FAULT,	cow_fault)				\
	X(SWAP_FAULT,	swap_fault)				\
	X(FORK,		fork)					\
	X(EXEC,		exec)					\
	X(EXIT,		exit)					\
	X(TRUNCATE,	truncate)				\
	X(PAGE_CACHE,	page_cache)				\
	X(TOTAL_MAPCOUNT, total_mapcount)			\
	X(FOLIO_REFERENCED, folio_referenced)			\
	X(TRY_TO_UNMAP,	try_to_unmap)				\
	X(SMAPS,	smaps)					\
	X(GUP,		gup)					\
	X(MLOCK,	mlock)				\
	X(MAYBE_PINNED,	maybe_pinned)			\
	X(SPLIT,	split)					\
	X(MIGRATE,	migrate)			\
	X(COLLAPSE,	collapse)				\
	X(SWAPOFF,	swapoff)				\
	X(PAGEMAP,	pagemap)				\
	X(NUMA_MAPS,	numa_maps)				\
	X(KPAGECOUNT,	kpagecount)				\
	X(MOVE_PAGES,	move_pages)				\
	X(NUMA_SCAN,	numa_scan)				\
	X(NUMA_FAULT,	numa_fault)				\
	X(COMPACTION,	compaction)				\
	X(SHRINK,	shrink)					\
	X(PAGE_IDLE,	page_idle)				\
	X(MEMORY_FAILURE, memory_failure)			\
	X(KSM,		ksm)

enum fperf_event_kind {
#define X(NAME, name) FPERF_EV_##NAME,
	FPERF_EVENT_KINDS(X)
#undef X
		FPERF_NR_EVENT_KINDS
};

/*
 * Why an access happens. FIXED is what every design pays alike (schemes.md 1.3 rule 4: allocation, free, page-cache
 * lookup, page locks); results leave it out, the cache does not.
 */
#define FPERF_CAUSES(X)						\
	X(OPERATION,	operation)				\
	X(PRESENCE,	presence)				\
	X(WALK,		walk)					\
	X(RECOUNT,	recount)				\
	X(FIXED,	fixed)

enum fperf_cause {
#define X(NAME, name) FPERF_CAUSE_##NAME,
	FPERF_CAUSES(X)
#undef X
		FPERF_NR_CAUSES
};

/*
 * Which field of which object is touched: X(NAME, name, class). Class page = struct page, the only one `rmw` and
 * `lines_*` of results speak of by default; table = page tables; rest = everything else.
 */
#define FPERF_FIELDS(X)						\
	X(FLAGS,	flags,			PAGE)		\
	X(COMPOUND_HEAD, compound_head,		PAGE)		\
	X(MAPPING,	mapping,		PAGE)		\
	X(MAPCOUNT,	mapcount,		PAGE)		\
	X(REFCOUNT,	refcount,		PAGE)		\
	X(ANON_EXCLUSIVE, anon_exclusive,	PAGE)		\
	X(DOUBLE_MAP,	double_map,		PAGE)		\
	X(COMPOUND_MAPCOUNT, compound_mapcount,	PAGE)		\
	X(ENTIRE_MAPCOUNT, entire_mapcount,	PAGE)		\
	X(LARGE_MAPCOUNT, large_mapcount,	PAGE)		\
	X(NR_PAGES_MAPPED, nr_pages_mapped,	PAGE)		\
	X(SUBPAGES_MAPCOUNT, subpages_mapcount,	PAGE)		\
	X(MAPCOUNT_LOCK, mapcount_lock,		PAGE)		\
	X(TOTAL_MAPPED_PAGES, total_mapped_pages, PAGE)		\
	X(PINCOUNT,	pincount,		PAGE)		\
	X(MM_ID,	mm_id,			PAGE)		\
	X(MM_ID_MAPCOUNT, mm_id_mapcount,	PAGE)		\
	X(MM_ID_LOCK,	mm_id_lock,		PAGE)		\
	X(RMAP_SEQUENCE, rmap_sequence,		PAGE)		\
	X(RMAP_VALUE,	rmap_value,		PAGE)		\
	X(FOLIO_STATE,	folio_state,		PAGE)		\
	X(FOLIO_NR_PAGES, folio_nr_pages,	PAGE)		\
	X(DEFERRED_LIST, deferred_list,		PAGE)		\
	X(SPLIT_QUEUE_LOCK, split_queue_lock,	REST)		\
	X(FOLIO_LOCK,	folio_lock,		PAGE)		\
	X(PTE,		pte,			TABLE)		\
	X(PMD,		pmd,			TABLE)		\
	X(UPPER_TABLE,	upper_table,		TABLE)		\
	X(PTL,		ptl,			REST)		\
	X(MM,		mm,			REST)		\
	X(VMA,		vma,			REST)		\
	X(TREE_NODE,	tree_node,		REST)		\
	X(ANON_VMA,	anon_vma,		REST)		\
	X(MAPPING_OBJECT, address_space,	REST)		\
	X(RMAP_LOCK,	rmap_lock,		REST)		\
	X(KSM_ITEM,	ksm_item,		REST)

enum fperf_field {
#define X(NAME, name, CLASS) FPERF_FIELD_##NAME,
	FPERF_FIELDS(X)
#undef X
		FPERF_NR_FIELDS
};

enum fperf_object_class { FPERF_CLASS_PAGE, FPERF_CLASS_TABLE, FPERF_CLASS_REST, FPERF_NR_CLASSES };

enum fperf_access { FPERF_LOAD, FPERF_STORE, FPERF_RMW, FPERF_NR_ACCESSES };
enum fperf_dependence { FPERF_DEPENDENT, FPERF_STREAMING, FPERF_NR_DEPENDENCES };

/* Where an access was served. UNKNOWN is the only one the count back end uses. */
#define FPERF_LEVELS(X)						\
	X(UNKNOWN,	unknown)				\
	X(L1,		l1)					\
	X(L2,		l2)					\
	X(L3,		l3)					\
	X(L4,		l4)					\
	X(DRAM,		dram)

enum fperf_level {
#define X(NAME, name) FPERF_LEVEL_##NAME,
	FPERF_LEVELS(X)
#undef X
		FPERF_NR_LEVELS
};

/* One row of counters: [field][access][dependence][level]. */
#define FPERF_FIELD_STRIDE (FPERF_NR_ACCESSES * FPERF_NR_DEPENDENCES * FPERF_NR_LEVELS)
#define FPERF_ROW_SIZE (FPERF_NR_FIELDS * FPERF_FIELD_STRIDE)

#define FPERF_BACKENDS(X)					\
	X(COUNT,	count)					\
	X(CACHE,	cache)					\
	X(NATIVE,	native)

enum fperf_backend {
#define X(NAME, name) FPERF_BACKEND_ID_##NAME,
	FPERF_BACKENDS(X)
#undef X
		FPERF_NR_BACKENDS
};

/* Advice of FPERF_OP_MADVISE (fperf_event.what). */
#define FPERF_ADVICES(X)					\
	X(DONTNEED,	DONTNEED)				\
	X(HUGEPAGE,	HUGEPAGE)				\
	X(NOHUGEPAGE,	NOHUGEPAGE)				\
	X(DONTFORK,	DONTFORK)				\
	X(DOFORK,	DOFORK)					\
	X(WIPEONFORK,	WIPEONFORK)				\
	X(KEEPONFORK,	KEEPONFORK)				\
	X(POPULATE_READ, POPULATE_READ)				\
	X(POPULATE_WRITE, POPULATE_WRITE)			\
	X(DONTNEED_LOCKED, DONTNEED_LOCKED)			\
	X(NORMAL,	NORMAL)					\
	X(RANDOM,	RANDOM)					\
	X(SEQUENTIAL,	SEQUENTIAL)				\
	X(DONTDUMP,	DONTDUMP)				\
	X(DODUMP,	DODUMP)					\
	X(COLD,		COLD)					\
	X(PAGEOUT,	PAGEOUT)				\
	X(COLLAPSE,	COLLAPSE)				\
	X(FREE,		FREE)					\
	X(MERGEABLE,	MERGEABLE)				\
	X(UNMERGEABLE,	UNMERGEABLE)				\
	X(REMOVE,	REMOVE)					\
	X(GUARD_INSTALL, GUARD_INSTALL)				\
	X(GUARD_REMOVE,	GUARD_REMOVE)				\
	X(IGNORED,	IGNORED)	/* WILLNEED ...: no effect on mappings or VMAs */

enum fperf_advice {
#define X(NAME, name) FPERF_ADVICE_##NAME,
	FPERF_ADVICES(X)
#undef X
		FPERF_NR_ADVICES
};

/* fperf_event.flags */
enum {
	FPERF_PROT_READ = 1u << 0, /* MMAP, MPROTECT; exec counts as read */
	FPERF_PROT_WRITE = 1u << 1,
	FPERF_MAP_SHARED = 1u << 2, /* MMAP */
	FPERF_MAP_FIXED = 1u << 3, /* MMAP: replace what is there */
	FPERF_MAP_GROWSDOWN = 1u << 4, /* MMAP: a stack */
	FPERF_TOUCH_WRITE = 1u << 5, /* TOUCH: write instead of read */
	FPERF_FORK_SHARE_MM = 1u << 6, /* FORK: CLONE_VM|CLONE_VFORK, the child uses its parent's mm until exec */
	FPERF_EVENT_FLAGS = (1u << 7) - 1,
};

/* TOUCH: fperf_event.what of a write that fills the page with one byte; 0: it writes one byte. */
#define FPERF_TOUCH_FILL 1u

/* SMAPS: fperf_event.what of a read that walks where the scheme knows no mapcount; 0: its guess is used. */
#define FPERF_SMAPS_EXACT 1u

/* MMAP: fperf_event.what for anonymous memory; else the index of an object plus one. */
#define FPERF_WHAT_ANON 0u

/*
 * One event. Addresses and lengths are in base pages of the modelled machine.
 *
 *   op               uses
 *   mmap             process vpn nr what(0 anon, object + 1) arg(offset in object) flags
 *   munmap           process vpn nr
 *   mremap           process vpn nr(old) arg(new vpn) arg2(new nr)
 *   mprotect         process vpn nr flags
 *   madvise          process vpn nr what(advice)
 *   touch            process vpn nr flags what: one access per page, ascending
 *   fork             process arg(child) flags
 *   exec, exit       process
 *   truncate         what(object + 1) nr(new size)
 *   read_object      what(object + 1): every page becomes resident
 *   drop_object      what(object + 1): clean, unmapped page cache goes
 *   total_mapcount, folio_referenced, try_to_unmap, maybe_pinned   process vpn nr: once per folio mapped in the range
 *   smaps            process what(0 or FPERF_SMAPS_EXACT)
 *   pin, splice      process vpn nr: long-term pins of a ring; plain references of a pipe
 *   unpin, unsplice  process
 *   mlock, munlock   process vpn nr
 *   split            process vpn nr arg(order): the folios mapped in the range, as through debugfs
 *   deferred_split   the deferred split queue is worked off
 *   migrate          process vpn nr: each folio mapped in the range moves to fresh pages
 *   khugepaged       process vpn nr: khugepaged scans the range
 *   move_pages       process vpn nr: mbind() moves what this process alone maps there
 *   numa_balance     process vpn nr: NUMA balancing scans the range, then its process touches it from another node
 *   pagemap, numa_maps   process: reads that file of /proc
 *   kpagecount       reads /proc/kpagecount
 *   memory_failure   process vpn nr: the pages mapped there go bad
 *   compact, reclaim, page_idle  goes through all of memory
 *   swapon, swapoff  anonymous pages may be reclaimed by MADV_PAGEOUT; all pages come back
 *   punch_hole       what(object + 1) vpn(first page) nr: those pages leave it
 *   ksm              ksmd merges equal pages of mergeable VMAs, in four full scans
 */
struct fperf_event {
	uint16_t op;  /* enum fperf_op */
	uint16_t cpu;
	uint32_t process;
	uint32_t what;
	uint32_t flags;
	uint64_t vpn;
	uint64_t nr;
	uint64_t arg;
	uint64_t arg2;
};

/* Result of one event in the status array: 0 applied, 1 nothing to do, negative a FPERF_ERR. */
enum { FPERF_APPLIED = 0, FPERF_NOOP = 1 };

/* File objects a scenario maps. */
#define FPERF_OBJECT_KINDS(X)					\
	X(FILE,		file)	/* page cache of a filesystem; pages appear when read */ \
	X(MEMFD,	memfd)	/* shmem; pages appear at the first fault */	\
	X(TMPFS,	tmpfs)	/* shmem with huge=always */			\
	X(ANON_SHARED,	anon_shared)	/* MAP_SHARED | MAP_ANONYMOUS, or /dev/zero */

enum fperf_object_kind {
#define X(NAME, name) FPERF_OBJECT_##NAME,
	FPERF_OBJECT_KINDS(X)
#undef X
		FPERF_NR_OBJECT_KINDS
};

struct fperf_object_desc {
	uint32_t kind; /* enum fperf_object_kind */
	uint32_t order;	 /* FILE: folio order the page cache uses, clipped at the ends of the file */
	uint64_t nr_pages;
	uint32_t warm; /* FILE: 1 = taken to be in the page cache before the scenario starts */
	uint32_t pad;
};

/* Questions a consumer may ask a scheme. */
#define FPERF_QUESTIONS(X)					\
	X(MAPPED,	mapped)		/* is any page mapped? */		\
	X(SHARED,	shared)		/* mapped by more than one mm? */	\
	X(TOTAL_MAPCOUNT, total_mapcount)	/* PTE + PMD mappings, each once */ \
	X(PAGE_MAPCOUNT, page_mapcount)	/* mappings of one page */		\
	X(MAPPING_REFS, mapping_refs)	/* references that mappings own */

enum fperf_question {
#define X(NAME, name) FPERF_ASK_##NAME,
	FPERF_QUESTIONS(X)
#undef X
		FPERF_NR_QUESTIONS
};

enum fperf_answer { FPERF_NO = 0, FPERF_YES = 1, FPERF_COUNT = 2, FPERF_UNKNOWN = 3 };

/* Designs that count VMAs: how "does this VMA map a page of the folio already?" is answered. schemes.md 3.2. */
#define FPERF_PRESENCES(X)					\
	X(SCAN,		scan)	/* entries in ascending order, until a hit */	\
	X(ORACLE,	oracle)	/* free: a lower bound */			\
	X(NEIGHBOURS,	neighbours) /* the two entries beside the run first */	\
	X(PMD_SPECIAL,	pmd_special) /* a bit in the PMD entry, for PMD-sized folios */ \
	X(BATCH,	batch)	/* known where the run is all the VMA can map */

enum fperf_presence {
#define X(NAME, name) FPERF_PRESENCE_##NAME,
	FPERF_PRESENCES(X)
#undef X
		FPERF_NR_PRESENCES
};

/* zero_one_two_many: who brings Many down again, and when. schemes.md 7.4. */
#define FPERF_RECOUNTS(X)					\
	X(LAZY,		lazy)						\
	X(ON_RECLAIM,	on_reclaim)	/* where reclaim walks anyway */	\
	X(ON_WRITE_FAULT, on_write_fault) /* before a write fault copies */	\
	X(EAGER,	eager)		/* each unmap at Many */		\
	X(EAGER_STOP3,	eager_stop3)	/* the same, the walk ends at the third mapper */ \
	X(THRESHOLD,	threshold)	/* each k-th unmap at Many */		\
	X(ANON_EXACT,	anon_exact)	/* anonymous folios have no Many */

enum fperf_recount {
#define X(NAME, name) FPERF_RECOUNT_##NAME,
	FPERF_RECOUNTS(X)
#undef X
		FPERF_NR_RECOUNTS
};

/* What a consumer does where the scheme answers "unknown". */
#define FPERF_UNKNOWN_ACTS(X)					\
	X(ASSUME,	assume)	/* the worse: mapped, shared, the scheme's guess at a count */ \
	X(WALK,		walk)	/* find out by an rmap walk */			\
	X(REPAIR,	repair)	/* the same, and tell the scheme what it found */

enum fperf_unknown_act {
#define X(NAME, name) FPERF_UNKNOWN_##NAME,
	FPERF_UNKNOWN_ACTS(X)
#undef X
		FPERF_NR_UNKNOWN_ACTS
};

/* Where a consumer offers a recount. */
enum fperf_recount_site { FPERF_SITE_UNMAP, FPERF_SITE_RECLAIM, FPERF_SITE_WRITE_FAULT, FPERF_SITE_ANSWER };

/* Everything else a run reports, per event kind and in total. */
struct fperf_event_stats {
	uint64_t count;	   /* events of this kind */
	uint64_t vma_visits;   /* VMAs visited by rmap walks and recounts */
	uint64_t pte_reads;   /* page-table entries read by walks, recounts and presence tests */
	uint64_t lines_read[FPERF_NR_CLASSES]; /* distinct lines per event, summed; only read */
	uint64_t lines_written[FPERF_NR_CLASSES];
	/* Work of mm beside all accesses, which decisions that rest on counts cause or save. */
	uint64_t folios_allocated, folios_freed;
	uint64_t pages_zeroed, pages_copied;
	uint64_t tlb_flushes; /* events that took mappings, or the permission to write, from an mm: one each */
};

struct fperf_totals {
	uint64_t refs_peak; /* largest number of references of one folio due to mappings */
	uint64_t asked;	 /* questions consumers put to the scheme */
	uint64_t false_shared; /* "shared" answered or assumed while one mm maps the folio */
	uint64_t
		false_exclusive; /* "not shared" while two or more mms map it; 0 but in designs that look at one page */
	uint64_t false_mapped; /* "mapped" answered or assumed of an unmapped folio */
	uint64_t false_pinned; /* "maybe pinned" answered of a folio without a pin */
	uint64_t stale_many; /* answers lost to Many while fewer than three VMAs map the folio */
	uint64_t leaked_pages; /* pages of unmapped folios that stale counts keep allocated, now */
	uint64_t leaked_pages_peak;
	uint64_t anon_vma_hazard; /* anon_vmas that died while a stale count still points at them */
	uint64_t cow_copies;
	uint64_t cow_reuses;
	uint64_t pages_mapped; /* PTE entries written by map and fork, PMDs counted with all their pages */
	uint64_t pages_unmapped;
	uint64_t faults_satisfied; /* touches of pages that were already mapped as needed */
	uint64_t folios_live;
	uint64_t pages_live;
	uint64_t pss_error_abs; /* sum over smaps reads of |PSS by the scheme - PSS by the truth|, bytes */
	uint64_t uss_error_abs;
	uint64_t swap_outs;
	uint64_t swap_ins;
	uint64_t file_discards;
	uint64_t folio_splits;
	uint64_t splits_refused; /* somebody else refers to the folio, or a stale count does */
	uint64_t migrations;
	uint64_t migrations_refused;
	uint64_t collapses; /* ranges that a PMD maps afterwards */
	uint64_t collapses_refused;
	/* What answers led to, held against the ledger. */
	uint64_t answers_walked; /* questions answered by a walk, since the scheme did not know */
	uint64_t leaked_page_events; /* leaked_pages summed over all events: how much, times how long */
	uint64_t copies_needless; /* CoW copies of a page that nobody else mapped or held */
	uint64_t refused_needlessly; /* splits, migrations, collapses refused though mappings and caches hold all */
	uint64_t skipped_as_shared; /* folios that one mm maps, passed over because others might */
	uint64_t swap_slots_wasted; /* allocated for pages that nobody mapped */
	uint64_t swap_slots_kept; /* by pages in the swap cache that nobody maps, each time nobody could tell */
	uint64_t memory_failures; /* pages that went bad and were taken out of use */
	uint64_t killed; /* processes, for having mapped them */
	uint64_t killed_needlessly; /* pages among them: clean, unmapped, and their mappers killed all the same */
	uint64_t partial_missed; /* partly unmapped folios that never came to the deferred split queue */
	uint64_t false_not_exclusive; /* pagemap: pages mapped once, not said to be */
	uint64_t false_page_exclusive; /* pagemap: pages mapped more than once, said to be mapped once */
	uint64_t page_mapcounts_wrong; /* kpagecount: pages whose count was wrong */
	uint64_t mapmax_error_abs; /* numa_maps: sum over VMAs of |largest count - true one| */
};

#endif
