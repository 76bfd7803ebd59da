"""What a replay has instead of Buildkite's tokens and secrets: nothing, or the developer's own."""

import base64
import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from bootstrap.agent_api.model import Answer, Call, OwnIds, json_answer, refusal
from bootstrap.agent_api.routes import Kind
from bootstrap.secret import Secret

ISSUER = "https://airlock-replay.invalid"
LIFETIME = 300  # seconds


def answer(
    call: Call,
    own: OwnIds,
    now: datetime,
    *,
    oidc_stub: bool,
    secrets: Mapping[str, Secret],
) -> Answer:
    """Answer a call for a token or a secret. Raises MalformedError."""
    match call.route.kind:
        case Kind.OIDC if oidc_stub:
            return json_answer({"token": _unsigned(call.document(), own, now)})
        case Kind.OIDC:
            return refusal(
                "a replay has no OIDC token, because nothing of it reaches Buildkite. With "
                "`--oidc-stub` there is one that nobody signed"
            )
        case Kind.SECRET:
            return _secret(call.query.get("key", ""), secrets)
        case _:
            return refusal(
                "a replay has no token for repositories, because nothing of it reaches Buildkite"
            )


def _secret(key: str, secrets: Mapping[str, Secret]) -> Answer:
    if key not in secrets:
        return refusal(
            f"a replay does not know Buildkite's secret {key!r}. `--secret {key}=…` gives it one"
        )
    document = {"key": key, "value": secrets[key].reveal(), "uuid": str(uuid.uuid4())}
    return json_answer(document)


def _unsigned(asked: Mapping[str, Any], own: OwnIds, now: datetime) -> str:
    """Return a token with the shape of a JWT, by an issuer that cannot exist, without signature."""
    lifetime = asked.get("lifetime")
    seconds = lifetime if isinstance(lifetime, int) and 0 < lifetime < 86_400 else LIFETIME
    claims = {
        "iss": ISSUER,
        "sub": f"replay of {own.job}",
        "aud": str(asked.get("audience") or ISSUER),
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(seconds=seconds)).timestamp()),
        "job_id": own.job,
    }
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join([*(_encoded(part) for part in parts), ""])


def _encoded(part: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
