"""Whole jobs whose agent API is a gateway of their own: alone, with the service, agents 3 and 4."""

import json
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.fakes.proxy import Proxy
from tests.lab.lab import Fleet, Lab
from tests.lab.ways import ALONE, SERVICE, Host, Way, host

pytestmark = pytest.mark.lab

V4 = os.environ.get("BUILDKITE_AGENT_V4")
RULES = """  - name: trusted
    when: {step: granted}
    allow:
      agent-api:
        calls: [meta-data, artifacts, annotations, pipeline-upload, steps]
        secrets: STEP
        oidc-audiences: sts.amazonaws.com
  - {name: tests, allow: {agent-api: {}}}
"""
WORK = r"""
echo "the secret has ${#FROM_STEP} characters"
buildkite-agent meta-data set colour blue
echo "colour is $(buildkite-agent meta-data get colour)"
echo annotated | buildkite-agent annotate --context here
mkdir -p out && echo content > out/a.txt
buildkite-agent artifact upload out/a.txt
printf 'steps:\n  - command: "true"\n' | buildkite-agent pipeline upload
buildkite-agent oidc request-token --audience sts.amazonaws.com > /dev/null && echo signed
buildkite-agent step get label --step deploy || true
"""
REFUSED = r"""
for try in "meta-data set colour blue" "annotate text" "artifact upload README.md" \
    "oidc request-token --audience sts.amazonaws.com" "pipeline upload p.yml"
do
  printf 'steps: [{command: "true"}]' > p.yml
  buildkite-agent $try && echo "allowed: $try"
done
exit 3
"""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((ALONE, 3), id="alone"),
        pytest.param((SERVICE, 3), id="service"),
        pytest.param(
            (SERVICE, 4), id="service-v4",
            marks=pytest.mark.skipif(not V4, reason="no v4 agent: set BUILDKITE_AGENT_V4"),
        ),
    ],
)  # fmt: skip
def here(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Host]:
    way: Way
    way, generation = request.param
    with pytest.MonkeyPatch.context() as patched:
        if generation == 4:
            patched.setenv("BUILDKITE_AGENT", str(V4))
        with host(lab, way, tmp_path_factory.mktemp("agent-api")) as made:
            made.fleet.policy(RULES)
            made.fleet.control.secrets["STEP"] = "a secret"
            with made.working():
                yield made


def test_what_the_rule_grants_works_through_the_gateway(here: Host) -> None:
    config = json.dumps([{"key": "STEP", "environment_variable": "FROM_STEP"}])
    job, result = here.done(
        WORK, BUILDKITE_STEP_KEY="granted", BUILDKITE_SECRETS_CONFIG=config,
        BUILDKITE_ARTIFACT_PATHS="out/*",
    )  # fmt: skip
    log = job.log.decode()
    assert result.ending == ("0", "", ""), log
    assert "the secret has 8 characters" in log
    assert "colour is blue" in log
    assert "\nsigned" in log
    assert job.meta_data["colour"] == "blue"
    assert job.meta_data["buildkite:git:commit"].startswith("commit ")
    assert [one["context"] for one in job.annotations] == ["here"]
    assert {one["path"] for one in job.artifacts} == {"out/a.txt"}
    assert set(job.uploads.values()) == {b"content\n"}
    assert len(job.pipelines) == 1
    assert "Airlock: " not in log
    used = here.fleet.event(job.id, "agent_api")
    assert used["tokens"] == {"sts.amazonaws.com": 1}
    assert used["secrets"] == {"STEP": 1}
    assert used["calls"]["upload a pipeline"] == 1
    assert used["refused"] == []
    sandbox = here.fleet.event(job.id, "sandbox")
    assert sandbox["proof"]["the job's agent API"] == "413"


def test_what_it_does_not_grant_is_refused_and_explained(here: Host) -> None:
    job, result = here.done(REFUSED)
    log = job.log.decode()
    assert result.ending == ("3", "", ""), log
    assert not [line for line in log.splitlines() if line.startswith("allowed:")], log
    assert "the rule does not allow to annotate the build (`agent-api` in the policy)" in log
    assert job.meta_data.keys() == {"buildkite:git:commit"}
    assert not job.annotations
    assert not job.artifacts
    assert not job.pipelines
    (line,) = [line for line in log.splitlines() if "of the agent API refused" in line]
    assert log.index(line) > log.rindex("pre-exit"), "after all that the job printed"
    assert "add to agent-api of rule 'tests': calls: [meta-data, annotations, artifacts" in line
    assert "oidc-audiences: […]" in line
    used = here.fleet.event(job.id, "agent_api")
    assert used["refusals"] == 5
    assert {one["path"].rpartition("/")[2] for one in used["refused"]} == {
        "set", "annotations", "artifacts", "tokens", "pipelines",
    }  # fmt: skip
    assert used["tokens"] == used["secrets"] == {}


def test_a_proxy_that_the_job_sets_gets_none_of_its_calls(fleet: Fleet) -> None:
    fleet.policy("  - {name: all, allow: {agent-api: {calls: meta-data}, env: ['*_PROXY']}}\n")
    with Proxy({}) as proxy:
        env = fleet.env(
            "buildkite-agent meta-data set a b",
            HTTP_PROXY=f"http://{proxy.address}",
            NO_PROXY=f"{urlsplit(fleet.repository).hostname}",
        )
        with fleet.agent():
            job = fleet.control.enqueue(env)
            assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
    assert job.meta_data["a"] == "b"
    assert proxy.targets == []
