"""Promise 3, second layer: routing rules that another program removes are put back."""

import pytest

from tests.attacks.attacker import run
from tests.lab.engine import eventually
from tests.lab.lab import DELETE_ROUTING, DELETE_RULESET, GATE, Fleet, open_gate

pytestmark = pytest.mark.lab

IPV4 = "from all to 169.254.0.0/16 iif airlock0 prohibit"
IPV6 = "from all iif airlock0 prohibit"


def rules() -> list[str]:
    """Return Airlock's routing rules; those of systemd-networkd's restart are gone at once."""
    shown = [run("ip", family, "rule", "show", "pref", "1690") for family in ("-4", "-6")]
    return [line.partition("\t")[2].strip() for text in shown for line in text.splitlines()]


def test_removed_routing_rules_are_put_back_while_a_job_runs(fleet: Fleet) -> None:
    """As systemd-networkd does when it restarts: it removes every rule that it has not made."""
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env(f"echo running; {GATE}; exit 3"))
        fleet.control.wait(job, lambda j: b"\nrunning" in j.log)
        assert rules() == [IPV4, IPV6]
        for rule in DELETE_ROUTING:
            run(*rule)
        eventually(lambda: rules() == [IPV4, IPV6], "both rules are back", 10)
        for rule in DELETE_ROUTING:
            run(*rule)
        eventually(lambda: rules() == [IPV4, IPV6], "both rules are back again", 10)
        eventually(lambda: "routing" in events(fleet, job.id), "the audit trail has it", 10)
        open_gate(job)
        assert fleet.control.finished(job) == ("3", "", ""), job.log.decode()
    assert job.log.count(b"Airlock put it back") == 1
    assert events(fleet, job.id).count("routing") == 1


def test_job_without_ruleset_and_routing_rules_is_stopped(fleet: Fleet) -> None:
    """The twin: with both layers gone, the job ends as it does without the first alone."""
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("echo running; sleep 60"))
        fleet.control.wait(job, lambda j: b"\nrunning" in j.log)
        for command in (*DELETE_ROUTING, DELETE_RULESET):
            run(*command)
        assert fleet.control.finished(job, 20) == ("-1", "", "process_run_error")
    assert b"was changed or removed while the job ran" in job.log


def test_job_that_changes_no_rule_has_no_event_about_them(fleet: Fleet) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("true"))
        assert fleet.control.finished(job) == ("0", "", "")
    assert "routing" not in events(fleet, job.id)
    assert b"routing rule" not in job.log


def events(fleet: Fleet, job_id: str) -> list[str]:
    return [event["event"] for event in fleet.events(job_id)]
