/* SPDX-License-Identifier: BSD-3-Clause */
/* The log of calls that change struct pages: what a native replay, or a slow twin, needs to redo them. */
#include "mm/mm.h"

#include <string.h>

/* 2^26 calls are 4.5 GiB of log; a run that needs more wants no log. */
static const size_t MAX_LOG = 1u << 26;

struct fperf_rmap_op *fperf_log_append(struct fperf_sim *sim, enum fperf_rmap_hook hook, uint64_t folio)
{
	struct fperf_rmap_op *op;

	if (sim->nr_log == sim->cap_log) {
		const size_t cap = sim->cap_log ? sim->cap_log * 2 : 4096;
		struct fperf_rmap_op *const grown = cap > MAX_LOG ? NULL : realloc(sim->log, cap * sizeof(*grown));

		if (!grown) {
			sim->error = cap > MAX_LOG ? FPERF_ERR(LOG_FULL) : FPERF_ERR(NO_MEMORY);
			sim->logging = false;
			return NULL;
		}
		sim->log = grown;
		sim->cap_log = cap;
	}
	op = &sim->log[sim->nr_log++];
	memset(op, 0, sizeof(*op));
	op->hook = (uint16_t)hook;
	op->folio = folio;
	op->cpu = sim->cpu;
	op->first_answer = (uint32_t)sim->nr_answers;
	return op;
}

void fperf_log_run(struct fperf_sim *sim, enum fperf_rmap_hook hook, const struct fperf_run *run)
{
	struct fperf_rmap_op *const op = fperf_log_append(sim, hook, run->folio);

	if (!op)
		return;
	op->vpn = run->vpn;
	op->first = run->first;
	op->nr = run->nr;
	op->flags = run->flags;
	op->batched = run->batched;
	op->refs_batched = run->refs_batched;
	op->mm_id = run->mm_id;
	op->vma_id = run->vma_id;
	op->order = run->order;
}

void fperf_log_recount(struct fperf_sim *sim, const struct fperf_query *query)
{
	struct fperf_rmap_op *op;

	if (!sim->logging)
		return;
	op = fperf_log_append(sim, FPERF_HOOK_RECOUNT, query->folio);
	if (!op)
		return;
	op->order = query->order;
	op->flags = query->anon ? FPERF_RUN_ANON : 0;
	/* Inside an unmap the scheme decides by itself; a consumer offered this one. */
	op->delta = sim->cfg.recount == FPERF_RECOUNT_ON_WRITE_FAULT ? FPERF_SITE_WRITE_FAULT : FPERF_SITE_RECLAIM;
}

void fperf_log_answer(struct fperf_sim *sim, int64_t answer)
{
	if (!sim->logging)
		return;
	if (sim->nr_answers == sim->cap_answers) {
		const size_t cap = sim->cap_answers ? sim->cap_answers * 2 : 4096;
		int64_t *const grown = cap > MAX_LOG ? NULL : realloc(sim->answers, cap * sizeof(*grown));

		if (!grown) {
			sim->error = cap > MAX_LOG ? FPERF_ERR(LOG_FULL) : FPERF_ERR(NO_MEMORY);
			sim->logging = false;
			return;
		}
		sim->answers = grown;
		sim->cap_answers = cap;
	}
	/* Schemes ask only inside a hook, and each hook is logged before it is called. */
	FPERF_BUG_ON(!sim->nr_log);
	sim->answers[sim->nr_answers++] = answer;
	sim->log[sim->nr_log - 1].nr_answers = (uint32_t)(sim->nr_answers - sim->log[sim->nr_log - 1].first_answer);
}
