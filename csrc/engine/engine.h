/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The public face of libfperf: create a simulated machine, give it events, read counters and struct pages.
 *
 *   fperf_sim_create()   checks the configuration and reserves the modelled memory
 *   fperf_sim_run()      runs events; 0, or the error of the first event that failed, by index
 *   fperf_sim_*()        read what happened
 *
 * One simulation belongs to one thread at a time. The library never prints and never exits; see fperf_error.h.
 */
#ifndef FPERF_ENGINE_H
#define FPERF_ENGINE_H

#include "core/fperf_error.h"
#include "core/fperf_abi.h"
#include "core/fperf_types.h"

struct fperf_sim;

int fperf_sim_create(const struct fperf_config *config, struct fperf_sim **ret) FPERF_MUST_CHECK;
void fperf_sim_destroy(struct fperf_sim *sim);

/* Add an object; its index is *ret (0, 1, ...). */
int fperf_sim_add_object(struct fperf_sim *sim, const struct fperf_object_desc *desc, uint32_t *ret) FPERF_MUST_CHECK;

/* Put pages [index, index + 2^order) of a FILE object into the page cache as one folio (golden layouts). */
int fperf_sim_populate(struct fperf_sim *sim, uint32_t object, uint64_t index, uint32_t order) FPERF_MUST_CHECK;

/*
 * Run nr events. status may be NULL, else one entry per event. *done is the number of events finished; on error it is
 * the index of the event that failed. An event that breaks a rule has changed nothing; one that runs out of memory
 * on its way (PFN_SPACE, TABLE_SPACE, NO_MEMORY) keeps what it did before, as a system call does.
 */
int fperf_sim_run(struct fperf_sim *sim, const struct fperf_event *events, size_t nr, int32_t *status,
		  size_t *done) FPERF_MUST_CHECK;

/*
 * Set the reference count of a live folio's head, so that the last steps of a run nobody can afford are run from there. The
 * ledger does not know of it.
 */
int fperf_sim_preset_refs(struct fperf_sim *sim, uint64_t pfn, int32_t refs) FPERF_MUST_CHECK;
/*
 * Arm an event (a touch, or MADV_DONTNEED: what may change entries while a walk holds the tree) to run in the middle of
 * the next recount, after `visits` VMAs of its walk.
 */
int fperf_sim_interrupt(struct fperf_sim *sim, uint32_t visits, const struct fperf_event *event) FPERF_MUST_CHECK;

/* uint64 [event kind][cause][field][access][dependence][level]; lives as long as the simulation. */
const uint64_t *fperf_sim_counters(const struct fperf_sim *sim, size_t *nr);
void fperf_sim_event_stats(const struct fperf_sim *sim, struct fperf_event_stats stats[FPERF_NR_EVENT_KINDS]);
void fperf_sim_totals(const struct fperf_sim *sim, struct fperf_totals *totals);

/* Struct pages 0 .. *nr_pages - 1, 64 bytes each: all page frames handed out so far. */
const void *fperf_sim_struct_pages(const struct fperf_sim *sim, uint64_t *nr_pages);

/* What one process maps: fills up to cap rows, *nr = rows there are. Costs nothing in the model. */
int fperf_sim_mappings(struct fperf_sim *sim, uint32_t process, struct fperf_mapping_row *rows, size_t cap,
		       size_t *nr) FPERF_MUST_CHECK;

int fperf_sim_smaps(struct fperf_sim *sim, uint32_t process, struct fperf_vma_row *rows, size_t cap,
		    size_t *nr) FPERF_MUST_CHECK;

/* What the smaps events so far read, in order. */
const struct fperf_smaps_row *fperf_sim_smaps_log(const struct fperf_sim *sim, size_t *nr);

/* A folio as it stands, truth beside it. */
int fperf_sim_folio(struct fperf_sim *sim, uint64_t pfn, struct fperf_folio_row *row) FPERF_MUST_CHECK;

/* Page cache of an object: pfns of its first nr pages, 0 where none is. Large folios may reach beyond its end. */
int fperf_sim_resident(const struct fperf_sim *sim, uint32_t object, uint64_t *pfns, size_t nr) FPERF_MUST_CHECK;

/* What the scheme says of each page, without cost; its best guess where it does not know, -1 where no folio is. */
void fperf_sim_page_mapcounts(struct fperf_sim *sim, const uint64_t *pfns, size_t nr, int64_t *mapcounts);

/* Ask the scheme without cost: one of enum fperf_answer, count in *value. page = index in the folio. */
int fperf_sim_ask(struct fperf_sim *sim, uint32_t question, uint64_t folio_pfn, uint32_t page, int64_t *value);

/* Recount everything from the page tables and compare with the ledger and, where exact, with the scheme's bytes. */
int fperf_sim_check(struct fperf_sim *sim, char *message, size_t size);

/* The access log (trace_accesses): what touched which line in which order, runs already merged. */
const struct fperf_access_row *fperf_sim_accesses(const struct fperf_sim *sim, size_t *nr);
void fperf_sim_accesses_clear(struct fperf_sim *sim);

/* The log of calls that change struct pages (log_rmap); answers the scheme got are in fperf_sim_answers(). */
const struct fperf_rmap_op *fperf_sim_rmap_log(const struct fperf_sim *sim, size_t *nr);
const int64_t *fperf_sim_answers(const struct fperf_sim *sim, size_t *nr);

/*
 * Replay a log against a fresh struct page array with the native back end, folios dealt out to nr_threads threads by
 * their page frame. sim gives geometry, scheme and size; on return `pages` (nr_pages x 64 bytes) holds the result.
 */
int fperf_replay_native(const struct fperf_sim *sim, const struct fperf_rmap_op *log, size_t nr, const int64_t *answers,
			uint32_t nr_threads, void *pages, uint64_t nr_pages, uint64_t *ns) FPERF_MUST_CHECK;

/* Name tables: fperf_name_table(FPERF_NAMES_FIELDS)[i]; NULL-terminated. */
enum fperf_names {
	FPERF_NAMES_OPS,
	FPERF_NAMES_EVENT_KINDS,
	FPERF_NAMES_CAUSES,
	FPERF_NAMES_FIELDS,
	FPERF_NAMES_FIELD_CLASSES,
	FPERF_NAMES_LEVELS,
	FPERF_NAMES_BACKENDS,
	FPERF_NAMES_ADVICES,
	FPERF_NAMES_OBJECT_KINDS,
	FPERF_NAMES_QUESTIONS,
	FPERF_NAMES_SCHEMES,
	FPERF_NAMES_HOOKS,
	FPERF_NAMES_PRESENCES,
	FPERF_NAMES_RECOUNTS,
	FPERF_NAMES_UNKNOWN_ACTS,
	FPERF_NR_NAMES
};
const char *const *fperf_name_table(enum fperf_names which);

#endif
