"""Policies in SSM Parameter Store: where they are, which are decrypted, and what is missing."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from bootstrap.aws.errors import Kind, kind
from bootstrap.aws.iam import (
    LIST_PARAMETERS,
    READ_PARAMETERS,
    WRITE_PARAMETER,
    Statement,
    allow,
    missing,
)
from bootstrap.aws.ssm import SECURE, ParameterStore
from bootstrap.aws.ssm import Parameter as Stored
from bootstrap.errors import AirlockError, CannotStart
from bootstrap.host.config import Aws
from bootstrap.policy.parameters import DOCUMENT, LEAVES, Parameter

# 40 calls per second and account are shared by a whole fleet: 300 jobs at once need 8 s of them.
PATIENCE = 60.0
_OURS = {DOCUMENT, *LEAVES}
_READ = (LIST_PARAMETERS, READ_PARAMETERS)


class Ssm:
    """Reads and writes policies with the host's own credentials. Threads may share it."""

    def __init__(
        self,
        aws: Aws,
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._aws = aws
        self._store = ParameterStore(aws, patience=patience, clock=clock, sleep=sleep)

    def below(self, path: str) -> tuple[Parameter, ...]:
        """Return all parameters directly below `path`. Raises CannotStart.

        Encrypted ones that are not ours are not decrypted: the host needs no permission for them.
        """
        with self._explained(path):
            return self._opened(path, [_parameter(stored) for stored in self._store.below(path)])

    def tree(self, prefix: str) -> dict[str, tuple[Parameter, ...]]:
        """Return all parameters one level below `prefix`'s children, by child. Raises CannotStart.

        For operators' commands: everything of ours is decrypted.
        """
        found: dict[str, list[Parameter]] = {}
        with self._explained(prefix):
            for stored in self._store.below(prefix, recursive=True):
                child, _, name = stored.path.removeprefix(f"{prefix}/").partition("/")
                if name in _OURS:
                    found.setdefault(child, []).append(_parameter(stored))
            return {child: self._opened(f"{prefix}/{child}", ours) for child, ours in found.items()}

    def put(self, path: str, value: str) -> int:
        """Store one document and return its version. Raises CannotStart."""
        with self._explained(path, "written", WRITE_PARAMETER):
            return self._store.put(path, value)

    def one(self, path: str) -> Parameter | None:
        """Return the parameter of exactly this name, decrypted. Raises CannotStart."""
        with self._explained(path):
            found = self._store.named([path]).get(path)
            return _parameter(found) if found else None

    def _opened(self, path: str, found: Sequence[Parameter]) -> tuple[Parameter, ...]:
        secret = [p.name for p in found if p.kind == SECURE and p.name in _OURS]
        if not secret:
            return tuple(found)
        opened = map(_parameter, self._store.named([f"{path}/{n}" for n in secret]).values())
        by_name = {parameter.name: parameter for parameter in opened}
        return tuple(by_name.get(parameter.name, parameter) for parameter in found)

    @contextmanager
    def _explained(self, path: str, done: str = "read", *actions: str) -> Iterator[None]:
        try:
            yield
        except Exception as failed:
            problem = f"the policy store ssm:{path} cannot be {done}: {failed}"
            raise _explain(failed, problem, statement(path, self._aws, *actions)) from failed


def _parameter(stored: Stored) -> Parameter:
    name = stored.path.rsplit("/", 1)[1]
    return Parameter(name=name, kind=stored.kind, value=stored.value, version=stored.version)


def _explain(failed: BaseException, problem: str, needed: Statement) -> AirlockError:
    """Name what the operator has to change; a missing permission with the statement to add."""
    cannot = partial(CannotStart, problem)
    match kind(failed):
        case Kind.FORBIDDEN_KEY:
            return cannot(
                hint="Allow the host's role kms:Decrypt on the parameters' key, or store "
                "policies as String: they are not secret."
            )
        case Kind.FORBIDDEN:
            return missing(problem, role="the host's role", statement=needed)
        case Kind.NO_CREDENTIALS:
            return cannot(
                hint="Check their source, aws.credentials in airlock.toml: an instance role must "
                "exist, and root must be able to reach the metadata endpoint."
            )
        case _:
            return cannot(
                hint=f"Airlock tried for {PATIENCE:.0f} s. policy.serve-stale in airlock.toml lets "
                "this host use the policies that it read before."
            )


def statement(path: str, aws: Aws, *actions: str) -> Statement:
    """Return the least that the host's role needs for the actions, or for reading, on this path."""
    partition = {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(
        "us-gov" if aws.region.startswith("us-gov-") else aws.region.split("-", 1)[0], "aws"
    )
    arn = f"arn:{partition}:ssm:{aws.region}:*:parameter{path}"
    return allow(list(actions or _READ), [arn, f"{arn}/*"])
