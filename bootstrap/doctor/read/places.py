"""Where the files of other programs are that the readings look at."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Paths on this host."""

    agent_cfg: Path = Path("/etc/buildkite-agent/buildkite-agent.cfg")
    daemon_json: Path = Path("/etc/docker/daemon.json")
    dockerd_pid: Path = Path("/run/docker.pid")
    documents: Path = Path("/usr/share/doc")  # of Debian's packages
    networkd: Path = Path("/etc/systemd/networkd.conf")
    sudoers: Path = Path("/etc/sudoers.d")
