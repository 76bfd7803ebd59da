"""The table [service] of airlock.toml: what `airlock serve` needs beside a job's own settings."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from bootstrap.forms import Duration, form
from bootstrap.host.settings import AbsolutePath, Section


def _not_empty(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("expected the name of at least one user")
    return names


UserName = Annotated[
    str, AfterValidator(form(r"[a-z_][a-z0-9_.-]{0,31}", "the name of a user of this host"))
]
Textfile = Annotated[
    str, AfterValidator(form(r"(/[^/]+)+\.prom|", 'an absolute path that ends in .prom, or ""'))
]


class Service(Section):
    """The resident service: its socket, who may use it, and what it does between jobs."""

    socket: AbsolutePath = Path("/run/airlock.sock")
    agents: Annotated[tuple[UserName, ...], AfterValidator(_not_empty)] = ("buildkite-agent",)
    jobs_per_agent: Annotated[int, Field(ge=0, le=1000)] = 0
    metrics: Textfile = ""
    pre_pull: bool = True
    gc_interval: Duration = 3600

    def jobs_limit(self, slots: int) -> int:
        """Return how many jobs one user's agents may have at once, on a host with these slots."""
        return self.jobs_per_agent or slots
