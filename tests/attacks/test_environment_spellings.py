"""Names of variables in some thousand spellings: as a real agent passes them and as Airlock reads.

The agent is real and starts a script that keeps its files and environment. These are then read as
Airlock reads them: every variable has to have the value that it has for the agent.
"""

import json
import random
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootstrap.buildkite.env_files import NAME, parse_json
from bootstrap.errors import AirlockError, Refused
from bootstrap.job.assemble import AGENT_NAMES, EVERY_VERSION, SOMETIMES, assemble
from bootstrap.job.model import Job
from bootstrap.job.read import read
from tests.fakes.control_plane import ControlPlane
from tests.job.given import job_env
from tests.lab.fleet import RealAgent

pytestmark = pytest.mark.lab  # the agent is built there; nothing else of the lab is needed

FORGED = "forged by the job"
KEEP = """#!/bin/sh
/bin/cp "$BUILDKITE_ENV_JSON_FILE" "$BUILDKITE_ENV_FILE" {out}/
/bin/cat /proc/self/environ >{out}/environ
"""
# The agent, or the kernel's start of the script, does not simply pass these on.
NOT_PASSED = {"BUILDKITE_AGENT_TOKEN", "TERM", "PWD", "OLDPWD", "_", "BUILDKITE_IGNORED_ENV"}


def spellings(count: int, *, signs: str) -> list[str]:
    """Return `count` names near those with a meaning: other cases, other ends, inserted `signs`."""
    chance = random.Random(20261124)  # noqa: S311 - the same spellings every time
    known = sorted({*AGENT_NAMES, *SOMETIMES, *job_env(), "PATH", "LD_AUDIT", "BASH_ENV"})
    found: dict[str, None] = {}
    while len(found) < count:
        name = chance.choice(known)
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(name) + 1)
            name = chance.choice([
                name[:place] + chance.choice(signs) + name[place:],
                name[:place] + name[place + 1 :],
                name[:place].lower() + name[place:],
                name.swapcase(),
                name + chance.choice(signs) + chance.choice(known),
            ])  # fmt: skip
        found[name] = None
    return [name for name in found if name and "\0" not in name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What the agent passed to its bootstrap-script."""

    files: Mapping[str, str]  # the variables that name the two files
    environ: Mapping[str, str]


def kept(base: Path, env: dict[str, str]) -> Kept:
    """Run a job with this environment by a real agent, and return what it passed."""
    out = base / "out"
    out.mkdir(parents=True)
    script = base / "keep"
    script.write_text(KEEP.format(out=out))
    script.chmod(0o755)
    agent = RealAgent(bootstrap_script=str(script))
    with ControlPlane() as control, agent.running(control, base / "agent"):
        assert control.finished(control.enqueue(env), 60) == ("0", "", "")
    lines = (out / "environ").read_bytes().decode().split("\0")
    environ = dict(line.split("=", 1) for line in lines if line)
    names = ("BUILDKITE_ENV_JSON_FILE", "BUILDKITE_ENV_FILE")
    found = {name: str(out / Path(environ[name]).name) for name in names if name in environ}
    marker = Path(environ["BUILDKITE_AGENT_JOB_TIMEOUT_FILE"]).name
    return Kept(files={**found, "BUILDKITE_AGENT_JOB_TIMEOUT_FILE": str(out / marker)},
                environ=environ)  # fmt: skip


def assembled(seen: Kept) -> Job:
    env = {**seen.environ, **seen.files}
    return assemble(read(env), env)


def test_ordinary_variable_names_are_read_with_agents_values(tmp_path: Path) -> None:
    names = [n for n in spellings(900, signs=string.ascii_letters + "_09") if NAME.fullmatch(n)]
    odd = {name: f"value of {name}" for name in names if name not in {*AGENT_NAMES, *job_env()}}
    assert len(odd) >= 500, "too few spellings: the test proves nothing"
    seen = kept(tmp_path, {**job_env(), **odd})
    job = assembled(seen)
    differing = {
        name: (value, seen.environ.get(name))
        for name, value in job.claims.env.items()
        if value != seen.environ.get(name) and name not in NOT_PASSED
    }
    assert differing == {}
    assert {**job_env(), **odd}.items() <= job.claims.env.items()


def test_agent_owned_names_set_by_job_are_not_attributed_to_agent(tmp_path: Path) -> None:
    """A job sets all names that Airlock takes from the agent: none is attributed to the agent."""
    forged = dict.fromkeys((*AGENT_NAMES, *SOMETIMES), FORGED)
    seen = kept(tmp_path, {**job_env(), **forged})
    job = assembled(seen)
    assert sorted(name for name, value in job.agent.values.items() if value == FORGED) == []
    assert sorted(name for name in EVERY_VERSION if seen.environ[name] == FORGED) == []
    some = [name for name in AGENT_NAMES if seen.environ[name] == FORGED]
    assert some, "this agent sets every name: the test proves nothing"


def test_malformed_variable_names_are_refused(tmp_path: Path) -> None:
    """The agent passes them on, some as its own variables. Airlock refuses each of them."""
    signs = "=-. \t\n%+:~()\u00e9\u0430"
    names = [n for n in spellings(900, signs=signs) if not NAME.fullmatch(n)]
    assert len(names) >= 500, "too few spellings: the test proves nothing"
    for name in names:
        with pytest.raises(Refused, match="the job's environment variable"):
            parse_json(json.dumps({**job_env(), name: FORGED}).encode())
    malformed = {f"{name}=/evil": FORGED for name in sorted(AGENT_NAMES)}
    files = {"BUILDKITE_ENV_JSON_FILE=/evil", "BUILDKITE_ENV_FILE=/evil"}
    seen = kept(tmp_path, {**job_env(), **{n: v for n, v in malformed.items() if n not in files}})
    taken = [name for name in AGENT_NAMES if seen.environ.get(name) == f"/evil={FORGED}"]
    assert taken, "the agent passes no such name any more: the test proves nothing"
    # Which of them reaches Airlock depends on the agent, which sets them in no certain order.
    with pytest.raises(AirlockError, match=r"a path without =|environment variable 'BUILDKITE_"):
        assembled(seen)
