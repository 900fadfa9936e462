/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/fperf_error.h"

static const struct {
	const char *name;
	const char *rule;
	int err;
} errors[FPERF_NR_ERRORS] = { [FPERF_OK] = { "OK", "no error", 0 },
#define X(name, err, text) [FPERF_ERR_POS_##name] = { #name, text, err },
			      FPERF_ERRORS(X)
#undef X
};

static int index_of(int code)
{
	const unsigned int i = code < 0 ? 0u - (unsigned int)code : (unsigned int)code;

	return i < FPERF_NR_ERRORS ? (int)i : -1;
}

const char *fperf_error_name(int code)
{
	const int i = index_of(code);

	return i < 0 ? NULL : errors[i].name;
}

const char *fperf_error_rule(int code)
{
	const int i = index_of(code);

	return i < 0 ? NULL : errors[i].rule;
}

int fperf_error_errno(int code)
{
	const int i = index_of(code);

	return i < 0 ? 0 : errors[i].err;
}
