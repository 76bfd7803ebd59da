"""`airlock policy iam`: the IAM documents that policies need, and the drift from them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.commands.policy.source import Output, catalogue, readable
from bootstrap.errors import WrongConfiguration
from bootstrap.forms import SsmStore, role_arn
from bootstrap.host import config
from bootstrap.host.config import Host
from bootstrap.policy.iam.cloudformation import as_cloudformation
from bootstrap.policy.iam.documents import Options, iam
from bootstrap.policy.iam.drift import drift as drift_from
from bootstrap.policy.iam.model import HostNeeds, Iam, Trust
from bootstrap.policy.iam.permissions import FILTER
from bootstrap.policy.iam.quotas import RAISED_TRUST, TRUST
from bootstrap.policy.iam.stack import as_json, known_account, stack_of
from bootstrap.policy.iam.terraform import as_terraform
from bootstrap.policy.stores.ssm import statement
from bootstrap.sandbox.images.pulled_images import configured
from bootstrap.text import counted

_CREATE = f"Create it with `aws iam get-account-authorization-details --filter {FILTER}`."
_LOGINS = {"ecr", "docker"}  # of registries, beside references
_KEY = r"arn:aws(-[a-z]+)*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The options of the command line."""

    host_role: str
    account: str | None = None
    organization: str | None = None
    trust: str = Trust.PIPELINES.value
    trust_quota: int = TRUST
    keys: tuple[str, ...] = ()
    form: str | None = None  # JSON, with `drift` text
    drift: Path | None = None


def print_iam(*, directory: Path | None, config_path: Path, asked: Asked, output: Output) -> int:
    """Print the documents, or with `drift` every difference of the dump. Return 1 if it differs.

    Raises WrongConfiguration also if the dump has nothing to compare.
    """
    _check(asked)
    read = readable(catalogue(directory, config_path), directory)
    rails = read.guardrails
    known = asked.organization or (rails.organization if rails else None)
    options = Options(
        host_role=asked.host_role,
        organization=known,
        needs=_needs(config.load(config_path)) if config_path.exists() else HostNeeds(),
        trust=Trust(asked.trust),
        trust_quota=asked.trust_quota,
        keys=asked.keys,
        guardrails=rails,
    )
    made = iam(read.policies, options)
    if asked.drift is None:
        output(_formed(made, asked).rstrip("\n"))
        return 0
    return _print_drift(made, asked.drift, asked, output)


def _formed(made: Iam, asked: Asked) -> str:
    match asked.form:
        case "cloudformation":
            return as_cloudformation(stack_of(made, asked.account))
        case "terraform":
            return as_terraform(stack_of(made, asked.account))
        case _:
            if asked.account:
                stack_of(made, asked.account)  # refuses an account that has nothing
            return json.dumps(as_json(made, asked.account), indent=2)


def _print_drift(made: Iam, dump: Path, asked: Asked, output: Output) -> int:
    if asked.account is not None:
        known_account(made, asked.account)  # refuses an account that has nothing
    found = drift_from(made, _dump(dump), asked.account)
    number, differences = len(found.roles), found.differences
    if not number:
        raise WrongConfiguration(
            f"nothing was compared: these policies need nothing of the roles in {dump}",
            hint=f"Compare with a dump of the account of {made.host_role}. {_CREATE}",
        )
    if asked.form == "json":
        output(json.dumps({"differences": list(differences), "roles": number}, indent=2))
        return int(bool(differences))
    for line in differences:
        output(line)
    output(f"{counted(len(differences), 'difference')} in {counted(number, 'role')}")
    return int(bool(differences))


def _needs(host: Host) -> HostNeeds:
    """Return what this host's configuration needs of AWS."""
    places = [host.policy.store, host.policy.guardrails]
    logins = list(host.registries.values())
    return HostNeeds(
        statements=tuple(statement(p.path, host.aws) for p in places if isinstance(p, SsmStore)),
        observe_role=host.policy.observe_role if host.policy.mode == "observe" else None,
        images=configured(host),
        references=tuple(login for login in logins if login not in _LOGINS),
        ecr="ecr" in logins,
    )


def _check(asked: Asked) -> None:
    """Raise WrongConfiguration for an option that is malformed."""
    _require_role(asked.host_role)
    if asked.account is not None and not re.fullmatch(r"\d{12}", asked.account, re.ASCII):
        raise _wrong("--account", asked.account, "an account's twelve digits")
    if asked.organization is not None and not re.fullmatch(
        r"[a-z0-9][a-z0-9._-]*", asked.organization
    ):
        raise _wrong("--organization", asked.organization, "an organization's slug")
    for key in asked.keys:
        if not re.fullmatch(_KEY, key, re.ASCII):
            raise _wrong("--kms-key", key, "the ARN of a key, with its id")
    if not TRUST <= asked.trust_quota <= RAISED_TRUST:
        expected = f"{TRUST} to {RAISED_TRUST} characters, as AWS allows"
        raise _wrong("--trust-policy-quota", str(asked.trust_quota), expected)


def _wrong(option: str, got: str, expected: str) -> WrongConfiguration:
    return WrongConfiguration(
        f"{option} is {got!r}; expected {expected}",
        hint="`airlock policy iam --help` explains the options.",
    )


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
    except (OSError, ValueError, RecursionError) as broken:
        raise WrongConfiguration(
            f"{path} is not a dump of roles: {broken}",
            hint=_CREATE,
        ) from broken
    if not isinstance(dump, dict) or "RoleDetailList" not in dump:
        raise WrongConfiguration(
            f"{path} has no RoleDetailList",
            hint=_CREATE,
        )
    return dump
