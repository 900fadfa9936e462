/* SPDX-License-Identifier: BSD-3-Clause */
#include "hw/hw.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

int fperf_hw_counter_open(uint32_t type, uint64_t config)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = type,
		.config = config,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};
	const long fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : (int)fd;
}

int fperf_hw_counter_read(int fd, uint64_t *value)
{
	const ssize_t got = read(fd, value, sizeof(*value));

	return got == (ssize_t)sizeof(*value) ? 0 : FPERF_ERR(ARGUMENT);
}

void fperf_hw_counter_close(int fd)
{
	close(fd);
}
