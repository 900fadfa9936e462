/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/engine.h"
#include "scheme/scheme.h"

#define NAME(NAME_, name) #name,
#define FIELD_NAME(NAME_, name, CLASS) #name,
#define FIELD_CLASS(NAME_, name, CLASS) #CLASS,
#define SCHEME_NAME(name) #name,

static const char *const ops[] = { FPERF_OPS(NAME) NULL };
static const char *const event_kinds[] = { FPERF_EVENT_KINDS(NAME) NULL };
static const char *const causes[] = { FPERF_CAUSES(NAME) NULL };
static const char *const fields[] = { FPERF_FIELDS(FIELD_NAME) NULL };
static const char *const field_classes[] = { FPERF_FIELDS(FIELD_CLASS) NULL };
static const char *const levels[] = { FPERF_LEVELS(NAME) NULL };
static const char *const backends[] = { FPERF_BACKENDS(NAME) NULL };
static const char *const advices[] = { FPERF_ADVICES(NAME) NULL };
static const char *const object_kinds[] = { FPERF_OBJECT_KINDS(NAME) NULL };
static const char *const questions[] = { FPERF_QUESTIONS(NAME) NULL };
static const char *const presences[] = { FPERF_PRESENCES(NAME) NULL };
static const char *const recounts[] = { FPERF_RECOUNTS(NAME) NULL };
static const char *const unknown_acts[] = { FPERF_UNKNOWN_ACTS(NAME) NULL };
static const char *const scheme_names[] = { FPERF_SCHEMES(SCHEME_NAME) NULL };
static const char *const hooks[] = { "folio_init", "folio_free", "map_run",   "unmap_run",     "fork_run",
				     "map_pmd",	   "unmap_pmd",	 "split_pmd", "vma_split",     "vma_merge",
				     "vma_move",   "recount",	 "ref_add",   "exclusive_set", "exclusive_clear",
				     "pin_add",	   NULL };
_Static_assert(sizeof(hooks) / sizeof(*hooks) == FPERF_NR_HOOKS + 1, "one name per hook");

static const char *const *const tables[FPERF_NR_NAMES] = {
	[FPERF_NAMES_OPS] = ops,
	[FPERF_NAMES_EVENT_KINDS] = event_kinds,
	[FPERF_NAMES_CAUSES] = causes,
	[FPERF_NAMES_FIELDS] = fields,
	[FPERF_NAMES_FIELD_CLASSES] = field_classes,
	[FPERF_NAMES_LEVELS] = levels,
	[FPERF_NAMES_BACKENDS] = backends,
	[FPERF_NAMES_ADVICES] = advices,
	[FPERF_NAMES_OBJECT_KINDS] = object_kinds,
	[FPERF_NAMES_QUESTIONS] = questions,
	[FPERF_NAMES_SCHEMES] = scheme_names,
	[FPERF_NAMES_HOOKS] = hooks,
	[FPERF_NAMES_PRESENCES] = presences,
	[FPERF_NAMES_RECOUNTS] = recounts,
	[FPERF_NAMES_UNKNOWN_ACTS] = unknown_acts,
};

const char *const *fperf_name_table(enum fperf_names which)
{
	return which < FPERF_NR_NAMES ? tables[which] : NULL;
}
