"""A job's log, put together from its chunks."""

import re
from collections.abc import Mapping


class IncompleteLogError(AssertionError):
    """The agent has reported the end of the job, but a part of its log is missing."""


def assemble(chunks: Mapping[int, bytes]) -> bytes:
    """Return the exact bytes that the agent uploaded; `chunks` are keyed by their offsets.

    Raises IncompleteLogError if the chunks leave a gap or overlap.
    """
    end = 0
    for offset in sorted(chunks):
        if offset != end:
            raise IncompleteLogError(f"a chunk at {offset}, where {end} was expected")
        end += len(chunks[offset])
    return so_far(chunks)


def so_far(chunks: Mapping[int, bytes]) -> bytes:
    """Return what came until now, in the order of the offsets, gaps closed."""
    return b"".join(chunks[offset] for offset in sorted(chunks))


_STAMP = re.compile(rb"\x1b_bk;t=\d+\x07")


def unstamped(log: bytes) -> bytes:
    """Return the log without the timestamps that the agent inserts at line starts and in pauses."""
    return _STAMP.sub(b"", log)
