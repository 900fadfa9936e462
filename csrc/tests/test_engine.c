/* SPDX-License-Identifier: BSD-3-Clause */
/* The library as a whole: configurations, looking without leaving traces, random events in all back ends, replay. */
#include "tests/machine.h"

#include <stddef.h>

static const uint64_t V = 512 * 1000;

/* ---- configurations ---- */

static int create_with(const struct fperf_config *config)
{
	struct fperf_sim *sim = NULL;
	const int ret = fperf_sim_create(config, &sim);

	fperf_sim_destroy(sim);
	return ret;
}

#define FIELD(name) { #name, offsetof(struct fperf_config, name), sizeof(((struct fperf_config *)0)->name) }

struct field {
	const char *name;
	size_t offset, size;
};

static void set_field(struct fperf_config *config, const struct field *field, uint64_t value)
{
	/* Little-endian, as all machines this runs on. */
	memcpy((char *)config + field->offset, &value, field->size);
}

static bool test_impossible_fields_are_refused(void)
{
	static const struct {
		struct field field;
		uint64_t value;
		int code;
	} cases[] = {
		{ FIELD(abi_version), FPERF_ABI_VERSION + 1, FPERF_ERR(CONFIG) },
		{ FIELD(abi_version), 0, FPERF_ERR(CONFIG) },
		{ FIELD(page_shift), 11, FPERF_ERR(GEOMETRY) },
		{ FIELD(page_shift), 19, FPERF_ERR(GEOMETRY) },
		{ FIELD(page_shift), 0, FPERF_ERR(GEOMETRY) },
		{ FIELD(page_shift), UINT32_MAX, FPERF_ERR(GEOMETRY) },
		{ FIELD(line_shift), 5, FPERF_ERR(GEOMETRY) },
		{ FIELD(line_shift), 8, FPERF_ERR(GEOMETRY) },
		{ FIELD(memory_bytes), 0, FPERF_ERR(GEOMETRY) },
		{ FIELD(memory_bytes), (64 << 12) - 1, FPERF_ERR(GEOMETRY) },
		{ FIELD(memory_bytes), (1ull << 44) + 1, FPERF_ERR(GEOMETRY) },
		{ FIELD(memory_bytes), UINT64_MAX, FPERF_ERR(GEOMETRY) },
		{ FIELD(backend), FPERF_NR_BACKENDS, FPERF_ERR(CONFIG) },
		{ FIELD(scheme), 1000, FPERF_ERR(SCHEME) },
		{ FIELD(scheme), UINT32_MAX, FPERF_ERR(SCHEME) },
		{ FIELD(presence), FPERF_NR_PRESENCES, FPERF_ERR(CONFIG) },
		{ FIELD(recount), FPERF_NR_RECOUNTS, FPERF_ERR(CONFIG) },
		{ FIELD(variant), 2, FPERF_ERR(CONFIG) },
		{ FIELD(truth), 2, FPERF_ERR(CONFIG) },
		{ FIELD(strict), 2, FPERF_ERR(CONFIG) },
		{ FIELD(log_rmap), 2, FPERF_ERR(CONFIG) },
		{ FIELD(trace_accesses), UINT32_MAX, FPERF_ERR(CONFIG) },
		{ FIELD(nr_cache_levels), FPERF_MAX_CACHE_LEVELS + 1, FPERF_ERR(CACHE) },
		{ FIELD(anon_orders_always), 1 << 10, FPERF_ERR(ORDER) },
		{ FIELD(anon_orders_madvise), 1ull << 63, FPERF_ERR(ORDER) },
		{ FIELD(shmem_huge), 1 << 10, FPERF_ERR(ORDER) },
		{ FIELD(profile.version), 0, FPERF_ERR(CONFIG) },
		{ FIELD(profile.version), UINT32_MAX, FPERF_ERR(CONFIG) },
		{ FIELD(profile.anon_exclusive), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.batch_file_fault), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.batch_file_fault_refs), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.batch_fork), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.batch_zap), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.batch_pmd_split), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.batch_try_to_unmap), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.batch_referenced), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.lookup_ref_donated), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.fault_maps_folio), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.shmem_fault_maps_folio), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.cow_reuses_large), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.huge_zero_write_thp), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.mthp), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.deferred_split_relock), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.remap_spans_vmas), 2, FPERF_ERR(CONFIG) },
		{ FIELD(profile.vma_bytes), 0, FPERF_ERR(CONFIG) },
		{ FIELD(profile.vma_bytes), 513, FPERF_ERR(CONFIG) },
		{ FIELD(profile.vma_walk_lines_file), 9, FPERF_ERR(CONFIG) },
		/* Times 64 these are 0 in 32 bits. */
		{ FIELD(profile.vma_walk_lines_file), 1u << 26, FPERF_ERR(CONFIG) },
		{ FIELD(profile.vma_walk_lines_anon), 1u << 26, FPERF_ERR(CONFIG) },
		{ FIELD(profile.mm_walk_lines), 1u << 26, FPERF_ERR(CONFIG) },
		{ FIELD(profile.anon_vma_bytes), 0, FPERF_ERR(CONFIG) },
		{ FIELD(profile.anon_vma_bytes), UINT32_MAX, FPERF_ERR(CONFIG) },
		{ FIELD(profile.max_map_count), 0, FPERF_ERR(CONFIG) },
		{ FIELD(profile.fault_around_bytes), 3 << 12, FPERF_ERR(CONFIG) },
		{ FIELD(profile.fault_around_bytes), UINT64_MAX, FPERF_ERR(CONFIG) },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fperf_config config = small_machine();
		int ret;

		set_field(&config, &cases[i].field, cases[i].value);
		ret = create_with(&config);
		if (ret != cases[i].code)
			printf("%s = %" PRIu64 ":\n", cases[i].field.name, cases[i].value);
		ASSERT_EQ(ret, cases[i].code);
	}
	return true;
}

static bool test_cache_levels_are_checked_where_they_are_used(void)
{
	struct fperf_config config = small_machine();

	config.backend = FPERF_BACKEND_ID_CACHE;
	ASSERT_OK(create_with(&config));
	config.cache[1].size_bytes = 1000;
	ASSERT_EQ(create_with(&config), FPERF_ERR(CACHE));
	config.cache[1] = (struct fperf_cache_level_config){ 48 << 10, 0, 0 };
	ASSERT_EQ(create_with(&config), FPERF_ERR(CACHE));
	config.nr_cache_levels = 1;
	ASSERT_OK(create_with(&config));
	config.nr_cache_levels = 0;
	ASSERT_EQ(create_with(&config), FPERF_ERR(CACHE));
	config.backend = FPERF_BACKEND_ID_COUNT;
	ASSERT_OK(create_with(&config));
	return true;
}

static bool test_every_geometry_works(void)
{
	for (uint32_t page_shift = 12; page_shift <= 18; page_shift++) {
		struct fperf_config config = small_machine();
		const uint64_t entries = 1ull << (page_shift - 3);
		struct fperf_sim *sim;
		struct fperf_folio_row row;
		uint64_t top;
		int ret;

		config.page_shift = page_shift;
		config.line_shift = 6 + (page_shift & 1);
		config.backend = FPERF_BACKEND_ID_CACHE;
		config.memory_bytes = 4 * entries << page_shift;
		config.anon_orders_always = entries;
		ret = fperf_sim_create(&config, &sim);
		if (ret == FPERF_ERR(ADDR_SPACE) && page_shift > 12) {
			/* Tables of large pages need more address space than valgrind has to give. */
			printf("skipped from page_shift %u on: no address space\n", page_shift);
			return true;
		}
		ASSERT_OK(ret);
		/* At both ends of the user's addresses: 47 bits. */
		top = (1ull << (47 - page_shift)) - entries;
		ASSERT_RUN(sim, map_anon(0, 0, entries));
		ASSERT_RUN(sim, map_anon(0, top, entries));
		ASSERT_RUN(sim, touch(0, entries - 1, 1, 'w'));
		ASSERT_RUN(sim, touch(0, top + entries - 1, 1, 'w'));
		ASSERT_OK(fperf_sim_folio(sim, pfn_at(sim, 0, top), &row));
		ASSERT_EQ(row.order, page_shift - 3);
		ASSERT_EQ(row.true_pmd, 1);
		ASSERT_RUN(sim, fork_to(0, 1));
		ASSERT_RUN(sim, dontneed(0, 1, 1));
		ASSERT_RUN(sim, exit_of(0));
		ASSERT_RUN(sim, exit_of(1));
		ASSERT_EQ(totals_of(sim).folios_live, 0);
		fperf_sim_destroy(sim);
	}
	return true;
}

static bool test_destroying_nothing_is_allowed(void)
{
	fperf_sim_destroy(NULL);
	return true;
}

static bool test_names_stand_in_order(void)
{
	const struct {
		enum fperf_names table;
		uint32_t last;
		const char *name;
	} cases[] = {
		{ FPERF_NAMES_OPS, FPERF_OP_PUNCH_HOLE, "punch_hole" },
		{ FPERF_NAMES_EVENT_KINDS, FPERF_EV_KSM, "ksm" },
		{ FPERF_NAMES_CAUSES, FPERF_CAUSE_FIXED, "fixed" },
		{ FPERF_NAMES_FIELDS, FPERF_FIELD_KSM_ITEM, "ksm_item" },
		{ FPERF_NAMES_FIELD_CLASSES, FPERF_FIELD_KSM_ITEM, "REST" },
		{ FPERF_NAMES_LEVELS, FPERF_LEVEL_DRAM, "dram" },
		{ FPERF_NAMES_BACKENDS, FPERF_BACKEND_ID_NATIVE, "native" },
		{ FPERF_NAMES_ADVICES, FPERF_ADVICE_IGNORED, "IGNORED" },
		{ FPERF_NAMES_OBJECT_KINDS, FPERF_OBJECT_ANON_SHARED, "anon_shared" },
		{ FPERF_NAMES_QUESTIONS, FPERF_ASK_MAPPING_REFS, "mapping_refs" },
		{ FPERF_NAMES_HOOKS, FPERF_HOOK_PIN_ADD, "pin_add" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *const *const names = fperf_name_table(cases[i].table);

		ASSERT_STREQ(names[cases[i].last], cases[i].name);
		ASSERT_TRUE(!names[cases[i].last + 1]);
	}
	ASSERT_TRUE(!fperf_name_table(FPERF_NR_NAMES));
	return true;
}

/* ---- looking ---- */

static bool test_looking_leaves_no_traces(void)
{
	for (uint32_t backend = 0; backend < FPERF_NR_BACKENDS; backend++) {
		struct fperf_config config = small_machine();
		struct fperf_vma_row vmas[8];
		struct fperf_sim *sim;
		uint64_t before, folio;
		size_t nr, nr_log, nr_accesses;
		int64_t value;

		config.backend = backend;
		config.log_rmap = 1;
		config.trace_accesses = 1;
		config.anon_orders_always = 1 << 4;
		ASSERT_OK(fperf_sim_create(&config, &sim));
		ASSERT_RUN(sim, map_anon(0, V, 16));
		ASSERT_RUN(sim, touch(0, V, 1, 'w'));
		ASSERT_RUN(sim, fork_to(0, 1));
		folio = folio_at(sim, 0, V);
		before = picture_with_counters(sim, 2);
		fperf_sim_rmap_log(sim, &nr_log);
		fperf_sim_accesses(sim, &nr_accesses);
		ASSERT_TRUE(nr_log);
		ASSERT_EQ(nr_accesses > 0, backend == FPERF_BACKEND_ID_CACHE);
		for (uint32_t question = 0; question < FPERF_NR_QUESTIONS; question++)
			ASSERT_TRUE(ask(sim, question, folio, 3, &value) >= 0);
		ASSERT_OK(fperf_sim_smaps(sim, 1, vmas, 8, &nr));
		ASSERT_EQ(nr, 1);
		ASSERT_EQ(vmas[0].rss_pages, 16);
		ASSERT_EQ(vmas[0].pss_bytes, 16 * 4096 / 2);
		ASSERT_EQ(vmas[0].uss_pages, 0);
		ASSERT_TRUE(sound(sim));
		fperf_sim_rmap_log(sim, &nr);
		ASSERT_EQ(nr, nr_log);
		fperf_sim_accesses(sim, &nr);
		ASSERT_EQ(nr, nr_accesses);
		ASSERT_TRUE(picture_with_counters(sim, 2) == before);
		fperf_sim_accesses_clear(sim);
		fperf_sim_accesses(sim, &nr);
		ASSERT_EQ(nr, 0);
		fperf_sim_destroy(sim);
	}
	return true;
}

static bool test_looking_at_what_is_not_there(void)
{
	const struct fperf_config config = small_machine();
	struct fperf_folio_row row;
	struct fperf_sim *sim;
	int64_t value;
	uint64_t folio;
	size_t nr;

	ASSERT_OK(fperf_sim_create(&config, &sim));
	ASSERT_RUN(sim, map_anon(0, V, 1));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	folio = folio_at(sim, 0, V);
	ASSERT_EQ(fperf_sim_folio(sim, 0, &row), FPERF_ERR(ARGUMENT));
	ASSERT_EQ(fperf_sim_folio(sim, folio + 1, &row), FPERF_ERR(ARGUMENT));
	ASSERT_EQ(fperf_sim_folio(sim, UINT64_MAX, &row), FPERF_ERR(ARGUMENT));
	ASSERT_EQ(ask(sim, FPERF_NR_QUESTIONS, folio, 0, &value), FPERF_ERR(ARGUMENT));
	ASSERT_EQ(ask(sim, FPERF_ASK_MAPPED, folio, 1, &value), FPERF_ERR(ARGUMENT));
	ASSERT_EQ(ask(sim, FPERF_ASK_MAPPED, folio, UINT32_MAX, &value), FPERF_ERR(ARGUMENT));
	ASSERT_EQ(ask(sim, FPERF_ASK_MAPPED, 1ull << 63, 0, &value), FPERF_ERR(ARGUMENT));
	ASSERT_RUN(sim, fork_to(0, 1));
	ASSERT_RUN(sim, exit_of(1));
	ASSERT_EQ(fperf_sim_mappings(sim, 1, NULL, 0, &nr), FPERF_ERR(EXITED));
	ASSERT_EQ(fperf_sim_smaps(sim, 1, NULL, 0, &nr), FPERF_ERR(EXITED));
	ASSERT_EQ(fperf_sim_mappings(sim, 2, NULL, 0, &nr), FPERF_ERR(NO_PROCESS));
	ASSERT_EQ(fperf_sim_smaps(sim, UINT32_MAX, NULL, 0, &nr), FPERF_ERR(NO_PROCESS));
	/* Rows that do not fit are counted all the same. */
	ASSERT_OK(fperf_sim_mappings(sim, 0, NULL, 0, &nr));
	ASSERT_EQ(nr, 1);
	ASSERT_OK(fperf_sim_smaps(sim, 0, NULL, 0, &nr));
	ASSERT_EQ(nr, 1);
	/* The check can say what is wrong, in as much room as there is. */
	ASSERT_EQ(fperf_sim_check(sim, NULL, 0), 0);
	fperf_sim_destroy(sim);
	return true;
}

static bool test_check_sees_what_was_tampered_with(void)
{
	struct fperf_config config = small_machine();

	for (config.scheme = 0; config.scheme < nr_schemes(); config.scheme++) {
		struct fperf_sim *sim;
		char message[200] = "";
		uint64_t nr;
		char *page;
		int32_t refcount;

		ASSERT_OK(fperf_sim_create(&config, &sim));
		ASSERT_RUN(sim, map_anon(0, V, 1));
		ASSERT_RUN(sim, touch(0, V, 1, 'w'));
		page = (char *)(uintptr_t)fperf_sim_struct_pages(sim, &nr) + folio_at(sim, 0, V) * 64;
		memcpy(&refcount, page + 52, sizeof(refcount));
		refcount++;
		memcpy(page + 52, &refcount, sizeof(refcount));
		ASSERT_EQ(fperf_sim_check(sim, message, sizeof(message)), 1);
		ASSERT_TRUE(strstr(message, "references"));
		ASSERT_EQ(fperf_sim_check(sim, message, 4), 1);
		ASSERT_EQ(strlen(message), 3);
		fperf_sim_destroy(sim);
	}
	return true;
}

/* ---- random events ---- */

enum { NR_PROCESSES = 6, NR_EVENTS = 400 };

static const struct fperf_object_desc objects[] = {
	{ .kind = FPERF_OBJECT_FILE, .order = 4, .nr_pages = 100, .warm = 1 },
	{ .kind = FPERF_OBJECT_FILE, .order = 9, .nr_pages = 1536, .warm = 1 },
	{ .kind = FPERF_OBJECT_MEMFD, .nr_pages = 64 },
	{ .kind = FPERF_OBJECT_TMPFS, .nr_pages = 512 },
	{ .kind = FPERF_OBJECT_ANON_SHARED, .nr_pages = 64 },
};

enum { NR_OBJECTS = sizeof(objects) / sizeof(objects[0]) };

/*
 * A range of three PMDs' worth of addresses, now small, now on the borders of folios and PMDs; or, where everybody is to
 * meet at few folios, of a tenth of one.
 */
static void random_range(uint64_t *state, bool crowded, uint64_t *vpn, uint64_t *nr)
{
	static const uint64_t grains[] = { 1, 1, 4, 16, 256, 512 };
	const uint64_t grain = grains[random_below(state, crowded ? 4 : 6)];

	*vpn = V + random_below(state, (crowded ? 48 : 1536) / grain) * grain;
	*nr = (1 + random_below(state, 4)) * grain;
}

static struct fperf_event asking_event(uint64_t *state, uint32_t process, uint64_t vpn, uint64_t nr)
{
	static const uint16_t ops[] = { FPERF_OP_SMAPS,	     FPERF_OP_PAGEMAP,	  FPERF_OP_NUMA_MAPS,
					FPERF_OP_KPAGECOUNT, FPERF_OP_MOVE_PAGES, FPERF_OP_NUMA_BALANCE,
					FPERF_OP_COMPACT,    FPERF_OP_RECLAIM,	  FPERF_OP_PAGE_IDLE };

	return (struct fperf_event){
		.op = ops[random_below(state, sizeof(ops) / sizeof(ops[0]))], .process = process, .vpn = vpn, .nr = nr
	};
}

static struct fperf_event random_event(uint64_t *state, bool crowded)
{
	static const uint32_t protections[] = { 0, FPERF_PROT_READ, READ_WRITE, READ_WRITE };
	/* The first of either meet more often. */
	const uint32_t process = (uint32_t)random_below(state, random_below(state, 2) ? 2 : NR_PROCESSES);
	const uint32_t object = (uint32_t)random_below(state, random_below(state, 2) ? 1 : NR_OBJECTS);
	uint64_t vpn, nr, to, nr_to;

	random_range(state, crowded, &vpn, &nr);
	random_range(state, crowded, &to, &nr_to);
	switch (random_below(state, 40)) {
	case 0:
		return EVENT(MMAP, .process = process, .vpn = vpn, .nr = nr * 4, .flags = READ_WRITE | FPERF_MAP_FIXED);
	case 1:
		return EVENT(MMAP, .process = process, .vpn = vpn, .nr = nr * 2, .what = object + 1,
			     .arg = random_below(state, 4) * 16 + (vpn & 15),
			     .flags = READ_WRITE | FPERF_MAP_FIXED | (random_below(state, 2) ? FPERF_MAP_SHARED : 0));
	case 2:
	case 3:
	case 4:
		return map_object(process, vpn, nr * 4, object, vpn & 15,
				  random_below(state, 2) ? FPERF_MAP_SHARED : 0);
	case 5:
		return map_anon(process, vpn, nr * 4);
	case 6:
		return unmap(process, vpn, nr);
	case 7:
		return remap(process, vpn, nr, to, random_below(state, 2) ? nr : nr_to);
	case 8:
		return protect(process, vpn, nr, protections[random_below(state, 4)]);
	case 9:
	case 10:
		return dontneed(process, vpn, nr);
	case 11:
	case 12:
		return advise(process, vpn, nr, (enum fperf_advice)random_below(state, FPERF_NR_ADVICES));
	case 13:
	case 14:
	case 15:
		return fork_to(process, random_below(state, NR_PROCESSES));
	case 16:
		return random_below(state, 2) ? vfork_to(process, random_below(state, NR_PROCESSES)) : exec_in(process);
	case 17:
		return process ? exit_of(process) : touch(0, vpn, nr, 'r');
	case 18:
		return truncate_to(object, random_below(state, objects[object].nr_pages + 1));
	case 19:
		return random_below(state, 2) ? EVENT(DROP_OBJECT, .what = object + 1) :
						EVENT(READ_OBJECT, .what = object + 1);
	case 20:
		return EVENT(TOTAL_MAPCOUNT, .process = process, .vpn = vpn, .nr = nr);
	case 21:
		return EVENT(FOLIO_REFERENCED, .process = process, .vpn = vpn, .nr = nr);
	case 22:
	case 23:
		return reclaim(process, vpn, nr);
	case 24:
		return asking_event(state, process, vpn, nr);
	case 25:
	case 26:
	case 27:
		return touch(process, vpn, nr, 'r');
	case 28:
		return random_below(state, 2) ? EVENT(PIN, .process = process, .vpn = vpn, .nr = nr) :
						EVENT(UNPIN, .process = process);
	case 29:
		return random_below(state, 2) ? EVENT(SPLICE, .process = process, .vpn = vpn, .nr = nr) :
						EVENT(UNSPLICE, .process = process);
	case 30:
		return random_below(state, 2) ? EVENT(MLOCK, .process = process, .vpn = vpn, .nr = nr) :
						EVENT(MUNLOCK, .process = process, .vpn = vpn, .nr = nr);
	default:
		return touch(process, vpn, nr, 'w');
	}
}

static struct fperf_config random_machine(uint64_t seed)
{
	struct fperf_config config = small_machine();

	config.strict = seed & 1;
	config.profile = seed & 2 ? kernel_7_0() : kernel_5_17();
	config.profile.fault_around_bytes = seed % 3 ? 4 << 10 : 64 << 10;
	config.anon_orders_always = seed & 8 ? 1 << 9 | 1 << 4 : 1 << 2;
	config.anon_orders_madvise = 1 << 9 | 1 << 6;
	config.shmem_huge = seed & 16 ? 1 << 4 : 0;
	/* Room for some, but not for all. */
	config.profile.max_map_count = 24;
	config.profile.remap_spans_vmas = seed & 1;
	config.presence = seed % 3 == 0 ? FPERF_PRESENCE_ORACLE : FPERF_PRESENCE_SCAN;
	config.recount = (uint32_t)(seed % 5 % 3);
	config.log_rmap = 1;
	return config;
}

static bool add_objects(struct fperf_sim *sim)
{
	for (uint32_t i = 0; i < NR_OBJECTS; i++) {
		uint32_t index;

		ASSERT_OK(fperf_sim_add_object(sim, &objects[i], &index));
		ASSERT_EQ(index, i);
	}
	return true;
}

/*
 * Run the events of a seed. After each the ledger agrees with the page tables; one that fails in strict mode has changed
 * nothing.
 */
static bool run_random(struct fperf_sim *sim, uint64_t seed, bool look)
{
	uint64_t state = seed * 7919 + 1;

	ASSERT_TRUE(add_objects(sim));
	for (unsigned int i = 0; i < NR_EVENTS; i++) {
		const struct fperf_event event = random_event(&state, seed / 4 & 1);
		const uint64_t before = look && seed & 1 ? picture(sim, NR_PROCESSES) : 0;
		const int ret = run(sim, event);

		if (!look)
			continue;
		if (!sound(sim) || (ret < 0 && before && picture(sim, NR_PROCESSES) != before)) {
			printf("seed %" PRIu64 ", event %u, %s: process %u vpn %" PRIu64 " nr %" PRIu64
			       " what %u flags %#x arg %" PRIu64 " arg2 %" PRIu64 " ends with %d\n",
			       seed, i, fperf_name_table(FPERF_NAMES_OPS)[event.op], event.process, event.vpn - V,
			       event.nr, event.what, event.flags, event.arg, event.arg2, ret);
			return false;
		}
	}
	return true;
}

/* A log replayed leaves the struct pages the run left. */
static bool replays(struct fperf_sim *sim, uint32_t nr_threads)
{
	uint64_t nr_pages, ns = 0;
	const void *const pages = fperf_sim_struct_pages(sim, &nr_pages);
	void *const replayed = malloc(nr_pages * 64);
	size_t nr, nr_answers;
	const struct fperf_rmap_op *const log = fperf_sim_rmap_log(sim, &nr);
	const int64_t *const answers = fperf_sim_answers(sim, &nr_answers);

	ASSERT_TRUE(replayed);
	memset(replayed, 0xff, nr_pages * 64);
	ASSERT_OK(fperf_replay_native(sim, log, nr, answers, nr_threads, replayed, nr_pages, &ns));
	for (uint64_t pfn = 0; pfn < nr_pages; pfn++) {
		const bool same = !memcmp((const char *)pages + pfn * 64, (const char *)replayed + pfn * 64, 64);

		if (!same)
			printf("pfn %" PRIu64 ", %u threads:\n", pfn, nr_threads);
		ASSERT_TRUE(same);
	}
	ASSERT_TRUE(ns);
	free(replayed);
	return true;
}

static bool test_random_events(void)
{
	for (uint64_t seed = 0; seed < 8; seed++) {
		struct fperf_config config = random_machine(seed);

		for (config.scheme = 0; config.scheme < nr_schemes(); config.scheme++) {
			void *pages = NULL;
			uint64_t nr_pages = 0, nr;

			for (config.backend = 0; config.backend < FPERF_NR_BACKENDS; config.backend++) {
				struct fperf_sim *sim;

				ASSERT_OK(fperf_sim_create(&config, &sim));
				if (!run_random(sim, seed, config.backend == FPERF_BACKEND_ID_COUNT)) {
					printf("under %s\n", fperf_name_table(FPERF_NAMES_SCHEMES)[config.scheme]);
					return false;
				}
				if (config.backend == 0) {
					const void *const first = fperf_sim_struct_pages(sim, &nr_pages);

					pages = malloc(nr_pages * 64);
					ASSERT_TRUE(pages);
					memcpy(pages, first, nr_pages * 64);
					ASSERT_TRUE(replays(sim, 1));
				}
				/* All back ends leave the same struct pages. */
				ASSERT_TRUE(!memcmp(fperf_sim_struct_pages(sim, &nr), pages, nr_pages * 64));
				ASSERT_EQ(nr, nr_pages);
				fperf_sim_destroy(sim);
			}
			free(pages);
		}
	}
	return true;
}

/* ---- replay ---- */

static bool test_four_threads_replay_disjoint_folios(void)
{
	struct fperf_config config = small_machine();

	config.log_rmap = 1;
	config.anon_orders_always = 1 << 9 | 1 << 4;
	for (config.scheme = 0; config.scheme < nr_schemes(); config.scheme++) {
		for (config.recount = 0; config.recount <= FPERF_RECOUNT_EAGER_STOP3; config.recount++) {
			struct fperf_sim *sim;
			uint32_t file;

			ASSERT_OK(fperf_sim_create(&config, &sim));
			file = add_object(sim, FPERF_OBJECT_FILE, 4096, 4);
			ASSERT_RUN(sim, map_anon(0, V, 4096));
			ASSERT_RUN(sim, map_object(0, V + 8192, 4096, file, 0, FPERF_MAP_SHARED));
			ASSERT_RUN(sim, touch(0, V, 4096, 'w'));
			ASSERT_RUN(sim, dontneed(0, V, 1000));
			ASSERT_RUN(sim, touch(0, V, 4096, 'w'));
			for (uint32_t child = 1; child <= 5; child++) {
				ASSERT_RUN(sim, fork_to(0, child));
				ASSERT_RUN(sim, touch(child, V + 8192, 4096, 'r'));
				ASSERT_RUN(sim, touch(child, V + child * 100, 300, 'w'));
			}
			ASSERT_RUN(sim, unmap(2, V + 700, 3000));
			ASSERT_RUN(sim, truncate_to(file, 1001));
			for (uint32_t child = 5; child >= 2; child--)
				ASSERT_RUN(sim, exit_of(child));
			ASSERT_TRUE(replays(sim, 1));
			ASSERT_TRUE(replays(sim, 4));
			ASSERT_TRUE(replays(sim, 7));
			fperf_sim_destroy(sim);
		}
	}
	return true;
}

static bool test_foreign_logs_are_refused(void)
{
	struct fperf_config config = small_machine();
	struct fperf_rmap_op op;
	struct fperf_sim *sim;
	char pages[64 * 64];
	const struct fperf_rmap_op *log;
	const int64_t *answers;
	uint64_t nr_pages;
	size_t nr;

	config.log_rmap = 1;
	ASSERT_OK(fperf_sim_create(&config, &sim));
	ASSERT_RUN(sim, map_anon(0, V, 10));
	ASSERT_RUN(sim, touch(0, V, 10, 'w'));
	log = fperf_sim_rmap_log(sim, &nr);
	answers = fperf_sim_answers(sim, &(size_t){ 0 });
	fperf_sim_struct_pages(sim, &nr_pages);
	ASSERT_EQ(nr_pages, 11);
	ASSERT_OK(fperf_replay_native(sim, log, nr, answers, 1, pages, nr_pages, NULL));
	ASSERT_OK(fperf_replay_native(sim, log, 0, answers, 2, pages, nr_pages, NULL));
	/* Threads and pages. */
	ASSERT_EQ(fperf_replay_native(sim, log, nr, answers, 0, pages, nr_pages, NULL), FPERF_ERR(ARGUMENT));
	ASSERT_EQ(fperf_replay_native(sim, log, nr, answers, 257, pages, nr_pages, NULL), FPERF_ERR(ARGUMENT));
	ASSERT_EQ(fperf_replay_native(sim, log, nr, answers, 1, pages, nr_pages - 1, NULL), FPERF_ERR(ARGUMENT));
	ASSERT_EQ(fperf_replay_native(sim, log, nr, answers, 1, pages, 1ull << 40, NULL), FPERF_ERR(ARGUMENT));
	/* Calls. */
#define REFUSED(field, value)									\
	do {											\
		op = log[0];									\
		op.field = value;								\
		ASSERT_EQ(fperf_replay_native(sim, &op, 1, answers, 1, pages, nr_pages, NULL), FPERF_ERR(ARGUMENT)); \
	} while (0)
	REFUSED(hook, FPERF_NR_HOOKS);
	REFUSED(folio, 0);
	REFUSED(folio, nr_pages);
	REFUSED(folio, UINT64_MAX);
	REFUSED(order, 10);
	REFUSED(order, 9);
	REFUSED(order, UINT32_MAX);
	REFUSED(first, UINT32_MAX);
	REFUSED(nr, UINT32_MAX);
	REFUSED(nr, 11);
#undef REFUSED
	fperf_sim_destroy(sim);
	return true;
}

int main(void)
{
	TEST(impossible_fields_are_refused);
	TEST(cache_levels_are_checked_where_they_are_used);
	TEST(every_geometry_works);
	TEST(destroying_nothing_is_allowed);
	TEST(names_stand_in_order);
	TEST(looking_leaves_no_traces);
	TEST(looking_at_what_is_not_there);
	TEST(check_sees_what_was_tampered_with);
	TEST(random_events);
	TEST(four_threads_replay_disjoint_folios);
	TEST(foreign_logs_are_refused);
	return TEST_END();
}
