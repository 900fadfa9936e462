/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/fperf_test.h"

#include <limits.h>

#include "core/fperf_error.h"

static bool test_every_code_has_name_rule_and_errno(void)
{
	for (int code = 1; code < FPERF_NR_ERRORS; code++) {
		ASSERT_TRUE(fperf_error_name(code) && *fperf_error_name(code));
		ASSERT_TRUE(fperf_error_rule(code) && *fperf_error_rule(code));
		ASSERT_TRUE(fperf_error_errno(code) > 0);
	}
	return true;
}

static bool test_the_sign_is_ignored(void)
{
	ASSERT_EQ(FPERF_ERR(OVERLAP), -FPERF_ERR_POS_OVERLAP);
	ASSERT_STREQ(fperf_error_name(FPERF_ERR(OVERLAP)), "OVERLAP");
	ASSERT_STREQ(fperf_error_name(-FPERF_ERR(OVERLAP)), "OVERLAP");
	ASSERT_EQ(fperf_error_errno(FPERF_ERR(OVERLAP)), 17);
	return true;
}

static bool test_zero_is_no_error(void)
{
	ASSERT_STREQ(fperf_error_name(0), "OK");
	ASSERT_EQ(fperf_error_errno(0), 0);
	return true;
}

static bool test_other_numbers_are_no_codes(void)
{
	static const int others[] = { FPERF_NR_ERRORS, -FPERF_NR_ERRORS, INT_MAX, INT_MIN };

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		ASSERT_TRUE(!fperf_error_name(others[i]));
		ASSERT_TRUE(!fperf_error_rule(others[i]));
		ASSERT_EQ(fperf_error_errno(others[i]), 0);
	}
	return true;
}

int main(void)
{
	TEST(every_code_has_name_rule_and_errno);
	TEST(the_sign_is_ignored);
	TEST(zero_is_no_error);
	TEST(other_numbers_are_no_codes);
	return TEST_END();
}
