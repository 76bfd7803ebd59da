"""`airlock doctor`: whether this host is as Airlock assumes it to be."""

from collections.abc import Callable
from pathlib import Path

from bootstrap.doctor import fixing, report, take
from bootstrap.doctor.checks import NAMES, findings
from bootstrap.doctor.model import Stage
from bootstrap.doctor.read.places import Places
from bootstrap.doctor.read.reading import read
from bootstrap.errors import WrongConfiguration
from bootstrap.host import config


def doctor(
    *,
    config_path: Path,
    agent_config: Path,
    at: str,
    skip: list[str],
    strict: bool,
    fix: bool,
    as_json: bool,
    output: Callable[[str], object],
) -> int:
    """Print what every check finds; return 1 if one fails, 3 if one could not be made, else 0.

    With `strict` a warning is a failure. With `fix` what can be repaired safely is repaired first.
    Raises WrongConfiguration if `skip` names a check that does not exist.
    """
    if wrong := sorted(set(skip) - set(NAMES)):
        raise WrongConfiguration(
            f"--skip {wrong[0]}: there is no such check",
            hint=f"The checks are: {', '.join(NAMES)}.",
        )
    stage = Stage(at)
    changes = tuple(fixing.repair(read(lambda: config.load(config_path)), stage)) if fix else ()
    taken = take.snapshot(config_path, stage, Places(agent_cfg=agent_config))
    found = findings(taken, skip=frozenset(skip))
    status = report.status(found, strict=strict)
    if as_json:
        output(report.as_json(found, changes, stage=stage, exit_code=status))
    else:
        output("\n".join(report.text(found, changes)))
    return status
