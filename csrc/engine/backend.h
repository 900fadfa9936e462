/* SPDX-License-Identifier: BSD-3-Clause */
/* What each of the three compilations of mm, schemes and consumers offers the engine. */
#ifndef FPERF_BACKEND_H
#define FPERF_BACKEND_H

#include "engine/engine.h"
#include "mm/sim.h"

struct fperf_engine_ops {
	const struct fperf_scheme_ops *const *schemes; /* in the order of FPERF_SCHEMES */
	int (*init)(struct fperf_sim *sim);
	void (*destroy)(struct fperf_sim *sim);
	int (*add_object)(struct fperf_sim *sim, const struct fperf_object_desc *desc, uint32_t *ret);
	int (*populate)(struct fperf_sim *sim, struct fperf_object *object, uint64_t index, uint32_t order);
	int (*run)(struct fperf_sim *sim, const struct fperf_event *event);
	int (*check)(struct fperf_sim *sim, const struct fperf_event *event);
	int (*mappings)(struct fperf_sim *sim, struct fperf_mm *mm, struct fperf_mapping_row *rows, size_t cap,
			size_t *nr);
	int (*smaps)(struct fperf_sim *sim, struct fperf_mm *mm, bool exact, struct fperf_vma_row *rows, size_t cap,
		     size_t *nr);
	void (*truth)(struct fperf_sim *sim, uint64_t folio, uint32_t *vmas, uint32_t *mms);
	uint64_t (*head)(const struct fperf_sim *sim, uint64_t pfn);
	void (*replay)(struct fperf_sim *sim, const struct fperf_rmap_op *op, const int64_t *answers);
	int (*verify)(struct fperf_sim *sim, char *message, size_t size);
};

extern const struct fperf_engine_ops fperf_backend_count, fperf_backend_cache, fperf_backend_native;

#endif
