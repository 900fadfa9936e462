/* SPDX-License-Identifier: BSD-3-Clause */
/* The interval tree against a list: ascending start, equal starts in the order they came, or directly behind a node. */
#define FPERF_BACKEND_COUNT
#include "tests/fperf_test.h"

#include <stdlib.h>

#include "mm/itree.h"

/* Nodes in the order a walk must find them. */
struct list {
	struct fperf_itnode **nodes;
	uint32_t nr;
};

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static void list_put(struct list *list, uint32_t at, struct fperf_itnode *node)
{
	memmove(&list->nodes[at + 1], &list->nodes[at], (list->nr - at) * sizeof(*list->nodes));
	list->nodes[at] = node;
	list->nr++;
}

/* Behind every node that starts at or before it. */
static void list_insert(struct list *list, struct fperf_itnode *node)
{
	uint32_t at = 0;

	while (at < list->nr && list->nodes[at]->start <= node->start)
		at++;
	list_put(list, at, node);
}

static uint32_t list_find(const struct list *list, const struct fperf_itnode *node)
{
	uint32_t at = 0;

	while (list->nodes[at] != node)
		at++;
	return at;
}

static void list_remove(struct list *list, const struct fperf_itnode *node)
{
	const uint32_t at = list_find(list, node);

	list->nr--;
	memmove(&list->nodes[at], &list->nodes[at + 1], (list->nr - at) * sizeof(*list->nodes));
}

static bool same_walk(const struct fperf_itree *tree, const struct list *list, uint64_t start, uint64_t last)
{
	struct fperf_itnode *node = fperf_itree_first(tree, start, last);

	for (uint32_t i = 0; i < list->nr; i++) {
		if (list->nodes[i]->last < start || list->nodes[i]->start > last)
			continue;
		ASSERT_TRUE(node == list->nodes[i]);
		node = fperf_itree_next(node, start, last);
	}
	ASSERT_TRUE(!node);
	return true;
}

/* Links, largest ends and heap order hold below `node`; returns its depth, 0 if something is wrong. */
static unsigned int depth_of(const struct fperf_itnode *node)
{
	const struct fperf_itnode *const children[] = { node->left, node->right };
	uint64_t max_last = node->last;
	unsigned int depth = 1;

	for (unsigned int i = 0; i < 2; i++) {
		const struct fperf_itnode *const child = children[i];
		unsigned int below;

		if (!child)
			continue;
		below = depth_of(child);
		if (!below || child->parent != node || child->priority > node->priority)
			return 0;
		if (i ? child->start < node->start : child->start > node->start)
			return 0;
		if (child->max_last > max_last)
			max_last = child->max_last;
		if (below >= depth)
			depth = below + 1;
	}
	return max_last == node->max_last ? depth : 0;
}

static bool follow_list(uint64_t seed, uint32_t nr_steps, uint64_t range, uint64_t longest)
{
	struct fperf_itnode *const nodes = calloc(nr_steps, sizeof(*nodes));
	struct list list = { .nodes = calloc(nr_steps, sizeof(*list.nodes)) };
	struct fperf_itree tree = { 0 };
	uint64_t state = seed;

	ASSERT_TRUE(nodes && list.nodes);
	for (uint32_t i = 0; i < nr_steps; i++) {
		struct fperf_itnode *const node = &nodes[i];
		const uint64_t dice = next_random(&state) % 8;

		node->at = 4096 + (uint64_t)i * 192;
		if (dice < 2 && list.nr) {
			struct fperf_itnode *const gone = list.nodes[next_random(&state) % list.nr];

			fperf_itree_remove(&tree, gone);
			list_remove(&list, gone);
		} else if (dice < 4 && list.nr) {
			/* A child's VMA starts where its parent's does. */
			struct fperf_itnode *const parent = list.nodes[next_random(&state) % list.nr];

			node->start = parent->start;
			node->last = node->start + next_random(&state) % longest;
			fperf_itree_insert_after(&tree, node, parent);
			list_put(&list, list_find(&list, parent) + 1, node);
		} else {
			node->start = next_random(&state) % range;
			node->last = node->start + next_random(&state) % longest;
			fperf_itree_insert(&tree, node);
			list_insert(&list, node);
		}
		ASSERT_EQ(tree.nr, list.nr);
		ASSERT_TRUE(!tree.root || (!tree.root->parent && depth_of(tree.root)));
		for (unsigned int queries = 0; queries < 4; queries++) {
			const uint64_t start = next_random(&state) % (range + longest);

			ASSERT_TRUE(same_walk(&tree, &list, start, start + next_random(&state) % longest));
		}
		ASSERT_TRUE(same_walk(&tree, &list, 0, UINT64_MAX));
	}
	while (list.nr) {
		struct fperf_itnode *const gone = list.nodes[next_random(&state) % list.nr];

		fperf_itree_remove(&tree, gone);
		list_remove(&list, gone);
		ASSERT_TRUE(same_walk(&tree, &list, 0, UINT64_MAX));
	}
	ASSERT_TRUE(!tree.root && !tree.nr);
	free(list.nodes);
	free(nodes);
	return true;
}

static bool test_random_trees_follow_the_list(void)
{
	for (uint64_t seed = 1; seed <= 8; seed++) {
		ASSERT_TRUE(follow_list(seed, 300, 1000, 50));
		/* Few starts, many equals. */
		ASSERT_TRUE(follow_list(seed, 300, 4, 8));
		/* Intervals that reach over everything. */
		ASSERT_TRUE(follow_list(seed, 300, 1000, 2000));
	}
	return true;
}

static bool test_children_stand_behind_their_parent(void)
{
	/* i_mmap of one file mapped at offset 0; P = parent, n = n-th insertion
	 *      P forks 1, 2, 3         P 3 2 1        the youngest child next to its parent
	 *      2 forks 4               P 3 2 4 1
	 *      5 maps the same         P 3 2 4 1 5    mmap goes behind all equals */
	struct fperf_itnode nodes[6] = { 0 };
	const unsigned int order[] = { 0, 3, 2, 4, 1, 5 };
	struct fperf_itree tree = { 0 };
	struct fperf_itnode *node;

	for (unsigned int i = 0; i < 6; i++)
		nodes[i] = (struct fperf_itnode){ .last = 15, .at = 64 * (i + 1) };
	fperf_itree_insert(&tree, &nodes[0]);
	for (unsigned int child = 1; child <= 3; child++)
		fperf_itree_insert_after(&tree, &nodes[child], &nodes[0]);
	fperf_itree_insert_after(&tree, &nodes[4], &nodes[2]);
	fperf_itree_insert(&tree, &nodes[5]);
	node = fperf_itree_first(&tree, 3, 3);
	for (unsigned int i = 0; i < 6; i++) {
		ASSERT_TRUE(node == &nodes[order[i]]);
		node = fperf_itree_next(node, 3, 3);
	}
	ASSERT_TRUE(!node);
	return true;
}

static bool test_borders_belong_to_the_interval(void)
{
	/*	 0123456789
	 *	 ..[---]...     [2, 6] */
	struct fperf_itnode node = { .start = 2, .last = 6, .at = 64 };
	struct fperf_itree tree = { 0 };

	ASSERT_TRUE(!fperf_itree_first(&tree, 0, UINT64_MAX));
	fperf_itree_insert(&tree, &node);
	ASSERT_TRUE(!fperf_itree_first(&tree, 0, 1));
	ASSERT_TRUE(fperf_itree_first(&tree, 0, 2) == &node);
	ASSERT_TRUE(fperf_itree_first(&tree, 6, 6) == &node);
	ASSERT_TRUE(!fperf_itree_first(&tree, 7, UINT64_MAX));
	return true;
}

/* Nodes lie where the slab puts them: `stride` bytes from one fork to the next, whatever else the fork allocates. */
static unsigned int depth_of_forked(uint32_t nr, uint64_t stride)
{
	struct fperf_itnode *const nodes = calloc(nr, sizeof(*nodes));
	struct fperf_itree tree = { 0 };
	unsigned int depth;

	if (!nodes)
		return UINT32_MAX;
	for (uint32_t i = 0; i < nr; i++) {
		nodes[i] = (struct fperf_itnode){ .last = 511, .at = (1ull << 34) + i * stride };
		fperf_itree_insert(&tree, &nodes[i]);
	}
	depth = depth_of(tree.root);
	free(nodes);
	return depth;
}

static bool test_tree_of_equals_stays_flat(void)
{
	/* 10,000 children map the same page. A random treap of that size is about 30 deep and hardly ever 60. */
	for (uint64_t lines = 1; lines <= 1000; lines += lines < 100 ? 1 : 37) {
		const unsigned int depth = depth_of_forked(10000, lines * 64);

		ASSERT_TRUE(depth && depth < 80);
	}
	return true;
}

int main(void)
{
	TEST(random_trees_follow_the_list);
	TEST(children_stand_behind_their_parent);
	TEST(borders_belong_to_the_interval);
	TEST(tree_of_equals_stays_flat);
	return TEST_END();
}
