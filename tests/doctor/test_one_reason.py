"""One mistake is one failure: what depends on it names the check that has the reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.doctor import report, take
from bootstrap.doctor.checks import findings
from bootstrap.doctor.model import Failed, Finding, Read, Stage, Status, Unread
from bootstrap.doctor.read import aws, trial
from bootstrap.doctor.read.places import Places
from bootstrap.doctor.snapshot import Aws
from tests.doctor.given import GOOD, IMAGE, MACHINE, NETWORK, found

FAILED = Failed(problem="it is so", fix="do that")
SEE_CONFIGURATION = "not known: see the check configuration"


def test_host_with_a_mistake_in_its_configuration_is_read_without_asking_anyone(
    tmp_path: Path,
) -> None:
    """No answer of Docker, STS or the image is missing: none was asked."""
    config = tmp_path / "airlock.toml"
    config.write_text("[sandbox]\nimag = 'x'\n")
    config.chmod(0o644)
    places = Places(agent_cfg=tmp_path / "buildkite-agent.cfg")
    seen = findings(take.snapshot(config, Stage.RUN, places))
    of = {one.check: one for one in seen}
    assert of["configuration"].status is Status.FAIL
    for name in ("engine", "ruleset", "isolation", "image", "clock", "host-role", "service"):
        assert (of[name].status, of[name].seen) == (Status.UNKNOWN, SEE_CONFIGURATION)
    lines = [line for line in report.text(seen, []) if SEE_CONFIGURATION in line]
    assert len(lines) == 1
    assert report.status(seen, strict=False) == report.FAILED


def unknown(check: str, seen: str = "not known: see the check engine", fix: str = "") -> Finding:
    return Finding(check=check, status=Status.UNKNOWN, seen=seen, why="It matters.", fix=fix)


def test_checks_without_answer_for_one_reason_have_one_line() -> None:
    others = (unknown("units", "not known: no systemd", "do that"),
              unknown("service-unit", "not known: no systemd", "do that"))  # fmt: skip
    root = found(GOOD, "root")
    assert list(report.text((unknown("limits"), root, unknown("runtime"), *others), [])) == [
        "unknown  2 checks      not known: see the check engine",
        "         limits, runtime",
        "ok       root          doctor runs as root, as the service does",
        "unknown  2 checks      not known: no systemd",
        "         units, service-unit",
        "         fix: do that",
        "5 checks: 1 ok, 4 unknown",
    ]


@pytest.mark.parametrize(
    ("image", "network", "uid", "why"),
    [
        (Unread(why="see the check engine"), {}, 0, "see the check engine"),
        (None, {}, 0, "the image is not on this host, see the check image"),
        (FAILED, {}, 0, "it is not known whether the image is on this host, see the check image"),
        (IMAGE, {}, 1000, "this is not root"),
        (IMAGE, {"ruleset": FAILED, "loaded": FAILED}, 0, "see the check nftables"),
        (IMAGE, {"loaded": ""}, 0, "the ruleset is not Airlock's, see the check ruleset"),
        (IMAGE, {"missing_rules": ("IPv6",)}, 0, "see the check routing-rules"),
        (IMAGE, {"missing_rules": Unread(why="no")}, 0, "see the check routing-rules"),
    ],
)
def test_trial_that_is_not_made_names_the_check_that_has_the_reason(
    image: Read[str | None], network: dict[str, Any], uid: int, why: str
) -> None:
    tried = trial.trial(
        FAILED, stage=Stage.RUN, machine=replace(MACHINE, uid=uid),
        network=replace(NETWORK, **network), image=image, agent={},
    )  # fmt: skip
    assert isinstance(tried, Unread)
    assert why in tried.why


def test_sts_that_was_not_asked_has_refused_nothing() -> None:
    why = Unread(why="see the check configuration")
    assert aws.aws(why) == Aws(identity=why, clock=why, excess=why)
