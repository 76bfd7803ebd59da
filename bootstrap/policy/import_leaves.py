"""Proposals from SSM parameters, one per setting, such as <prefix>/<slug>/branches.

The input is what `aws ssm get-parameters-by-path --recursive` prints.
"""

import json
from collections.abc import Mapping
from typing import Any

from bootstrap.policy.parameters import DOCUMENT, LEAVES, as_document
from bootstrap.policy.proposals import TO_COMPLETE, Found, Proposal, ProposedRule
from bootstrap.text import printable

_CONDITIONS = ("branches", "teams", "queues")
_TEAMS = (
    "creator-team holds only for builds that are started in the UI or through the API; "
    "author-team is the weaker condition for other builds."
)
_ROLES = "role-arn names several roles. A rule has one `role`; move the others to `roles`."


def found(text: str, prefix: str) -> Found:
    """Return a proposal for every pipeline below `prefix`. Raises ValueError for other input."""
    by_slug: dict[str, dict[str, Mapping[str, Any]]] = {}
    for parameter in _parameters(text):
        path = parameter["Name"].removeprefix(prefix.rstrip("/"))
        slug, _, leaf = path.strip("/").partition("/")
        if path != parameter["Name"] and leaf and "/" not in leaf:
            by_slug.setdefault(slug, {})[leaf] = parameter
    proposals, skipped = [], []
    for slug, leaves in sorted(by_slug.items()):
        if DOCUMENT in leaves:
            skipped.append(f"{slug}: it has a document already; `airlock policy pull` copies it")
        elif ours := {leaf: one for leaf, one in leaves.items() if leaf in LEAVES}:
            proposals.append(_proposal(slug, ours, sorted(set(leaves) - LEAVES)))
        else:
            skipped.append(f"{slug}: none of its parameters is {', '.join(sorted(LEAVES))}")
    return Found(proposals=tuple(proposals), skipped=tuple(map(printable, skipped)))


def _parameters(text: str) -> list[dict[str, Any]]:
    expected = "expected the output of `aws ssm get-parameters-by-path`"
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{expected}, which is JSON") from None
    listed = content.get("Parameters") if isinstance(content, dict) else None
    if not isinstance(listed, list) or not all(map(_is_parameter, listed)):
        raise ValueError(f"{expected}: Parameters, each with Name, Type and Value")
    return listed


def _is_parameter(one: object) -> bool:
    return isinstance(one, dict) and all(
        isinstance(one.get(key), str) for key in ("Name", "Type", "Value")
    )


def _proposal(slug: str, leaves: Mapping[str, Mapping[str, Any]], others: list[str]) -> Proposal:
    hidden = sorted(leaf for leaf, p in leaves.items() if p["Type"] == "SecureString")
    values = {leaf: p["Value"] for leaf, p in leaves.items() if leaf not in hidden}
    values |= {leaf: TO_COMPLETE for leaf in hidden if leaf in _CONDITIONS}
    (rule,) = as_document(slug, values)["rules"]
    notes = [f"Not known: {leaf}, which is encrypted. Complete it here." for leaf in hidden]
    notes += [_TEAMS] if "creator-team" in rule["when"] else []
    notes += [_ROLES] if "," in rule["allow"].get("role", "") else []
    return Proposal(
        pipeline=slug,
        repositories=tuple(as_document(slug, values).get("repository", ())),
        rules=(
            ProposedRule(
                name="parameters", when=rule["when"], allow=rule["allow"], notes=tuple(notes)
            ),
        ),
        notes=tuple(f"Not part of a policy: the parameter {other}." for other in others),
    )
