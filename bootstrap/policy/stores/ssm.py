"""Policies in SSM Parameter Store: the only caller of its API (docs/aws.md#limits-of-ssm)."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bootstrap.aws.client import connect
from bootstrap.aws.errors import code, has_no_credentials, is_transient
from bootstrap.errors import AirlockError, CannotStart
from bootstrap.host.config import Aws
from bootstrap.policy.parameters import DOCUMENT, LEAVES, Parameter
from bootstrap.retry import persist

# 40 calls per second and account are shared by a whole fleet: 300 jobs at once need 8 s of them.
PATIENCE = 60.0
STANDARD = 4096  # bytes of a standard parameter; an advanced one has twice as many
_SECURE = "SecureString"
_FORBIDDEN = frozenset({"AccessDenied", "AccessDeniedException"})


class Ssm:
    """Reads parameters with the host's own credentials; every call is retried with jitter."""

    def __init__(
        self,
        aws: Aws,
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        client: Any = None,  # noqa: ANN401 - botocore is untyped
    ) -> None:
        self._aws = aws
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._connected = client

    def below(self, path: str) -> tuple[Parameter, ...]:
        """Return all parameters directly below `path`. Raises CannotStart.

        What is encrypted and not ours is not decrypted: nobody but its owner need allow that.
        """
        return self._opened(path, [_parameter(said) for said in self._pages(path)])

    def tree(self, prefix: str) -> dict[str, tuple[Parameter, ...]]:
        """Return all parameters one level below `prefix`'s children, by child. Raises CannotStart.

        For the commands of operators, who may read it all: everything of ours is decrypted.
        """
        found: dict[str, list[Parameter]] = {}
        for said in self._pages(prefix, Recursive=True):
            child, _, name = said["Name"].removeprefix(f"{prefix}/").partition("/")
            if name in {DOCUMENT, *LEAVES}:
                found.setdefault(child, []).append(_parameter(said))
        return {child: self._opened(f"{prefix}/{child}", ours) for child, ours in found.items()}

    def put(self, path: str, value: str) -> int:
        """Store one document and return its version. Raises CannotStart."""
        tier = "Standard" if len(value.encode()) <= STANDARD else "Advanced"
        arguments = {"Name": path, "Value": value, "Type": "String", "Overwrite": True}
        return int(self._call(path, "put_parameter", Tier=tier, **arguments)["Version"])

    def one(self, path: str) -> Parameter | None:
        """Return the parameter of exactly this name, decrypted. Raises CannotStart."""
        return self._named([path]).get(path.rsplit("/", 1)[1])

    def _opened(self, path: str, found: Sequence[Parameter]) -> tuple[Parameter, ...]:
        secret = [p.name for p in found if p.kind == _SECURE and p.name in {DOCUMENT, *LEAVES}]
        if not secret:
            return tuple(found)
        opened = self._named([f"{path}/{name}" for name in secret])
        return tuple(opened.get(parameter.name, parameter) for parameter in found)

    def _pages(self, path: str, **more: bool) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            arguments = {"Path": path, "MaxResults": 10, **more, **token}
            page = self._call(path, "get_parameters_by_path", **arguments)
            yield from page["Parameters"]
            if not page.get("NextToken"):
                return
            token = {"NextToken": page["NextToken"]}

    def _named(self, names: list[str]) -> dict[str, Parameter]:
        answer = self._call(names[0], "get_parameters", Names=names, WithDecryption=True)
        parameters = map(_parameter, answer["Parameters"])
        return {parameter.name: parameter for parameter in parameters}

    def _call(self, path: str, operation: str, **arguments: Any) -> Any:  # noqa: ANN401
        try:
            return persist(
                lambda: getattr(self._client(), operation)(**arguments),
                transient=self._is_transient,
                patience=self._patience,
                clock=self._clock,
                sleep=self._sleep,
            )
        except Exception as failed:
            raise explain(failed, path, self._aws) from failed

    def _client(self) -> Any:  # noqa: ANN401
        if self._connected is None:
            self._connected = connect("ssm", self._aws, endpoint=self._aws.ssm_endpoint)
        return self._connected

    def _is_transient(self, failed: BaseException) -> bool:
        if self._aws.credentials == "instance-role" and has_no_credentials(failed):
            self._connected = None  # it has taken the metadata service's silence for an answer
            return True
        return is_transient(failed)


def _parameter(said: dict[str, Any]) -> Parameter:
    name = said["Name"].rsplit("/", 1)[1]
    return Parameter(name=name, kind=said["Type"], value=said["Value"], version=said["Version"])


def explain(failed: BaseException, path: str, aws: Aws) -> AirlockError:
    """Say what the operator has to change; a missing permission with the statement to add."""
    said = f"the policy store ssm:{path} cannot be read: {failed}"
    if code(failed) in _FORBIDDEN and "kms:" in str(failed):
        return CannotStart(
            said, hint="Allow kms:Decrypt on the parameters' key to the host's role, or store "
            "policies as String: they are no secrets.",
        )  # fmt: skip
    if code(failed) in _FORBIDDEN:
        return CannotStart(
            said, hint="Add this statement to the policy of the host's role:",
            details=(json.dumps(statement(path, aws)),),
        )  # fmt: skip
    if has_no_credentials(failed):
        return CannotStart(
            said, hint="aws.credentials in airlock.toml names their source. Does the instance have "
            "a role, and may root reach the metadata endpoint?",
        )  # fmt: skip
    return CannotStart(
        said, hint=f"It was tried for {PATIENCE:.0f} s. policy.serve-stale in airlock.toml lets "
        "this host go on with what it knew.",
    )  # fmt: skip


def statement(path: str, aws: Aws) -> dict[str, Any]:
    """Return the least that the host's role needs to read this path."""
    partition = {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(
        "us-gov" if aws.region.startswith("us-gov-") else aws.region.split("-", 1)[0], "aws"
    )
    arn = f"arn:{partition}:ssm:{aws.region}:*:parameter{path}"
    return {
        "Effect": "Allow",
        "Action": ["ssm:GetParametersByPath", "ssm:GetParameters"],
        "Resource": [arn, f"{arn}/*"],
    }
