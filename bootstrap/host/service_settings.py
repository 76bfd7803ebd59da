"""The table [service] of airlock.toml: what `airlock serve` needs beside a job's own settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from bootstrap.host.section import Section

if TYPE_CHECKING:
    from pydantic import Field

    from bootstrap.host.settings import Pause, SocketPath, Textfile, UserNames


@dataclass(frozen=True, kw_only=True)
class Service(Section):
    """The resident service: its socket, who may use it, and what it does between jobs."""

    socket: SocketPath = Path("/run/airlock.sock")
    agents: UserNames = ("buildkite-agent",)
    jobs_per_agent: Annotated[int, Field(ge=0, le=1000)] = 0
    metrics: Textfile = ""
    pre_pull: bool = True
    gc_interval: Pause = 3600
    networks_ahead: Annotated[int, Field(ge=0, le=16)] = 2

    def jobs_limit(self, slots: int) -> int:
        """Return how many jobs one user's agents may have at once, on a host with these slots."""
        return self.jobs_per_agent or slots
