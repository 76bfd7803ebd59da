"""What a record masks: the values of secret variables, wherever else they are."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.buildkite.redaction import LEAST, agent_env, masking, without_values
from bootstrap.text import MASK
from tests.job.given import job_env

SECRET = "Pl4nted-value"


def masked(**env: str) -> tuple[dict[str, str | None], tuple[str, ...]]:
    whole = {**job_env(), "NPM_TOKEN": SECRET, **env}
    return without_values(whole, {}, masking(whole, {}))


def test_a_secret_is_masked_in_every_other_value_which_is_named() -> None:
    plugins = json.dumps([{"x#v1": {"a": 'quoted " value é'}}])
    found, names = masked(
        BUILDKITE_COMMAND=f"echo {SECRET}", NOTE=SECRET, BUILDKITE_PLUGINS=plugins,
        OTHER_SECRET='quoted " value é', BUILDKITE_AGENT_META_DATA_X=f"a{SECRET}b", PLAIN="plain",
    )  # fmt: skip
    assert found["NPM_TOKEN"] is None
    assert found["BUILDKITE_COMMAND"] == f"echo {MASK}"
    assert found["NOTE"] == MASK
    assert json.loads(found["BUILDKITE_PLUGINS"] or "") == [{"x#v1": {"a": MASK}}]
    assert found["BUILDKITE_AGENT_META_DATA_X"] == f"a{MASK}b"
    assert names == (
        "BUILDKITE_COMMAND", "NOTE", "BUILDKITE_PLUGINS", "BUILDKITE_AGENT_META_DATA_X",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["BRANCH", "TAG", "COMMIT", "PIPELINE_SLUG", "JOB_ID", "STEP_KEY"])
def test_what_a_decision_rests_on_stays(name: str) -> None:
    variable = f"BUILDKITE_{name}"
    found, names = masked(**{variable: "production", "DB_PASSWORD": "production"})
    assert found[variable] == "production"
    assert variable not in names
    whole = {variable: "production", "DB_PASSWORD": "production"}
    assert masking(whole, {})("production") == "production", "as what a condition got"
    assert masking(whole, {})("in production now") == f"in {MASK} now"


def test_short_values_stay_as_in_the_agents_log() -> None:
    found, names = masked(X_TOKEN="a" * (LEAST - 1), NOTE="a" * 20)
    assert found["NOTE"] == "a" * 20
    assert names == ()


def test_credentials_of_urls_are_masked_and_not_named() -> None:
    url = "https://ci:Pl4nted-value@git.example.com/a.git"
    found, names = masked(BUILDKITE_REPO=url, NOTE=url)
    assert found["NOTE"] == found["BUILDKITE_REPO"] == f"https://{MASK}@git.example.com/a.git"
    assert names == ()


def test_where_a_text_was_cut_off_the_beginning_is_masked() -> None:
    mask = masking({"X_TOKEN": SECRET}, {})
    assert mask("got Pl4nted-v…") == f"got {MASK}…"
    assert mask("got Pl4…") == "got Pl4…", "shorter than what counts as secret"


def test_headers_and_secrets_of_the_agent_are_not_recorded() -> None:
    found = agent_env({"BUILDKITE_REQUEST_HEADER_X": "y", "A_TOKEN": "z", "BUILDKITE_SHELL": "sh"})
    assert found == {"BUILDKITE_REQUEST_HEADER_X": None, "A_TOKEN": None, "BUILDKITE_SHELL": "sh"}


@given(st.text(min_size=LEAST), st.text(), st.text())
def test_no_value_has_a_secret_left(secret: str, before: str, after: str) -> None:
    env = {"A_TOKEN": secret, "NOTE": f"{before}{secret}{after}"}
    found, _ = without_values(env, {}, masking(env, {}))
    value = found["NOTE"] or ""
    assert secret not in value.replace(MASK, "\0") or secret in MASK * 3


def test_many_secrets_are_masked_at_once() -> None:
    """Where there are many, everything from where one may begin is masked."""
    env = {f"S{number}_TOKEN": f"same-beginning-{number:07}" for number in range(60_000)}
    env |= {"NOTE": "a same-beginning-0000007 b", "LONG": "same-beginnin" * 9000, "PLAIN": "x" * 30}
    started = time.monotonic()
    found, names = without_values(env, {}, masking(env, {}))
    assert time.monotonic() - started < 10
    assert (found["NOTE"], found["PLAIN"]) == (f"a {MASK}", "x" * 30)
    assert found["LONG"] == env["LONG"], "no secret is in it"
    assert names == ("NOTE",)
