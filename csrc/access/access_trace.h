/* SPDX-License-Identifier: BSD-3-Clause */
/* The list of accesses that `show` prints, in order; a run of equal accesses at a constant stride is one row. */
#ifndef FPERF_ACCESS_TRACE_H
#define FPERF_ACCESS_TRACE_H

#include "access/access.h"
#include "core/fperf_abi.h"

void fperf_trace_note(struct fperf_door *door, enum fperf_field field, enum fperf_access access, uint64_t at,
		      uint64_t nr, uint32_t stride, unsigned int level);

#endif
