"""One number for what a decision is about, by which two events of the audit trail compare."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict

from bootstrap.buildkite.redaction import without_secrets
from bootstrap.job.model import Claims, Fact


def digest(claims: Claims, agent_values: Mapping[str, str]) -> str:
    """Return the SHA-256 of the claims, which anyone can compute from the job's record.

    Secrets are left out: a digest of them would let a guess be checked.
    """
    document = {
        "organization": claims.organization,
        "pipeline": claims.pipeline,
        "job": claims.job_id,
        "build": claims.build_number,
        "agent": claims.agent_name,
        "repository": claims.repository,
        "env": dict(without_secrets(claims.env, agent_values)),
        "facts": {name: _plain(fact) for name, fact in claims.facts.items()},
    }
    text = json.dumps(document, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(fact: Fact) -> dict[str, object]:
    values = asdict(fact)
    shown = {k: sorted(v) if isinstance(v, frozenset) else v for k, v in values.items()}
    return {"kind": type(fact).__name__, **shown}
