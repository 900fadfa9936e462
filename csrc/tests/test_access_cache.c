/* SPDX-License-Identifier: BSD-3-Clause */
#define FPERF_BACKEND_CACHE
#include "tests/access_body.h"
