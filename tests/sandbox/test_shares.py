"""How a job and its BuildKit divide what the host and the guardrails give them."""

from hypothesis import given
from hypothesis import strategies as st

from bootstrap.host.builds_settings import Builds
from bootstrap.policy.decide import decide
from bootstrap.policy.model import Admitted, Grant, Limits
from bootstrap.policy.model import Builds as Builder
from bootstrap.policy.parse import parse_guardrails
from bootstrap.sandbox import shares
from bootstrap.sandbox.shares import Share
from tests.policy.given import claims, policy
from tests.sandbox.test_plan import DEFAULTS

GIB = 1 << 30
HOST = Share(memory=DEFAULTS.memory, cpus=DEFAULTS.cpus, pids=DEFAULTS.pids)
SETTINGS = Builds(image="buildkit:1")


def builder(grant: Grant, settings: Builds = SETTINGS) -> Share:
    return shares.of_builder(grant, DEFAULTS, settings)


def test_without_guardrails_each_has_the_limits_of_the_host() -> None:
    grant = Grant(builds=Builder.BUILDKIT)
    assert shares.of_job(grant, DEFAULTS) == builder(grant) == HOST
    own = Builds(image="buildkit:1", memory=GIB, cpus=1.5, pids=99)
    assert builder(grant, own) == Share(memory=GIB, cpus=1.5, pids=99)


def test_buildkit_gets_what_the_rule_leaves_of_the_guardrails() -> None:
    own = Limits(memory=3 * GIB, cpus=1.5, pids=100)
    most = Limits(memory=4 * GIB, cpus=2, pids=150)
    grant = Grant(builds=Builder.BUILDKIT, limits=own, at_most=most)
    assert shares.of_job(grant, DEFAULTS) == Share(memory=3 * GIB, cpus=1.5, pids=100)
    assert builder(grant) == Share(memory=GIB, cpus=0.5, pids=50)


def test_where_the_rule_has_no_limit_each_gets_a_half() -> None:
    grant = Grant(builds=Builder.BUILDKIT, at_most=Limits(memory=4 * GIB, cpus=1, pids=201))
    assert shares.of_job(grant, DEFAULTS) == Share(memory=2 * GIB, cpus=0.5, pids=100)
    assert builder(grant) == Share(memory=2 * GIB, cpus=0.5, pids=101)


def test_without_buildkit_a_job_gets_all_that_guardrails_leave() -> None:
    grant = Grant(at_most=Limits(memory=4 * GIB, cpus=1, pids=200))
    assert shares.of_job(grant, DEFAULTS) == Share(memory=4 * GIB, cpus=1, pids=200)


@given(
    st.integers(256, 1 << 15),
    st.none() | st.integers(16, 1 << 14),
    st.lists(st.integers(16, 4096), max_size=4),
    st.booleans(),
)
def test_all_containers_of_an_admitted_job_have_at_most_the_guardrails_limit(
    most: int,
    job: int | None,
    services: list[int],
    builds: bool,  # noqa: FBT001
) -> None:
    rails = parse_guardrails(f"guardrails: acme\nlimits: {{memory: {most}MiB}}", "g")
    listed = (f"s{n}: {{image: a/b, limits: {{memory: {m}MiB}}}}" for n, m in enumerate(services))
    allow = [f"services: {{{', '.join(listed)}}}"]
    allow += [f"limits: {{memory: {job}MiB}}"] if job else []
    allow += ["builds: buildkit"] if builds else []
    document = policy(f"  - {{name: only, when: {{}}, allow: {{{', '.join(allow)}}}}}\n")
    decision = decide(claims(), document, rails)
    if isinstance(decision, Admitted):
        of_job = shares.of_job(decision.grant, DEFAULTS).memory
        of_builder = builder(decision.grant).memory if builds else 0
        assert of_job > 0
        assert not builds or of_builder >= 256 << 20
        assert of_job + of_builder + sum(services) * (1 << 20) <= most << 20
