"""A host of the lab on which every check that the lab allows is ok, for faults to be planted in."""

import json
import re
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.doctor import fixing, take
from bootstrap.doctor.checks import findings
from bootstrap.doctor.model import Finding, Stage, Status
from bootstrap.doctor.read.places import Places
from bootstrap.doctor.snapshot import Snapshot
from bootstrap.host.config import load
from tests.fakes.dns import Resolver
from tests.fakes.secretsmanager import SecretsManager
from tests.fakes.ssm import StrictSsm, denial
from tests.lab import launcher, users, world
from tests.lab.engine import PIDFILE, eventually
from tests.lab.lab import AIRLOCK, Fleet, Lab, fleet
from tests.lab.service import Serving, serving

API = "agent.buildkite.com"
HOOK = "#!/bin/sh\nexec /usr/libexec/airlock-launcher admit\n"
GUARDRAILS = "guardrails: acme\naccounts: ['111122223333']\nforks: nothing\n"
# What is not ok on the lab's host however well it is set up, and why.
OF_THE_LAB = {
    "settings": "its STS, SSM and Secrets Manager have no certificates",
    "runc-cves": "Debian 12's runc 1.1.5 lacks fixes",
    "firewall-unit": "no systemd",
    "units": "no systemd", "service-unit": "no systemd", "unit-order": "no systemd",
    "agent-kill-mode": "no systemd", "agent-environment": "no systemd",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """The host, and its parts that tests spoil."""

    fleet: Fleet
    serving: Serving
    place: Path  # root's, reached by everybody: the launcher and the agent's configuration
    places: Places
    ssm: StrictSsm
    secrets: SecretsManager
    names: dict[str, str]  # that the resolver knows

    @property
    def cfg(self) -> Path:
        return self.places.agent_cfg

    def snapshot(self, stage: Stage = Stage.RUN) -> Snapshot:
        return take.snapshot(self.fleet.config, stage, self.places)

    def findings(self, stage: Stage = Stage.RUN) -> dict[str, Finding]:
        """Return what doctor finds, by check, but for what the lab cannot have."""
        found = findings(self.snapshot(stage))
        return {one.check: one for one in found}

    def wrong(self, stage: Stage = Stage.RUN) -> dict[str, Finding]:
        """Return what is not ok, but for what is not on any host of the lab."""
        return {
            name: one
            for name, one in self.findings(stage).items()
            if one.status is not Status.OK and name not in OF_THE_LAB
        }

    def doctor(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run the command; return its status and its JSON."""
        done = subprocess.run(
            [*AIRLOCK, "doctor", "--config", str(self.fleet.config), "--agent-config",
             str(self.cfg), "--json", *arguments],
            capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def repaired(self) -> list[str]:
        """Do what --fix does; return what was changed."""
        return list(fixing.repair(load(self.fleet.config), Stage.RUN))

    def change(self, pattern: str, replacement: str) -> None:
        """Replace a part of airlock.toml, which has to be there; the service reads it anew."""
        text, number = re.subn(pattern, replacement, self.fleet.config.read_text())
        assert number, pattern
        self.fleet.config.write_text(text)

    def set(self, line: str) -> None:
        """Append a setting to buildkite-agent.cfg."""
        self.cfg.write_text(f"{self.cfg.read_text()}{line}\n")


@contextmanager
def good_host(lab: Lab, base: Path) -> Iterator[Host]:
    """Run such a host until this closes."""
    place = Path("/run/doctor", uuid.uuid4().hex[:8])
    hooks = place / "hooks"
    hooks.mkdir(parents=True, mode=0o755)
    lab.metadata.hops, lab.metadata.open = 1, False
    with ExitStack() as held:
        held.callback(shutil.rmtree, place)
        held.callback(setattr, lab.metadata, "hops", 64)
        made = held.enter_context(fleet(lab, base, settings="slots = 8\npids = 1024\n"))
        ssm = held.enter_context(StrictSsm(world.listen(world.WORLD, 0)))
        secrets = held.enter_context(SecretsManager(world.listen(world.WORLD, 0), {}))
        ssm.fail("POST *", denial("ssm:GetParameters", "*"), 1 << 30)
        secrets.fail("POST *", denial("secretsmanager:GetSecretValue", "*"), 1 << 30)
        names = {API: "192.0.2.1"}
        held.enter_context(Resolver(world.inside_world(_datagrams), names))
        _configure(made, ssm, secrets)
        _agent(place, hooks)
        _nft("delete")  # of an earlier test: the service loads it last, and that is waited for
        service = held.enter_context(
            serving(made, f'agents = ["{users.NAME}"]', socket=place / "airlock.sock")
        )
        eventually(_is_prepared, "the service prepares the host")
        places = Places(
            agent_cfg=place / "buildkite-agent.cfg", daemon_json=place / "daemon.json",
            dockerd_pid=PIDFILE, sudoers=place / "sudoers.d",
        )  # fmt: skip
        yield Host(
            fleet=made, serving=service, place=place, places=places, ssm=ssm, secrets=secrets,
            names=names,
        )  # fmt: skip


def _is_prepared() -> bool:
    """Return whether the service's first chore has ended with the last thing that it does."""
    return _nft("list") == 0


def _nft(verb: str) -> int:
    command = ["nft", verb, "table", "inet", "airlock"]
    return subprocess.run(command, capture_output=True, check=False).returncode


def _datagrams() -> socket.socket:
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.bind((world.WORLD, 53))
    return ours


def _configure(made: Fleet, ssm: StrictSsm, secrets: SecretsManager) -> None:
    """Name the image by its id, the fakes of AWS and guardrails; leave budgets that fit."""
    engine = ("docker", "-H", made.lab.docker, "image", "inspect", "-f", "{{.Id}}", made.lab.image)
    image = subprocess.run(engine, capture_output=True, text=True, check=True).stdout.strip()
    rails = made.base / "policies/guardrails.yaml"
    rails.write_text(GUARDRAILS)
    made.policy("  - {name: tests, when: {branch: main}, allow: {}}\n")
    text = made.config.read_text()
    for before, after in (
        (f'image = "{made.lab.image}"', f'image = "{image}"'),
        ("[policy]\n", f'[policy]\nguardrails = "file:{rails}"\n'),
        (
            "[aws]\n",
            f'[aws]\nssm-endpoint = "{ssm.url}"\nsecretsmanager-endpoint = "{secrets.url}"\n',
        ),
        ("[storage]\n", '[storage]\nworkspaces-size = "1GiB"\nhistories-size = "1GiB"\n'),
    ):
        assert before in text, before
        text = text.replace(before, after)
    made.config.write_text(text)


def _agent(place: Path, hooks: Path) -> None:
    program = place / "airlock-launcher"
    shutil.copy(launcher.binary(), program)
    program.chmod(0o755)
    (hooks / "pre-bootstrap").write_text(HOOK)
    (hooks / "pre-bootstrap").chmod(0o755)
    cfg = place / "buildkite-agent.cfg"
    cfg.write_text(
        f'token="secret"\nname="%hostname-%spawn"\nbootstrap-script="{program} --socket '
        f'{place}/airlock.sock"\nhooks-path="{hooks}"\ncancel-grace-period=10\n'
    )
    cfg.chmod(0o640)
