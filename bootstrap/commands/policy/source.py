"""Where a policy command reads from: the directory it was given, else the host's store."""

from collections.abc import Callable
from pathlib import Path

from bootstrap.host import config
from bootstrap.policy.catalogue import Catalogue
from bootstrap.policy.stores import whole

Say = Callable[[str], None]


def catalogue(directory: Path | None, config_path: Path) -> Catalogue:
    """Return all policies. Raises WrongConfiguration, CannotStart."""
    if directory is not None:
        return whole.folder(directory).catalogue
    return whole.store(config.load(config_path))
