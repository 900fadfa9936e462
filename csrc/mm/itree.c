/* SPDX-License-Identifier: BSD-3-Clause */
#include "mm/itree.h"

#include <stddef.h>

static uint64_t max3(uint64_t a, uint64_t b, uint64_t c)
{
	const uint64_t ab = a > b ? a : b;

	return ab > c ? ab : c;
}

static void update(struct fperf_itnode *node)
{
	node->max_last =
		max3(node->last, node->left ? node->left->max_last : 0, node->right ? node->right->max_last : 0);
}

static void update_upwards(struct fperf_itnode *node)
{
	for (; node; node = node->parent)
		update(node);
}

static void replace_child(struct fperf_itree *tree, struct fperf_itnode *parent, struct fperf_itnode *old,
			  struct fperf_itnode *new)
{
	if (!parent)
		tree->root = new;
	else if (parent->left == old)
		parent->left = new;
	else
		parent->right = new;
	if (new)
		new->parent = parent;
}

/* Lift `node` over its parent. */
static void rotate_up(struct fperf_itree *tree, struct fperf_itnode *node)
{
	struct fperf_itnode *const parent = node->parent;

	replace_child(tree, parent->parent, parent, node);
	if (parent->left == node) {
		parent->left = node->right;
		if (node->right)
			node->right->parent = parent;
		node->right = parent;
	} else {
		parent->right = node->left;
		if (node->left)
			node->left->parent = parent;
		node->left = parent;
	}
	parent->parent = node;
	update(parent);
	update(node);
}

static uint32_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (uint32_t)(z ^ z >> 31);
}

static void link_leaf(struct fperf_itree *tree, struct fperf_itnode *node, struct fperf_itnode *parent,
		      struct fperf_itnode **link)
{
	/* A hash of the address the model gave the node (splitmix64's finaliser): stable from run to run. */
	node->priority = mix(node->at >> 6);
	node->left = node->right = NULL;
	node->parent = parent;
	*link = node;
	tree->nr++;
	update_upwards(node);
	while (node->parent && node->priority > node->parent->priority)
		rotate_up(tree, node);
}

void fperf_itree_insert(struct fperf_itree *tree, struct fperf_itnode *node)
{
	struct fperf_itnode **link = &tree->root, *parent = NULL;

	while (*link) {
		parent = *link;
		link = node->start < parent->start ? &parent->left : &parent->right;
	}
	link_leaf(tree, node, parent, link);
}

void fperf_itree_insert_after(struct fperf_itree *tree, struct fperf_itnode *node, struct fperf_itnode *prev)
{
	struct fperf_itnode *parent = prev, **link = &prev->right;

	while (*link) {
		parent = *link;
		link = &parent->left;
	}
	link_leaf(tree, node, parent, link);
}

void fperf_itree_remove(struct fperf_itree *tree, struct fperf_itnode *node)
{
	struct fperf_itnode *child;

	while (node->left && node->right)
		rotate_up(tree, node->left->priority > node->right->priority ? node->left : node->right);
	child = node->left ? node->left : node->right;
	replace_child(tree, node->parent, node, child);
	update_upwards(node->parent);
	tree->nr--;
	node->left = node->right = node->parent = NULL;
}

/* Leftmost overlapping node of a subtree that is known to reach up to `start`. */
static struct fperf_itnode *leftmost(struct fperf_itnode *node, uint64_t start, uint64_t last)
{
	while (node) {
		if (node->left && node->left->max_last >= start) {
			node = node->left;
			continue;
		}
		if (node->start > last)
			return NULL;
		if (node->last >= start)
			return node;
		node = node->right;
		if (node && node->max_last < start)
			return NULL;
	}
	return NULL;
}

struct fperf_itnode *fperf_itree_first(const struct fperf_itree *tree, uint64_t start, uint64_t last)
{
	if (!tree->root || tree->root->max_last < start)
		return NULL;
	return leftmost(tree->root, start, last);
}

struct fperf_itnode *fperf_itree_next(struct fperf_itnode *node, uint64_t start, uint64_t last)
{
	for (;;) {
		struct fperf_itnode *child;

		if (node->right && node->right->max_last >= start) {
			struct fperf_itnode *const found = leftmost(node->right, start, last);

			if (found)
				return found;
		}
		do {
			child = node;
			node = node->parent;
			if (!node)
				return NULL;
		} while (node->right == child);
		if (node->start > last)
			return NULL;
		if (node->last >= start)
			return node;
	}
}
