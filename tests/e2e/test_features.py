"""What the agent offers, in the sandbox: rows of docs/features.md with a case of their own."""

import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fakes.control_plane import JobOrder, JobResult
from tests.fakes.git import git, publish
from tests.fakes.simulator import Call, Reply, Simulator, json_reply, loopback
from tests.lab import world
from tests.lab.agent import binary
from tests.lab.contract import REPOSITORY, Case
from tests.lab.feature_cases import OWN, Feature
from tests.lab.fleet import RealAgent
from tests.lab.lab import ROLE, Fleet, Lab, fleet

pytestmark = pytest.mark.lab

RULES = f"""  - name: with a role
    when: {{step: with-role}}
    allow: {{role: "{ROLE}", env: [BUILDKITE_S3_*, BUILDKITE_ARTIFACT_UPLOAD_DESTINATION]}}
  - {{name: all, allow: {{}}}}
"""
FILES = {
    **REPOSITORY,
    "plugins/greet/plugin.yml": "name: greet\n",
    "plugins/greet/hooks/environment": (
        '#!/bin/bash\nexport CONTRACT_OF_PLUGIN="hello $BUILDKITE_PLUGIN_GREET_NAME"\n'
    ),
}
# Each sees what those before it have exported.
HOOKS = {
    "hooks": "export CONTRACT_FIRST=first\n",
    "more": "export CONTRACT_SECOND=${CONTRACT_FIRST:+second}\n",
    "third": "export CONTRACT_THIRD=${CONTRACT_SECOND:+third}\n",
}


class Collector(Simulator):
    """What takes the spans of OpenTelemetry over HTTP."""

    def answer(self, _: Call) -> Reply:
        return Reply(kind="application/x-protobuf", body=b"")


class S3(Simulator):
    """A bucket: it keeps what is put into it."""

    def answer(self, call: Call) -> Reply:
        if call.method == "GET":
            return Reply(kind="application/xml", body=b"<ListBucketResult></ListBucketResult>")
        return Reply(body=b"", headers={"ETag": '"1"'})


class Kms(Simulator):
    """A KMS of one key for signatures, of which agents ask for the public half at their start."""

    def answer(self, _: Call) -> Reply:
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        encoded = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return json_reply({
            "KeyId": "contract", "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY",
            "SigningAlgorithms": ["ECDSA_SHA_256"], "PublicKey": b64encode(encoded).decode(),
        })  # fmt: skip


def made(lab: Lab, base: Path, settings: str) -> AbstractContextManager[Fleet]:
    base.chmod(0o755)
    return fleet(lab, base / "fleet", settings=settings)


@pytest.fixture(scope="module")
def plain(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with made(lab, tmp_path_factory.mktemp("features"), "") as running:
        yield running


@pytest.fixture(scope="module")
def hooked(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with made(lab, tmp_path_factory.mktemp("hooked"), "hooks = true\n") as running:
        yield running


@pytest.fixture
def host(request: pytest.FixtureRequest, feature: Feature) -> Fleet:
    found: Fleet = request.getfixturevalue("hooked" if feature.hooks else "plain")
    return found


@pytest.fixture(scope="module")
def kms() -> Iterator[str]:
    with Kms(loopback()) as running:
        yield running.url


def done(here: Fleet, feature: Feature, base: Path, **env: str) -> JobResult:
    """Run the feature's job with an agent of its own, whose files are in `base`."""
    assert feature.case
    prepare(base)
    repository = here.base / "git/features.git"
    if not repository.exists():
        publish(here.base / "git", "features", FILES)
    url = f"{here.git.url}/features.git"
    here.policy(RULES, repository=url)
    commit = git(repository, "rev-parse", "HEAD").strip()
    agent = RealAgent(
        name="agent-1", bootstrap_script=here.bootstrap_script,
        flags=("--checkout-attempts", "1", *(f.replace("BASE", str(base)) for f in feature.flags)),
        env=feature.env,
    )  # fmt: skip
    with agent.running(here.control, base):
        order = here.env(feature.case.command, BUILDKITE_REPO=url, BUILDKITE_COMMIT=commit,
                         **feature.case.env, **env)  # fmt: skip
        job = here.control.enqueue(JobOrder(env=order, agent="agent-1"))
        return here.control.completed(job)


def prepare(base: Path) -> None:
    """Write what the agents' flags name."""
    for name, text in HOOKS.items():
        (base / name).mkdir(mode=0o755, parents=True)
        (base / name / "environment").write_text(f"#!/bin/bash\n{text}")
        (base / name / "environment").chmod(0o755)
    keys = [str(binary()), "tool", "keygen", "--key-id", "contract",
            "--private-jwks-file", str(base / "private.json"),
            "--public-jwks-file", str(base / "public.json")]  # fmt: skip
    subprocess.run(keys, check=True, capture_output=True)


@pytest.mark.parametrize("feature", OWN, ids=lambda one: one.case.name.replace(" ", "-"))
def test_feature_of_the_agent(host: Fleet, kms: str, feature: Feature, tmp_path: Path) -> None:
    assert feature.case
    env = {name: kms if value == "KMS" else value for name, value in feature.env.items()}
    feature.case.verify(done(host, replace(feature, env=env), tmp_path / "agent"))


@pytest.mark.parametrize("reachable", [True, False])
def test_spans_reach_a_collector_that_jobs_can_reach(
    plain: Fleet, tmp_path: Path, *, reachable: bool
) -> None:
    """One on the host itself they cannot: the bootstrap does not try, nor wait for it."""
    with Collector(world.listen(world.WORLD, 0) if reachable else loopback()) as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
               "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
               "OTEL_EXPORTER_OTLP_HEADERS": "authorization=of-the-agent"}  # fmt: skip
        feature = replace(OWN[0], flags=("--tracing-backend", "opentelemetry"), env=env,
                          case=Case(name="spans", command="env"))  # fmt: skip
        result = done(plain, feature, tmp_path / "agent")
    assert result.ending == ("0", "", "")
    assert bool(collector.calls) is reachable
    assert {call.path for call in collector.calls} <= {"/v1/traces"}
    assert all("authorization" not in call.headers for call in collector.calls)
    assert b"of-the-agent" not in result.log
    why = b"tracing-backend (OTEL_EXPORTER_OTLP_ENDPOINT is a port of this host)"
    assert (why in result.log) is not reachable


def test_artifacts_go_to_a_bucket_with_the_rules_role(plain: Fleet, tmp_path: Path) -> None:
    with S3(world.listen(world.WORLD, 0)) as bucket:
        case = Case(name="s3", command="echo x > a.txt")
        result = done(
            plain, replace(OWN[0], flags=(), case=case), tmp_path / "agent",
            BUILDKITE_STEP_KEY="with-role", BUILDKITE_ARTIFACT_PATHS="a.txt",
            BUILDKITE_ARTIFACT_UPLOAD_DESTINATION="s3://artifacts/here",
            BUILDKITE_S3_ENDPOINT=bucket.url, BUILDKITE_S3_DEFAULT_REGION="us-east-1",
        )  # fmt: skip
    case.verify(result)
    assert [call.path for call in bucket.calls if call.method == "PUT"] == ["/artifacts/here/a.txt"]
    assert bucket.access_keys() <= plain.sts.issued.keys()
    assert bucket.access_keys(), "they are signed"
