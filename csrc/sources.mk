# SPDX-License-Identifier: BSD-3-Clause
# What libfperf is made of. The Makefile includes this file and setup.py reads it, so each glob stands once.
# Only `NAME := words` lines; a word may be a glob relative to the top of the tree.

FPERF_SOURCES := csrc/*/*.c
FPERF_NOT_SOURCES := csrc/tests/*.c

# Compiled once per back end, with -DFPERF_BACKEND_COUNT and so on; the object is x.count.o, x.cache.o, x.native.o.
FPERF_BACKENDS := count cache native
FPERF_PER_BACKEND := csrc/mm/*.c csrc/consumer/*.c csrc/scheme/*.c csrc/engine/run.c csrc/engine/event_*.c csrc/hw/pass.c

# Functions begin on lines of their own, so that what two designs have in common lies alike and takes equally long.
FPERF_CFLAGS := -std=c11 -O3 -falign-functions=64 -g -fno-strict-aliasing -fPIC -Icsrc -D_GNU_SOURCE -Wall -Wextra -pthread

# The baseline of every x86-64 machine since 2009; elsewhere the compiler's own baseline.
FPERF_CFLAGS_X86_64 := -march=x86-64-v2

# What runs inside the loop makes no indirect call, but for the callers of the table that mm/rmap_hooks.h describes; the
# last of these only recounts when it is asked to. It is compiled without jump tables, as a kernel with retpolines or
# IBT is: then every indirect jump in these objects is an indirect call, and tools/check_inline.py needs no guess.
FPERF_NO_INDIRECT := csrc/scheme/*.c csrc/mm/*.c csrc/consumer/*.c
FPERF_NO_INDIRECT_CFLAGS := -fno-jump-tables
FPERF_TABLE_CALLERS := csrc/mm/rmap_hooks.c csrc/mm/folio.c csrc/mm/truth_check.c
