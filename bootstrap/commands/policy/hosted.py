"""The host whose decisions `explain`, `test`, `lint` and `simulate` are about."""

import os
from pathlib import Path

from bootstrap.forms import FileStore
from bootstrap.host import config
from bootstrap.policy.stores.whole import GUARDRAILS


def host_of(directory: Path | None, config_path: Path) -> config.Host:
    """Return this host, or one whose store is `directory` and whose guardrails are in it, if any.

    Of the latter, everything else is a host's default. Raises WrongConfiguration, as a job does.
    """
    if directory is None:
        return config.load(config_path)
    rails = directory / GUARDRAILS
    policy = config.Policy(
        store=FileStore(path=directory),
        guardrails=FileStore(path=rails) if os.path.lexists(rails) else None,
    )
    return config.Host(policy=policy, sandbox=config.Sandbox(image="not-used"))
