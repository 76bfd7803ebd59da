"""What a developer reads beside the job's output: Airlock's lines, for a terminal.

The headings by which the agent folds a log would be noise there.
"""

from bootstrap.log import JobLog, Write

_GREY, _BOLD, _YELLOW, _RESET = "\x1b[90m", "\x1b[1m", "\x1b[33m", "\x1b[0m"


class PersonsLog(JobLog):
    """Writes to a terminal, with `colours`, or to whatever standard error is."""

    def __init__(self, write: Write, *, colours: bool) -> None:
        super().__init__(write)
        self._colours = colours

    def group(self, title: str) -> None:
        """Add a heading."""
        self._painted(f"# {self._shown(title, 200)}", _BOLD)

    def note(self, text: str) -> None:
        """Add a line."""
        self._painted(f"# {self._shown(text, 500)}", _GREY)

    def alert(self, text: str) -> None:
        """Add a line that stands out."""
        self._painted(f"airlock: {self._shown(text, 500)}", _YELLOW)

    def _painted(self, text: str, colour: str) -> None:
        self._line(f"{colour}{text}{_RESET}" if self._colours else text)
