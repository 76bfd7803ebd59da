"""The job's own AWS role, by the credential endpoint or in variables."""

from collections.abc import Mapping
from typing import Annotated, Any

from bootstrap.aws.model import Session
from bootstrap.grants.kind import DEFAULT, Delivery, Kind, Needs, Obtained, Variables, unexpired
from bootstrap.secret import Secret

ADDRESS = "169.254.170.2"


class Role(Kind[str]):
    """The ARN of the role."""

    key = "role"
    noun = "role"

    @staticmethod
    def grammar() -> Any:  # noqa: ANN401 - an annotation
        """Return an ARN, or nothing."""
        from pydantic import Field  # noqa: PLC0415 - see bootstrap/fields.py

        from bootstrap.fields import RoleArn  # noqa: PLC0415

        return Annotated[RoleArn | None, Field(default=None)]

    def needs(self) -> Needs:
        """Return the role."""
        return Needs(roles={DEFAULT: self.granted})

    def deliver(self, obtained: Obtained, sandbox: Delivery) -> Variables:
        """Return the endpoint's path, or the session itself. Raises CannotStart if it expired."""
        if sandbox.endpoint:
            return by_endpoint(sandbox.endpoint, sandbox.env)
        return by_variables(unexpired(obtained.sessions[DEFAULT], self.granted))


def by_endpoint(path: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return what points every SDK at the job's listener, bypassing any proxy that the job uses."""
    return {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": path, **past_proxies(env)}


def past_proxies(env: Mapping[str, str]) -> dict[str, str]:
    """Return both spellings of NO_PROXY, extended by the listener's address.

    Some tools read NO_PROXY first and some no_proxy: if the job set only one, it is used for both.
    """
    upper, lower = env.get("NO_PROXY", ""), env.get("no_proxy", "")
    return {"NO_PROXY": _with_address(upper or lower), "no_proxy": _with_address(lower or upper)}


def _with_address(value: str) -> str:
    """Leave `*` alone: it means every address already, and to most tools only by itself."""
    if value.strip() == "*" or ADDRESS in [entry.strip() for entry in value.split(",")]:
        return value
    return ",".join(filter(None, (value, ADDRESS)))


def by_variables(session: Session) -> dict[str, str | Secret]:
    """Return the session itself, for tools that read nothing else. It is not renewed."""
    return {
        "AWS_ACCESS_KEY_ID": session.access_key_id,
        "AWS_SECRET_ACCESS_KEY": session.secret_access_key,
        "AWS_SESSION_TOKEN": session.session_token,
    }
