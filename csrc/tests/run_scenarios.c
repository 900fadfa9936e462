/* SPDX-License-Identifier: BSD-3-Clause */
/*
 *   run_scenarios FILE...
 *
 * Runs scenarios under every scheme and back end, so that sanitizers see the library at work without Python.
 * tools/dump_scenarios.py writes the files: struct file_header, objects, events. After each run the ledger must agree
 * with the page tables, and all back ends must have left the same struct pages.
 */
#include "tests/fperf_test.h"

#include <stdlib.h>

#include "engine/engine.h"

struct file_header {
	char magic[8];
	uint32_t page_shift;
	uint32_t nr_objects;
	uint64_t nr_events;
	uint64_t memory_bytes;
	uint64_t anon_orders_always, anon_orders_madvise, shmem_huge;
	struct fperf_profile profile;
};

struct scenario {
	struct file_header header;
	struct fperf_object_desc *objects;
	struct fperf_event *events;
};

static bool read_scenario(const char *path, struct scenario *scenario)
{
	const struct file_header *header = &scenario->header;
	FILE *file = fopen(path, "rb");

	ASSERT_TRUE(file);
	ASSERT_EQ(fread(&scenario->header, sizeof(*header), 1, file), 1);
	ASSERT_TRUE(!memcmp(header->magic, "FPERFSC1", 8));
	scenario->objects = calloc(header->nr_objects + 1, sizeof(*scenario->objects));
	scenario->events = calloc(header->nr_events + 1, sizeof(*scenario->events));
	ASSERT_TRUE(scenario->objects && scenario->events);
	ASSERT_EQ(fread(scenario->objects, sizeof(*scenario->objects), header->nr_objects, file), header->nr_objects);
	ASSERT_EQ(fread(scenario->events, sizeof(*scenario->events), header->nr_events, file), header->nr_events);
	ASSERT_EQ(fgetc(file), EOF);
	fclose(file);
	return true;
}

static bool run(struct fperf_sim *sim, const struct scenario *scenario)
{
	char message[512] = "";
	uint32_t index;
	size_t done;

	for (uint32_t i = 0; i < scenario->header.nr_objects; i++)
		ASSERT_OK(fperf_sim_add_object(sim, &scenario->objects[i], &index));
	ASSERT_OK(fperf_sim_run(sim, scenario->events, scenario->header.nr_events, NULL, &done));
	ASSERT_EQ(done, scenario->header.nr_events);
	if (fperf_sim_check(sim, message, sizeof(message))) {
		printf("%s\n", message);
		return false;
	}
	return true;
}

/* The struct pages a run leaves are put at *pages and *nr, or compared with what is there. */
static bool compare_pages(const struct fperf_sim *sim, void **pages, uint64_t *nr)
{
	uint64_t nr_now;
	const void *now = fperf_sim_struct_pages(sim, &nr_now);

	if (!*pages) {
		*nr = nr_now;
		*pages = malloc(nr_now * 64 + 1);
		ASSERT_TRUE(*pages);
		memcpy(*pages, now, nr_now * 64);
	}
	ASSERT_EQ(nr_now, *nr);
	ASSERT_TRUE(!memcmp(now, *pages, nr_now * 64));
	return true;
}

static bool run_all_backends(const struct scenario *scenario, uint32_t scheme, uint32_t presence, uint32_t recount)
{
	const struct file_header *header = &scenario->header;
	struct fperf_config config = {
		.abi_version = FPERF_ABI_VERSION,
		.page_shift = header->page_shift,
		.line_shift = 6,
		.scheme = scheme,
		.presence = presence,
		.recount = recount,
		.recount_period = recount == FPERF_RECOUNT_THRESHOLD ? 4 : 0,
		.truth = 1,
		.nr_cache_levels = 2,
		.cache = { { 32 << 10, 8, 0 }, { 1 << 20, 16, 0 } },
		.memory_bytes = header->memory_bytes,
		.anon_orders_always = header->anon_orders_always,
		.anon_orders_madvise = header->anon_orders_madvise,
		.shmem_huge = header->shmem_huge,
		.profile = header->profile,
	};
	void *pages = NULL;
	uint64_t nr_pages = 0;
	bool passed = true;

	for (config.backend = 0; passed && config.backend < FPERF_NR_BACKENDS; config.backend++) {
		struct fperf_sim *sim;

		ASSERT_OK(fperf_sim_create(&config, &sim));
		passed = run(sim, scenario) && compare_pages(sim, &pages, &nr_pages);
		fperf_sim_destroy(sim);
	}
	free(pages);
	return passed;
}

int main(int argc, char **argv)
{
	const char *const *schemes = fperf_name_table(FPERF_NAMES_SCHEMES);

	for (int i = 1; i < argc; i++) {
		struct scenario scenario = { 0 };

		if (!read_scenario(argv[i], &scenario)) {
			printf("FAILED %s\n", argv[i]);
			return EXIT_FAILURE;
		}
		for (uint32_t scheme = 0; schemes[scheme]; scheme++) {
			/* Presence and recount are choices of this scheme alone. */
			const bool choices = !strcmp(schemes[scheme], "zero_one_two_many");
			const uint32_t nr_choices = choices ? FPERF_NR_PRESENCES + FPERF_NR_RECOUNTS - 1 : 1;

			for (uint32_t choice = 0; choice < nr_choices; choice++) {
				/* Each presence policy without recounts, then each recount policy with the first. */
				const uint32_t presence = choice < FPERF_NR_PRESENCES ? choice : 0;
				const uint32_t recount =
					choice < FPERF_NR_PRESENCES ? 0 : choice - FPERF_NR_PRESENCES + 1;

				if (run_all_backends(&scenario, scheme, presence, recount)) {
					fperf_tests_passed++;
					continue;
				}
				fperf_tests_failed++;
				printf("FAILED %s, %s, presence %u, recount %u\n", argv[i], schemes[scheme], presence,
				       recount);
			}
		}
		free(scenario.objects);
		free(scenario.events);
	}
	return TEST_END() || !fperf_tests_passed;
}
