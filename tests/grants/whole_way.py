"""One kind from the policy to the sandbox, in a copy of the package that has one more kind.

test_kinds runs this as a program in that copy. It names the new kind's key in a policy, and
nothing else of it.
"""

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import bootstrap
from bootstrap.aws.model import Session, SessionRequest
from bootstrap.commands.policy.schema import json_schema
from bootstrap.credentials.obtain import obtaining
from bootstrap.errors import WrongConfiguration
from bootstrap.grants.kind import Obtained, Variables
from bootstrap.host.config import Aws, Sandbox
from bootstrap.job.assemble import assemble
from bootstrap.log import JobLog
from bootstrap.policy.catalogue import Catalogue, who_can
from bootstrap.policy.difference import Kind, difference
from bootstrap.policy.guardrails import exceeds, is_empty
from bootstrap.policy.iam.documents import Options, iam
from bootstrap.policy.lint import lint
from bootstrap.policy.model import Admitted, Grant, Policy
from bootstrap.policy.parse import parse_guardrails
from bootstrap.policy.steering import left_out
from bootstrap.record import Record
from bootstrap.sandbox.delivery import SandboxDelivery, deliver
from bootstrap.sandbox.environment import sandbox_environment
from bootstrap.sandbox.workspace import SandboxDirectory, sandbox_directory
from tests.credentials.given import write_credentials
from tests.fakes.simulator import loopback
from tests.fakes.ssm import StrictSsm
from tests.job.given import job_env, process_env
from tests.policy.given import policy

REFERENCE = "ssm:/ci/licence"
RULE = "  - {{name: licensed, when: {{branch: main}}, allow: {{{}}}}}\n"
SECRET = "the licence's text"


def in_policies(made: Policy) -> None:
    grant = made.rules[0].allow
    assert grant.references == (REFERENCE,)
    assert "build-licence" in json_schema("policy")["$defs"]["Allow"]["properties"]

    rails = parse_guardrails("guardrails: acme\nsecrets: 'ssm:/other/*'\n", "guardrails.yaml")
    assert [(e.guardrail, e.got) for e in exceeds(grant, rails, "x")] == [("secrets", REFERENCE)]
    assert not is_empty(grant)
    assert set(left_out({"NODE_OPTIONS": "", "MINE": ""}, grant)) == {"NODE_OPTIONS"}

    (access,) = who_can([made], REFERENCE)
    assert (access.kind, access.rule) == ("licence", "licensed")
    (change,) = difference(
        Catalogue(policies=(policy(RULE.format("")),)), Catalogue(policies=(made,))
    )
    assert (change.kind, change.what, change.name) == (Kind.GAINS, "licence", REFERENCE)
    found = lint(Catalogue(policies=(made,), guardrails=rails))
    assert "beyond-guardrail" in {finding.id for finding in found}
    (host,) = iam([made], Options(host_role="arn:aws:iam::999988887777:role/agents")).host
    licence = "arn:aws:ssm:*:999988887777:parameter/ci/licence"
    assert host["Statement"][0]["Resource"] == [licence]


def no_role(_: SessionRequest) -> Session:
    raise AssertionError("a session was requested")


def fetched(
    held: ExitStack, admitted: Admitted, place: Path, log: JobLog, record: Record
) -> Obtained:
    ssm = held.enter_context(StrictSsm(loopback()))
    ssm.put("/ci/licence", SECRET, kind="SecureString")
    write_credentials(place / "credentials", "AKIAHOST")
    aws = Aws.model_validate({"credentials": f"file:{place}/credentials", "ssm-endpoint": ssm.url})
    obtained = held.enter_context(
        obtaining({}, admitted.grant, aws, no_role, log=log, record=record)
    )
    found = obtained()
    assert ssm.operations == ["GetParameters"]
    return found


def delivered(
    held: ExitStack, grant: Grant, found: Obtained, place: Path, *, log: JobLog
) -> tuple[SandboxDirectory, Variables]:
    directory = held.enter_context(
        sandbox_directory(place, {}, uid=os.getuid(), home="/home/airlock")
    )
    sandbox = SandboxDelivery(
        held=held,
        directory=directory,
        env={},
        region="eu-central-1",
        endpoint=None,
        settings=Sandbox.model_validate({"image": "x"}),
        known_hosts=(),
        uid=os.getuid(),
        log=log,
        used=lambda _: None,
    )
    return directory, deliver(grant, found, sandbox)


def in_a_sandbox(grant: Grant, place: Path) -> None:
    lines: list[bytes] = []
    log, record = JobLog(lines.append), Record(place / "records.jsonl", started="now")
    admitted = Admitted(
        rule="licensed", grant=grant, policy_origin="", policy_digest="", reasons=()
    )
    with ExitStack() as held:
        found = fetched(held, admitted, place, log, record)
        directory, variables = delivered(held, grant, found, place, log=log)
        file = directory.path / "licences/build.key"
        assert file.read_text() == SECRET
        assert (file.stat().st_mode & 0o777, file.stat().st_uid) == (0o400, os.getuid())
        made = sandbox_environment(
            assemble(job_env(), process_env()), job_env={}, granted=variables, home="/home/airlock"
        )
    assert made.variables["LICENCE_FILE"] == "/airlock/licences/build.key"
    assert made.variables["LICENCE"] == SECRET
    assert made.variables["BUILDKITE_REDACTED_VARS"].split(",")[-1] == "LICENCE"
    (event,) = map(json.loads, (place / "records.jsonl").read_text().splitlines())
    assert event["secrets"] == [
        {"kind": "build-licence", "name": "licence", "reference": REFERENCE}
    ]
    log.note(SECRET)
    assert SECRET.encode() not in b"".join(lines)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    assert Path(bootstrap.__file__).is_relative_to(Path.cwd()), "the copy must be what is tested"
    try:
        of_a_rule = policy(RULE.format(f"build-licence: '{REFERENCE}'"))
    except WrongConfiguration as mistakes:
        sys.exit("\n".join(mistakes.details))
    in_policies(of_a_rule)
    in_a_sandbox(of_a_rule.rules[0].allow, place)
    print("all of it passed")
