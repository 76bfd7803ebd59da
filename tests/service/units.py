"""The units of agent-config/systemd, as systemd reads them."""

from pathlib import Path

DIRECTORY = Path(__file__).parents[2] / "agent-config" / "systemd"
SERVICE = DIRECTORY / "airlock.service"
SOCKET = DIRECTORY / "airlock.socket"


def unit(path: Path) -> dict[str, dict[str, str]]:
    """Return the settings of each section. A setting that is there twice is an error."""
    sections: dict[str, dict[str, str]] = {}
    for line in path.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
            continue
        name, _, value = line.partition("=")
        assert name not in section, f"{path.name}: {name} is there twice"
        section[name] = value
    return sections
