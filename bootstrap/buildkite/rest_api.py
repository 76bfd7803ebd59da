"""The calls of Buildkite's REST API that a developer's machine needs, with the developer's token.

Source: https://buildkite.com/docs/apis/rest-api/jobs and …/builds
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from bootstrap.buildkite.http import FAILURES, HttpFailure, json_of
from bootstrap.buildkite.job_urls import BuildkiteUrl
from bootstrap.errors import AirlockError, CannotStart, WrongConfiguration
from bootstrap.host.proxy import ProxyFor, no_proxy
from bootstrap.secret import Secret
from bootstrap.text import printable

VARIABLE = "BUILDKITE_API_TOKEN"
_SCOPES = "It needs the scopes read_job_env and read_builds, and access to the organization."
_LARGE = 64 << 20  # bytes: a build with thousands of jobs
_TOKEN = re.compile(r"[\x21-\x7e]{1,500}")


def token(env: Mapping[str, str]) -> Secret:
    """Return the developer's token. Raises WrongConfiguration."""
    text = env.get(VARIABLE, "").strip()
    if not text:
        raise WrongConfiguration(
            f"{VARIABLE} is not set, and Buildkite shows a job to nobody without a token",
            hint=f"Create one at https://buildkite.com/user/api-access-tokens. {_SCOPES}",
        )
    if not _TOKEN.fullmatch(text):
        raise WrongConfiguration(
            f"{VARIABLE} has white space or other characters that no token has",
            hint="Set it to the token alone, without quotes and line ends.",
        )
    return Secret(text)


def checked_base(url: str) -> str:
    """Return the API's URL without a slash at its end. Raises WrongConfiguration.

    The token must not travel unencrypted: http is for a server on this machine.
    """
    try:
        parts = urlsplit(url)
        local = parts.hostname is not None and _is_loopback(parts.hostname)
        usable = parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        usable = local = False
    plain = not parts.query and not parts.fragment if usable else False
    if not plain or parts.scheme not in ({"http", "https"} if local else {"https"}):
        raise WrongConfiguration(
            f"the API's URL is {printable(url)!r}, expected https://host or https://host/path",
            hint="Leave out --api-url for Buildkite itself.",
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class RestApi:
    """Calls on behalf of a developer. Throttling and 5xx are retried with jitter."""

    def __init__(self, access: Secret, base: str, *, proxy_for: ProxyFor = no_proxy) -> None:
        self._token = access
        self._base = base
        self._proxy_for = proxy_for

    def job_env(self, of: BuildkiteUrl, job: str) -> Any:  # noqa: ANN401 - JSON
        """Return the answer about a job's environment. Raises CannotStart, WrongConfiguration."""
        return self._get(f"{_build(of)}/jobs/{job}/env", f"the environment of job {job}")

    def build(self, of: BuildkiteUrl) -> Any:  # noqa: ANN401 - JSON
        """Return a build and its jobs. Raises CannotStart, WrongConfiguration."""
        return self._get(_build(of), f"build {of.build} of {of.pipeline}")

    def _get(self, path: str, what: str) -> Any:  # noqa: ANN401 - JSON
        url = f"{self._base}/v2/{path}"
        headers = {"Authorization": f"Bearer {self._token.reveal()}", "Accept": "application/json"}
        try:
            return json_of(url, headers=headers, proxy=self._proxy_for(url), at_most=_LARGE)
        except FAILURES as failed:
            raise _explained(failed, what, self._base) from failed


def _build(of: BuildkiteUrl) -> str:
    return f"organizations/{of.organization}/pipelines/{of.pipeline}/builds/{of.build}"


def _explained(failed: Exception, what: str, base: str) -> AirlockError:
    match failed:
        case HttpFailure(status=401):
            problem, hint = f"Buildkite does not accept {VARIABLE}", "Was it revoked?"
        case HttpFailure(status=403):
            problem, hint = f"{VARIABLE} may not read {what}: {failed}", "Give it what it lacks."
        case HttpFailure(status=404):
            problem = f"Buildkite knows no {what.removeprefix('the ')}, or hides it from this token"
            hint = "Check the URL."
        case _:
            return CannotStart(
                f"{base} did not return {what}: {printable(str(failed))}",
                hint="Check that this machine reaches it, if need be through HTTPS_PROXY.",
            )
    return WrongConfiguration(problem, hint=f"{hint} {_SCOPES}")
