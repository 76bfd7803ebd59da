"""`airlock policy iam`: the IAM documents that policies need, and the drift from them."""

import json
from pathlib import Path
from typing import Any

from bootstrap.commands.policy.source import Output, catalogue, readable
from bootstrap.errors import WrongConfiguration
from bootstrap.forms import SsmStore, role_arn
from bootstrap.host import config
from bootstrap.host.config import Host
from bootstrap.policy import iam as rules
from bootstrap.policy import iam_forms
from bootstrap.policy.iam_drift import drift as drift_from
from bootstrap.policy.stores.ssm import statement
from bootstrap.text import counted

_FORMS = {
    "json": iam_forms.as_json,
    "cloudformation": iam_forms.as_cloudformation,
    "terraform": iam_forms.as_terraform,
}


def iam(
    *,
    directory: Path | None,
    config_path: Path,
    host_role: str,
    organization: str | None,
    form: str,
    drift: Path | None,
    output: Output,
) -> int:
    """Print the documents, or with `drift` every difference of the dump. Return 1 if it differs."""
    _require_role(host_role)
    read = readable(catalogue(directory, config_path), directory)
    store = _store(config.load(config_path)) if config_path.exists() else None
    known = organization or (read.guardrails.organization if read.guardrails else None)
    made = rules.iam(read.policies, host_role=host_role, organization=known, store=store)
    if drift is None:
        output(json.dumps(_FORMS[form](made), indent=2))
        return 0
    found = drift_from(made, _dump(drift))
    for line in found:
        output(line)
    output(f"{counted(len(found), 'difference')} in {counted(len(made.trust), 'role')}")
    return int(bool(found))


def _store(host: Host) -> dict[str, Any] | None:
    store = host.policy.store
    return statement(store.path, host.aws) if isinstance(store, SsmStore) else None


def _require_role(host_role: str) -> None:
    try:
        role_arn(host_role)
    except ValueError as wrong:
        raise WrongConfiguration(
            f"--host-role is {host_role!r}: {wrong}",
            hint="Pass the ARN of the role of the instances on which the agents run.",
        ) from wrong


def _dump(path: Path) -> dict[str, Any]:
    try:
        dump = json.loads(path.read_text())
    except (OSError, ValueError) as broken:
        raise WrongConfiguration(
            f"{path} is not a dump of roles: {broken}",
            hint="Create it with `aws iam get-account-authorization-details --filter Role`.",
        ) from broken
    if not isinstance(dump, dict) or "RoleDetailList" not in dump:
        raise WrongConfiguration(
            f"{path} has no RoleDetailList",
            hint="Create it with `aws iam get-account-authorization-details --filter Role`.",
        )
    return dump
