"""The records that this host keeps, and the one that a person names."""

import re
from pathlib import Path

from bootstrap.commands.policy.hosted import require_host
from bootstrap.errors import WrongConfiguration
from bootstrap.host import config
from bootstrap.text import printable

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")


def directory(config_path: Path) -> Path:
    """Return where this host keeps the records of jobs. Raises WrongConfiguration."""
    require_host(config_path, "Run this on the host that ran the job, as root")
    return config.load(config_path).paths.state / "records"


def listed(of: Path) -> list[Path]:
    """Return the records in a directory, the newest first. Raises WrongConfiguration."""
    try:
        found = [(path.stat().st_mtime, path) for path in of.iterdir() if path.suffix == ".json"]
    except OSError as unreadable:
        raise WrongConfiguration(
            f"the records in {of} cannot be read: {unreadable.strerror}",
            hint="No job has run on this host yet, unless paths.state in airlock.toml was another."
            if isinstance(unreadable, FileNotFoundError)
            else "Root alone can read the records of a host.",
        ) from unreadable
    return [path for _, path in sorted(found, reverse=True)]


def file_of(named: str, config_path: Path) -> Path:
    """Return the file of a record: the one that is named, or that of the job with this id.

    Raises WrongConfiguration if there is no such job, or if agents of several users ran one.
    """
    path = Path(named)
    if "/" in named or path.suffix == ".json" or path.exists() or not _ID.fullmatch(named):
        return path
    place = directory(config_path)
    found = [
        one for one in listed(place) if one.name.rpartition(".")[0].rpartition(".")[0] == named
    ]
    if len(found) == 1:
        return found[0]
    raise WrongConfiguration(
        f"{place} has {len(found)} records of a job {printable(named)}",
        hint="Name one by its file."
        if found
        else "Is it older than storage.record-age? `airlock record list` prints the newest.",
        details=tuple(map(str, found)),
    )
