"""The secrets that references name, fetched from both services."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import TypeVar

from bootstrap.aws.client import Caller, role_of
from bootstrap.aws.errors import Kind, kind
from bootstrap.aws.iam import DECRYPT, READ_PARAMETERS, READ_SECRET, allow, missing
from bootstrap.aws.model import Session
from bootstrap.aws.secretsmanager import SecretsManager
from bootstrap.aws.ssm import AT_ONCE, ParameterStore
from bootstrap.credentials.references import Reference, member, parse, wrong
from bootstrap.errors import AirlockError, CannotStart
from bootstrap.host.config import Aws
from bootstrap.secret import Secret

PATIENCE = 30.0
_ACTIONS = {"ssm": READ_PARAMETERS, "secretsmanager": READ_SECRET}

T = TypeVar("T")
_Stored = dict[tuple[str, str], str]  # by service and name


def fetch(
    aws: Aws, wanted: Mapping[str, str], *, caller: Caller | Session = Caller.HOST
) -> dict[str, Secret]:
    """Return the secret of every reference in `wanted`, by the same names.

    They are read with the host's role, or with the session that is the `caller`.
    Raises WrongConfiguration for a secret that does not exist or does not fit its reference,
    CannotStart if it cannot be read now, with the statement to add if a permission is missing.
    """
    references = {name: parse(text) for name, text in wanted.items()}
    stored = {
        **_parameters(aws, {r.name: r for r in references.values() if r.service == "ssm"}, caller),
        **_managed(aws, {r.name: r for r in references.values() if r.service != "ssm"}, caller),
    }
    return {name: member(r, stored[r.service, r.name]) for name, r in references.items()}


def _parameters(aws: Aws, wanted: Mapping[str, Reference], caller: Caller | Session) -> _Stored:
    store = ParameterStore(aws, patience=PATIENCE, caller=caller)
    found: _Stored = {}
    for names in batches(sorted(wanted), AT_ONCE):
        first = wanted[names[0]]
        parameters = _explained(partial(store.named, names), first, aws, caller)
        if absent := [name for name in names if name not in parameters]:
            raise wrong(wanted[absent[0]], "does not exist")
        found |= {("ssm", name): parameter.value for name, parameter in parameters.items()}
    return found


def _managed(aws: Aws, wanted: Mapping[str, Reference], caller: Caller | Session) -> _Stored:
    manager = SecretsManager(aws, patience=PATIENCE, caller=caller)
    found: _Stored = {}
    for name, reference in wanted.items():
        text = _explained(partial(manager.text, name), reference, aws, caller)
        if text is None:
            raise wrong(reference, "is binary; expected text")
        found["secretsmanager", name] = text
    return found


def batches(names: Iterable[str], size: int) -> Iterable[list[str]]:
    """Return the names in lists of at most `size`."""
    rest = iter(names)
    return iter(lambda: list(islice(rest, size)), [])


def _explained(
    work: Callable[[], T], reference: Reference, aws: Aws, caller: Caller | Session
) -> T:
    try:
        return work()
    except Exception as failed:
        raise _explain(failed, reference, aws, role_of(caller)) from failed


def _explain(failed: BaseException, reference: Reference, aws: Aws, role: str) -> AirlockError:
    found = kind(failed)
    if found is Kind.ABSENT:
        return wrong(reference, "does not exist")
    problem = f"the secret {reference.text} cannot be read: {failed}"
    if found in {Kind.FORBIDDEN, Kind.FORBIDDEN_KEY}:
        action = _ACTIONS[reference.service] if found is Kind.FORBIDDEN else DECRYPT
        return missing(problem, role=role, statement=allow(action, "the secret's ARN"))
    return CannotStart(
        problem, hint=f"Check that this host can reach {reference.service} in {aws.region}."
    )
