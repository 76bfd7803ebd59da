"""Airlock's few lines in the job's log, in the agent's style (docs/agent-contract.md#log-output).

The agent does not redact what Airlock prints, so secrets are masked here, as they are written.
"""

import os
import re
from collections.abc import Callable

from bootstrap.errors import AirlockError
from bootstrap.secret import Secret
from bootstrap.text import printable

README = "https://github.com/buildkite-airlock/airlock#"

Write = Callable[[bytes], object]


class JobLog:
    """Writes to the job's log. Every text passes `printable`: most of it is job-controlled."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._secrets: list[Secret] = []

    def mask(self, *secrets: Secret) -> None:
        """Mask these in every later text."""
        self._secrets.extend(secret for secret in secrets if secret.reveal())

    def group(self, title: str) -> None:
        """Open a quiet, collapsed group."""
        self._line(f"~~~ :lock: {self._shown(title, 200)}")

    def note(self, text: str) -> None:
        """Add one grey line."""
        self._line(f"\x1b[90m# {self._shown(text, 500)}\x1b[0m")

    def alert(self, text: str) -> None:
        """Add a line that opens its group."""
        self._line(f"\x1b[33m⚠️ Airlock: {self._shown(text, 500)}\x1b[0m\n^^^ +++")

    def failure(self, error: AirlockError) -> None:
        """Add an open group with what happened, with got and expected, and what to do."""
        self._line(f"+++ :no_entry: Airlock: {error.title}")
        self._line(f"\x1b[31m{self._shown(error.problem, 2000)}\x1b[0m")
        for detail in error.details:
            self._line(f"  {self._shown(detail, 500)}")
        self._line(f"What to do: {self._shown(error.hint, 1000)}")
        self._line(f"Exit status {error.exit_code} is Airlock's: {README}{error.docs}")

    def masked(self, text: str) -> str:
        """Return `text` with every secret masked, of whatever length and on however many lines."""
        for secret in self._secrets:
            text = text.replace(secret.reveal(), str(secret))
        return text

    def masked_in_any_case(self, text: str) -> str:
        """As `masked`, for names of DNS, whose letters may have become small ones."""
        for secret in self._secrets:
            text = re.sub(re.escape(secret.reveal()), str(secret), text, flags=re.IGNORECASE)
        return text

    def _shown(self, text: str, limit: int) -> str:
        """Mask before anything is cut off or replaced: part of a secret is secret too."""
        return printable(self.masked(text), limit=limit)

    def _line(self, text: str) -> None:
        self._write(text.encode("utf-8", "replace") + b"\n")


def to_descriptor(descriptor: int) -> Write:
    """Return a writer that stops silently when the reader is gone: the agent has ended then."""

    def write(line: bytes) -> None:
        try:
            while line:
                line = line[os.write(descriptor, line) :]
        except OSError:
            return

    return write
