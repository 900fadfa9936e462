/* SPDX-License-Identifier: BSD-3-Clause */
/* System calls that scenarios on the running kernel need. All return a negative errno if they fail. */
#ifndef FPERF_SYSTEM_H
#define FPERF_SYSTEM_H

#include <stddef.h>

/* Empty the per-CPU batches of folios on their way to an LRU list; each holds a reference. */
int fperf_live_drain(void);
/* A descriptor of a new file of a new tmpfs with huge=always, mounted nowhere: it is gone with its last descriptor. */
int fperf_live_tmpfs(const char *name);
/* Whether each of the first nr pages of a file is in the page cache: 1 or 0. */
int fperf_live_resident(int file, size_t nr_pages, unsigned char *resident);
int fperf_live_swapon(const char *path);
int fperf_live_swapoff(const char *path);

#endif
