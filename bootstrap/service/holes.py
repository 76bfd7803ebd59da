"""Fills the holes in memory that was allocated and is free again.

A forked process would put its own objects there, and so copy page after page of what it shares
with others, for a few bytes in each. With no holes left, what is new lies together in pages of its
own.
"""

import ctypes
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat

# CPython takes objects of up to 512 bytes from pools, each of one size (Objects/obmalloc.c).
_POOL, _POOL_HEAD = 16 << 10, 48
_SMALL = range(16, 513, 16)
# Larger ones come from malloc.
_LARGE = (65536, 32768, 16384, 8192, 4096, 3072, 2048, 1536, 1024, 768, 640, 560)
_AT_ONCE, _MOST = 4, 50  # pools of each size, and how often
_BYTES_HEAD = 33  # bytes of an object of type bytes that are not its content


def fill() -> list[object]:
    """Return what fills them, which is to be kept."""
    held: list[object] = []
    for size in _SMALL:
        held.extend(_in_used_pools(size))
    held.extend(_below_top())
    return held


def _allocator(size: int) -> Callable[[], object]:
    match size:
        case 16:
            return object
        case 32:
            return partial(complex, 1.0, 1.0)
        case _:
            return partial(bytes, size - _BYTES_HEAD)


def _in_used_pools(size: int) -> list[object]:
    """Allocate until a whole pool was filled in a row: a new one, so the others are full."""
    allocate, a_pool = _allocator(size), (_POOL - _POOL_HEAD) // size
    held: list[object] = []
    for _ in range(_MOST):
        blocks = [allocate() for _ in repeat(None, _AT_ONCE * a_pool)]
        if (first := _first_in_a_row(list(map(id, blocks)), size, a_pool - 1)) is not None:
            return held + blocks[:first]
        held += blocks
    return held


def _first_in_a_row(addresses: list[int], size: int, count: int) -> int | None:
    """Return from which of these addresses on at least `count` follow each other."""
    first = 0
    for number, address in enumerate(addresses):
        if number and address != addresses[number - 1] + size:
            first = number
        if number - first == count - 1:
            return first
    return None


def _below_top() -> Iterator[object]:
    """Allocate what malloc has free below the end of its memory."""
    libc = ctypes.CDLL(None)
    libc.sbrk.restype = ctypes.c_void_p
    top = libc.sbrk(0)
    for size in _LARGE:
        while id(block := bytes(size - _BYTES_HEAD)) < top:
            yield block
