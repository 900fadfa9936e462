/* SPDX-License-Identifier: BSD-3-Clause */
#define FPERF_BACKEND_NATIVE
#include "tests/access_body.h"
