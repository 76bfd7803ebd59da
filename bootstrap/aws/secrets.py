"""Secrets of a rule, fetched by the host: the only caller of Secrets Manager."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any

from bootstrap.aws.client import Caller, connect
from bootstrap.aws.errors import code, is_transient
from bootstrap.aws.model import Session
from bootstrap.credentials.references import Reference, member, parse, wrong
from bootstrap.errors import AirlockError, CannotStart
from bootstrap.host.config import Aws
from bootstrap.retry import persist
from bootstrap.secret import Secret

PATIENCE = 30.0
_ABSENT = frozenset({"ResourceNotFoundException", "ParameterNotFound"})
_FORBIDDEN = frozenset({"AccessDenied", "AccessDeniedException"})
_ACTIONS = {"ssm": "ssm:GetParameters", "secretsmanager": "secretsmanager:GetSecretValue"}


def fetch(
    aws: Aws, wanted: Mapping[str, str], *, caller: Caller | Session = Caller.HOST
) -> dict[str, Secret]:
    """Return the secret of every reference in `wanted`, by the same names.

    They are read with the host's role, or with the session that is the `caller`.
    Raises WrongConfiguration for a secret that is not there or not what its reference says,
    CannotStart if it cannot be had now, with the statement to add where a permission lacks.
    """
    references = {name: parse(text) for name, text in wanted.items()}
    stored = {
        **_parameters(aws, {r.name: r for r in references.values() if r.service == "ssm"}, caller),
        **_managed(aws, {r.name: r for r in references.values() if r.service != "ssm"}, caller),
    }
    return {name: member(r, stored[r.service, r.name]) for name, r in references.items()}


Stored = dict[tuple[str, str], str]


def _parameters(aws: Aws, wanted: Mapping[str, Reference], caller: Caller | Session) -> Stored:
    if not wanted:
        return {}
    client = connect("ssm", aws, endpoint=aws.ssm_endpoint, caller=caller)
    found: Stored = {}
    for names in batches(sorted(wanted), 10):
        first = wanted[names[0]]
        ask = partial(client.get_parameters, Names=names, WithDecryption=True)
        answer = _call(ask, first, aws, caller)
        if answer["InvalidParameters"]:
            raise wrong(wanted[answer["InvalidParameters"][0]], "does not exist")
        found |= {
            ("ssm", parameter["Name"]): parameter["Value"] for parameter in answer["Parameters"]
        }
    return found


def _managed(aws: Aws, wanted: Mapping[str, Reference], caller: Caller | Session) -> Stored:
    if not wanted:
        return {}
    endpoint = aws.secretsmanager_endpoint
    client = connect("secretsmanager", aws, endpoint=endpoint, caller=caller)
    found: Stored = {}
    for name, reference in wanted.items():
        answer = _call(partial(client.get_secret_value, SecretId=name), reference, aws, caller)
        if "SecretString" not in answer:
            raise wrong(reference, "is binary, and only text can be delivered")
        found["secretsmanager", name] = answer["SecretString"]
    return found


def batches(names: Iterable[str], size: int) -> Iterable[list[str]]:
    """Cut into lists of at most `size`."""
    rest = iter(names)
    return iter(lambda: list(islice(rest, size)), [])


def _call(work: Callable[[], Any], reference: Reference, aws: Aws, caller: Caller | Session) -> Any:  # noqa: ANN401
    try:
        return persist(work, transient=is_transient, patience=PATIENCE)
    except Exception as failed:
        role = "the host's role" if isinstance(caller, Caller) else caller.role
        raise _explain(failed, reference, aws, role) from failed


def _explain(failed: BaseException, reference: Reference, aws: Aws, role: str) -> AirlockError:
    if code(failed) in _ABSENT:
        return wrong(reference, "does not exist")
    said = f"the secret {reference.text} cannot be read: {failed}"
    if code(failed) in _FORBIDDEN:
        action = "kms:Decrypt" if "kms:" in str(failed) else _ACTIONS[reference.service]
        statement = {"Effect": "Allow", "Action": action, "Resource": "the secret's ARN"}
        return CannotStart(
            said,
            hint=f"Add this statement to the policy of {role}:",
            details=(json.dumps(statement),),
        )
    return CannotStart(said, hint=f"Does {reference.service} answer this host in {aws.region}?")
