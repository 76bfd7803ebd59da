"""The store that airlock.toml names: one pipeline's policy, and the guardrails."""

from dataclasses import asdict
from typing import assert_never

from bootstrap.errors import WrongConfiguration
from bootstrap.forms import FileStore, SsmStore, Store
from bootstrap.host.cache import Cache
from bootstrap.host.config import Host
from bootstrap.policy.model import Guardrails, Policy
from bootstrap.policy.parameters import Parameter, compiled
from bootstrap.policy.parse import parse, parse_guardrails
from bootstrap.policy.stores import files
from bootstrap.policy.stores.ssm import Ssm


def policy_for(host: Host, pipeline: str, *, ssm: Ssm | None = None) -> Policy | None:
    """Return the pipeline's policy, or None if the store has none for it.

    Raises WrongConfiguration if it has mistakes or if another user could have written it,
    CannotStart if the store cannot be read now.
    """
    match host.policy.store:
        case FileStore(path=directory):
            text = files.pipeline_text(directory, pipeline)
            return None if text is None else parse(text, f"{directory}/{pipeline}.yaml")
        case SsmStore(path=prefix):
            return _from_ssm(host, f"{prefix}/{pipeline}", pipeline, ssm or Ssm(host.aws))
        case never:
            assert_never(never)


def _from_ssm(host: Host, path: str, pipeline: str, ssm: Ssm) -> Policy | None:
    known = _cache(host).get(f"below {path}", lambda: [asdict(p) for p in ssm.below(path)])
    return compiled(path, pipeline, (Parameter(**parameter) for parameter in known))


def guardrails_of(host: Host, *, ssm: Ssm | None = None) -> Guardrails | None:
    """Return the guardrails; None if airlock.toml names none.

    Raises WrongConfiguration if it names some that do not exist: nothing may be granted then.
    """
    store = host.policy.guardrails
    if store is None:
        return None
    text = _guardrails_text(host, store, ssm)
    if text is None:
        raise WrongConfiguration(
            f"there are no guardrails at {store}",
            hint="Create the document, or remove policy.guardrails from airlock.toml.",
        )
    return parse_guardrails(*text)


def _guardrails_text(host: Host, store: Store, ssm: Ssm | None) -> tuple[str, str] | None:
    match store:
        case FileStore(path=file):
            text = files.text_of(file)
            return None if text is None else (text, str(file))
        case SsmStore(path=path):
            return _guardrails_in_ssm(host, path, ssm or Ssm(host.aws))
        case never:
            assert_never(never)


def _guardrails_in_ssm(host: Host, path: str, ssm: Ssm) -> tuple[str, str] | None:
    def fetch() -> dict[str, object] | None:
        found = ssm.one(path)
        return asdict(found) if found else None

    known = _cache(host).get(f"one {path}", fetch)
    return None if known is None else (known["value"], f"ssm:{path}:{known['version']}")


def _cache(host: Host) -> Cache:
    directory = host.paths.runtime / "policies"
    return Cache(directory, fresh=host.policy.cache, stale=host.policy.serve_stale)
