"""Filters of sockets: the kernel drops what nobody wants to read (classic BPF, socket(7))."""

import socket
import struct
from collections.abc import Sequence

from bootstrap.libc import address_of

_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("=HBBI")  # <linux/filter.h>: struct sock_filter

Instruction = tuple[int, int, int, int]  # code, jumps if true and if false, operand


def attach(to: socket.socket, program: Sequence[Instruction]) -> None:
    """Have each packet for this socket pass the program. Raises OSError."""
    code = bytearray(b"".join(_INSTRUCTION.pack(*line) for line in program))
    filter_program = struct.pack("@HP", len(program), address_of(code))
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_program)
