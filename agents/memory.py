"""Memory that is kept for what comes next."""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of glibc's ``mallopt``."""

KEPT, LARGEST = 2**28, 2**25
"""Bytes that are kept at most, and of an array that is kept; the second is the most that glibc takes."""


def keep_memory() -> None:
    """Let the C library keep what is freed: arrays of a minibatch are made anew in each, and new pages cost more.

    It does something where the library is glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # Windows knows no library without a name
        return
    mallopt(TRIM_THRESHOLD, KEPT)
    mallopt(MMAP_THRESHOLD, LARGEST)
