"""SSM Parameter Store: the only caller of its API (docs/aws.md#limits-of-ssm)."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bootstrap.aws.client import Caller
from bootstrap.aws.errors import Kind, code, kind
from bootstrap.aws.service import Service
from bootstrap.host.config import Aws

if TYPE_CHECKING:
    from bootstrap.aws.model import Session

AT_ONCE = 10  # parameters in one call, or in one page
STANDARD = 4096  # bytes of a standard parameter; an advanced one has twice as many
SECURE = "SecureString"
HISTORY = 50  # versions in one page

Left = Callable[[], float | None]  # None: the store's own patience


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter as SSM returned it. `path` is its whole name."""

    path: str
    kind: str  # String, StringList or SecureString
    value: str = field(repr=False)  # ciphertext, if it is secure and was not decrypted
    version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """Who wrote a version of a parameter, as an ARN, and when."""

    by: str
    at: datetime


class Conflict(Exception):
    """The parameter exists already."""


class ParameterStore:
    """Every call is retried for up to `patience` seconds. Each raises as `Service.call`.

    `left` returns the seconds that are left for one call, for callers that make several.
    """

    def __init__(
        self,
        aws: Aws,
        *,
        patience: float,
        caller: "Caller | Session" = Caller.HOST,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ssm = Service("ssm", aws, patience=patience, caller=caller, clock=clock, sleep=sleep)

    def named(self, names: Sequence[str], *, left: Left = lambda: None) -> dict[str, Parameter]:
        """Return those of at most `AT_ONCE` named parameters that exist, decrypted.

        A name may be an ARN, and may end in a version or label: the keys are spelled the same.
        """
        answer = self._ssm.call(
            lambda client: client.get_parameters(Names=list(names), WithDecryption=True),
            patience=left(),
        )
        found = {
            f"{spelling}{received.get('Selector', '')}": _parameter(received)
            for received in answer["Parameters"]
            for spelling in (received["Name"], received.get("ARN", received["Name"]))
        }
        return {name: found[name] for name in names if name in found}

    def below(
        self, path: str, *, recursive: bool = False, left: Left = lambda: None
    ) -> Iterator[Parameter]:
        """Yield the parameters directly below `path`, or at any depth, without decrypting any."""
        asked: dict[str, Any] = {"Path": path, "MaxResults": AT_ONCE, "Recursive": recursive}
        while True:
            page = self._ssm.call(
                lambda client: client.get_parameters_by_path(**asked), patience=left()
            )
            yield from map(_parameter, page["Parameters"])
            if not page.get("NextToken"):
                return
            asked["NextToken"] = page["NextToken"]

    def put(self, path: str, value: str, *, replaces: bool) -> int:
        """Create a String parameter, or replace the value of any, and return its version.

        Raises Conflict if it exists and is not to be replaced. A type cannot be changed, so that of
        an existing parameter stays; neither can an advanced parameter become a standard one.
        """
        asked: dict[str, Any] = {"Overwrite": True} if replaces else {"Type": "String"}
        try:
            answer = self._ssm.call(
                lambda client: client.put_parameter(
                    Name=path, Value=value, Tier="Intelligent-Tiering", **asked
                )
            )
        except Exception as failed:
            if code(failed) == "ParameterAlreadyExists":
                raise Conflict(path) from failed
            raise
        return int(answer["Version"])

    def delete(self, path: str) -> None:
        """Remove the parameter; it need not exist."""
        try:
            self._ssm.call(lambda client: client.delete_parameter(Name=path))
        except Exception as failed:
            if kind(failed) is not Kind.ABSENT:
                raise

    def written(self, path: str) -> Written | None:
        """Return who wrote the newest version, and when."""
        newest: dict[str, Any] = {}
        asked: dict[str, Any] = {"Name": path, "MaxResults": HISTORY, "WithDecryption": False}
        while True:
            page = self._ssm.call(lambda client: client.get_parameter_history(**asked))
            for entry in page["Parameters"]:
                newest = max(newest, entry, key=lambda one: int(one.get("Version", 0)))
            if not page.get("NextToken"):
                break
            asked["NextToken"] = page["NextToken"]
        user, when = newest.get("LastModifiedUser"), newest.get("LastModifiedDate")
        return Written(by=str(user), at=when) if user and isinstance(when, datetime) else None


def _parameter(received: dict[str, Any]) -> Parameter:
    return Parameter(
        path=received["Name"],
        kind=received["Type"],
        value=received["Value"],
        version=received["Version"],
    )
