/* SPDX-License-Identifier: BSD-3-Clause */
#include "live/system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/mempolicy.h>
#include <linux/mount.h>

/* move_pages() drains the batches of all CPUs before it looks at any page (mm/migrate.c, do_pages_move()). */
int fperf_live_drain(void)
{
	const size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
	char *const page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const void *const pages[1] = { page };
	const int nodes[1] = { 0 };
	int status[1], err = 0;

	if (page == MAP_FAILED)
		return -errno;
	*(volatile char *)page = 1;
	if (syscall(SYS_move_pages, 0, 1ul, pages, nodes, status, MPOL_MF_MOVE) < 0)
		err = -errno;
	munmap(page, bytes);
	return err;
}

int fperf_live_tmpfs(const char *name)
{
	const int context = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
	int mount, file, err;

	if (context < 0)
		return -errno;
	if (syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "huge", "always", 0) < 0 ||
	    syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
		err = errno;
		close(context);
		return -err;
	}
	mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
	err = errno;
	close(context);
	if (mount < 0)
		return -err;
	file = openat(mount, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	err = errno;
	close(mount);
	return file < 0 ? -err : file;
}

int fperf_live_resident(int file, size_t nr_pages, unsigned char *resident)
{
	const size_t bytes = nr_pages * (size_t)sysconf(_SC_PAGESIZE);
	void *const at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file, 0);
	int err = 0;

	if (at == MAP_FAILED)
		return -errno;
	if (mincore(at, bytes, resident))
		err = -errno;
	for (size_t i = 0; i < nr_pages; i++)
		resident[i] &= 1;
	munmap(at, bytes);
	return err;
}

int fperf_live_swapon(const char *path)
{
	return swapon(path, 0) ? -errno : 0;
}

int fperf_live_swapoff(const char *path)
{
	return swapoff(path) ? -errno : 0;
}
