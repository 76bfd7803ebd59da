"""The host whose decisions `explain`, `test`, `lint` and `simulate` are about."""

import os
from pathlib import Path

from bootstrap.errors import WrongConfiguration
from bootstrap.forms import FileStore
from bootstrap.host import config
from bootstrap.policy.stores.whole import GUARDRAILS, listed


def require_host(config_path: Path, instead: str) -> None:
    """Raise WrongConfiguration if there is no configuration; `instead` is what to do then."""
    if not os.path.lexists(config_path):
        raise WrongConfiguration(
            f"{config_path} does not exist, as on every machine that is no host of Airlock",
            hint=f"{instead}, or the configuration of a host with --config.",
        )


def host_of(directory: Path | None, config_path: Path) -> config.Host:
    """Return this host, or one whose store is `directory` and whose guardrails are in it, if any.

    Of the latter, everything else is a host's default. Raises WrongConfiguration, as a job does,
    and with what to do instead on a machine that is no host.
    """
    if directory is None:
        require_host(config_path, "Name a directory of policies")
        return config.load(config_path)
    listed(directory)
    rails = directory / GUARDRAILS
    policy = config.Policy(
        store=FileStore(path=directory),
        guardrails=FileStore(path=rails) if os.path.lexists(rails) else None,
    )
    return config.Host(policy=policy, sandbox=config.Sandbox(image="not-used"))
