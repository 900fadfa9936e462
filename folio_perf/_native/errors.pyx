# SPDX-License-Identifier: BSD-3-Clause
"""Error codes of libfperf as exceptions: the only map from code to exception."""
from folio_perf._native.core cimport (
    FPERF_ERR_POS_ADDR_SPACE,
    FPERF_ERR_POS_NO_MEMORY,
    FPERF_NR_ERRORS,
    fperf_error_errno,
    fperf_error_name,
    fperf_error_rule,
)

# Every code there is, 0 (no error) first; C returns them negative.
NR_ERRORS = <int>FPERF_NR_ERRORS


class FperfError(ValueError):
    """A function of libfperf failed.

    Parameters
    ----------
    code : int
        Code of libfperf, either sign.
    index : int, optional
        Position of the event that failed in the events that were run.

    Attributes
    ----------
    code : int
        Negative.
    name : str
        For instance ``"NOT_MAPPED"``.
    rule : str
        The rule that was broken.
    errno : int
        What the system call would have set; above 1000, the signal the process would have got, plus 1000.
    index : int or None
    """

    def __init__(self, code, index=None):
        self.code = -abs(code)
        self.name = error_name(code)
        self.rule = error_rule(code)
        self.errno = error_errno(code)
        self.index = index
        place = "" if index is None else f"event {index}: "
        super().__init__(f"{place}{self.rule} ({self.name})")

    def __reduce__(self):
        return type(self), (self.code, self.index)


class FperfMemoryError(FperfError, MemoryError):
    """The host, not the modelled machine, is out of memory or of address space."""


cdef int known(int code) except -1:
    if fperf_error_name(code) == NULL:
        raise ValueError(f"{code} is no error code of libfperf: they run from {1 - NR_ERRORS} to 0")
    return 0


def error_name(int code):
    """Name of a code, for instance ``"NOT_MAPPED"``; ``"OK"`` of 0. ValueError if there is no such code."""
    known(code)
    return fperf_error_name(code).decode("ascii")


def error_rule(int code):
    """The rule whose breach a code reports, in words. ValueError if there is no such code."""
    known(code)
    return fperf_error_rule(code).decode("ascii")


def error_errno(int code):
    """What the system call would have set; 1000 + signal where it would be killed. ValueError if no such code."""
    known(code)
    return fperf_error_errno(code)


def raise_for(int code, index=None):
    """Raise the exception of a negative ``code``; do nothing for 0 and positive ones."""
    check(code, index)


cdef int check(int code, object index=None) except -1:
    if code >= 0:
        return code
    if -code in (FPERF_ERR_POS_NO_MEMORY, FPERF_ERR_POS_ADDR_SPACE):
        raise FperfMemoryError(code, index)
    raise FperfError(code, index)
