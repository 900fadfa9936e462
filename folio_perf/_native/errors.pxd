# SPDX-License-Identifier: BSD-3-Clause
cdef int check(int code, object index=*) except -1
