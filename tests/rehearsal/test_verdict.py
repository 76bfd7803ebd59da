"""What the rehearsal accepts of doctor, with doctor's own findings and texts."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.doctor import report
from bootstrap.doctor.checks import findings
from bootstrap.doctor.model import Finding, Stage, Status
from bootstrap.host.config import parse
from tests.doctor.given import GOOD
from tests.rehearsal import given
from tests.rehearsal.verdict import KNOWN, judged

RUNC = (
    "1.1.5+ds1 (a distribution's, which may have a fix that its change log does not name) has "
    "CVE-2025-31133, CVE-2025-52565"
)


def shown(*changes: Finding) -> tuple[list[str], list[str]]:
    """Return what both forms of the command print, with the exit status as the report has it."""
    changed = {one.check: one for one in changes}
    found = [changed.get(one.check, one) for one in findings(GOOD)]
    code = report.status(found, strict=False)
    document = report.as_json(found, [], stage=Stage.RUN, exit_code=code)
    last = [f"status {code}"]
    return [*report.text(found, []), *last], [*document.splitlines(), *last]


def finding(check: str, status: Status, seen: str) -> Finding:
    return Finding(check=check, status=status, seen=seen, why="…", fix="…")


def settings() -> Finding:
    """Return what doctor says about the airlock.toml of the rehearsal itself."""
    host = parse(tomllib.loads(given.CONFIGURATION), Path("airlock.toml"))
    (found,) = [one for one in findings(replace(GOOD, host=host)) if one.check == "settings"]
    return found


def test_all_ok_is_accepted() -> None:
    (line,) = judged(*shown())
    assert line.endswith(" ok")


def test_known_warnings_are_accepted_and_printed_with_their_reasons() -> None:
    first, *reasons = judged(*shown(settings(), finding("runc-cves", Status.WARN, RUNC)))
    assert first.endswith("2 warnings")
    assert reasons == [f"warn {name}: {KNOWN[name].why}" for name in ("settings", "runc-cves")]


@pytest.mark.parametrize(
    "wrong",
    [
        finding("guardrails", Status.WARN, "none"),
        finding("clock", Status.UNKNOWN, "not known"),
        finding("ruleset", Status.FAIL, "table inet airlock is not loaded"),
        finding("runc-cves", Status.FAIL, RUNC),
        finding("runc-cves", Status.WARN, "1.1.5 has CVE-2025-31133"),
        finding("settings", Status.WARN, "policy.mode is observe: jobs that no rule admits run"),
        replace(settings(), seen=f"{settings().seen}; policy.loader-variables is allow"),
    ],
    ids=lambda one: f"{one.check}-{one.status}",
)
def test_anything_else_fails_with_the_text_of_doctor(wrong: Finding) -> None:
    with pytest.raises(AssertionError, match=f"{wrong.check} .*{re.escape(wrong.seen)}"):
        judged(*shown(wrong))


def test_output_that_is_cut_off_is_not_accepted() -> None:
    plain, document = shown()
    with pytest.raises(AssertionError):
        judged(plain[:-1], document)
    with pytest.raises(AssertionError):
        judged([*plain[:-2], plain[-1]], document)
