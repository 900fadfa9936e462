/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kernel memory, read only. A BPF program of a dozen instructions calls bpf_probe_read_kernel() for one address; it is
 * attached to nothing and runs when BPF_PROG_TEST_RUN says so (Linux v5.10+, CAP_BPF and CAP_PERFMON). All return 0 or a
 * negative errno.
 */
#ifndef FPERF_KERNEL_MEMORY_H
#define FPERF_KERNEL_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct fperf_kernel_memory;

int fperf_kernel_memory_create(struct fperf_kernel_memory **ret) __attribute__((warn_unused_result));
void fperf_kernel_memory_destroy(struct fperf_kernel_memory *memory);

/* Address of the task_struct of the caller. */
int fperf_kernel_memory_task(struct fperf_kernel_memory *memory, uint64_t *address) __attribute__((warn_unused_result));
int fperf_kernel_memory_read(struct fperf_kernel_memory *memory, uint64_t address, void *to, size_t bytes)
	__attribute__((warn_unused_result));
/*
 * Read structs of `bytes` (a power of two up to 4096) out of an array at `base`; number of each in `index`, ascending. Those
 * that stand close together are read together.
 */
int fperf_kernel_memory_gather(struct fperf_kernel_memory *memory, uint64_t base, size_t bytes, const uint64_t *index,
			       size_t nr, uint8_t *to) __attribute__((warn_unused_result));

#endif
