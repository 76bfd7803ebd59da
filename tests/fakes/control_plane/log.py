"""A job's log: put together from its chunks, and read without the agent's marks."""

import re
from collections.abc import Mapping

_TIMESTAMP = re.compile(rb"\x1b_bk;t=\d+\x07")


class IncompleteLogError(AssertionError):
    """The agent said that it had finished, but a part of the log never came."""


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


def strip_timestamps(log: bytes) -> bytes:
    r"""Remove the agent's `ESC _ bk;t=... BEL` marks, and nothing else.

    What is left is still what the agent's PTY made of the job's output: there every `\n` has become
    `\r\n`. Only an agent that runs with `--no-pty` uploads the job's own bytes.
    """
    return _TIMESTAMP.sub(b"", log)
