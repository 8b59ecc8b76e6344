"""The C library's heap, told to keep what is freed for what is asked for next."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
KEPT = 32 << 20
"""Largest array, bytes, that the heap serves itself: glibc takes no more. A picture of 512 pixels has 3 MB."""
LEFT_FREE = 512 << 20
"""Bytes at the heap's end that may lie unused before they are given back."""


def keep_freed_memory() -> bool:
    """Serve large arrays from memory that was freed before; whether the C library can be told to (glibc's can).

    By default arrays of more than 128 kB are given back to the system when they are freed, and every page of the next
    one is cleared and mapped anew: a step of training or a spoken frame does that with hundreds of megabytes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        tell = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none.
        return False
    return all(tell(option, size) == 1 for option, size in ((_MMAP_THRESHOLD, KEPT), (_TRIM_THRESHOLD, LEFT_FREE)))
