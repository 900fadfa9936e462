# SPDX-License-Identifier: BSD-3-Clause
# csrc/live/actor.h, kernel_memory.h, system.h.
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "live/actor.h" nogil:
    enum:
        FPERF_ACTOR_NR_OPS
        FPERF_ACTOR_MAX_OBJECTS
        FPERF_ACTOR_SIGNAL

    const char *const *fperf_actor_op_names

    struct fperf_actor_request:
        uint32_t op
        uint32_t flag
        uint32_t object
        uint32_t writer
        uint64_t start
        uint64_t length
        uint64_t other

    struct fperf_actor_reply:
        int64_t result
        int32_t error
        int32_t pid

    void fperf_actor(int socket)


cdef extern from "live/kernel_memory.h" nogil:
    struct fperf_kernel_memory:
        pass

    int fperf_kernel_memory_create(fperf_kernel_memory **ret)
    void fperf_kernel_memory_destroy(fperf_kernel_memory *memory)
    int fperf_kernel_memory_task(fperf_kernel_memory *memory, uint64_t *address)
    int fperf_kernel_memory_read(fperf_kernel_memory *memory, uint64_t address, void *to, size_t bytes)
    int fperf_kernel_memory_gather(
        fperf_kernel_memory *memory, uint64_t base, size_t bytes, const uint64_t *index, size_t nr, uint8_t *to,
    )


cdef extern from "live/system.h" nogil:
    int fperf_live_drain()
    int fperf_live_tmpfs(const char *name)
    int fperf_live_resident(int file, size_t nr_pages, unsigned char *resident)
    int fperf_live_swapon(const char *path)
    int fperf_live_swapoff(const char *path)
