/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interval tree of page offsets, walked in the kernel's order: ascending start; equal starts in order of insertion, or
 * directly behind a given node (how fork inserts a file VMA behind its parent's). Balanced as a treap whose priorities
 * come from a counter, so runs are repeatable.
 */
#ifndef FPERF_ITREE_H
#define FPERF_ITREE_H

#include <stdint.h>

#include "mm/names.h"

struct fperf_itnode {
	struct fperf_itnode *left, *right, *parent;
	uint64_t start, last; /* first and last page offset */
	uint64_t max_last; /* largest last of the subtree */
	uint64_t at;  /* modelled address of the node */
	void *owner;
	uint32_t priority;
};

struct fperf_itree {
	struct fperf_itnode *root;
	uint32_t nr;
};

void fperf_itree_insert(struct fperf_itree *tree, struct fperf_itnode *node);
void fperf_itree_insert_after(struct fperf_itree *tree, struct fperf_itnode *node, struct fperf_itnode *prev);
void fperf_itree_remove(struct fperf_itree *tree, struct fperf_itnode *node);

/* First and next node overlapping [start, last]. */
struct fperf_itnode *fperf_itree_first(const struct fperf_itree *tree, uint64_t start, uint64_t last);
struct fperf_itnode *fperf_itree_next(struct fperf_itnode *node, uint64_t start, uint64_t last);

#endif
