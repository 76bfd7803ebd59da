"""The C library, for calls that Python's own modules do not have."""

import ctypes

LIBC = ctypes.CDLL(None, use_errno=True)


def address_of(memory: bytearray) -> int:
    """Return where `memory` is: only as long as it exists, and its length does not change.

    ctypes' own buffers would create a type for each length.
    """
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
