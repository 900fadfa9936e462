/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * get_user_pages(): references that neither a mapping nor a cache owns. A pin (FOLL_PIN) of a small folio is 1024 of them,
 * of a large one a reference and a count of pins; what vmsplice puts into a pipe is a plain reference.
 */
#include "mm/mm.h"

/* What one io_uring ring or one pipe holds, for as long as a process has it open. */
struct fperf_hold {
	uint64_t *pfns;
	uint64_t nr, cap;
	uint32_t users;
	bool pins;
};

static int32_t *pincount(struct fperf_sim *sim, uint64_t folio)
{
	return fperf_page_s32(fperf_pfn_page(&sim->mem, folio + 1), sim->pincount_at);
}

/* A design that counts all pins itself, small folios' too. */
static bool scheme_counts_pins(const struct fperf_sim *sim)
{
	return sim->cfg.pins_exact && sim->scheme->pin_add;
}

/* A folio of two pages has no second tail, where the count stood up to v5.17, and stands in some layouts. */
static bool has_pincount(const struct fperf_sim *sim, uint64_t folio)
{
	return scheme_counts_pins(sim) ||
	       fperf_folio_order(sim, folio) >
		       (sim->prof.version < FPERF_KERNEL(5, 18) || sim->pincount_at >= sizeof(struct fperf_page));
}

void fperf_pin_add(struct fperf_sim *sim, uint64_t folio, int32_t delta)
{
	if (sim->logging) {
		struct fperf_rmap_op *const op = fperf_log_append(sim, FPERF_HOOK_PIN_ADD, folio);

		if (op)
			op->delta = delta;
	}
	if (scheme_counts_pins(sim))
		fperf_rmap_pin_add(sim, folio, delta);
	else
		fperf_add32(&sim->door, FPERF_FIELD_PINCOUNT, pincount(sim, folio), delta);
}

static void grab(struct fperf_sim *sim, uint64_t folio, int32_t nr, bool pin)
{
	const int32_t refs = pin && !has_pincount(sim, folio) ? nr * FPERF_PIN_BIAS : nr;

	fperf_folio_ref(sim, folio, refs);
	sim->folios[folio].held_refs += refs;
	if (pin)
		sim->folios[folio].true_pins += (uint32_t)nr;
	if (pin && has_pincount(sim, folio))
		fperf_pin_add(sim, folio, nr);
}

static void put(struct fperf_sim *sim, uint64_t folio, int32_t nr, bool pin)
{
	const int32_t refs = pin && !has_pincount(sim, folio) ? nr * FPERF_PIN_BIAS : nr;

	if (pin)
		sim->folios[folio].true_pins -= (uint32_t)nr;
	if (pin && has_pincount(sim, folio))
		fperf_pin_add(sim, folio, -nr);
	sim->folios[folio].held_refs -= refs;
	fperf_folio_ref(sim, folio, -refs);
	fperf_folio_maybe_free(sim, folio);
}

bool fperf_maybe_pinned(struct fperf_sim *sim, uint64_t folio)
{
	bool maybe;

	if (scheme_counts_pins(sim))
		maybe = fperf_rmap_pins(sim, folio) > 0;
	else if (has_pincount(sim, folio))
		maybe = (int32_t)fperf_load32(&sim->door, FPERF_FIELD_PINCOUNT, pincount(sim, folio)) > 0;
	else
		maybe = fperf_folio_load_refs(sim, folio) >= FPERF_PIN_BIAS;
	sim->totals.false_pinned += sim->cfg.truth && maybe && !sim->folios[folio].true_pins;
	return maybe;
}

bool fperf_needs_copy_for_pin(struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t folio)
{
	return vma->mm->has_pinned && !(vma->flags & FPERF_VM_SHARED) && fperf_maybe_pinned(sim, folio);
}

/* ---- who has a hold open ---- */

static int hold_open(struct fperf_process *process, struct fperf_hold *hold)
{
	struct fperf_hold **const grown = realloc(process->open, (process->nr_open + 1) * sizeof(*process->open));

	if (!grown)
		return FPERF_ERR(NO_MEMORY);
	process->open = grown;
	process->open[process->nr_open++] = hold;
	hold->users++;
	return 0;
}

static void hold_free(struct fperf_hold *hold)
{
	free(hold->pfns);
	free(hold);
}

/* Runs of pages of one folio are put together, as unpin_user_pages() does. */
static void hold_empty(struct fperf_sim *sim, struct fperf_hold *hold)
{
	for (uint64_t i = 0, nr; i < hold->nr; i += nr) {
		const uint64_t folio = fperf_folio_head(sim, hold->pfns[i]);

		for (nr = 1; i + nr < hold->nr && fperf_folio_head(sim, hold->pfns[i + nr]) == folio;)
			nr++;
		put(sim, folio, (int32_t)nr, hold->pins);
	}
	hold->nr = 0;
}

static void hold_close(struct fperf_sim *sim, struct fperf_process *process, struct fperf_hold *hold)
{
	uint32_t at = 0;

	while (process->open[at] != hold)
		at++;
	process->open[at] = process->open[--process->nr_open];
	if (process->ring == hold)
		process->ring = NULL;
	if (process->pipe == hold)
		process->pipe = NULL;
	if (--hold->users)
		return;
	hold_empty(sim, hold);
	hold_free(hold);
}

int fperf_holds_fork(const struct fperf_process *parent, struct fperf_process *child)
{
	for (uint32_t i = 0; i < parent->nr_open; i++) {
		const int ret = hold_open(child, parent->open[i]);

		if (ret)
			return ret;
	}
	child->pipe = parent->pipe;
	return 0;
}

/* Rings close at exec, pipes stay. */
void fperf_holds_close(struct fperf_sim *sim, struct fperf_process *process, bool rings_only)
{
	for (uint32_t i = process->nr_open; i--;)
		if (!rings_only || process->open[i]->pins)
			hold_close(sim, process, process->open[i]);
	process->ring = NULL;
	if (process->nr_open)
		return;
	free(process->open);
	process->open = NULL;
	process->pipe = NULL;
}

/* Host memory only. */
void fperf_holds_destroy(struct fperf_process *process)
{
	for (uint32_t i = 0; i < process->nr_open; i++)
		if (!--process->open[i]->users)
			hold_free(process->open[i]);
	free(process->open);
}

static int hold_new(struct fperf_process *process, bool pins, struct fperf_hold **ret)
{
	struct fperf_hold *const hold = calloc(1, sizeof(*hold));
	int err;

	if (!hold)
		return FPERF_ERR(NO_MEMORY);
	hold->pins = pins;
	err = hold_open(process, hold);
	if (err)
		free(hold);
	else
		*ret = hold;
	return err;
}

static int hold_add(struct fperf_hold *hold, uint64_t pfn)
{
	if (hold->nr == hold->cap) {
		const uint64_t cap = hold->cap ? hold->cap * 2 : 64;
		uint64_t *const grown = realloc(hold->pfns, cap * sizeof(*grown));

		if (!grown)
			return FPERF_ERR(NO_MEMORY);
		hold->pfns = grown;
		hold->cap = cap;
	}
	hold->pfns[hold->nr++] = pfn;
	return 0;
}

/* ---- taking and giving back ---- */

/* The lockless walk: pages under a PMD are taken by one add, PTEs one by one. The zero page is left out. */
static int grab_mapped(struct fperf_sim *sim, struct fperf_hold *hold, struct fperf_mm *mm, uint64_t vpn, uint64_t nr)
{
	for (uint64_t i = 0, run; i < nr; i += run) {
		const uint64_t *const pmd = fperf_pmd_walk(sim, mm, vpn + i);
		const uint32_t index = fperf_pte_index(sim, vpn + i);
		uint64_t entry = pmd ? *pmd : 0;
		uint64_t pfn;

		run = 1;
		if (entry & FPERF_PTE_LEAF) {
			run = sim->entries - index < nr - i ? sim->entries - index : nr - i;
			pfn = fperf_pte_pfn(entry) + index;
		} else {
			const uint64_t *const pte = fperf_table(&sim->mem, fperf_pmd_table(entry)) + index;

			fperf_charge_ptes(sim, FPERF_LOAD, pte, 1);
			entry = *pte;
			pfn = fperf_pte_pfn(entry);
		}
		if (entry & FPERF_PTE_ZERO)
			continue;
		/* The guard of v5.1 against counts that were driven past the sign bit (CVE-2019-11487). */
		if (fperf_head(sim, fperf_folio_head(sim, pfn))->refcount <= 0)
			return FPERF_ERR(REF_OVERFLOW);
		for (uint64_t j = 0; j < run; j++) {
			const int ret = hold_add(hold, pfn + j);

			if (ret)
				return ret;
		}
		grab(sim, fperf_folio_head(sim, pfn), (int32_t)run, hold->pins);
	}
	return 0;
}

/*
 * io_uring keeps one pin per large folio of a buffer where the buffer is one folio (v6.4), or a row of folios of one size
 * without gaps (v6.12).
 */
static bool buffer_coalesces(const struct fperf_sim *sim, const struct fperf_hold *hold)
{
	const uint32_t order = hold->nr > 1 ? fperf_folio_order(sim, hold->pfns[0]) : 0;
	const uint64_t last = (1ull << order) - 1;

	if (!order || sim->prof.version < FPERF_KERNEL(6, 4))
		return false;
	for (uint64_t i = 1; i < hold->nr; i++) {
		const uint64_t before = hold->pfns[i - 1], pfn = hold->pfns[i];

		if (fperf_folio_head(sim, pfn) == fperf_folio_head(sim, before)) {
			if (pfn != before + 1 && sim->prof.version >= FPERF_KERNEL(6, 12))
				return false;
			continue;
		}
		if (sim->prof.version < FPERF_KERNEL(6, 12) || fperf_folio_order(sim, pfn) != order ||
		    (before & last) != last || pfn & last)
			return false;
	}
	return true;
}

static void coalesce(struct fperf_sim *sim, struct fperf_hold *hold)
{
	uint64_t kept = 0;

	if (!buffer_coalesces(sim, hold))
		return;
	for (uint64_t i = 0, nr; i < hold->nr; i += nr) {
		const uint64_t folio = fperf_folio_head(sim, hold->pfns[i]);

		for (nr = 1; i + nr < hold->nr && fperf_folio_head(sim, hold->pfns[i + nr]) == folio;)
			nr++;
		if (nr > 1)
			put(sim, folio, (int32_t)nr - 1, true);
		hold->pfns[kept++] = hold->pfns[i];
	}
	hold->nr = kept;
}

int fperf_pin_begin(struct fperf_process *process)
{
	process->mm->has_pinned = true;
	return hold_new(process, true, &process->ring);
}

int fperf_pin_more(struct fperf_sim *sim, struct fperf_process *process, uint64_t vpn, uint64_t nr)
{
	return grab_mapped(sim, process->ring, process->mm, vpn, nr);
}

void fperf_pin_end(struct fperf_sim *sim, struct fperf_process *process)
{
	coalesce(sim, process->ring);
}

/* Unregistering gives the pages back, whoever else has the ring open; closing a pipe does not. */
void fperf_unpin(struct fperf_sim *sim, struct fperf_process *process)
{
	hold_empty(sim, process->ring);
	hold_close(sim, process, process->ring);
}

int fperf_splice(struct fperf_sim *sim, struct fperf_process *process, uint64_t vpn, uint64_t nr)
{
	int ret = hold_new(process, false, &process->pipe);

	if (ret)
		return ret;
	ret = grab_mapped(sim, process->pipe, process->mm, vpn, nr);
	if (ret)
		fperf_unsplice(sim, process);
	return ret;
}

void fperf_unsplice(struct fperf_sim *sim, struct fperf_process *process)
{
	hold_close(sim, process, process->pipe);
}
