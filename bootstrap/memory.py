"""What malloc holds of a process's memory. On another C library than glibc, nothing is done."""

from bootstrap.libc import LIBC

_M_ARENA_MAX = -8  # <malloc.h>


def share_one_arena() -> None:
    """Have threads share malloc's memory, instead of having some of their own each (mallopt(3))."""
    if hasattr(LIBC, "mallopt"):
        LIBC.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the kernel what was allocated for a while and is free again (malloc_trim(3))."""
    if hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)
