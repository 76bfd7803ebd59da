"""SSM Parameter Store: the only caller of its API (docs/aws.md#limits-of-ssm)."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bootstrap.aws.client import Caller
from bootstrap.aws.service import Service
from bootstrap.host.config import Aws

if TYPE_CHECKING:
    from bootstrap.aws.model import Session

AT_ONCE = 10  # parameters in one call, or in one page
STANDARD = 4096  # bytes of a standard parameter; an advanced one has twice as many
SECURE = "SecureString"

Left = Callable[[], float | None]  # None: the store's own patience


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter as SSM returned it. `path` is its whole name."""

    path: str
    kind: str  # String, StringList or SecureString
    value: str = field(repr=False)  # ciphertext, if it is secure and was not decrypted
    version: int


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

    def put(self, path: str, value: str) -> int:
        """Create or replace a String parameter and return its version."""
        tier = "Standard" if len(value.encode()) <= STANDARD else "Advanced"
        answer = self._ssm.call(
            lambda client: client.put_parameter(
                Name=path, Value=value, Type="String", Overwrite=True, Tier=tier
            )
        )
        return int(answer["Version"])


def _parameter(received: dict[str, Any]) -> Parameter:
    return Parameter(
        path=received["Name"],
        kind=received["Type"],
        value=received["Value"],
        version=received["Version"],
    )
