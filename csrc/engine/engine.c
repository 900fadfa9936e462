/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/engine.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "access/access_trace.h"
#include "engine/backend.h"
#include "mm/rmap_hooks.h"
#include "scheme/scheme.h"

static const struct fperf_engine_ops *const backends[FPERF_NR_BACKENDS] = {
	[FPERF_BACKEND_ID_COUNT] = &fperf_backend_count,
	[FPERF_BACKEND_ID_CACHE] = &fperf_backend_cache,
	[FPERF_BACKEND_ID_NATIVE] = &fperf_backend_native,
};

enum {
	NR_SCHEMES = 0
#define X(name) + 1
	FPERF_SCHEMES(X)
#undef X
};

static const struct fperf_engine_ops *backend_of(const struct fperf_sim *sim)
{
	return backends[sim->cfg.backend];
}

static bool flag(uint32_t value)
{
	return value <= 1;
}

static int check_profile(const struct fperf_profile *p, unsigned int page_shift)
{
	const uint64_t window = p->fault_around_bytes;

	if (p->version < FPERF_KERNEL(4, 5) || p->version >= FPERF_KERNEL(100, 0))
		return FPERF_ERR(CONFIG);
	if (!flag(p->anon_exclusive) || !flag(p->batch_file_fault) || !flag(p->batch_file_fault_refs) ||
	    !flag(p->batch_fork) || !flag(p->batch_zap) || !flag(p->batch_pmd_split) || !flag(p->batch_try_to_unmap) ||
	    !flag(p->batch_referenced) || !flag(p->lookup_ref_donated) || !flag(p->fault_maps_folio) ||
	    !flag(p->shmem_fault_maps_folio) || !flag(p->cow_reuses_large) || !flag(p->huge_zero_write_thp) ||
	    !flag(p->mthp) || !flag(p->deferred_split_relock) || !flag(p->remap_spans_vmas))
		return FPERF_ERR(CONFIG);
	if (!p->vma_bytes || p->vma_bytes > 512 || !p->anon_vma_bytes || p->anon_vma_bytes > 512 ||
	    p->vma_walk_lines_file > 8 || p->vma_walk_lines_anon > 8 || p->mm_walk_lines > 8)
		return FPERF_ERR(CONFIG);
	/* A window of less than a page means none; else it must be a power of two. */
	if (window >> page_shift && window & (window - 1))
		return FPERF_ERR(CONFIG);
	return p->max_map_count ? 0 : FPERF_ERR(CONFIG);
}

static int check_config(const struct fperf_config *c)
{
	const unsigned int bits = c->page_shift - 3;

	if (c->abi_version != FPERF_ABI_VERSION)
		return FPERF_ERR(CONFIG);
	if (c->page_shift < 12 || c->page_shift > 18 || c->line_shift < 6 || c->line_shift > 7 ||
	    c->memory_bytes < 64ull << c->page_shift || c->memory_bytes >> c->page_shift > 1ull << 32 ||
	    c->memory_bytes > 1ull << 44)
		return FPERF_ERR(GEOMETRY);
	if (c->scheme >= NR_SCHEMES)
		return FPERF_ERR(SCHEME);
	if (c->backend >= FPERF_NR_BACKENDS || c->presence >= FPERF_NR_PRESENCES || c->recount >= FPERF_NR_RECOUNTS ||
	    c->unknown >= FPERF_NR_UNKNOWN_ACTS || !flag(c->recount_naive) || !flag(c->pins_exact) ||
	    !flag(c->contents) ||
	    (c->pins_exact && (c->recount == FPERF_RECOUNT_THRESHOLD || c->recount == FPERF_RECOUNT_ANON_EXACT)) ||
	    (c->recount == FPERF_RECOUNT_THRESHOLD) != !!c->recount_period || c->recount_period >= 1u << 28 ||
	    !flag(c->truth) || !flag(c->strict) || !flag(c->log_rmap) || !flag(c->trace_accesses))
		return FPERF_ERR(CONFIG);
	if ((c->anon_orders_always | c->anon_orders_madvise | c->shmem_huge) >> (bits + 1))
		return FPERF_ERR(ORDER);
	if (c->backend == FPERF_BACKEND_ID_CACHE && !c->nr_cache_levels)
		return FPERF_ERR(CACHE);
	if (c->nr_cache_levels > FPERF_MAX_CACHE_LEVELS)
		return FPERF_ERR(CACHE);
	return check_profile(&c->profile, c->page_shift);
}

/* Everything but what the back end sets up. */
static int machine_create(const struct fperf_config *config, const struct fperf_engine_ops *backend,
			  struct fperf_sim **ret)
{
	struct fperf_cache_geometry levels[FPERF_MAX_CACHE_LEVELS];
	struct fperf_sim *const sim = calloc(1, sizeof(*sim));
	struct fperf_cache *cache = NULL;
	int err;

	if (!sim)
		return FPERF_ERR(NO_MEMORY);
	sim->cfg = *config;
	sim->prof = config->profile;
	sim->table_bits = config->page_shift - 3;
	sim->pmd_order = sim->table_bits;
	sim->entries = 1u << sim->table_bits;
	sim->end_vpn = 1ull << (47 - config->page_shift);
	/* 48 bits of address; a table resolves page_shift - 3 of them. */
	sim->nr_levels = (48 - config->page_shift + sim->table_bits - 1) / sim->table_bits;
	sim->next_mm_id = sim->next_vma_id = 1;
	sim->logging = config->log_rmap;
	sim->walk_rng = config->walk_order_seed;
	sim->scheme = backend->schemes[config->scheme];
	if (config->variant && config->variant >= sim->scheme->nr_variants) {
		free(sim);
		return FPERF_ERR(CONFIG);
	}
	sim->pincount_at = sim->scheme->pincount_at ? sim->scheme->pincount_at(sim) : 28;
	if (config->backend == FPERF_BACKEND_ID_CACHE) {
		for (unsigned int i = 0; i < config->nr_cache_levels; i++)
			levels[i] =
				(struct fperf_cache_geometry){ config->cache[i].size_bytes, config->cache[i].nr_ways };
		err = fperf_cache_create(levels, config->nr_cache_levels, config->line_shift, &cache);
		if (err)
			goto out_sim;
	}
	err = fperf_memmap_create(&sim->mem, config->page_shift, config->memory_bytes);
	if (err)
		goto out_cache;
	err = fperf_door_init(&sim->door, &sim->mem, cache, config->line_shift);
	if (err)
		goto out_memory;
	sim->door.tracing = config->trace_accesses;
	*ret = sim;
	return 0;
out_memory:
	fperf_memmap_destroy(&sim->mem);
out_cache:
	fperf_cache_destroy(cache);
out_sim:
	free(sim);
	return err;
}

static void machine_destroy(struct fperf_sim *sim)
{
	struct fperf_cache *const cache = sim->door.cache;

	free(sim->smaps);
	free(sim->log);
	free(sim->answers);
	fperf_door_destroy(&sim->door);
	fperf_cache_destroy(cache);
	fperf_memmap_destroy(&sim->mem);
	free(sim);
}

int fperf_sim_create(const struct fperf_config *config, struct fperf_sim **ret)
{
	struct fperf_sim *sim;
	int err = check_config(config);

	if (err)
		return err;
	err = machine_create(config, backends[config->backend], &sim);
	if (err)
		return err;
	err = backend_of(sim)->init(sim);
	if (err) {
		fperf_sim_destroy(sim);
		return err;
	}
	*ret = sim;
	return 0;
}

void fperf_sim_destroy(struct fperf_sim *sim)
{
	if (!sim)
		return;
	backend_of(sim)->destroy(sim);
	machine_destroy(sim);
}

int fperf_sim_add_object(struct fperf_sim *sim, const struct fperf_object_desc *desc, uint32_t *ret)
{
	return backend_of(sim)->add_object(sim, desc, ret);
}

int fperf_sim_populate(struct fperf_sim *sim, uint32_t object, uint64_t index, uint32_t order)
{
	if (object >= sim->nr_objects)
		return FPERF_ERR(NO_OBJECT);
	if (order > sim->pmd_order)
		return FPERF_ERR(ORDER);
	return backend_of(sim)->populate(sim, sim->objects[object], index, order);
}

int fperf_sim_run(struct fperf_sim *sim, const struct fperf_event *events, size_t nr, int32_t *status, size_t *done)
{
	const struct fperf_engine_ops *const backend = backend_of(sim);

	for (size_t i = 0; i < nr; i++) {
		int ret = backend->check(sim, &events[i]);

		if (!ret)
			ret = backend->run(sim, &events[i]);
		if (status)
			status[i] = ret;
		/* The host's or the machine's end is nobody's mistake to note and go on from. */
		if (ret < 0 && (sim->cfg.strict || sim->error || ret == FPERF_ERR(NO_MEMORY) ||
				ret == FPERF_ERR(PFN_SPACE) || ret == FPERF_ERR(TABLE_SPACE))) {
			*done = i;
			return ret;
		}
	}
	*done = nr;
	return 0;
}

int fperf_sim_interrupt(struct fperf_sim *sim, uint32_t visits, const struct fperf_event *event)
{
	if (!visits ||
	    (event->op != FPERF_OP_TOUCH && !(event->op == FPERF_OP_MADVISE && event->what == FPERF_ADVICE_DONTNEED)))
		return FPERF_ERR(ARGUMENT);
	sim->interrupt_after = visits;
	sim->interrupt_event = *event;
	return backend_of(sim)->check(sim, event);
}

const uint64_t *fperf_sim_counters(const struct fperf_sim *sim, size_t *nr)
{
	*nr = (size_t)FPERF_NR_EVENT_KINDS * FPERF_NR_CAUSES * FPERF_ROW_SIZE;
	return sim->door.counters;
}

void fperf_sim_event_stats(const struct fperf_sim *sim, struct fperf_event_stats stats[FPERF_NR_EVENT_KINDS])
{
	memcpy(stats, sim->door.all_stats, FPERF_NR_EVENT_KINDS * sizeof(*stats));
}

void fperf_sim_totals(const struct fperf_sim *sim, struct fperf_totals *totals)
{
	*totals = sim->totals;
}

const void *fperf_sim_struct_pages(const struct fperf_sim *sim, uint64_t *nr_pages)
{
	*nr_pages = sim->next_pfn;
	return sim->mem.pages;
}

static struct fperf_mm *mm_of(const struct fperf_sim *sim, uint32_t process, int *err)
{
	*err = 0;
	if (process >= sim->cap_processes || sim->processes[process].state == FPERF_PROC_NEVER)
		*err = FPERF_ERR(NO_PROCESS);
	else if (sim->processes[process].state == FPERF_PROC_EXITED)
		*err = FPERF_ERR(EXITED);
	return *err ? NULL : sim->processes[process].mm;
}

int fperf_sim_mappings(struct fperf_sim *sim, uint32_t process, struct fperf_mapping_row *rows, size_t cap, size_t *nr)
{
	int err;
	struct fperf_mm *const mm = mm_of(sim, process, &err);

	return err ? err : backend_of(sim)->mappings(sim, mm, rows, cap, nr);
}

/*
 * Look without leaving traces: the count back end does the looking, since all back ends share the same state, and counters,
 * totals and logs are put aside meanwhile.
 */
struct aside {
	struct fperf_door door;
	struct fperf_totals totals;
	const struct fperf_scheme_ops *scheme;
	bool logging;
};

static int put_aside(struct fperf_sim *sim, struct aside *aside)
{
	struct fperf_door *const door = &sim->door;

	*aside = (struct aside){ *door, sim->totals, sim->scheme, sim->logging };
	door->counters = calloc((size_t)FPERF_NR_EVENT_KINDS * FPERF_NR_CAUSES * FPERF_ROW_SIZE, sizeof(uint64_t));
	door->all_stats = calloc(FPERF_NR_EVENT_KINDS, sizeof(*door->all_stats));
	if (!door->counters || !door->all_stats) {
		free(door->counters);
		free(door->all_stats);
		*door = aside->door;
		return FPERF_ERR(NO_MEMORY);
	}
	door->tracing = false;
	door->stamps = NULL;
	sim->scheme = fperf_backend_count.schemes[sim->cfg.scheme];
	sim->logging = false;
	fperf_event_begin(door, FPERF_EV_SMAPS);
	return 0;
}

static void put_back(struct fperf_sim *sim, const struct aside *aside)
{
	free(sim->door.counters);
	free(sim->door.all_stats);
	sim->door = aside->door;
	sim->totals = aside->totals;
	sim->scheme = aside->scheme;
	sim->logging = aside->logging;
}

int fperf_sim_smaps(struct fperf_sim *sim, uint32_t process, struct fperf_vma_row *rows, size_t cap, size_t *nr)
{
	struct aside aside;
	int err;
	struct fperf_mm *const mm = mm_of(sim, process, &err);

	if (!err)
		err = put_aside(sim, &aside);
	if (err)
		return err;
	err = fperf_backend_count.smaps(sim, mm, false, rows, cap, nr);
	put_back(sim, &aside);
	return err;
}

static int folio_at(const struct fperf_sim *sim, uint64_t pfn, uint64_t *folio)
{
	if (!pfn || pfn >= sim->next_pfn)
		return FPERF_ERR(ARGUMENT);
	*folio = backend_of(sim)->head(sim, pfn);
	return sim->folios[*folio].live ? 0 : FPERF_ERR(ARGUMENT);
}

int fperf_sim_preset_refs(struct fperf_sim *sim, uint64_t pfn, int32_t refs)
{
	uint64_t folio;
	const int err = folio_at(sim, pfn, &folio);

	if (!err)
		sim->mem.pages[folio].refcount = refs;
	return err;
}

static int32_t pins_of(const struct fperf_sim *sim, uint64_t folio)
{
	return sim->page_order[folio] ? *fperf_page_s32(&sim->mem.pages[folio + 1], sim->pincount_at) : 0;
}

int fperf_sim_folio(struct fperf_sim *sim, uint64_t pfn, struct fperf_folio_row *row)
{
	uint64_t folio;
	const struct fperf_folio *f;
	const int err = folio_at(sim, pfn, &folio);

	if (err)
		return err;
	f = &sim->folios[folio];
	*row = (struct fperf_folio_row){
		.pfn = folio,
		.index = f->index,
		.order = sim->page_order[folio],
		.anon = f->anon,
		.object = f->anon   ? 0 :
			  f->object ? f->object->index :
				      UINT32_MAX,
		.deferred = f->deferred,
		.refcount = sim->mem.pages[folio].refcount,
		.mapping_refs = f->mapping_refs,
		.pins = pins_of(sim, folio),
		.true_pte = f->true_pte,
		.true_pmd = f->true_pmd,
	};
	backend_of(sim)->truth(sim, folio, &row->true_vmas, &row->true_mms);
	return 0;
}

int fperf_sim_resident(const struct fperf_sim *sim, uint32_t object, uint64_t *pfns, size_t nr)
{
	if (object >= sim->nr_objects)
		return FPERF_ERR(NO_OBJECT);
	if (nr > sim->objects[object]->capacity)
		return FPERF_ERR(ARGUMENT);
	memcpy(pfns, sim->objects[object]->pfns, nr * sizeof(*pfns));
	return 0;
}

void fperf_sim_page_mapcounts(struct fperf_sim *sim, const uint64_t *pfns, size_t nr, int64_t *mapcounts)
{
	for (size_t i = 0; i < nr; i++) {
		uint64_t folio;

		mapcounts[i] = -1;
		if (!folio_at(sim, pfns[i], &folio))
			fperf_sim_ask(sim, FPERF_ASK_PAGE_MAPCOUNT, folio, (uint32_t)(pfns[i] - folio), &mapcounts[i]);
	}
}

int fperf_sim_ask(struct fperf_sim *sim, uint32_t question, uint64_t folio_pfn, uint32_t page, int64_t *value)
{
	struct fperf_query query;
	struct aside aside;
	uint64_t folio;
	int err = question < FPERF_NR_QUESTIONS ? folio_at(sim, folio_pfn, &folio) : FPERF_ERR(ARGUMENT);

	if (!err && page >> sim->page_order[folio])
		err = FPERF_ERR(ARGUMENT);
	if (!err)
		err = put_aside(sim, &aside);
	if (err)
		return err;
	query = (struct fperf_query){
		.folio = folio, .order = sim->page_order[folio], .page = page, .anon = sim->folios[folio].anon
	};
	err = (int)sim->scheme->answer(sim, question, &query, value);
	put_back(sim, &aside);
	return err;
}

int fperf_sim_check(struct fperf_sim *sim, char *message, size_t size)
{
	struct aside aside;
	int err = put_aside(sim, &aside);

	if (err)
		return err;
	err = fperf_backend_count.verify(sim, message, size);
	put_back(sim, &aside);
	return err;
}

const struct fperf_access_row *fperf_sim_accesses(const struct fperf_sim *sim, size_t *nr)
{
	*nr = sim->door.nr_trace;
	return sim->door.trace;
}

void fperf_sim_accesses_clear(struct fperf_sim *sim)
{
	sim->door.nr_trace = 0;
}

const struct fperf_smaps_row *fperf_sim_smaps_log(const struct fperf_sim *sim, size_t *nr)
{
	*nr = sim->nr_smaps;
	return sim->smaps;
}

const struct fperf_rmap_op *fperf_sim_rmap_log(const struct fperf_sim *sim, size_t *nr)
{
	*nr = sim->nr_log;
	return sim->log;
}

const int64_t *fperf_sim_answers(const struct fperf_sim *sim, size_t *nr)
{
	*nr = sim->nr_answers;
	return sim->answers;
}

/* ---- native replay ---- */

/* Where threads wait for each other; pthread_barrier cannot let go of those that wait if the last never comes. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t nr_waiting;
	bool open, called_off;
};

/* Returns whether to go on. */
static bool gate_wait(struct gate *gate)
{
	bool go;

	pthread_mutex_lock(&gate->lock);
	gate->nr_waiting++;
	pthread_cond_broadcast(&gate->changed);
	while (!gate->open)
		pthread_cond_wait(&gate->changed, &gate->lock);
	go = !gate->called_off;
	pthread_mutex_unlock(&gate->lock);
	return go;
}

static void gate_gather(struct gate *gate, uint32_t nr)
{
	pthread_mutex_lock(&gate->lock);
	while (gate->nr_waiting < nr)
		pthread_cond_wait(&gate->changed, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
}

static void gate_open(struct gate *gate, bool call_off)
{
	pthread_mutex_lock(&gate->lock);
	gate->open = true;
	gate->called_off = call_off;
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->lock);
}

struct replay_thread {
	pthread_t thread;
	struct fperf_sim sim;  /* shares memory with the others, counts for itself */
	const struct fperf_rmap_op *log;
	const int64_t *answers;
	size_t nr;
	uint32_t number, nr_threads;
	struct gate *gate;
};

static void *replay_main(void *arg)
{
	struct replay_thread *const t = arg;

	if (!gate_wait(t->gate))
		return NULL;
	/* A frame belongs to the thread of its PMD-sized block, however it is cut into folios over time. */
	for (size_t i = 0; i < t->nr; i++)
		if ((t->log[i].folio >> t->sim.pmd_order) % t->nr_threads == t->number)
			fperf_backend_native.replay(&t->sim, &t->log[i], t->answers);
	return NULL;
}

static int check_log(const struct fperf_sim *sim, const struct fperf_rmap_op *log, size_t nr, uint64_t nr_pages)
{
	for (size_t i = 0; i < nr; i++) {
		const uint64_t past = log[i].folio + (1ull << (log[i].order <= sim->pmd_order ? log[i].order : 0));

		if (log[i].hook >= FPERF_NR_HOOKS || log[i].order > sim->pmd_order || !log[i].folio ||
		    log[i].folio >= nr_pages || past > nr_pages || log[i].first > sim->entries ||
		    log[i].nr > sim->entries || log[i].folio + log[i].first + log[i].nr > nr_pages)
			return FPERF_ERR(ARGUMENT);
	}
	return 0;
}

int fperf_replay_native(const struct fperf_sim *sim, const struct fperf_rmap_op *log, size_t nr, const int64_t *answers,
			uint32_t nr_threads, void *pages, uint64_t nr_pages, uint64_t *ns)
{
	struct fperf_config config = sim->cfg;
	struct replay_thread *threads = NULL;
	struct gate gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	struct timespec begin, end;
	struct fperf_sim *arena;
	uint32_t started = 0;
	int err;

	if (!nr_threads || nr_threads > 256 || nr_pages > sim->mem.nr_pfns)
		return FPERF_ERR(ARGUMENT);
	err = check_log(sim, log, nr, nr_pages);
	if (err)
		return err;
	config.backend = FPERF_BACKEND_ID_NATIVE;
	config.log_rmap = config.truth = 0;
	err = machine_create(&config, &fperf_backend_native, &arena);
	if (err)
		return err;
	err = fperf_backend_native.init(arena);
	threads = calloc(nr_threads, sizeof(*threads));
	if (!err && !threads)
		err = FPERF_ERR(NO_MEMORY);
	if (err)
		goto out;
	for (; started < nr_threads; started++) {
		struct replay_thread *const t = &threads[started];

		*t = (struct replay_thread){ .sim = *arena,
					     .log = log,
					     .answers = answers,
					     .nr = nr,
					     .number = started,
					     .nr_threads = nr_threads,
					     .gate = &gate };
		if (pthread_create(&t->thread, NULL, replay_main, t))
			break;
	}
	gate_gather(&gate, started);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	gate_open(&gate, started < nr_threads);
	for (uint32_t i = 0; i < started; i++)
		pthread_join(threads[i].thread, NULL);
	clock_gettime(CLOCK_MONOTONIC, &end);
	if (started < nr_threads) {
		err = FPERF_ERR(NO_MEMORY);
		goto out;
	}
	if (ns)
		*ns = (uint64_t)(end.tv_sec - begin.tv_sec) * 1000000000u + (uint64_t)end.tv_nsec -
		      (uint64_t)begin.tv_nsec;
	memcpy(pages, arena->mem.pages, nr_pages * sizeof(struct fperf_page));
out:
	free(threads);
	fperf_sim_destroy(arena);
	return err;
}
