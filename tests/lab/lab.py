"""The lab as one value: an engine, a world, an image, an agent, and fleets on top of them."""

import fcntl
import json
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.host.config import Sandbox
from tests.fakes.control_plane import ControlPlane, Job
from tests.fakes.git import GitServer, publish
from tests.fakes.metadata import Metadata
from tests.fakes.sts import StrictSts, Trust
from tests.lab import agent, engine, users, world
from tests.lab.image import lab_image

DELETE_RULESET = ("nft", "delete", "table", "inet", "airlock")
DELETE_ROUTING = (
    ("ip", "-4", "rule", "del", "pref", "1690"),
    ("ip", "-6", "rule", "del", "pref", "1690"),
)
ROLE = "arn:aws:iam::111122223333:role/storefront-deploy"
# The first user of jobs on hosts that configure no other, such as the lab's, as Docker writes it.
FIRST_USER = "{0}:{0}".format(Sandbox(image="any").first_uid)
# Their network, unless a test configures another one.
SUBNET = Sandbox(image="any").subnet
GATEWAY = str(SUBNET[1])
# What has to be free on a machine where the lab runs.
STORAGE = 'min-free = "1GiB"\nmin-free-inodes = 1000\nfloor = "64MiB"\nfloor-inodes = 100\n'
# As agent-config/buildkite-agent.cfg starts it: Python ignores PYTHON*.
AIRLOCK = (sys.executable, "-I", "-m", "bootstrap")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lab:
    """One machine, ready for fleets."""

    docker: str
    engine: engine.Engine | None  # None if the machine's own engine is used
    image: str
    metadata: Metadata
    metadata_v6: Metadata


@contextmanager
def lab() -> Iterator[Lab]:
    """Start what is not running and stop it at the end. A second lab waits for the first."""
    engine.STATE.mkdir(parents=True, exist_ok=True)
    with (engine.STATE / "lock").open("w") as lock, ExitStack() as held:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("lab: waiting for another lab on this machine", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        held.enter_context(users.agent_user(engine.STATE / "users"))
        docker, own_engine = held.enter_context(engine.engine())
        if own_engine:
            # A machine with an engine of its own may have an Airlock of its own too.
            held.callback(forget_host, docker)
        image = lab_image(docker)
        agent.binary()
        held.enter_context(world.world())
        v4 = held.enter_context(Metadata(world.listen(world.METADATA_V4, 80)))
        v6 = held.enter_context(Metadata(world.listen(world.METADATA_V6, 80)))
        yield Lab(docker=docker, engine=own_engine, image=image, metadata=v4, metadata_v6=v6)


# A job with this in its command waits until the test calls `open_gate`.
GATE = "until buildkite-agent meta-data exists go; do sleep 0.1; done"


def open_gate(job: Job) -> None:
    """Let a job go on that waits at `GATE`."""
    job.meta_data["go"] = "on"


def forget_host(docker: str) -> None:
    """Remove what Airlock sets up once per host: bridge, ruleset, routing, directory."""
    for command in (
        ("docker", "-H", docker, "network", "rm", "airlock"),
        DELETE_RULESET,
        *DELETE_ROUTING,
        ("umount", "/run/airlock"),
    ):
        subprocess.run(command, capture_output=True, check=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """A pipeline's surroundings: control plane, STS, git, policies and a host configuration."""

    lab: Lab
    base: Path
    control: ControlPlane
    sts: StrictSts
    git: GitServer
    config: Path
    commit: str

    @property
    def repository(self) -> str:
        return f"{self.git.url}/storefront.git"

    @property
    def records(self) -> Path:
        return self.base / "records.jsonl"

    @property
    def bootstrap_script(self) -> str:
        return shlex.join([*AIRLOCK, "bootstrap", "--config", str(self.config)])

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Return the audit events of one job."""
        lines = map(json.loads, self.records.read_text().splitlines())
        return [event for event in lines if event.get("job") == job_id]

    def event(self, job_id: str, name: str) -> dict[str, Any]:
        """Return the one audit event of a job that has this name."""
        (found,) = [event for event in self.events(job_id) if event["event"] == name]
        return found

    def policy(self, rules: str, *, pipeline: str = "storefront", repository: str = "") -> None:
        """Write the pipeline's policy; `rules` is the YAML list below `rules:`."""
        path = self.base / "policies" / f"{pipeline}.yaml"
        head = f"pipeline: {pipeline}\nrepository: {repository or self.repository}\nrules:\n"
        path.write_text(head + rules)

    def env(self, command: str, **overrides: str) -> dict[str, str]:
        """Return the environment that Buildkite sends with a job, as the backend would."""
        standard = {
            "CI": "true",
            "BUILDKITE": "true",
            "BUILDKITE_JOB_ID": str(uuid.uuid4()),
            "BUILDKITE_BUILD_ID": str(uuid.uuid4()),
            "BUILDKITE_BUILD_NUMBER": "42",
            "BUILDKITE_BUILD_CREATOR": "Ada",
            "BUILDKITE_BUILD_CREATOR_EMAIL": "ada@example.com",
            "BUILDKITE_BUILD_CREATOR_TEAMS": "platform:everyone",
            "BUILDKITE_ORGANIZATION_SLUG": "acme",
            "BUILDKITE_PIPELINE_SLUG": "storefront",
            "BUILDKITE_PIPELINE_ID": "0190-pipeline",
            "BUILDKITE_PIPELINE_PROVIDER": "github",
            "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "main",
            "BUILDKITE_REPO": self.repository,
            "BUILDKITE_BRANCH": "main",
            "BUILDKITE_COMMIT": self.commit,
            "BUILDKITE_MESSAGE": "Ship it",
            "BUILDKITE_PULL_REQUEST": "false",
            "BUILDKITE_SOURCE": "ui",
            "BUILDKITE_STEP_KEY": "deploy",
            "BUILDKITE_AGENT_NAME": "agent-1",
            "BUILDKITE_AGENT_META_DATA_QUEUE": "default",
            "BUILDKITE_COMMAND": command,
            "BUILDKITE_TIMEOUT": "false",
        }
        return {**standard, **overrides}

    @contextmanager
    def agent(self, *flags: str, name: str = "agent-1", **how: object) -> Iterator[agent.Agent]:
        """Run a real agent whose bootstrap-script is Airlock."""
        script = how.pop("bootstrap_script", self.bootstrap_script)
        with agent.running_agent(
            self.base / name,
            name=name,
            control=self.control,
            bootstrap_script=str(script),
            flags=flags,
        ) as running:
            yield running


REPOSITORY: Mapping[str, str] = {
    "README.md": "a storefront\n",
    ".buildkite/hooks/pre-exit": (
        "#!/bin/bash\n"
        'echo "pre-exit hook ran: cancelled=${BUILDKITE_JOB_CANCELLED:-no} '
        'timed-out=${BUILDKITE_JOB_TIMED_OUT:-no}"\n'
    ),
}


@contextmanager
def fleet(
    lab: Lab,
    base: Path,
    *,
    settings: str = "",
    policy: str = "",
    storage: str = STORAGE,
    lifetime: float | None = None,
) -> Iterator[Fleet]:
    """Run a fleet in the lab; the other arguments are further lines of airlock.toml.

    `CONTROL` in them is replaced by the control plane's URL.
    """
    (base / "policies").mkdir(parents=True)
    (base / "git").mkdir()
    commit = publish(base / "git", "storefront", REPOSITORY)
    with ExitStack() as held:
        control = held.enter_context(ControlPlane(world.listen(world.WORLD, 0)))
        roles = {ROLE: Trust()}
        sts = held.enter_context(StrictSts(world.listen(world.WORLD, 0), roles, lifetime=lifetime))
        git = held.enter_context(GitServer(world.listen(world.WORLD, 0), base / "git"))
        config = base / "airlock.toml"
        text = _configuration(lab, base, sts.url, (settings, policy, storage))
        config.write_text(text.replace("CONTROL", control.url))
        made = Fleet(
            lab=lab, base=base, control=control, sts=sts, git=git, config=config, commit=commit
        )
        made.policy("  - {name: everything, allow: {}}\n")
        yield made


def _configuration(lab: Lab, base: Path, sts: str, further: tuple[str, str, str]) -> str:
    settings, policy, storage = further
    return f"""
[policy]
store = "file:{base}/policies"
{policy}
[aws]
region = "us-east-1"
credentials = "instance-role"
sts-endpoint = "{sts}"
[sandbox]
image = "{lab.image}"
docker = "{lab.docker}"
agent-binary = "{agent.binary()}"
memory = "2GiB"
open-files = 4096
dns = ["{world.WORLD}"]
{settings}
[paths]
state = "{base}/state"
records = "{base}/records.jsonl"
[storage]
{storage}
"""
