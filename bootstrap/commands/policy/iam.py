"""`airlock policy iam`: the IAM documents that policies need, and drift from them."""

import json
import re
from pathlib import Path
from typing import Any

from bootstrap.commands.policy.source import Say, catalogue
from bootstrap.errors import WrongConfiguration
from bootstrap.host import config
from bootstrap.host.config import Host
from bootstrap.policy import iam as rules
from bootstrap.policy import iam_forms as forms
from bootstrap.policy.iam_drift import drift as drift_from
from bootstrap.policy.stores.ssm import statement

_FORMS = {
    "json": forms.as_json,
    "cloudformation": forms.as_cloudformation,
    "terraform": forms.as_terraform,
}


def iam(
    *,
    directory: Path | None,
    config_path: Path,
    host_role: str,
    organization: str | None,
    form: str,
    drift: Path | None,
    say: Say,
) -> int:
    """Print the documents, or with `drift` how the dump differs from them; 1 if it does."""
    if not re.fullmatch(r"arn:aws[\w-]*:iam::\d{12}:role/[\w+=,.@/-]+", host_role):
        raise WrongConfiguration(
            f"--host-role is {host_role!r}, expected a role's ARN",
            hint="It is the role of the instances that the agents run on.",
        )
    read = catalogue(directory, config_path)
    store = _store(config.load(config_path)) if config_path.exists() else None
    known = organization or (read.guardrails.organization if read.guardrails else None)
    made = rules.iam(read.policies, host_role=host_role, organization=known, store=store)
    if drift is None:
        say(json.dumps(_FORMS[form](made), indent=2))
        return 0
    found = drift_from(made, _dump(drift))
    for line in found:
        say(line)
    say(f"{len(found)} differences in {len(made.trust)} roles")
    return int(bool(found))


def _store(host: Host) -> dict[str, Any] | None:
    kind, _, place = host.policy.store.partition(":")
    return statement(place, host.aws) if kind == "ssm" else None


def _dump(path: Path) -> dict[str, Any]:
    try:
        dump = json.loads(path.read_text())
    except (OSError, ValueError) as broken:
        raise WrongConfiguration(
            f"{path} is no dump of roles: {broken}",
            hint="Make it with `aws iam get-account-authorization-details --filter Role`.",
        ) from broken
    if not isinstance(dump, dict) or "RoleDetailList" not in dump:
        raise WrongConfiguration(
            f"{path} has no RoleDetailList",
            hint="Make it with `aws iam get-account-authorization-details --filter Role`.",
        )
    return dump
