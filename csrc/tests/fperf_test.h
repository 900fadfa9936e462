/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A test is a function that returns whether it passed; ASSERT_* return false from it. A test program:
 *
 *   int main(void)
 *   {
 *           TEST(unmap_leaves_one_mm);
 *           return TEST_END();
 *   }
 */
#ifndef FPERF_TEST_H
#define FPERF_TEST_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int fperf_tests_passed, fperf_tests_failed;

/* Runs test_<name>(). */
#define TEST(name)										\
	(test_##name() ? (void)fperf_tests_passed++						\
		       : (void)(fperf_tests_failed++, printf("FAILED %s:%s\n", __FILE__, #name)))

#define TEST_END() (printf("%d passed, %d failed\n", fperf_tests_passed, fperf_tests_failed), fperf_tests_failed != 0)

#define ASSERT_TRUE(cond)									\
	do {											\
		if (!(cond)) {									\
			printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #cond);		\
			return false;								\
		}										\
	} while (0)
#define ASSERT_FALSE(cond) ASSERT_TRUE(!(cond))

#define ASSERT_EQ(got, want)									\
	do {											\
		const int64_t got_ = (int64_t)(got), want_ = (int64_t)(want);			\
		if (got_ != want_) {								\
			printf("%s:%d: %s is %" PRId64 ", not %" PRId64 "\n", __FILE__, __LINE__, #got, got_, want_); \
			return false;								\
		}										\
	} while (0)
#define ASSERT_OK(call) ASSERT_EQ(call, 0)

#define ASSERT_STREQ(got, want)									\
	do {											\
		const char *got_ = (got), *want_ = (want);					\
		if (!got_ || strcmp(got_, want_)) {						\
			printf("%s:%d: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, #got, got_ ? got_ : "NULL", want_); \
			return false;								\
		}										\
	} while (0)

#endif
