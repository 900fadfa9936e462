/* SPDX-License-Identifier: BSD-3-Clause */
/* Events that break a rule: which code they end with, that they change nothing, and what happens to those after them. */
#include "tests/machine.h"

enum { NR_PROCESSES = 8 };

/* P0 maps, P1 is gone, P2 is a child of P0.
 *
 *	V      0 ....... 8 ... 12 ............ 32 ... 40 ... 44   48 ... 52      200 ... 210
 *	       [anon rw ]      [file, 16 pages]       [anon r]    [anon none]    [stack]       */
static const uint64_t V = 512 * 1000, END = 1ull << 35;
enum { FILE_OBJECT, MEMFD_OBJECT, NR_OBJECTS };

static struct fperf_sim *set_up(struct fperf_config config)
{
	const struct fperf_event events[] = {
		map_anon(0, V, 8),
		touch(0, V, 4, 'w'),
		map_object(0, V + 12, 20, FILE_OBJECT, 0, FPERF_MAP_SHARED),
		touch(0, V + 12, 4, 'r'),
		map_anon(0, V + 40, 4),
		protect(0, V + 40, 4, FPERF_PROT_READ),
		map_anon(0, V + 48, 4),
		protect(0, V + 48, 4, 0),
		EVENT(MMAP, .vpn = V + 200, .nr = 10, .flags = READ_WRITE | FPERF_MAP_GROWSDOWN),
		touch(0, V + 205, 1, 'w'),
		EVENT(MLOCK, .vpn = V + 43, .nr = 1),
		EVENT(PIN, .vpn = V, .nr = 1),
		fork_to(0, 1),
		fork_to(0, 2),
		exit_of(1),
	};
	struct fperf_sim *sim;
	size_t done;

	config.profile.stack_limit_bytes = 64 << 12;
	config.profile.fault_around_bytes = 4096;
	if (fperf_sim_create(&config, &sim))
		abort();
	add_object(sim, FPERF_OBJECT_FILE, 16, 0);
	add_object(sim, FPERF_OBJECT_MEMFD, 16, 0);
	if (fperf_sim_run(sim, events, sizeof(events) / sizeof(events[0]), NULL, &done))
		abort();
	return sim;
}

struct rule {
	struct fperf_event event;
	int code;
};

/* Rules that hold in any mode. */
static size_t rules_of_any_mode(const struct rule **rules)
{
	static struct rule all[80];
	size_t nr = 0;

#define RULE(code, ...) all[nr++] = (struct rule){ __VA_ARGS__, FPERF_ERR(code) }
	RULE(EVENT, { .op = FPERF_NR_OPS });
	RULE(EVENT, { .op = UINT16_MAX });
	RULE(ARGUMENT, EVENT(EXIT, .flags = FPERF_EVENT_FLAGS + 1));
	RULE(ARGUMENT, EVENT(SMAPS, .flags = 1u << 31));
	RULE(ARGUMENT, EVENT(SMAPS, .what = 2));

	RULE(ARGUMENT, EVENT(KSM, .process = 0)); /* contents are not kept */
	RULE(NOT_HELD, EVENT(UNPIN, .process = 2));
	RULE(NOT_HELD, EVENT(UNSPLICE, .process = 2));
	RULE(BUSY, EVENT(PIN, .vpn = V, .nr = 1));
	RULE(NO_PROCESS, map_anon(3, V, 1));
	RULE(NO_PROCESS, exit_of(UINT32_MAX));
	RULE(NO_PROCESS, fork_to(7, 8));
	RULE(NO_PROCESS, EVENT(SMAPS, .process = 3));
	RULE(NO_PROCESS, EVENT(PAGEMAP, .process = 3));
	RULE(EXITED, EVENT(NUMA_MAPS, .process = 1));
	RULE(EMPTY_RANGE, EVENT(MOVE_PAGES, .vpn = V));
	RULE(ADDRESS, EVENT(NUMA_BALANCE, .vpn = END, .nr = 1));
	RULE(EXITED, map_anon(1, V, 1));
	RULE(EXITED, exit_of(1));
	RULE(EXITED, exec_in(1));
	RULE(EXITED, fork_to(1, 3));
	RULE(PROCESS_EXISTS, fork_to(0, 2));
	RULE(PROCESS_EXISTS, fork_to(0, 0));
	RULE(PROCESS_EXISTS, vfork_to(2, 0));
	RULE(ARGUMENT, fork_to(0, 1ull << 26));
	RULE(ARGUMENT, fork_to(0, 1ull << 32));
	RULE(ARGUMENT, fork_to(0, UINT64_MAX));

	RULE(EMPTY_RANGE, map_anon(0, V + 300, 0));
	RULE(EMPTY_RANGE, unmap(0, V, 0));
	RULE(EMPTY_RANGE, touch(0, V, 0, 'r'));
	RULE(EMPTY_RANGE, protect(0, V, 0, FPERF_PROT_READ));
	RULE(EMPTY_RANGE, dontneed(0, V, 0));
	RULE(EMPTY_RANGE, remap(0, V, 0, V + 300, 1));
	RULE(EMPTY_RANGE, remap(0, V, 1, V + 300, 0));
	RULE(EMPTY_RANGE, reclaim(0, V, 0));
	RULE(ADDRESS, map_anon(0, END, 1));
	RULE(ADDRESS, map_anon(0, END - 1, 2));
	RULE(ADDRESS, map_anon(0, 1ull << 63, 1));
	RULE(ADDRESS, map_anon(0, V + 300, 1ull << 63));
	RULE(ADDRESS, map_anon(0, V + 300, UINT64_MAX));
	RULE(ADDRESS, map_anon(0, UINT64_MAX, UINT64_MAX));
	RULE(ADDRESS, unmap(0, V, UINT64_MAX - V + 1));
	RULE(ADDRESS, touch(0, END, 1, 'w'));
	RULE(ADDRESS, remap(0, V, 8, END, 8));
	RULE(ADDRESS, remap(0, V, 8, V + 300, UINT64_MAX));
	RULE(ADDRESS, dontneed(0, UINT64_MAX, 1));

	RULE(OVERLAP, map_anon(0, V + 7, 1));
	RULE(OVERLAP, map_anon(0, V - 10, 11));
	RULE(OVERLAP, map_anon(0, V + 8, 5));
	RULE(OVERLAP, map_anon(0, V - 100, 1000));
	RULE(OVERLAP, map_object(0, V + 12, 1, FILE_OBJECT, 0, 0));
	RULE(NO_OBJECT, map_object(0, V + 300, 1, NR_OBJECTS, 0, 0));
	RULE(NO_OBJECT, EVENT(MMAP, .vpn = V + 300, .nr = 1, .what = UINT32_MAX, .flags = READ_WRITE));
	RULE(NO_OBJECT, EVENT(TRUNCATE, .what = 0));
	RULE(NO_OBJECT, EVENT(READ_OBJECT, .what = NR_OBJECTS + 1));
	RULE(NO_OBJECT, EVENT(DROP_OBJECT, .what = UINT32_MAX));
	RULE(NO_OBJECT, EVENT(PUNCH_HOLE, .what = 0, .nr = 1));
	RULE(EMPTY_RANGE, EVENT(PUNCH_HOLE, .what = 1));
	RULE(ARGUMENT, EVENT(PUNCH_HOLE, .what = 1, .vpn = UINT64_MAX, .nr = 2));
	RULE(ARGUMENT, EVENT(MMAP, .vpn = V + 300, .nr = 1, .flags = READ_WRITE | FPERF_MAP_SHARED));
	RULE(ARGUMENT, map_object(0, V + 300, 1, FILE_OBJECT, END + 1, 0));
	RULE(ARGUMENT, map_object(0, V + 300, 1, FILE_OBJECT, UINT64_MAX, 0));
	RULE(ARGUMENT, truncate_to(FILE_OBJECT, 1 << 20));
	RULE(ARGUMENT, truncate_to(FILE_OBJECT, UINT64_MAX));
	RULE(ARGUMENT, EVENT(MADVISE, .vpn = V, .nr = 1, .what = FPERF_NR_ADVICES));
	RULE(ARGUMENT, EVENT(MADVISE, .vpn = V, .nr = 1, .what = UINT32_MAX));

	RULE(NOT_MAPPED, remap(0, V + 300, 1, V + 400, 1));
	RULE(REMAP, remap(0, V, 8, V + 4, 8)); /* onto itself */
	RULE(REMAP, remap(0, V + 4, 4, V, 8));
	RULE(OVERLAP, remap(0, V, 8, V, 13)); /* grown into the file */
	RULE(OVERLAP, remap(0, V, 4, V, 5)); /* into what follows in the same mapping */

	RULE(SEGV, touch(0, V + 8, 1, 'r'));
	RULE(SEGV, touch(0, V + 1000, 1, 'w'));
	RULE(SEGV, touch(0, V + 100, 1, 'w')); /* further below the stack than it may grow */
	RULE(ACCESS, touch(0, V + 40, 1, 'w'));
	RULE(ACCESS, touch(0, V + 48, 1, 'r'));
	RULE(ACCESS, touch(0, V + 48, 1, 'w'));
	RULE(BEYOND_EOF, touch(0, V + 28, 1, 'r'));
	RULE(BEYOND_EOF, touch(0, V + 31, 1, 'w'));
#undef RULE
	*rules = all;
	return nr;
}

/* What a real kernel does in part before it reports: strict mode refuses it whole. */
static size_t rules_of_strict_mode(const struct rule **rules)
{
	static struct rule all[40];
	size_t nr = 0;

#define RULE(code, ...) all[nr++] = (struct rule){ __VA_ARGS__, FPERF_ERR(code) }
	RULE(NOT_MAPPED, unmap(0, V + 300, 1));
	RULE(NOT_MAPPED, unmap(0, V + 4, 6));
	RULE(NOT_MAPPED, protect(0, V + 4, 6, FPERF_PROT_READ));
	RULE(NOT_MAPPED, dontneed(0, V + 4, 20));
	RULE(NOT_MAPPED, advise(0, V - 1, 4, FPERF_ADVICE_HUGEPAGE));
	RULE(NOT_MAPPED, advise(0, V + 4, 10, FPERF_ADVICE_POPULATE_WRITE));
	RULE(REMAP, remap(0, V + 4, 8, V + 400, 8)); /* past the end of the mapping */
	RULE(REMAP, remap(0, V + 7, 6, V + 400, 6)); /* a hole between */
	RULE(NOT_MAPPED, reclaim(0, V + 4, 6));
	RULE(NOT_MAPPED, EVENT(TOTAL_MAPCOUNT, .vpn = V + 8, .nr = 1));
	RULE(NOT_MAPPED, EVENT(FOLIO_REFERENCED, .vpn = V + 8, .nr = 1));
	RULE(SEGV, touch(0, V + 4, 6, 'w'));
	RULE(SEGV, touch(0, V - 1, 2, 'w'));
	RULE(BEYOND_EOF, touch(0, V + 20, 10, 'r'));
	RULE(ACCESS, advise(0, V + 40, 4, FPERF_ADVICE_POPULATE_WRITE));
	RULE(ACCESS, EVENT(PIN, .process = 2, .vpn = V + 40, .nr = 4));
	RULE(NOT_PINNABLE, EVENT(PIN, .process = 2, .vpn = V + 12, .nr = 4));
	RULE(ACCESS, EVENT(MLOCK, .vpn = V + 48, .nr = 4));
	RULE(ADVICE, dontneed(0, V + 43, 1)); /* locked */
	RULE(NOT_MAPPED, EVENT(MUNLOCK, .vpn = V + 7, .nr = 4));
#undef RULE
	*rules = all;
	return nr;
}

static bool breaks(struct fperf_sim *sim, const struct rule *rule, size_t number, bool strict)
{
	const uint64_t before = picture_with_counters(sim, NR_PROCESSES);
	int32_t status = 12345;
	size_t done = 12345;
	const int ret = fperf_sim_run(sim, &rule->event, 1, &status, &done);

	if (status != rule->code)
		printf("rule %zu (%s):\n", number, fperf_error_name(rule->code));
	ASSERT_EQ(status, rule->code);
	ASSERT_EQ(ret, strict ? rule->code : 0);
	ASSERT_EQ(done, strict ? 0 : 1);
	if (picture_with_counters(sim, NR_PROCESSES) != before)
		printf("rule %zu (%s):\n", number, fperf_error_name(rule->code));
	ASSERT_TRUE(picture_with_counters(sim, NR_PROCESSES) == before);
	ASSERT_TRUE(sound(sim));
	return true;
}

static bool test_rules_of_any_mode(void)
{
	const struct rule *rules;
	const size_t nr = rules_of_any_mode(&rules);

	for (uint32_t backend = 0; backend < FPERF_NR_BACKENDS; backend++) {
		for (uint32_t strict = 0; strict < 2; strict++) {
			struct fperf_config config = small_machine();
			struct fperf_sim *sim;

			config.backend = backend;
			config.strict = strict;
			sim = set_up(config);
			for (size_t i = 0; i < nr; i++)
				ASSERT_TRUE(breaks(sim, &rules[i], i, strict));
			fperf_sim_destroy(sim);
		}
	}
	return true;
}

static bool test_rules_of_strict_mode(void)
{
	const struct rule *rules;
	const size_t nr = rules_of_strict_mode(&rules);

	for (uint32_t backend = 0; backend < FPERF_NR_BACKENDS; backend++) {
		struct fperf_config config = small_machine();
		struct fperf_sim *sim;

		config.backend = backend;
		sim = set_up(config);
		for (size_t i = 0; i < nr; i++)
			ASSERT_TRUE(breaks(sim, &rules[i], i, true));
		fperf_sim_destroy(sim);
	}
	return true;
}

static bool test_lenient_mode_does_what_it_can(void)
{
	struct fperf_config config = small_machine();
	struct fperf_sim *sim;

	config.strict = 0;
	sim = set_up(config);
	/* munmap does not mind holes; the others go as far as they get and report. */
	ASSERT_EQ(run(sim, unmap(0, V + 300, 1)), FPERF_NOOP);
	ASSERT_EQ(run(sim, touch(0, V + 6, 4, 'w')), FPERF_ERR(SEGV));
	ASSERT_TRUE(pfn_at(sim, 0, V + 7));
	ASSERT_EQ(run(sim, dontneed(0, V + 3, 20)), FPERF_ERR(NOT_MAPPED));
	ASSERT_TRUE(pfn_at(sim, 0, V + 2) && !pfn_at(sim, 0, V + 3) && !pfn_at(sim, 0, V + 12));
	ASSERT_EQ(run(sim, protect(0, V + 6, 6, FPERF_PROT_READ)), FPERF_ERR(NOT_MAPPED));
	ASSERT_EQ(run(sim, touch(0, V + 6, 1, 'w')), FPERF_ERR(ACCESS));
	ASSERT_EQ(run(sim, touch(0, V + 5, 1, 'w')), FPERF_APPLIED);
	ASSERT_EQ(run(sim, unmap(0, V + 4, 20)), FPERF_APPLIED);
	ASSERT_EQ(run(sim, touch(0, V + 5, 1, 'r')), FPERF_ERR(SEGV));
	ASSERT_TRUE(sound(sim));
	fperf_sim_destroy(sim);
	return true;
}

static bool test_what_happens_to_the_other_events(void)
{
	const struct fperf_event events[] = { map_anon(0, V, 4), touch(0, V, 4, 'w'), touch(0, V, 4, 'r'),
					      touch(0, V + 4, 1, 'w'), unmap(0, V, 4) };
	for (uint32_t strict = 0; strict < 2; strict++) {
		int32_t status[] = { 99, 99, 99, 99, 99 };
		struct fperf_config config = small_machine();
		struct fperf_sim *sim;
		size_t done = 99;

		config.strict = strict;
		ASSERT_OK(fperf_sim_create(&config, &sim));
		ASSERT_EQ(fperf_sim_run(sim, events, 5, status, &done), strict ? FPERF_ERR(SEGV) : 0);
		ASSERT_EQ(done, strict ? 3 : 5);
		ASSERT_EQ(status[0], FPERF_APPLIED);
		ASSERT_EQ(status[1], FPERF_APPLIED);
		ASSERT_EQ(status[2], FPERF_NOOP);
		ASSERT_EQ(status[3], FPERF_ERR(SEGV));
		ASSERT_EQ(status[4], strict ? 99 : FPERF_APPLIED);
		ASSERT_EQ(totals_of(sim).folios_live, strict ? 4 : 0);
		/* The run may go on behind the event that failed. */
		if (strict)
			ASSERT_OK(fperf_sim_run(sim, events + 4, 1, NULL, &done));
		ASSERT_OK(fperf_sim_run(sim, events, 0, NULL, &done));
		ASSERT_EQ(done, 0);
		fperf_sim_destroy(sim);
	}
	return true;
}

static bool test_access_into_a_stack_out_of_reach(void)
{
	/* [anon rw]   ...   [stack]    an access that starts in the mapping and would end in the stack: all or nothing */
	struct fperf_sim *const sim = set_up(small_machine());
	const struct rule rule = { touch(0, V + 6, 196, 'w'), FPERF_ERR(SEGV) };
	const struct rule below = { touch(0, V + 160, 1, 'w'), FPERF_ERR(ACCESS) };

	ASSERT_RUN(sim, unmap(0, V + 12, 20));
	ASSERT_RUN(sim, unmap(0, V + 40, 4));
	ASSERT_RUN(sim, unmap(0, V + 48, 4));
	ASSERT_TRUE(breaks(sim, &rule, 0, true));
	/* Within reach it grows, down to the page that was asked for. */
	ASSERT_RUN(sim, touch(0, V + 170, 1, 'w'));
	ASSERT_EQ(run(sim, touch(0, V + 171, 29, 'r')), FPERF_APPLIED);
	ASSERT_EQ(run(sim, touch(0, V + 140, 1, 'r')), FPERF_ERR(SEGV));
	/* A stack that may not be written does not grow for a write either. */
	ASSERT_RUN(sim, protect(0, V + 170, 40, FPERF_PROT_READ));
	ASSERT_TRUE(breaks(sim, &below, 1, true));
	fperf_sim_destroy(sim);
	return true;
}

static bool test_populating_what_may_not_be_written(void)
{
	/* V  0 .. 3 4 .. 7
	 *    [ rw ] [ r  ]    MADV_POPULATE_WRITE over both */
	struct fperf_sim *const sim = set_up(small_machine());
	const struct rule rule = { advise(0, V, 8, FPERF_ADVICE_POPULATE_WRITE), FPERF_ERR(ACCESS) };

	ASSERT_RUN(sim, protect(0, V + 4, 4, FPERF_PROT_READ));
	ASSERT_RUN(sim, dontneed(0, V, 4));
	ASSERT_TRUE(breaks(sim, &rule, 0, true));
	ASSERT_RUN(sim, advise(0, V, 8, FPERF_ADVICE_POPULATE_READ));
	ASSERT_EQ(pfn_at(sim, 0, V + 7), -1);
	fperf_sim_destroy(sim);
	return true;
}

static bool test_limit_of_mappings(void)
{
	/* One mapping of 8 pages and a small one far away. Each event either fits the limit or changes nothing. */
	const struct {
		struct fperf_event event;
		uint32_t least; /* limit that is surely enough: mappings at the end, and three in between for a move */
	} cases[] = {
		{ map_anon(0, V + 100, 1), 3 },
		{ unmap(0, V + 2, 2), 3 },
		{ unmap(0, V, 2), 3 },
		{ protect(0, V + 2, 2, FPERF_PROT_READ), 4 },
		{ protect(0, V, 2, FPERF_PROT_READ), 3 },
		{ advise(0, V + 2, 2, FPERF_ADVICE_DONTFORK), 4 },
		{ EVENT(MMAP, .vpn = V + 2, .nr = 2, .flags = FPERF_PROT_READ | FPERF_MAP_FIXED), 4 },
		{ remap(0, V + 2, 2, V + 300, 2), 6 },
		{ remap(0, V, 8, V + 300, 8), 6 },
		{ remap(0, V, 8, V + 50, 8), 6 },
		{ remap(0, V, 8, V + 198, 8), 6 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (uint32_t limit = 2; limit <= 7; limit++) {
			struct fperf_config config = small_machine();
			struct fperf_sim *sim;
			uint64_t before;
			int ret;

			config.profile.max_map_count = limit;
			ASSERT_OK(fperf_sim_create(&config, &sim));
			ASSERT_RUN(sim, map_anon(0, V, 8));
			ASSERT_RUN(sim, map_anon(0, V + 200, 4));
			ASSERT_RUN(sim, touch(0, V, 8, 'w'));
			ASSERT_RUN(sim, touch(0, V + 200, 4, 'w'));
			before = picture_with_counters(sim, 1);
			ret = run(sim, cases[i].event);
			if (ret) {
				ASSERT_EQ(ret, FPERF_ERR(TOO_MANY_VMAS));
				if (picture_with_counters(sim, 1) != before)
					printf("case %zu, limit %u:\n", i, limit);
				ASSERT_TRUE(picture_with_counters(sim, 1) == before);
				if (limit >= cases[i].least)
					printf("case %zu, limit %u:\n", i, limit);
				ASSERT_TRUE(limit < cases[i].least);
			}
			ASSERT_TRUE(sound(sim));
			fperf_sim_destroy(sim);
		}
	}
	return true;
}

static bool test_machine_without_page_frames(void)
{
	/* Frame 0 is never handed out: 63 pages of 64. The end of the machine ends the run in either mode. */
	for (uint32_t strict = 0; strict < 2; strict++) {
		const struct fperf_event events[] = { map_anon(0, V, 100), touch(0, V, 100, 'w'), unmap(0, V, 100) };
		struct fperf_config config = small_machine();
		struct fperf_sim *sim;
		int32_t status[3] = { 0 };
		size_t done;

		config.strict = strict;
		config.memory_bytes = 64 << 12;
		ASSERT_OK(fperf_sim_create(&config, &sim));
		ASSERT_EQ(fperf_sim_run(sim, events, 3, status, &done), FPERF_ERR(PFN_SPACE));
		ASSERT_EQ(done, 1);
		ASSERT_EQ(status[1], FPERF_ERR(PFN_SPACE));
		ASSERT_EQ(totals_of(sim).pages_live, 63);
		ASSERT_TRUE(sound(sim));
		ASSERT_OK(fperf_sim_run(sim, events + 2, 1, NULL, &done));
		ASSERT_EQ(totals_of(sim).pages_live, 0);
		ASSERT_RUN(sim, map_anon(0, V, 63));
		ASSERT_RUN(sim, touch(0, V, 63, 'w'));
		fperf_sim_destroy(sim);
	}
	return true;
}

static bool test_no_reference_past_the_sign_bit(void)
{
	const struct fperf_config config = small_machine();
	struct fperf_sim *sim;
	uint64_t pfn;

	ASSERT_OK(fperf_sim_create(&config, &sim));
	ASSERT_RUN(sim, map_anon(0, V, 2));
	ASSERT_RUN(sim, touch(0, V, 2, 'w'));
	pfn = pfn_at(sim, 0, V + 1);
	ASSERT_EQ(fperf_sim_preset_refs(sim, 1u << 30, 1), FPERF_ERR(ARGUMENT));
	ASSERT_OK(fperf_sim_preset_refs(sim, pfn, INT32_MIN));
	/* The page before it was taken, and is given back. */
	ASSERT_EQ(run(sim, EVENT(PIN, .vpn = V, .nr = 2)), FPERF_ERR(REF_OVERFLOW));
	ASSERT_EQ(run(sim, EVENT(SPLICE, .vpn = V, .nr = 2)), FPERF_ERR(REF_OVERFLOW));
	ASSERT_EQ(run(sim, EVENT(UNPIN)), FPERF_ERR(NOT_HELD));
	ASSERT_OK(fperf_sim_preset_refs(sim, pfn, 1));
	ASSERT_TRUE(sound(sim));
	ASSERT_RUN(sim, EVENT(PIN, .vpn = V, .nr = 2));
	ASSERT_TRUE(sound(sim));
	fperf_sim_destroy(sim);
	return true;
}

static bool test_no_mm_without_a_number(void)
{
	struct fperf_config config = small_machine();
	struct fperf_sim *sim;

	config.scheme = scheme_number("mm_owner");
	config.variant = 1; /* 15 bits; zero stands for nobody */
	ASSERT_OK(fperf_sim_create(&config, &sim));
	ASSERT_RUN(sim, map_anon(0, V, 2));
	for (uint32_t i = 0; i < (1u << 15) - 3; i++) {
		ASSERT_RUN(sim, EVENT(FORK, .arg = 1));
		ASSERT_RUN(sim, EVENT(EXIT, .process = 1));
	}
	ASSERT_EQ(run(sim, EVENT(FORK, .arg = 1)), FPERF_ERR(MM_IDS));
	ASSERT_EQ(run(sim, EVENT(EXEC)), FPERF_ERR(MM_IDS));
	ASSERT_RUN(sim, EVENT(FORK, .arg = 1, .flags = FPERF_FORK_SHARE_MM));
	ASSERT_TRUE(sound(sim));
	fperf_sim_destroy(sim);
	return true;
}

static bool test_every_code_an_event_can_end_with_is_tried(void)
{
	/* Those of the configuration, of the host, and of machines too large for a test are not an event's. */
	static const int others[] = { FPERF_ERR(NO_MEMORY),    FPERF_ERR(ADDR_SPACE),	 FPERF_ERR(GEOMETRY),
				      FPERF_ERR(CONFIG),       FPERF_ERR(CACHE),	 FPERF_ERR(SCHEME),
				      FPERF_ERR(ORDER),	       FPERF_ERR(TABLE_SPACE),	 FPERF_ERR(LOG_FULL),
				      FPERF_ERR(UNSUPPORTED),  FPERF_ERR(TOO_MANY_VMAS), FPERF_ERR(PFN_SPACE),
				      FPERF_ERR(REF_OVERFLOW), FPERF_ERR(SIMD),		 FPERF_ERR(CACHE_ADDRESS),
				      FPERF_ERR(CACHE_CPU),    FPERF_ERR(MM_IDS) };
	bool tried[FPERF_NR_ERRORS] = { true };
	const struct rule *rules;
	size_t nr = rules_of_any_mode(&rules);

	for (size_t i = 0; i < nr; i++)
		tried[-rules[i].code] = true;
	nr = rules_of_strict_mode(&rules);
	for (size_t i = 0; i < nr; i++)
		tried[-rules[i].code] = true;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		tried[-others[i]] = true;
	for (int code = 1; code < FPERF_NR_ERRORS; code++) {
		if (!tried[code])
			printf("%s:\n", fperf_error_name(code));
		ASSERT_TRUE(tried[code]);
	}
	return true;
}

int main(void)
{
	TEST(rules_of_any_mode);
	TEST(rules_of_strict_mode);
	TEST(lenient_mode_does_what_it_can);
	TEST(what_happens_to_the_other_events);
	TEST(access_into_a_stack_out_of_reach);
	TEST(populating_what_may_not_be_written);
	TEST(limit_of_mappings);
	TEST(machine_without_page_frames);
	TEST(no_reference_past_the_sign_bit);
	TEST(no_mm_without_a_number);
	TEST(every_code_an_event_can_end_with_is_tried);
	return TEST_END();
}
