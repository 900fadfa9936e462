# SPDX-License-Identifier: BSD-3-Clause
"""The running kernel: actors, kernel memory, system calls that Python has not.

Imports nothing, so that a process that is to be small can load it alone, by its file.
"""
from libc.stdint cimport uint64_t, uint8_t


import os
import struct

OPS = tuple([fperf_actor_op_names[number].decode("ascii") for number in range(<int>FPERF_ACTOR_NR_OPS)])
MAX_OBJECTS = <int>FPERF_ACTOR_MAX_OBJECTS
SIGNAL = <int>FPERF_ACTOR_SIGNAL

# op, flag, object, writer, start, length, other; result, error, pid.
REQUEST = struct.Struct("=4I3Q")
REPLY = struct.Struct("=q2i")
if REQUEST.size != sizeof(fperf_actor_request) or REPLY.size != sizeof(fperf_actor_reply):
    raise ImportError("messages of csrc/live/actor.h have other members")


cdef int checked(int result) except -1:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def actor(int socket):
    """Be an actor until the socket closes; ends the process."""
    fperf_actor(socket)


def drain():
    """Empty the batches of all CPUs in which pages wait for their LRU list, and are referenced meanwhile."""
    cdef int result
    with nogil:
        result = fperf_live_drain()
    checked(result)


def tmpfs(name):
    """Open a new file of a new tmpfs with huge=always that is mounted nowhere; return its descriptor."""
    cdef bytes raw = os.fsencode(name)
    return checked(fperf_live_tmpfs(raw))


def resident(int file, unsigned char[::1] pages not None):
    """Write into `pages`, one of the file's first pages each, whether it is in the page cache: 1 or 0."""
    if pages.shape[0]:
        checked(fperf_live_resident(file, pages.shape[0], &pages[0]))


def swapon(path):
    """Swap to a file."""
    cdef bytes raw = os.fsencode(path)
    checked(fperf_live_swapon(raw))


def swapoff(path):
    """Swap no longer to a file."""
    cdef bytes raw = os.fsencode(path)
    cdef const char *where = raw
    cdef int result
    with nogil:
        result = fperf_live_swapoff(where)
    checked(result)


cdef class KernelMemory:
    """Memory of the kernel, read only. One instance per thread.

    Raises
    ------
    OSError
        If the kernel or the user's rights do not allow it (CAP_BPF and CAP_PERFMON).
    """

    cdef fperf_kernel_memory *_memory

    def __cinit__(self):
        checked(fperf_kernel_memory_create(&self._memory))

    def __dealloc__(self):
        fperf_kernel_memory_destroy(self._memory)

    def task(self):
        """Address of the calling thread's task_struct."""
        cdef uint64_t address = 0
        checked(fperf_kernel_memory_task(self._memory, &address))
        return address

    def read(self, uint64_t address, unsigned char[::1] to not None):
        """Fill `to` from an address."""
        if to.shape[0]:
            checked(fperf_kernel_memory_read(self._memory, address, &to[0], to.shape[0]))

    def gather(self, uint64_t base, const uint64_t[::1] index not None, unsigned char[:, ::1] to not None):
        """Fill each row of `to` with the struct of that number in the array at `base`; numbers ascend."""
        cdef size_t nr = index.shape[0], size = to.shape[1]
        cdef int result
        if <size_t>to.shape[0] != nr:
            raise ValueError(f"to: {to.shape[0]} rows for {nr} structs")
        if not 1 <= size <= 4096 or size & (size - 1):
            raise ValueError(f"to: rows of {size} bytes; they must be a power of two up to 4096")
        if not nr:
            return
        with nogil:
            result = fperf_kernel_memory_gather(self._memory, base, size, &index[0], nr, &to[0, 0])
        checked(result)
