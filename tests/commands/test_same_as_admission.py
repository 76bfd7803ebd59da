"""`explain` and `test` decide as a host's own admission does, over generated hosts and jobs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bootstrap import admission
from bootstrap.commands.policy.explain import explain
from bootstrap.commands.policy.hosted import host_of
from bootstrap.errors import AirlockError, Refused
from bootstrap.host import config
from bootstrap.job.assemble import agent_of, claims_of
from bootstrap.job.claims import agreeing
from bootstrap.log import JobLog
from bootstrap.policy import builds, cases
from bootstrap.policy.granted import granted
from bootstrap.policy.model import Grant
from bootstrap.policy.stores.choose import Now
from bootstrap.record import Record
from tests.commands.generated import (
    FILE,
    GIVEN,
    JOB,
    RAILS,
    RULES,
    STATES,
    host_with,
    lines_of,
    stored,
    toml,
)
from tests.fakes.simulator import loopback
from tests.job.given import JOB_ID, job_env, process_env
from tests.test_admission import Signing


@dataclass(frozen=True)
class Answer:
    """What a job gets: a status, the rule and its grant if there is one."""

    status: int
    problem: str = ""
    rule: str | None = None
    grant: Any = None


def admitted(host: config.Host, env: dict[str, str], endpoint: str = "") -> Answer:
    """Return what the host's own admission answers."""
    given_by_agent = process_env(BUILDKITE_AGENT_ENDPOINT=endpoint)
    try:
        claims, agent = claims_of(env, given_by_agent), agent_of(env, given_by_agent)
        record, log = Record(host.paths.records, "now"), JobLog(lambda _: None)
        _, decision = admission.admit(claims, agent, host, record, log)
    except AirlockError as refusal:
        return Answer(status=refusal.exit_code, problem=refusal.problem)
    return Answer(status=0, rule=decision.rule, grant=plain(decision.grant))


def plain(grant: Grant) -> Any:
    return granted(grant)


def explained(store: Path | None, env: dict[str, str], config_path: Path) -> Answer:
    """Return what `airlock policy explain --json` answers."""
    lines: list[str] = []
    job = config_path.with_name("job.json")
    job.write_text(json.dumps(env))
    try:
        status = explain(
            job=job, pipeline=None, given={}, directory=store, config_path=config_path,
            as_json=True, output=lines.append,
        )  # fmt: skip
    except AirlockError as refusal:
        return Answer(status=refusal.exit_code, problem=refusal.problem)
    document = json.loads("\n".join(lines))
    return Answer(
        status=status,
        problem=document.get("problem", ""),
        rule=document.get("rule"),
        grant=document.get("grant"),
    )


def each_state(test: Any) -> Any:
    """Try every state of the policy's file and of the guardrails', with nothing else wrong."""
    for state in sorted(set(STATES)):
        for states in ((state, ""), ("", state)):
            test = example(rules=[({}, {})], rails={}, states=states, env={})(test)
    return test


@each_state
@settings(max_examples=200)
@given(
    rules=RULES, rails=st.none() | RAILS, states=st.tuples(FILE, FILE), env=JOB,
)  # fmt: skip
def test_explain_answers_as_admission_does(
    rules: list[tuple[dict[str, Any], dict[str, Any]]],
    rails: dict[str, Any] | None,
    states: tuple[str, str],
    env: dict[str, str],
) -> None:
    env = job_env(**env)
    with stored(rules, rails, states) as store:
        host = host_with(store)
        assert explained(store, env, store.parent / "airlock.toml") == admitted(host, env)


@pytest.fixture(scope="module")
def buildkite() -> Iterator[Signing]:
    with Signing(loopback()) as signing:
        yield signing


@settings(max_examples=25)
@given(rules=RULES, env=JOB)
def test_explain_answers_as_admission_with_signed_identity_does(
    buildkite: Signing, rules: list[tuple[dict[str, Any], dict[str, Any]]], env: dict[str, str]
) -> None:
    """Where Buildkite's token agrees with the environment, which `explain` assumes."""
    env = job_env(**env)
    with stored(rules, None, ("", "")) as store:
        document = toml(store, identity="signed", issuer=buildkite.url)
        path = store.parent / "airlock.toml"
        path.write_text("\n".join(lines_of(document)))
        path.chmod(0o644)
        try:
            buildkite.claims = agreeing(claims_of(env, {}), ("size",))
        except Refused:
            buildkite.claims = {}
        host = config.load(path)
        assert explained(None, env, path) == admitted(host, env, buildkite.url)


@settings(max_examples=100)
@given(
    rules=RULES, rails=st.none() | RAILS, states=st.tuples(FILE, FILE), build=GIVEN,
)  # fmt: skip
def test_a_case_passes_if_and_only_if_it_expects_what_admission_answers(
    rules: list[tuple[dict[str, Any], dict[str, Any]]],
    rails: dict[str, Any] | None,
    states: tuple[str, str],
    build: dict[str, Any],
) -> None:
    with stored(rules, rails, states) as store:
        now = Now(host_of(store, store))
        host = host_with(store)
        node = builds.BuildNode.model_validate(build)
        try:
            policy = now.policy("storefront")
        except AirlockError:
            policy = None
        env = builds.environment(node, "storefront", policy) | {"BUILDKITE_JOB_ID": JOB_ID}
        answer = admitted(host, env)
        possible = ["refused", *(f"rule {number}" for number in range(len(rules)))]
        passed = [wanted for wanted in possible if not outcome(store, build, wanted)]
        met = {0: answer.rule, 77: "refused", 78: None}[answer.status]
        assert passed == ([met] if policy and met else [])


def outcome(store: Path, build: dict[str, Any], expected: str) -> str:
    expect = expected if expected == "refused" else {"rule": expected}
    case = {"name": "x", "given": build, "expect": expect}
    document = cases.parse(json.dumps({"pipeline": "storefront", "cases": [case]}), "x")
    now = Now(host_of(store, store))

    def read(slug: str) -> Any:
        documents = now.documents(slug)
        return documents.policy, documents.guardrails

    (found,) = cases.outcomes([document], read)
    return found.problem
