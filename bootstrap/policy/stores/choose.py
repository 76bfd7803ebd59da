"""The store that airlock.toml names, and what is in it for one pipeline."""

from dataclasses import asdict
from pathlib import Path

from bootstrap.errors import WrongConfiguration
from bootstrap.host.cache import Cache
from bootstrap.host.config import Host
from bootstrap.policy.model import Guardrails, Policy
from bootstrap.policy.parameters import Parameter, compiled
from bootstrap.policy.parse import parse, parse_guardrails
from bootstrap.policy.stores import files
from bootstrap.policy.stores.ssm import Ssm


def policy_for(host: Host, pipeline: str, *, ssm: Ssm | None = None) -> Policy | None:
    """Return the pipeline's policy, or None if the store has none for it.

    Raises WrongConfiguration if there is one with mistakes or that somebody else could have
    written, CannotStart if the store cannot be read now.
    """
    kind, _, place = host.policy.store.partition(":")
    if kind == "file":
        text = files.pipeline_text(Path(place), pipeline)
        return None if text is None else parse(text, f"{place}/{pipeline}.yaml")
    path = f"{place}/{pipeline}"
    source = ssm or Ssm(host.aws)
    known = _cache(host).get(f"below {path}", lambda: [asdict(p) for p in source.below(path)])
    return compiled(path, pipeline, (Parameter(**parameter) for parameter in known))


def guardrails_of(host: Host, *, ssm: Ssm | None = None) -> Guardrails | None:
    """Return the guardrails; None if airlock.toml names none.

    If it names some and they are not there, nothing may be granted: WrongConfiguration.
    """
    if host.policy.guardrails is None:
        return None
    text = _guardrails_text(host, host.policy.guardrails, ssm)
    if text is None:
        raise WrongConfiguration(
            f"there are no guardrails at {host.policy.guardrails}",
            hint="Put the document there, or take policy.guardrails out of airlock.toml.",
        )
    return parse_guardrails(*text)


def _guardrails_text(host: Host, named: str, ssm: Ssm | None) -> tuple[str, str] | None:
    kind, _, place = named.partition(":")
    if kind == "file":
        text = files.text_of(Path(place))
        return None if text is None else (text, place)
    source = ssm or Ssm(host.aws)

    def fetch() -> dict[str, object] | None:
        found = source.one(place)
        return asdict(found) if found else None

    known = _cache(host).get(f"one {place}", fetch)
    return None if known is None else (known["value"], f"ssm:{place}:{known['version']}")


def _cache(host: Host) -> Cache:
    directory = host.paths.runtime / "policies"
    return Cache(directory, fresh=host.policy.cache, stale=host.policy.serve_stale)
