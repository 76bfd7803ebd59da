"""A job on Buildkite as an input, read by its REST API with the developer's token."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bootstrap.buildkite import job_urls, rest_api
from bootstrap.buildkite.env_files import checked
from bootstrap.buildkite.job_urls import BuildkiteUrl
from bootstrap.buildkite.rest_api import RestApi
from bootstrap.errors import WrongConfiguration
from bootstrap.host import proxy
from bootstrap.replay.inputs.content import wrong
from bootstrap.replay.model import API_URL, Kind, RecordedEnd, ReplayInput
from bootstrap.text import printable

PAGES = "buildkite.com"  # where the pages of builds are
_SHOWN = 30


def read(url: str, env: Mapping[str, str], api_url: str = API_URL) -> ReplayInput:
    """Return the job that `url` names. `env` is the developer's environment.

    The token is sent to `api_url` and nowhere else, whatever the URL of the job is. Raises
    WrongConfiguration for a wrong URL, token or proxy, CannotStart if Buildkite does not answer,
    Refused as a host does.
    """
    base = rest_api.checked_base(api_url)
    try:
        of = job_urls.parse(url)
    except ValueError as not_one:
        raise wrong(url, f"is no job: {not_one}", "Copy it from the page of the job.") from None
    _check_host(url, of, base)
    api = RestApi(rest_api.token(env), base, proxy_for=_proxy_for(env))
    job, ended = (of.job, None) if of.job else _only_job(url, of, api.build(of))
    return ReplayInput(
        kind=Kind.URL,
        source=f"job {job} of build {of.build} of {of.organization}/{of.pipeline}",
        env=_env(api.job_env(of, job), base),
        ended=ended,
    )


def _check_host(url: str, of: BuildkiteUrl, base: str) -> None:
    """Refuse a URL of another site: with its numbers, a job of Buildkite's would be another one."""
    api = urlsplit(base).netloc.lower()
    if base == API_URL and of.host not in {PAGES, f"www.{PAGES}", api}:
        raise wrong(
            url,
            f"is not a URL of {PAGES}",
            "If this is where your Buildkite is, name its API with --api-url.",
        )


def _proxy_for(env: Mapping[str, str]) -> proxy.ProxyFor:
    try:
        return proxy.of_environment(env)
    except ValueError as unusable:
        raise WrongConfiguration(
            f"HTTPS_PROXY is not usable: {unusable}",
            hint="Unset it, or set it to the proxy through which this machine reaches Buildkite.",
        ) from None


def _env(answer: Any, base: str) -> dict[str, str]:  # noqa: ANN401 - JSON
    env = answer.get("env") if isinstance(answer, dict) else None
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        raise WrongConfiguration(
            f"{base} returned no environment of a job",
            hint="Expected a JSON object with `env`, whose values are text. Is --api-url right?",
        )
    return checked(env)


def _only_job(url: str, of: BuildkiteUrl, build: Any) -> tuple[str, RecordedEnd | None]:  # noqa: ANN401
    """Return the one job of a build that agents ran, and how it ended; or say which there are."""
    listed = build.get("jobs") if isinstance(build, dict) else None
    jobs = [job for job in listed or [] if isinstance(job, dict) and job.get("type") == "script"]
    if of.step:
        jobs = [job for job in jobs if _step(job) == of.step]
    if len(jobs) == 1 and job_urls.is_id(str(jobs[0].get("id"))):
        return str(jobs[0]["id"]), _ended(jobs[0])
    page = url.partition("#")[0].partition("?")[0]
    details = tuple(printable(f"{page}#{job.get('id')}  {_name(job)}", limit=400) for job in jobs)
    more = (f"and {len(jobs) - _SHOWN} more",) if len(jobs) > _SHOWN else ()
    raise WrongConfiguration(
        printable(f"{url} does not say which job: its build has {len(jobs)}", limit=500),
        hint="Name the job by its URL, with its id after the #.",
        details=(*details[:_SHOWN], *more),
    )


def _step(job: Mapping[str, Any]) -> object:
    step = job.get("step")
    return step.get("id") if isinstance(step, dict) else None


def _name(job: Mapping[str, Any]) -> str:
    name = job.get("name") or job.get("step_key") or job.get("command") or "?"
    return f"{name} ({job.get('state')})"


def _ended(job: Mapping[str, Any]) -> RecordedEnd | None:
    code = job.get("exit_status")
    if not isinstance(code, int):
        return None
    return RecordedEnd(code=code, signal=None, whose=None, how=None)
