"""What a job did with its gateway, for the audit trail and the log."""

import pytest

from bootstrap.agent_api.gateway.permit import needed
from bootstrap.agent_api.gateway.use import advice, use_of
from bootstrap.agent_api.model import RefusedCall
from bootstrap.agent_api.refusals import MOST, Refusals
from bootstrap.agent_api.routes import Kind, Route
from bootstrap.text import printable


def refused(method: str, path: str, why: str = "no", times: int = 1) -> RefusedCall:
    return RefusedCall(method=method, path=path, why=why, times=times)


def test_tokens_and_secrets_are_named_apart_from_other_calls() -> None:
    sent = {
        "request an OIDC token: https://a: b": 2,
        "read a secret: KEY": 1,
        "annotate the build": 3,
    }
    use = use_of(sent, [])
    assert use.tokens == {"https://a: b": 2}
    assert use.secrets == {"KEY": 1}
    assert use.calls == {"annotate the build": 3}
    assert use.refusals == 0
    assert advice(use, "tests") == ""


def test_the_line_says_what_to_add_to_the_rule() -> None:
    by_rule = "(`agent-api` in the policy)"
    calls = [
        refused("POST", "/jobs/a/annotations", f"the rule does not allow to annotate {by_rule}"),
        refused("POST", "/jobs/a/oidc/tokens", f"the rule does not allow 'x', but: y {by_rule}"),
        refused("POST", "/jobs/a/data/set", f"the rule does not allow to set it {by_rule}"),
        refused("POST", "/jobs/a/data/get", f"the rule does not allow to read it {by_rule}"),
        refused("PUT", "/jobs/a", "the job may update its timeout, but not state"),
    ]
    line = advice(use_of({}, calls), "tests")
    assert line == (
        "5 calls of the agent API refused. If the job needs them, add to agent-api of rule "
        "'tests': calls: [annotations, meta-data], oidc-audiences: […]. Got: the rule does not "
        f"allow to annotate {by_rule}; the rule does not allow 'x', but: y {by_rule}; the rule "
        f"does not allow to set it {by_rule}, and 2 more"
    )


def test_nothing_is_advised_for_what_no_rule_can_allow() -> None:
    line = advice(use_of({}, [refused("GET", "/ping", "the agent's own"), refused("X", "/")]), "a")
    assert line == "2 calls of the agent API refused. Got: the agent's own; no"


def test_calls_that_are_not_listed_are_counted() -> None:
    reported: list[RefusedCall] = []
    refusals = Refusals(reported.append)
    for number in range(3 * MOST):
        refusals.add("GET", ("jobs", str(number)), "no")
    refusals.close()
    use = use_of({}, reported)
    assert len(use.refused) == MOST + 1
    assert use.refusals == 3 * MOST
    assert advice(use, "a").startswith(f"{3 * MOST} calls of the agent API refused. Got: no")


def test_the_line_shows_no_control_characters() -> None:
    reported: list[RefusedCall] = []
    refusals = Refusals(reported.append)
    refusals.add("GET", ("\x1b[31m", "jobs"), "why\n^^^ +++")
    refusals.close()
    line = advice(use_of({}, reported), "tests")
    assert line == printable(line, limit=1000)


@pytest.mark.parametrize("kind", Kind)
def test_what_is_needed_is_a_key_of_the_policy_or_nothing(kind: Kind) -> None:
    key = needed(Route(kind=kind, most=0))
    never = {Kind.STORE, Kind.OF_AGENT, Kind.REPOSITORY_TOKEN}
    assert (key == "") == (kind in never)
