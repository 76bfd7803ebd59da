"""The engine's framing of a container's output (Engine API, attach).

A frame is a header of eight bytes, whose last four are the payload's length in big-endian order,
and the payload. Both streams are copied into one, as the agent expects them.
"""

HEADER = 8


class Frames:
    """Finds the payload in what is received, however that is cut, without copying it."""

    def __init__(self) -> None:
        self._left = 0  # bytes of the current frame's payload that are still to come
        self._header = b""  # the part of the next header that has come

    def payload(self, received: memoryview) -> list[memoryview]:
        """Return the pieces of payload in `received`, in order."""
        pieces = []
        place, end = 0, len(received)
        while place < end:
            if not self._left:
                place = self._begin(received, place)
            elif piece := received[place : place + self._left]:
                pieces.append(piece)
                place += len(piece)
                self._left -= len(piece)
        return pieces

    def _begin(self, received: memoryview, place: int) -> int:
        """Read the next header, or the part of it that has come; return the place after it."""
        part = bytes(received[place : place + HEADER - len(self._header)])
        self._header += part
        if len(self._header) == HEADER:
            self._left = int.from_bytes(self._header[4:], "big")
            self._header = b""
        return place + len(part)
