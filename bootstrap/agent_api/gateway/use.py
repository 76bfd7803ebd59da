"""How a job used its gateway, for the audit trail and for one line at the end of its log."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bootstrap.agent_api import routes
from bootstrap.agent_api.gateway.permit import IN_POLICY, needed
from bootstrap.agent_api.model import RefusedCall
from bootstrap.agent_api.routes import Kind
from bootstrap.text import counted

_SHOWN = 3  # refusals that the line gives the reason of


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """How often which calls were sent to Buildkite, and which were refused.

    `tokens` are by audience, `secrets` by name, `calls` are the others, by what they do.
    """

    tokens: Mapping[str, int]
    secrets: Mapping[str, int]
    calls: Mapping[str, int]
    refused: tuple[RefusedCall, ...]

    @property
    def refusals(self) -> int:
        """The number of refused calls, those that are not listed included."""
        return sum(call.times for call in self.refused)


def use_of(sent: Mapping[str, int], refused: Iterable[RefusedCall]) -> Use:
    """Return the use that Gateway.usage and the reported refusals describe."""
    tokens, secrets = (f"{kind.value}: " for kind in (Kind.OIDC, Kind.SECRET))
    return Use(
        tokens=_named(sent, tokens),
        secrets=_named(sent, secrets),
        calls={what: n for what, n in sent.items() if not what.startswith((tokens, secrets))},
        refused=tuple(refused),
    )


def _named(sent: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {what.removeprefix(prefix): n for what, n in sent.items() if what.startswith(prefix)}


def advice(use: Use, rule: str) -> str:
    """Return what to tell the job's authors about refused calls; "" if there were none."""
    if not use.refused:
        return ""
    reasons = list(dict.fromkeys(call.why for call in use.refused if call.path))
    more = f", and {len(reasons) - _SHOWN} more" * (len(reasons) > _SHOWN)
    keys = _keys(use.refused)
    add = f" If the job needs them, add to agent-api of rule {rule!r}: {keys}." if keys else ""
    shown = "; ".join(reasons[:_SHOWN])  # last: a job decides how long they are
    return f"{counted(use.refusals, 'call')} of the agent API refused.{add} Got: {shown}{more}"


def _keys(refused: Iterable[RefusedCall]) -> str:
    """Return the lines of a policy that would allow such calls, of those that one could allow."""
    by_rule = [call for call in refused if IN_POLICY in call.why]
    found = (routes.find(c.method, tuple(c.path.removeprefix("/").split("/"))) for c in by_rule)
    keys = dict.fromkeys(key for route in found if route and (key := needed(route)))
    calls = [key for key in keys if key not in {"oidc-audiences", "secrets"}]
    listed = [f"calls: [{', '.join(calls)}]"] if calls else []
    return ", ".join([*listed, *(f"{key}: […]" for key in keys if key not in calls)])
