"""The store that airlock.toml names: one pipeline's policy, and the guardrails."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

from bootstrap.errors import WrongConfiguration
from bootstrap.forms import FileStore, SsmStore, Store
from bootstrap.host.cache import Cache, Fetch
from bootstrap.host.config import Host
from bootstrap.host.parsed import parsed
from bootstrap.policy.model import Guardrails, Policy
from bootstrap.policy.stores import PATIENCE, files

if TYPE_CHECKING:
    from bootstrap.policy.stores.ssm import Ssm

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, slots=True)
class Documents:
    """What decides about the jobs of one pipeline.

    `ages` has the age in seconds of "policy" and "guardrails", where an old one is used because SSM
    did not answer.
    """

    policy: Policy | None
    guardrails: Guardrails | None
    ages: Mapping[str, int] = field(default_factory=dict)


def documents(
    host: Host, pipeline: str, *, ssm: "Ssm | None" = None, patience: float = PATIENCE
) -> Documents:
    """Return the pipeline's policy, None if the store has none for it, and the guardrails.

    Raises WrongConfiguration if one has mistakes, if another user could have written it, or if the
    guardrails that airlock.toml names do not exist; NoAnswer and CannotStart if one cannot be read
    now. Both together take up to `patience` seconds, waiting for other jobs included.
    """
    reading = _Reading(host, ssm, patience)
    policy = _policy(host, pipeline, reading)
    return Documents(policy=policy, guardrails=_guardrails(host, reading), ages=reading.ages)


def guardrails_now(host: Host, *, ssm: "Ssm | None" = None) -> Guardrails | None:
    """Return the guardrails as the store has them now, for commands; None if there are none.

    Nothing is cached. Raises as `documents`.
    """
    return _guardrails(host, _Reading(host, ssm, PATIENCE, cached=False))


class Now:
    """The documents as the store has them now, for commands: read and checked as for a job.

    Nothing is kept on this host. Guardrails are read once, mistakes in them included.
    """

    def __init__(self, host: Host, *, ssm: "Ssm | None" = None) -> None:
        self._host = host
        self._ssm = ssm

    @property
    def place_of_guardrails(self) -> str:
        """Where the guardrails are: a file, or a parameter as ssm:/path."""
        return str(self._host.policy.guardrails).removeprefix("file:")

    def documents(self, pipeline: str) -> Documents:
        """Return what decides about the jobs of one pipeline. Raises as `documents` above."""
        policy = self.policy(pipeline)
        return Documents(policy=policy, guardrails=self.guardrails())

    def policy(self, pipeline: str) -> Policy | None:
        """Return the pipeline's policy, None if there is none. Raises as `documents` above."""
        return _policy(self._host, pipeline, self._reading())

    def guardrails(self) -> Guardrails | None:
        """Return the guardrails, None if the host has none. Raises as `documents` above."""
        found = self._guardrails
        if isinstance(found, WrongConfiguration):
            raise found
        return found

    @cached_property
    def _guardrails(self) -> Guardrails | WrongConfiguration | None:
        try:
            return _guardrails(self._host, self._reading())
        except WrongConfiguration as mistakes:
            return mistakes

    def _reading(self) -> "_Reading":
        return _Reading(self._host, self._ssm, PATIENCE, cached=False)


class _Reading:
    """Reads of SSM for one decision: through the host's cache, and within one patience."""

    def __init__(
        self, host: Host, ssm: "Ssm | None", patience: float, *, cached: bool = True
    ) -> None:
        self._host = host
        self._cached = cached
        self._ssm = ssm
        self._deadline = time.monotonic() + patience
        self.ages: dict[str, int] = {}

    @property
    def ssm(self) -> "Ssm":
        from bootstrap.policy.stores.ssm import Ssm  # noqa: PLC0415 - of hosts with such a store

        self._ssm = self._ssm or Ssm(self._host.aws)
        return self._ssm

    def get(self, what: str, key: str, fetch: Fetch) -> Any:  # noqa: ANN401 - is JSON
        patience = max(0.0, self._deadline - time.monotonic())
        if not self._cached:
            return fetch(patience)
        settings = self._host.policy
        directory = self._host.paths.runtime / "policies"
        cache = Cache(directory, fresh=settings.cache, stale=settings.serve_stale)
        answer = cache.get(key, fetch, patience=patience)
        if answer.stale is not None:
            self.ages[what] = int(answer.stale)
        return answer.value

    def parsed(
        self, kind: type[T], origin: str, text: str, parse: Callable[[str, str], R]
    ) -> T | R:
        if not self._cached:
            return parse(text, origin)
        content = text.encode("utf-8", "surrogatepass")
        return parsed(self._host.paths.runtime, kind, origin, content, partial(parse, text, origin))


def _policy_of(text: str, origin: str) -> Policy:
    from bootstrap.policy.parse import parse  # noqa: PLC0415 - see bootstrap/fields.py

    return parse(text, origin)


def _guardrails_of(text: str, origin: str) -> Guardrails:
    from bootstrap.policy.parse import parse_guardrails  # noqa: PLC0415

    return parse_guardrails(text, origin)


def _policy(host: Host, pipeline: str, reading: _Reading) -> Policy | None:
    match host.policy.store:
        case FileStore(path=directory):
            text, origin = files.pipeline_text(directory, pipeline), f"{directory}/{pipeline}.yaml"
            return None if text is None else reading.parsed(Policy, origin, text, _policy_of)
        case SsmStore(path=prefix):
            return _from_ssm(f"{prefix}/{pipeline}", pipeline, reading)
        case never:
            assert_never(never)


def _from_ssm(path: str, pipeline: str, reading: _Reading) -> Policy | None:
    def fetch(patience: float) -> list[dict[str, object]]:
        return [asdict(found) for found in reading.ssm.below(path, patience=patience)]

    known = reading.get("policy", f"ssm:{path}/", fetch)

    def compile_(_text: str, _origin: str) -> Policy | None:
        from bootstrap.policy.parameters import Parameter, compiled  # noqa: PLC0415

        return compiled(path, pipeline, (Parameter(**parameter) for parameter in known))

    return reading.parsed(Policy, f"ssm:{path}/", json.dumps(known), compile_)


def _guardrails(host: Host, reading: _Reading) -> Guardrails | None:
    store = host.policy.guardrails
    if store is None:
        return None
    text = _guardrails_text(store, reading)
    if text is None:
        raise WrongConfiguration(
            f"there are no guardrails at {store}",
            hint="Create the document, or remove policy.guardrails from airlock.toml.",
        )
    return reading.parsed(Guardrails, text[1], text[0], _guardrails_of)


def _guardrails_text(store: Store, reading: _Reading) -> tuple[str, str] | None:
    match store:
        case FileStore(path=file):
            text = files.guardrails_text(file)
            return None if text is None else (text, str(file))
        case SsmStore(path=path):
            return _guardrails_in_ssm(path, reading)
        case never:
            assert_never(never)


def _guardrails_in_ssm(path: str, reading: _Reading) -> tuple[str, str] | None:
    def fetch(patience: float) -> dict[str, object] | None:
        found = reading.ssm.one(path, patience=patience)
        return asdict(found) if found else None

    known = reading.get("guardrails", f"ssm:{path}", fetch)
    return None if known is None else (known["value"], f"ssm:{path}:{known['version']}")
