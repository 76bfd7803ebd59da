"""Policies in SSM Parameter Store: where they are, which are decrypted, and what is missing."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from bootstrap.aws.errors import Kind, kind
from bootstrap.aws.iam import (
    DELETE_PARAMETER,
    LIST_PARAMETERS,
    READ_PARAMETERS,
    WRITE_PARAMETER,
    Statement,
    allow,
    missing,
)
from bootstrap.aws.ssm import SECURE, Conflict, ParameterStore, Written
from bootstrap.aws.ssm import Parameter as Stored
from bootstrap.errors import AirlockError, CannotStart, NoAnswer
from bootstrap.host.config import Aws
from bootstrap.policy.parameters import DOCUMENT, LEAVES, Parameter
from bootstrap.policy.stores import PATIENCE

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
        self._patience = patience
        self._clock = clock
        self._store = ParameterStore(aws, patience=patience, clock=clock, sleep=sleep)

    def below(self, path: str, *, patience: float | None = None) -> tuple[Parameter, ...]:
        """Return all parameters directly below `path`. Raises NoAnswer, CannotStart.

        `patience` is for all calls that this takes. Encrypted parameters that are not ours are not
        decrypted: the host needs no permission for them.
        """
        left = self._left(self._patience if patience is None else patience)
        with self._explained(path):
            found = [_parameter(stored) for stored in self._store.below(path, left=left)]
            return self._opened(path, found, left)

    def tree(self, prefix: str) -> dict[str, tuple[Parameter, ...]]:
        """Return all parameters one level below `prefix`'s children, by child. Raises CannotStart.

        For operators' commands: everything of ours is decrypted, and nothing else.
        """
        found: dict[str, list[Parameter]] = {}
        with self._explained(prefix):
            for stored in self._store.below(prefix, recursive=True):
                child, _, name = stored.path.removeprefix(f"{prefix}/").partition("/")
                if name and "/" not in name:
                    found.setdefault(child, []).append(_parameter(stored))
            return {
                child: self._opened(f"{prefix}/{child}", ours, self._left(self._patience))
                for child, ours in found.items()
            }

    def put(self, path: str, value: str, *, replaces: bool) -> int:
        """Store one document and return its version. Raises CannotStart.

        `replaces` False: it must not exist yet; if it does, Conflict is raised and nothing written.
        """
        with self._explained(path, "written", WRITE_PARAMETER):
            return self._store.put(path, value, replaces=replaces)

    def delete(self, path: str) -> None:
        """Remove one parameter, if it is there. Raises CannotStart."""
        with self._explained(path, "changed", DELETE_PARAMETER):
            self._store.delete(path)

    def written(self, path: str) -> Written | None:
        """Return who wrote the parameter's newest version, and when; None if that is not known.

        A role that may write policies need not have the permission to read their history.
        """
        try:
            return self._store.written(path)
        except Exception:  # noqa: BLE001 - only for a message; the failure itself is no news
            return None

    def one(self, path: str, *, patience: float | None = None) -> Parameter | None:
        """Return the parameter of exactly this name, decrypted. Raises NoAnswer, CannotStart."""
        left = self._left(self._patience if patience is None else patience)
        with self._explained(path):
            found = self._store.named([path], left=left).get(path)
            return _parameter(found) if found else None

    def _left(self, patience: float) -> Callable[[], float]:
        """Return what says how many of these seconds are left."""
        deadline = self._clock() + patience
        return lambda: max(0.0, deadline - self._clock())

    def _opened(
        self, path: str, found: Sequence[Parameter], left: Callable[[], float]
    ) -> tuple[Parameter, ...]:
        secret = [p.name for p in found if p.kind == SECURE and p.name in _OURS]
        if not secret:
            return tuple(found)
        names = [f"{path}/{name}" for name in secret]
        opened = map(_parameter, self._store.named(names, left=left).values())
        by_name = {parameter.name: parameter for parameter in opened}
        return tuple(by_name.get(parameter.name, parameter) for parameter in found)

    @contextmanager
    def _explained(self, path: str, done: str = "read", *actions: str) -> Iterator[None]:
        try:
            yield
        except Conflict:
            raise
        except Exception as failed:
            problem = f"the policy store ssm:{path} cannot be {done}: {failed}"
            needed = statement(path, self._aws, *actions)
            raise _explain(failed, problem, needed) from failed


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
        case Kind.NO_CREDENTIALS | Kind.STALE:
            return NoAnswer(
                problem,
                hint="Check their source, aws.credentials in airlock.toml: an instance role must "
                "exist, and root must be able to reach the metadata endpoint.",
            )
        case Kind.TRANSIENT:
            return NoAnswer(
                problem,
                hint=f"Airlock tries for up to {PATIENCE:.0f} s. policy.serve-stale in "
                "airlock.toml lets this host use the policies that it read before.",
            )
        case _:
            return cannot(
                hint="SSM refuses the request itself: see policy.store and [aws] in airlock.toml."
            )


def statement(path: str, aws: Aws, *actions: str) -> Statement:
    """Return the least that the host's role needs for the actions, or for reading, on this path."""
    partition = {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(
        "us-gov" if aws.region.startswith("us-gov-") else aws.region.split("-", 1)[0], "aws"
    )
    arn = f"arn:{partition}:ssm:{aws.region}:*:parameter{path}"
    return allow(list(actions or _READ), [arn, f"{arn}/*"])
