"""What malloc holds of a process's memory. On another C library than glibc, nothing is done."""

import ctypes

_LIBC = ctypes.CDLL(None)
_M_ARENA_MAX = -8  # <malloc.h>


def share_one_arena() -> None:
    """Have threads share malloc's memory, instead of having some of their own each (mallopt(3))."""
    if hasattr(_LIBC, "mallopt"):
        _LIBC.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the kernel what was allocated for a while and is free again (malloc_trim(3))."""
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)
