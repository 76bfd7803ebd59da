"""A pod of agent-stack-k8s whose agent asks Airlock: agent-config/kubernetes, with the real agent.

The pod's containers are processes here: `buildkite-agent start`, and `buildkite-agent
kubernetes-bootstrap` for checkout and command, with the variables that agent-stack-k8s (commit
a5d56d1d, scheduler.go) gives to each.
"""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

from tests.fakes.control_plane import REGISTRATION, ControlPlane, Job
from tests.job.given import job_env
from tests.lab.agent import binary
from tests.lab.fleet import Origin, native
from tests.test_docs import ROOT

pytestmark = pytest.mark.lab
KUBERNETES = ROOT / "agent-config/kubernetes"
POLICY = """pipeline: storefront
repository: {repository}
rules:
  - name: main
    when: {{branch: main}}
    allow: {allow}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pod:
    """Where the pod's volumes are, and what its processes wrote."""

    base: Path
    control: ControlPlane
    origin: Origin

    def install(self, allow: str, python: str) -> None:
        """Lay out the agent's image and the volume of hooks, as the files of the example say."""
        policies = self.base / "policies"
        policies.mkdir()
        text = POLICY.format(repository=self.origin.url, allow=allow)
        (policies / "storefront.yaml").write_text(text)
        settings = (KUBERNETES / "airlock.toml").read_text()
        paths = (f'\n[paths]\nruntime = "{self.base}/run"\nstate = "{self.base}/state"\n'
                 f'records = "{self.base}/records.jsonl"\n')  # fmt: skip
        settings = settings.replace("/etc/airlock/policies", str(policies)) + paths
        (self.base / "airlock.toml").write_text(settings)
        hook = yaml.safe_load((KUBERNETES / "hooks.yaml").read_text())["data"]["pre-bootstrap"]
        hooks = self.base / "hooks"
        hooks.mkdir()
        there = {
            "/opt/airlock/bin/python3": python,
            "/etc/airlock/airlock.toml": f"{self.base}/airlock.toml",
            "/var/log/airlock/records.jsonl": f"{self.base}/records.jsonl",
        }
        for placed, here in there.items():
            assert hook.count(placed) == 1
            hook = hook.replace(placed, here)
        (hooks / "pre-bootstrap").write_text(hook)
        (hooks / "pre-bootstrap").chmod(0o755)

    def environment(self, **more: str) -> dict[str, str]:
        workspace = self.base / "workspace"
        (self.base / "home").mkdir(exist_ok=True)
        return {
            "PATH": "/usr/bin:/bin", "HOME": f"{self.base}/home",
            "BUILDKITE_JOB_CONTEXT_DIR": str(workspace), **more,
        }  # fmt: skip

    def agent(self, job: Job) -> dict[str, str]:
        workspace = self.base / "workspace"
        return self.environment(
            BUILDKITE_KUBERNETES_EXEC="true", BUILDKITE_CONTAINER_COUNT="2",
            BUILDKITE_AGENT_ACQUIRE_JOB=job.id, BUILDKITE_AGENT_TOKEN=REGISTRATION,
            BUILDKITE_AGENT_ENDPOINT=self.control.url, BUILDKITE_AGENT_NAME="pod-1",
            BUILDKITE_BUILD_PATH=f"{workspace}/build", BUILDKITE_HOOKS_PATH=f"{self.base}/hooks",
            BUILDKITE_PLUGINS_PATH=f"{workspace}/plugins", BUILDKITE_SHELL="/bin/sh -ec",
            BUILDKITE_SOCKETS_PATH=f"{workspace}/sockets/agent",
            BUILDKITE_AGENT_TAGS="queue=deploy",
        )  # fmt: skip

    def container(self, number: int, phases: str, **more: str) -> dict[str, str]:
        return self.environment(
            BUILDKITE_CONTAINER_ID=str(number), BUILDKITE_BOOTSTRAP_PHASES=phases,
            BUILDKITE_SOCKETS_PATH=f"{self.base}/workspace/sockets/{number}",
            BUILDKITE_KUBERNETES_BOOTSTRAP_CONNECTION_TIMEOUT="60s", **more,
        )  # fmt: skip

    def run(
        self, allow: str, *, branch: str = "main", python: str = sys.executable
    ) -> tuple[Job, str]:
        """Run the pod of one job to the end of its agent; return the job and the agent's log."""
        self.install(allow, python)
        for name in ("build", "plugins", "sockets"):
            (self.base / "workspace" / name).mkdir(parents=True)
        command = f"touch {self.base}/began; cat README"
        job = self.control.enqueue(
            job_env(
                BUILDKITE_JOB_ID=str(uuid.uuid4()), BUILDKITE_REPO=self.origin.url,
                BUILDKITE_COMMIT=self.origin.commit, BUILDKITE_BRANCH=branch,
                BUILDKITE_COMMAND=command,
            )
        )  # fmt: skip
        with ExitStack() as held:
            for number, phases in enumerate(("plugin,checkout", "plugin,command")):
                own = {"BUILDKITE_COMMAND": command} if number else {}
                container = self.container(number, phases, **own)
                held.enter_context(process(self.base / f"{number}.log", container,
                                           "kubernetes-bootstrap"))  # fmt: skip
            with process(self.base / "agent.log", self.agent(job), "start") as agent:
                agent.wait(90)
        return job, (self.base / "agent.log").read_text(errors="replace")

    def began(self) -> bool:
        """Whether anything of the job ran: its checkout, or its command."""
        return (self.base / "began").exists() or any((self.base / "workspace/build").iterdir())


@contextmanager
def process(log: Path, env: dict[str, str], *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("wb") as output:
        started = subprocess.Popen(
            [str(binary()), *arguments], env=env, cwd=log.parent, stdout=output, stderr=output
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@pytest.fixture
def pod() -> Iterator[Pod]:
    with ExitStack() as held:
        # Short, as /workspace is: the agent makes sockets below it.
        base = Path(held.enter_context(TemporaryDirectory(prefix="pod-")))
        control, origin = held.enter_context(native(base / "served", {"README": "checked out\n"}))
        yield Pod(base=base, control=control, origin=origin)


def test_an_admitted_job_runs_in_the_pods_containers(pod: Pod) -> None:
    job, log = pod.run("{}")
    result = pod.control.completed(job)
    assert result.exit_status == "0", result.log.decode()
    assert b"checked out" in result.log
    assert "admitted by rule 'main'" in log
    assert '"event": "admitted"' in log, "the hook prints the audit trail"


def test_nothing_of_a_refused_job_begins(pod: Pod) -> None:
    job, log = pod.run("{}", branch="feature")
    result = pod.control.completed(job)
    assert result.signal_reason == "agent_refused"
    assert "rule 'main': branch: expected main, got feature" in log
    assert "expected main, got feature" in result.annotations["airlock"]
    assert not pod.began()


def test_a_grant_that_no_pod_gives_refuses_the_job(pod: Pod) -> None:
    job, log = pod.run("{role: 'arn:aws:iam::111122223333:role/deploy'}")
    assert pod.control.completed(job).signal_reason == "agent_refused"
    assert "has role, and no sandbox follows" in log
    assert not pod.began()


def test_without_airlock_in_the_agents_image_no_job_begins(pod: Pod) -> None:
    """As when somebody sets `config.image` back to the agent's own."""
    job, _ = pod.run("{}", python="/nonexistent/python3")
    assert pod.control.completed(job).signal_reason == "agent_refused"
    assert not pod.began()
