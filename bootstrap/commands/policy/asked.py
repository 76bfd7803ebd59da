"""The job that `explain` is asked about: a file of the agent, a job's record, or a description."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.buildkite.env_files import parse_json, parse_shell
from bootstrap.errors import AirlockError, CannotStart, WrongConfiguration
from bootstrap.job.assemble import claims_of
from bootstrap.job.model import Claims, Known, Provenance
from bootstrap.policy import builds, history
from bootstrap.policy.decide import with_commit
from bootstrap.policy.stores.choose import Documents, Now
from bootstrap.replay.inputs.content import bounded
from bootstrap.text import printable

OF_ANY = {"commit-on-branch", "signed"}  # what can be stated of a job in a file too


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A job, the documents that decide about it, and its variables that its record hides."""

    claims: Claims
    documents: Documents
    hidden: frozenset[str] = frozenset()


def asked(
    job: Path | None, pipeline: str | None, given: Mapping[str, Any], now: Now, *, signed: bool
) -> Asked:
    """Return the job in the file, or the build that is described.

    `signed` is whether the host requires signed identity: then Buildkite's token is taken to agree
    with the environment. Raises WrongConfiguration if there is no job, or neither or both of the
    two; what a host raises for a job whose documents are wrong; and Refused as a host does.
    """
    build = builds.parsed(given)
    if job is None:
        if not pipeline:
            raise _wrong("there is no job: expected a file, or --pipeline")
        return _described(pipeline, build, now, signed=signed)
    others = sorted(set(given) - OF_ANY)
    if pipeline or others:
        option = "pipeline" if pipeline else others[0]
        raise _wrong(f"--{option} describes a build, and {job} is already a job")
    return _of_file(job, build, now, signed=signed)


def _described(pipeline: str, build: builds.BuildNode, now: Now, *, signed: bool) -> Asked:
    builds.claims(builds.BuildNode(), pipeline, None)  # a slug that no job may have is refused
    documents = now.documents(pipeline)
    claims = builds.claims(build, pipeline, documents.policy, documents.guardrails)
    if claims.pipeline != pipeline:  # by `--env BUILDKITE_PIPELINE_SLUG=…`
        documents = now.documents(claims.pipeline)
    if signed and build.signed == "no":
        claims = builds.signed(claims, documents.policy)
    return Asked(claims=claims, documents=documents)


def _of_file(path: Path, build: builds.BuildNode, now: Now, *, signed: bool) -> Asked:
    data = _content(path)
    record = _record(data)
    recorded = _recorded(record, path) if record is not None else None
    claims = recorded.claims if recorded else claims_of(_env(data, path), process_env={})
    documents = now.documents(claims.pipeline)
    if recorded:
        claims = recorded.claimed(documents.policy)
    if signed or build.signed == "yes":
        claims = builds.signed(claims, documents.policy)
    if build.commit_on_branch:
        answer = Known(value=build.commit_on_branch, provenance=Provenance.HOST)
        claims = with_commit(claims, answer)
    hidden = recorded.hidden if recorded else frozenset[str]()
    return Asked(claims=claims, documents=documents, hidden=hidden)


def _content(path: Path) -> bytes:
    try:
        return bounded(str(path))
    except WrongConfiguration as unusable:
        raise _wrong(unusable.problem) from unusable


def _record(data: bytes) -> dict[str, Any] | None:
    """Return the record of a job, None if it is something else."""
    try:
        document = json.loads(data) if data.lstrip().startswith(b"{") else None
    except (ValueError, RecursionError):
        return None
    return document if history.is_record(document) else None


def _recorded(document: dict[str, Any], path: Path) -> history.Recorded:
    try:
        return history.recorded(document)
    except AirlockError as broken:
        raise _wrong(f"{path} is not the record of a job: {broken.problem}") from broken


def _env(data: bytes, path: Path) -> dict[str, str]:
    """Read a copy of BUILDKITE_ENV_JSON_FILE or BUILDKITE_ENV_FILE, whichever form it has."""
    try:
        env = (parse_json if data.lstrip().startswith(b"{") else parse_shell)(data)
    except CannotStart as broken:
        raise _wrong(f"{path} is not the environment of a job: {broken.problem}") from broken
    if not env:
        raise _wrong(f"{path} is not the environment of a job: it holds no variable")
    return env


def _wrong(problem: str) -> WrongConfiguration:
    return WrongConfiguration(
        printable(problem, limit=500),
        hint="Name a copy of the file that the agent writes for a job (one JSON object, or lines "
        'of NAME="value") or a job\'s record, or describe a build: --pipeline, --branch, …',
    )
