"""OIDC: tokens with a real signature, and the documents by which they are verified."""

import base64
import json
import time
import uuid
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.fakes.control_plane.job import Job

# Buildkite's claims and the variables with the same value (the backend knows both).
_REQUIRED = {
    "organization_slug": "BUILDKITE_ORGANIZATION_SLUG",
    "pipeline_slug": "BUILDKITE_PIPELINE_SLUG",
    "build_number": "BUILDKITE_BUILD_NUMBER",
    "build_branch": "BUILDKITE_BRANCH",
    "build_tag": "BUILDKITE_TAG",
    "build_commit": "BUILDKITE_COMMIT",
    "build_source": "BUILDKITE_SOURCE",
    "step_key": "BUILDKITE_STEP_KEY",
}
_OPTIONAL = {
    "organization_id": "BUILDKITE_ORGANIZATION_ID",
    "pipeline_id": "BUILDKITE_PIPELINE_ID",
    "build_id": "BUILDKITE_BUILD_ID",
    "cluster_id": "BUILDKITE_CLUSTER_ID",
    "cluster_name": "BUILDKITE_CLUSTER_NAME",
    "queue_key": "BUILDKITE_AGENT_META_DATA_QUEUE",
}
_AWS_TAGS = "https://aws.amazon.com/tags"


class Issuer:
    """One RSA key and the tokens it signs."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key_id = uuid.uuid4().hex
        self.signed: list[tuple[str, str | None]] = []  # for which job, and the audience asked for

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def token(self, job: Job, asked: Mapping[str, Any]) -> str:
        """Return a token with the claims that `asked` requests about the job. RS256."""
        self.signed.append((job.id, asked.get("audience")))
        header = {"alg": "RS256", "typ": "JWT", "kid": self.key_id}
        signed = ".".join(
            _encoded(json.dumps(p).encode()) for p in (header, self._claims(job, asked))
        )
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encoded(signature)}"

    def document(self, name: str) -> dict[str, Any] | None:
        """Return what is below /.well-known/."""
        match name:
            case "jwks":
                return {"keys": [self._public()]}
            case "openid-configuration":
                return self._discovery()
            case _:
                return None

    def _public(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.key_id,
            "n": _encoded(_big(numbers.n)),
            "e": _encoded(_big(numbers.e)),
        }

    def _discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/.well-known/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def _claims(self, job: Job, asked: Mapping[str, Any]) -> dict[str, Any]:
        known = _known(job)
        now = int(time.time())
        optional = {name: known[name] for name in asked.get("claims") or () if name in known}
        wanted = [name for name in asked.get("aws_session_tags") or () if name in known]
        tags = {name: str(known[name]) for name in wanted}
        organization = f"https://buildkite.com/{known.get('organization_slug', '')}"
        return {
            "iss": self.url,
            "sub": known.get(asked.get("subject_claim", ""), _subject(known)),
            "aud": asked.get("audience") or organization,
            "iat": now,
            "nbf": now,
            "exp": now + (asked.get("lifetime") or 300),
            **{name: known[name] for name in (*_REQUIRED, *_ALWAYS) if name in known},
            **optional,
            **({_AWS_TAGS: {"principal_tags": tags}} if tags else {}),
        }


_ALWAYS = ("job_id", "agent_id", "runner_environment")


def _known(job: Job) -> dict[str, Any]:
    """Return all claims the backend knows; the order's claims win over those of `env`."""
    names = {**_REQUIRED, **_OPTIONAL}
    known = {claim: job.env[name] for claim, name in names.items() if job.env.get(name)}
    if known.get("build_number", "").isdigit():
        known["build_number"] = int(known["build_number"])  # type: ignore[assignment]
    always = {"job_id": job.id, "agent_id": job.agent_id, "runner_environment": "self-hosted"}
    return {**known, **always, **job.order.claims}


def _subject(known: Mapping[str, Any]) -> str:
    tag, branch = known.get("build_tag"), known.get("build_branch", "")
    ref = f"refs/tags/{tag}" if tag else f"refs/heads/{branch}"
    parts = {
        "organization": known.get("organization_slug", ""),
        "pipeline": known.get("pipeline_slug", ""),
        "ref": ref,
        "commit": known.get("build_commit", ""),
        "step": known.get("step_key", ""),
    }
    return ":".join(f"{name}:{value}" for name, value in parts.items())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _big(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
