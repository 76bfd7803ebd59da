"""A resolver that knows a few names, as the one of a VPC would."""

import socket
import threading
from collections.abc import Mapping
from typing import Self

_A = b"\x00\x01\x00\x01"  # the type A and the class IN


class Resolver:
    """Answers A queries on a datagram socket until it is closed; `asked` are the names in order."""

    def __init__(self, ours: socket.socket, names: Mapping[str, str]) -> None:
        self.asked: list[str] = []
        self._socket = ours
        self._names = names
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._socket.settimeout(0.05)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                query, client = self._socket.recvfrom(512)
            except TimeoutError:
                continue
            self._socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        """RFC 1035, 4.1: the question again, and one answer that refers to its name."""
        end = query.index(0, 12) + 1
        name, kind = _name(query[12:end]), query[end : end + 4]
        self.asked.append(name)
        address = self._names.get(name) if kind == _A else None
        code = 0 if name in self._names else 3  # no such name
        head = query[:2] + bytes((0x81, 0x80 | code)) + b"\0\1" + bytes((0, bool(address)))
        answer = (
            b"\xc0\x0c" + _A + b"\0\0\0\x3c\0\4" + socket.inet_aton(address) if address else b""
        )
        return head + b"\0\0\0\0" + query[12 : end + 4] + answer


def _name(labels: bytes) -> str:
    parts = []
    while labels and labels[0]:
        parts.append(labels[1 : 1 + labels[0]].decode())
        labels = labels[1 + labels[0] :]
    return ".".join(parts)
