"""The C library, for calls that Python's own modules do not have."""

import ctypes
import os
import struct
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
_STATFS_SIZE = 256  # bytes; struct statfs has 120, and begins with the kind of the filesystem


def address_of(memory: bytearray) -> int:
    """Return where `memory` is: only as long as it exists, and its length does not change.

    ctypes' own buffers would create a type for each length.
    """
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def kind_of_filesystem(path: Path) -> int:
    """Return the number of <linux/magic.h> of the filesystem on which `path` is. Raises OSError."""
    found = ctypes.create_string_buffer(_STATFS_SIZE)
    if LIBC.statfs(os.fsencode(path), found) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    (kind,) = struct.unpack_from("=l", found)
    return int(kind) & 0xFFFFFFFF
