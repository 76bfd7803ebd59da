"""`services` of a rule: their grammar, and what every tool makes of them."""

import shlex
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.decide import decide
from bootstrap.policy.guardrails import is_empty
from bootstrap.policy.model import Admitted, Decision, Denied, Grant, Limits
from bootstrap.policy.parse import parse_guardrails
from bootstrap.policy.services import (
    HttpReady,
    LogReady,
    Ready,
    ServiceContainer,
    StartedReady,
    TcpReady,
    readiness,
)
from tests.policy.given import claims, policy

IMAGE = "registry.example.com/ci/postgres:15"
PINNED = f"registry.example.com/ci/postgres@sha256:{'0' * 64}"
ONE = f"services: {{db: {{image: '{IMAGE}'}}}}"


def rule(allow: str) -> str:
    return f"  - {{name: only, when: {{pull-request: any}}, allow: {{{allow}}}}}\n"


def granted(allow: str) -> Grant:
    return policy(rule(allow)).rules[0].allow


def service(more: str) -> ServiceContainer:
    return granted(f"services: {{db: {{image: '{IMAGE}', {more}}}}}").services["db"]


def decided(rails: str, allow: str, **env: str) -> Decision:
    document = parse_guardrails(f"guardrails: acme\n{rails}", "guardrails.yaml")
    return decide(claims(**env), policy(rule(allow)), document)


def test_an_image_is_enough() -> None:
    assert granted(ONE).services == {"db": ServiceContainer(image=IMAGE)}
    assert granted("").services == {}


def test_all_keys() -> None:
    assert service(
        "env: {PORT: 5432, EMPTY: ''}, command: [a, 'b c', ''], ready: 'http:8080/up?a=b', "
        "ready-within: 5m, "
        "user: postgres, tmpfs: [/run/a, /run/b, /run/a], "
        "limits: {memory: 2GiB, cpus: 0.5, pids: 64}"
    ) == ServiceContainer(
        image=IMAGE, env={"PORT": "5432", "EMPTY": ""}, command=("a", "b c", ""),
        ready="http:8080/up?a=b", ready_within=timedelta(minutes=5), user="postgres",
        tmpfs=("/run/a", "/run/b"), memory=2 << 30, cpus=0.5, pids=64,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "mistake"),
    [
        ("env: {A-B: x}", "a variable's name"),
        ('env: {A: "\\0"}', "without NUL"),
        ("env: {A: [x]}", "expected text"),
        ('command: "redis-server \'--save"', "every quote closed"),
        ("command: []", "at least 1 entry"),
        ("ready: 5432", "expected tcp:5432, http:8080/path or log:TEXT"),
        ("ready: tcp:65536", "a port from 1 to 65535"),
        ("ready: tcp:0", "expected tcp:5432"),
        ("ready: 'http:80 80'", "expected tcp:5432"),
        ("ready: 'http:80/a b'", "expected tcp:5432"),
        (f"ready: 'http:80/{'a' * 501}'", "expected tcp:5432"),
        (f"ready: 'log:{'a' * 201}'", "at most 200 printable"),
        ('ready: "log:a\\u200bb"', "at most 200 printable"),
        ("ready: ''", "text that is not empty"),
        ("ready-within: 0s", "expected between 1s and 30m"),
        ("ready-within: 1801s", "expected between 1s and 30m"),
        ("ready-within: 1h", "expected between 1s and 30m"),
        ("ready-within: soon", "a duration such as"),
        ("user: 'a:b'", "a user's name"),
        ("tmpfs: run", "the path of a directory"),
        ("tmpfs: /run/../etc", "without `.` and `..`"),
        ("tmpfs: /run/./a", "without `.` and `..`"),
        ("tmpfs: /dev/shm", "outside of /airlock"),
        ("tmpfs: /proc/a", "outside of /airlock"),
        ("tmpfs: /sys/a", "outside of /airlock"),
        ("tmpfs: /airlock/a", "outside of /airlock"),
        (f"tmpfs: /{'a' * 101}", "the path of a directory"),
        (f"tmpfs: {'/a' * 21}", "the path of a directory"),
        (f"tmpfs: [{', '.join(f'/run/{n}' for n in range(21))}]", "at most 20"),
        (f"user: {'a' * 33}", "a user's name"),
        (f"env: {{A: {'x' * 4097}}}", "4096"),
        (f"env: {{{', '.join(f'A{n}: x' for n in range(201))}}}", "at most 200"),
        (f"command: [{', '.join('a' * 201)}]", "at most 200"),
        ("tmpfs: /etc", "outside of /airlock"),
        ("tmpfs: '/run:size=9g'", "the path of a directory"),
        ("tmpfs: //etc", "the path of a directory"),
        ("limits: {pids: 8}", "64 or more"),
        ("volumes: /data", "unknown key"),
        ("privileged: yes", "unknown key"),
    ],
)
def test_a_mistake_is_named(more: str, mistake: str) -> None:
    with pytest.raises(WrongConfiguration) as wrong:
        service(more)
    (detail,) = wrong.value.details
    assert mistake in detail


@pytest.mark.parametrize(
    ("services", "mistake"),
    [
        ("{localhost: {image: a/b}}", "neither localhost nor airlock"),
        ("{airlock: {image: a/b}}", "neither localhost nor airlock"),
        (f"{{{'a' * 33}: {{image: a/b}}}}", "a service's name"),
        ("{Db: {image: a/b}}", "a service's name"),
        ("{github.com: {image: a/b}}", "a service's name"),
        ("{db-: {image: a/b}}", "a service's name"),
        ("{db: {}}", "image"),
        ("{db: {image: deadbeef}}", "an image such as"),
        ("[postgres]", "a mapping of names to values"),
        (f"{{{', '.join(f's{n}: {{image: a/b}}' for n in range(9))}}}", "at most 8 entries"),
        ("{a: {image: a/b, ready: tcp:80}, b: {image: a/b, ready: http:80}}",
         "a and b wait for 80"),
    ],
)  # fmt: skip
def test_a_mistake_about_several_is_named(services: str, mistake: str) -> None:
    with pytest.raises(WrongConfiguration) as wrong:
        granted(f"services: {services}")
    (detail,) = wrong.value.details
    assert mistake in detail


@pytest.mark.parametrize(
    ("text", "ready"),
    [
        ("", StartedReady()),
        ("tcp:5432", TcpReady(port=5432)),
        ("http:8080", HttpReady(port=8080, path="/")),
        ("http:8080/_cluster/health?wait=1", HttpReady(port=8080, path="/_cluster/health?wait=1")),
        ("log:ready to accept", LogReady(text="ready to accept")),
        ("log:x", LogReady(text="x")),
    ],
)
def test_readiness(text: str, ready: Ready) -> None:
    assert readiness(text) == ready


@given(st.text(max_size=40) | st.text("tchplog:/ 0123456789\r\n", max_size=20))
def test_what_is_no_readiness_is_refused_and_no_request_is_split(text: str) -> None:
    try:
        ready = readiness(text)
    except ValueError as refused:
        assert "expected" in str(refused)
        return
    match ready:
        case TcpReady(port=port):
            assert 0 < port < 65536
        case HttpReady(port=port, path=path):
            assert 0 < port < 65536
            assert path.startswith("/")
            assert not {" ", "\r", "\n"} & set(path)
        case LogReady(text=part):
            assert part.isprintable()
        case StartedReady():
            assert text == ""


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_a_command_is_split_as_a_shell_splits_it(words: list[str]) -> None:
    quoted = "".join(f"\\U{ord(char):08x}" for char in shlex.join(words))
    if words and len(words) <= 200:
        assert service(f'command: "{quoted}"').command == tuple(words)


@pytest.mark.parametrize(
    ("rails", "allow", "guardrail"),
    [
        ("images: ['registry.example.com/other/*']", ONE, "images"),
        ("images: ['*@sha256:*']", ONE, "images"),
        ("limits: {memory: 1GiB}", ONE, "limits.memory"),
        ("limits: {memory: 4GiB}", f"limits: {{memory: 4GiB}}, {ONE}", "limits.memory"),
        ("limits: {cpus: 1}", ONE, "limits.cpus"),
        ("limits: {pids: 512}", ONE, "limits.pids"),
        ("limits: {memory: 4GiB}", "limits: {memory: 4GiB}, builds: buildkit", "limits.memory"),
        ("limits: {memory: 300MiB}", "builds: buildkit", "limits.memory"),
        ("limits: {pids: 639}", f"builds: buildkit, {ONE}", "limits.pids"),
        ("limits: {cpus: 1}", "limits: {cpus: 1}, builds: buildkit", "limits.cpus"),
        ("scopes: [{name: s, pipelines: '*', images: []}]", ONE, "scopes.s.images"),
    ],
)
def test_guardrails_limit_it(rails: str, allow: str, guardrail: str) -> None:
    decision = decided(rails, allow)
    assert isinstance(decision, Denied)
    assert f"exceeds the guardrail {guardrail!r}" in decision.problem


def test_a_limit_is_of_the_job_and_its_services_together() -> None:
    decision = decided("limits: {memory: 4GiB, cpus: 4}", ONE)
    assert isinstance(decision, Admitted)
    assert decision.grant.at_most == Limits(memory=3 << 30, cpus=3)
    refused = decided("limits: {memory: 4GiB}", f"limits: {{memory: 4GiB}}, {ONE}")
    assert isinstance(refused, Denied)
    assert "5GiB, of which 4GiB for the job" in refused.problem
    builds = decided("limits: {memory: 4GiB}", f"limits: {{memory: 3GiB}}, builds: buildkit, {ONE}")
    assert isinstance(builds, Denied)
    assert "of which 3GiB for the job and at least 256MiB for BuildKit" in builds.problem


@given(st.integers(1, 64), st.none() | st.integers(1, 64), st.lists(st.integers(1, 16), max_size=4))
def test_what_is_admitted_never_exceeds_the_limit_in_sum(
    most: int, job: int | None, services: list[int]
) -> None:
    rails = parse_guardrails(f"guardrails: acme\nlimits: {{memory: {most}GiB}}", "g")
    own = f"limits: {{memory: {job}GiB}}, " if job else ""
    listed = (f"s{n}: {{image: a/b, limits: {{memory: {m}GiB}}}}" for n, m in enumerate(services))
    decision = decide(claims(), policy(rule(f"{own}services: {{{', '.join(listed)}}}")), rails)
    total = sum(services) + (job or 0)
    if isinstance(decision, Admitted):
        left = decision.grant.at_most.memory
        assert left is not None
        assert total <= most
        assert (job or 1) << 30 <= left or (not services and not job)
    else:
        assert total > most or (not job and sum(services) >= most)


def test_services_are_no_access_and_forks_may_have_them() -> None:
    env = {"BUILDKITE_PULL_REQUEST": "1", "BUILDKITE_PULL_REQUEST_REPO": "git://evil.example/x.git"}
    assert is_empty(granted(ONE))
    assert isinstance(decided("forks: nothing", ONE, **env), Admitted)
