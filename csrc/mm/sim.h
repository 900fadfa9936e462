/* SPDX-License-Identifier: BSD-3-Clause */
/* The simulated machine: what mm, consumers and schemes share. */
#ifndef FPERF_SIM_H
#define FPERF_SIM_H

#include "access/access.h"
#include "core/fperf_abi.h"
#include "mm/itree.h"
#include "mm/names.h"

struct fperf_scheme_ops;
struct fperf_vma;
struct fperf_mm;
struct fperf_ksm;
struct fperf_ksm_mm;
struct fperf_ksm_page;
struct fperf_ksm_item;

/* struct anon_vma: the root of the tree of VMAs that may map the anonymous folios that point to it. */
struct fperf_anon_vma {
	struct fperf_itree tree;
	struct fperf_anon_vma *root, *parent;
	uint32_t num_children, num_active_vmas; /* as the kernel keeps them: who may be reused at fork */
	uint64_t refs; /* chains, folios and child anon_vmas pointing here */
	uint64_t nr_leaked; /* folios that only a stale count keeps, and that point here */
	uint64_t at;
};

/* struct anon_vma_chain: one per VMA and anon_vma. */
struct fperf_avc {
	struct fperf_vma *vma;
	struct fperf_anon_vma *anon_vma;
	struct fperf_avc *prev, *next; /* of the same VMA, newest first */
	struct fperf_itnode node;
};

enum fperf_vma_flags {
	FPERF_VM_READ = 1u << 0,
	FPERF_VM_WRITE = 1u << 1,
	FPERF_VM_SHARED = 1u << 2,
	FPERF_VM_GROWSDOWN = 1u << 3,
	FPERF_VM_HUGEPAGE = 1u << 4,
	FPERF_VM_NOHUGEPAGE = 1u << 5,
	FPERF_VM_DONTCOPY = 1u << 6,
	FPERF_VM_WIPEONFORK = 1u << 7,
	FPERF_VM_LOCKED = 1u << 8,
	FPERF_VM_RAND_READ = 1u << 9, /* these three only keep VMAs apart */
	FPERF_VM_SEQ_READ = 1u << 10,
	FPERF_VM_DONTDUMP = 1u << 11,
	FPERF_VM_MERGEABLE = 1u << 12,
	FPERF_VM_MAYBE_GUARD = 1u << 13, /* keeps no VMAs apart; since v6.19 */
};

struct fperf_object {
	struct fperf_itree i_mmap;
	uint64_t *pfns;	 /* page cache: pfn of each page, 0 = not resident */
	uint64_t capacity; /* entries reserved in pfns */
	uint64_t nr_pages;
	uint64_t at;
	uint32_t kind, order, warm, index;
};

struct fperf_vma {
	struct fperf_mm *mm;
	uint64_t start, end; /* vpn */
	uint64_t pgoff;
	uint32_t flags, id;
	struct fperf_object *object; /* NULL: anonymous */
	struct fperf_anon_vma *anon_vma;
	struct fperf_avc *avc_first, *avc_last;
	struct fperf_itnode node; /* in object->i_mmap */
	uint64_t at;
};

struct fperf_mm {
	uint32_t id;
	uint32_t users;	 /* processes that run in it */
	uint32_t root_table;
	bool has_large;	 /* a large folio was mapped here once */
	bool has_guards; /* a guard region was installed here once */
	bool has_pinned; /* something was pinned here once */
	bool doomed; /* maps a page that has gone bad; not beyond its event */
	struct fperf_vma **vmas; /* sorted by address */
	uint32_t nr_vmas, cap_vmas, cached;
	uint64_t at;
	struct fperf_ksm_mm *ksm; /* ksmd visits it */
};

enum { FPERF_PROC_NEVER, FPERF_PROC_ALIVE, FPERF_PROC_EXITED };
struct fperf_hold;
struct fperf_process {
	struct fperf_mm *mm;
	uint32_t state;
	struct fperf_hold *ring, *pipe; /* its own, if any; see gup.c */
	struct fperf_hold **open; /* these, and what it inherited */
	uint32_t nr_open;
};

/* What the model knows of a folio beside its struct pages; indexed by the head's pfn. */
struct fperf_folio {
	union {
		struct fperf_anon_vma *anon_vma;
		struct fperf_object *object;
	};
	struct fperf_ksm_page *ksm; /* a KSM page: of no one anon_vma, at no one page offset */
	uint64_t index;
	int32_t mapping_refs; /* references that mappings own, as the scheme accounts them */
	int32_t held_refs; /* references of rings and pipes, a pin of a small folio as 1024 */
	uint32_t true_pte, true_pmd; /* the ledger: mappings by PTE, by PMD */
	uint32_t true_pages; /* pages that a PTE maps; large folios only */
	uint32_t true_pins;
	uint32_t true_vmas, true_mms; /* large folios only; see truth.c */
	uint32_t swap_slot; /* in the swap cache under this slot plus one */
	bool anon;
	bool live;
	bool deferred; /* on the deferred split queue */
	bool lazyfree; /* not swap-backed: reclaim discards it, unless it was written since */
	bool dirty;    /* an entry that said so is gone; of anonymous folios */
	bool leaked;
	bool poisoned; /* its page has gone bad and is never used again */
	bool misplaced; /* NUMA balancing has marked it */
	bool suspect, partial_missed; /* unmapped in part by this event; left so, and not on the queue */
};

/* Ledger entry of one mm and one large folio. */
struct fperf_share {
	uint64_t key;  /* folio << 32 | mm id; 0 = empty */
	uint32_t pages;	 /* PTE mappings plus pages under PMD mappings */
	uint32_t nr_vmas;
	uint32_t vma_hint; /* id of a VMA known to map it, 0 = unknown */
};

struct fperf_swap_slot {
	uint32_t count;	 /* entries in page tables */
	uint64_t pfn;  /* folio in the swap cache, 0 = none */
	uint16_t content;
};

struct fperf_sim {
	struct fperf_door door;
	const struct fperf_scheme_ops *scheme;
	struct fperf_config cfg;
	struct fperf_profile prof;
	struct fperf_memmap mem;
	struct fperf_totals totals;
	uint32_t entries;  /* per page table */
	unsigned int table_bits, pmd_order, nr_levels;
	uint64_t end_vpn;  /* first page beyond the user address space */
	uint16_t cpu;

	/* page frames */
	struct fperf_folio *folios; /* by pfn of the head */
	uint8_t *page_order;  /* by pfn: order of the folio it belongs to */
	uint16_t *contents;  /* by pfn, see content.c; NULL: nobody asks */
	uint64_t next_pfn;
	struct fperf_frames {
		uint64_t *pfns;
		uint64_t nr, cap;
	} free_frames[32];

	struct fperf_process *processes;
	uint32_t cap_processes;
	uint32_t next_mm_id, next_vma_id;

	struct fperf_object **objects;
	uint32_t nr_objects, cap_objects;

	/* ledger of mms per large folio */
	struct fperf_share *shares;
	uint64_t nr_shares, cap_shares;
	uint32_t *true_mapcounts; /* by pfn: PTEs that map the page; NULL: no ledger is kept */
	uint64_t *suspects; /* folios that the current event unmapped in part */
	uint32_t nr_suspects, cap_suspects;

	struct fperf_swap_slot *swap;
	uint64_t nr_swap, cap_swap;
	uint32_t *free_swap;
	uint64_t nr_free_swap, cap_free_swap;
	bool swap_on;

	/* what each smaps event read */
	struct fperf_smaps_row *smaps;
	size_t nr_smaps, cap_smaps;

	struct fperf_ksm *ksm; /* NULL: nobody has asked for it */

	/* log of calls that change struct pages, and the answers schemes got */
	struct fperf_rmap_op *log;
	size_t nr_log, cap_log;
	int64_t *answers;
	size_t nr_answers, cap_answers;
	bool logging;
	const int64_t *replay; /* native replay: answers come from here */
	uint64_t recounting;  /* folio that the current actor recounts: its own unmaps do not disturb it */
	/* An event armed to run in the middle of the next recount walk: what a recount must survive. */
	uint32_t interrupt_after; /* VMAs still to be visited before it; 0: none armed */
	void (*interrupt)(struct fperf_sim *sim);
	struct fperf_event interrupt_event;
	uint64_t walk_rng;  /* state of the generator behind random walk order */
	uint32_t pincount_at; /* where a large folio's pins are counted, bytes from page[1] */
	uint64_t split_queue_lock_at;
	uint64_t split_queue_lock; /* the word the native back end locks */
	bool bare;   /* only struct pages are to change: the ledger of references stands still (hw) */
	int error;   /* first failure inside a hook or a walk */
};

#endif
