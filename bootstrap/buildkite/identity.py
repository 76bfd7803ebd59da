"""The identity of a job as Buildkite signs it: the only verifier of tokens."""

import json
from typing import Any

from bootstrap.buildkite.agent_api import document
from bootstrap.buildkite.http import PATIENCE
from bootstrap.errors import CannotStart, Refused
from bootstrap.host.cache import Cache
from bootstrap.host.config import Host
from bootstrap.secret import Secret

AUDIENCE = "airlock"
ALGORITHMS = ("RS256", "ES256")
LEEWAY = 60  # seconds between this host's clock and Buildkite's
KEYS_ARE_FRESH = 3600.0  # seconds; a key that is not among them is fetched at once


def verified(token: Secret, host: Host) -> dict[str, Any]:
    """Return the claims of a token that the issuer signed, for Airlock, and that is not expired.

    Raises Refused if it is not such a token, CannotStart if the issuer's key cannot be fetched.
    """
    import jwt  # noqa: PLC0415 - 0.1 s that most hosts need not wait for

    try:
        key = _key(jwt.get_unverified_header(token.reveal()).get("kid", ""), host)
        claims: dict[str, Any] = jwt.decode(
            token.reveal(),
            key=jwt.PyJWK(key),
            algorithms=list(ALGORITHMS),
            audience=AUDIENCE,
            issuer=host.policy.issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "iat", "iss", "aud"]},
        )
    except jwt.PyJWTError as invalid:
        raise Refused(
            f"Buildkite's token for this job is not valid: {invalid}",
            hint="Check policy.issuer in airlock.toml, which has to be Buildkite's, and this "
            "host's clock.",
        ) from invalid
    return claims


def _key(wanted: str, host: Host) -> dict[str, Any]:
    """Return the issuer's key of this id; fetches the keys again if it is not in the cache."""
    url = f"{host.policy.issuer}/.well-known/jwks"
    directory = host.paths.runtime / "keys"
    for fresh in (KEYS_ARE_FRESH, 0.0):
        cache = Cache(directory, fresh=fresh, stale=0)
        keys = cache.get(url, lambda _: _keys(url, host), patience=PATIENCE).value
        for key in keys.get("keys", ()) if isinstance(keys, dict) else ():
            if wanted and key.get("kid") == wanted:
                return dict(key)
    raise CannotStart(
        f"{url} has no key {json.dumps(wanted)[:100]}",
        hint="policy.issuer in airlock.toml has to be the issuer of the agent's own organization.",
    )


def _keys(url: str, host: Host) -> Any:  # noqa: ANN401 - JSON
    return document(url, proxy_for=host.aws.proxy_for)
