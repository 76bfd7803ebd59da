"""An exported record has no secret, wherever one was, and is still a job's record."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.record import SCHEMA
from bootstrap.replay.exported import exported, is_secret_name
from bootstrap.replay.inputs import from_record
from tests.job.given import job_env

S = "Pl4nted"  # every planted secret has this in it
KEY = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{S}\n-----END OPENSSH PRIVATE KEY-----"
URL = f"https://ci:{S}@git.example.com/acme/storefront.git"
JWT = f"eyJhbGciOiJSUzI1NiJ9.{S}abcdefgh.{S}signature"
# A place -> what is planted there.
PLANTED = {
    "NPM_TOKEN": S,
    "DB_PASSWORD": S,
    "MY_OWN_THING": S,  # by BUILDKITE_REDACTED_VARS of the agent
    "npmAuthToken": S,
    "GITHUB_PAT_COOKIE": S,
    "SLACK_WEBHOOK_URL": S,
    "DATABASE_CONNECTION_STRING": S,
    "SSH_PRIVATE_KEY_BASE64": S,
    "BUILDKITE_REPO": URL,
    "BUILDKITE_PULL_REQUEST_REPO": URL,
    "SUBMODULE": f"git clone {URL}",
    "DATABASE": f"postgres://app:{S}@db.example.com/app",
    "BUILDKITE_COMMAND": "\n".join((
        f"export NPM_TOKEN={S}", f"DB_PASSWORD='{S} with space' make", f'curl -H "X-Token: {S}" x',
        f"curl -u ada:{S} https://x", f"curl -H 'Authorization: Bearer {S}12345678' x",
        f"docker login -u ada -p {S} registry.example.com", f"mysql -h db -p{S} app",
        f"docker build --build-arg NPM_TOKEN={S} --build-arg=API_KEY={S} .",
        f"deploy --api-key {S}",
        f"deploy --quiet --password {S}", f"echo '{{\"password\": \"{S}\"}}'", f"cat <<X\n{KEY}\nX",
        f"sshpass -p {S} ssh x", f"machine git.example.com login ada password {S}",
        f"printf '_authToken={S}' > .npmrc", f"glpat-{S}abcdefghij ghp_{S}abcdefghijklmnop {JWT}",
    )),
    "BUILDKITE_MESSAGE": f"Use token: {S}\n\nAKIA{S.upper()}ABCDEF",
    "BUILDKITE_PLUGINS": json.dumps([
        {f"{URL}#v1": {"password": S, "nested": {"api-key": [S]}, "env": [f"NPM_TOKEN={S}"]}},
        {"github.com/x/y#v1": {"role": "arn:aws:iam::111122223333:role/x", "token": 71234567}},
    ]),
    "BUILDKITE_AGENT_META_DATA_DEPLOY_TOKEN": S,
    "BUILDKITE_AGENT_META_DATA_NOTE": f"token={S}",
    "BUILDKITE_LABEL": f"deploy --token {S}",
    "CONFIG": json.dumps({"auth": {"user": "ada", "value": S}}),
}  # fmt: skip
EVENTS: list[dict[str, Any]] = [
    {
        "event": "admitted", "rule": f"token={S}", "policy": {"origin": URL, "sha256": "ab"},
        "grant": {"secrets": {"NPM_TOKEN": "ssm:/ci/npm-token"}, "tags": {"note": f"password={S}"}},
        "reasons": [{"rule": "r", "subject": "command", "expected": "x", "got": f"TOKEN={S} make"}],
    },
    {"event": "session", "tags": {"note": f"api_key={S}"}, "role": "arn:aws:iam::1:role/x"},
    {
        "event": "secrets", "purpose": "job",
        "secrets": [{"kind": "secrets", "name": "NPM_TOKEN", "reference":
                     "secretsmanager:arn:aws:secretsmanager:eu-west-1:111122223333:secret:ci/npm"}],
    },
    {"event": "failed", "problem": f"could not clone {URL}", "exit_code": 125, "title": "x",
     "traceback": [f"KeyError: password={S}"]},
]  # fmt: skip


def record(env: dict[str, str | None]) -> dict[str, Any]:
    return {
        "schema": SCHEMA, "version": "0.9.0", "started": "2026-11-26T04:00:00Z", "job": "j",
        "env": env, "masked": ["EARLIER"], "events": EVENTS,
        "agent_env": {"BUILDKITE_REDACTED_VARS": "MY_OWN*", "X_TOKEN": S, "URL": URL},
    }  # fmt: skip


def test_nothing_that_was_planted_is_left() -> None:
    found = exported(record({**job_env(), **PLANTED}))
    text = json.dumps(found)
    assert S not in text, text[text.index(S) - 100 :][:200]
    assert S.upper() not in text
    assert "71234567" not in text


@pytest.mark.parametrize("name", PLANTED)
def test_each_place_had_it(name: str) -> None:
    """What the test above plants is there, so that it can fail."""
    assert S in json.dumps(record({name: PLANTED[name]})["env"])
    shown = exported(record({name: PLANTED[name]}))["env"][name]
    assert shown is None or "***" in shown


@pytest.mark.parametrize(
    "text",
    [
        f"PGPASSWORD={S} psql", f"SSHPASS={S} x", f"DB_PASS={S}", f"GITHUB_PAT={S}",
        f"x -Dpassword={S}",
        f"mytoken={S}", f"PASSWORD=ab,{S}", f"PASSWORD=ab({S})x", f"PASSWORD={{a{S}}}",
        f"PASSWORD=a\\ {S}", f"PASSWORD='a'{S}", f"PASSWORD=\"a\"'{S}'", f"PASSWORD=${{X}}{S}",
        f"password: |\n  {S}\n  {S}", f"password: >-\n  {S}", f"password:\n    - {S}",
        f"https://x.example.com/?a=1&sig={S}", f"https://x.example.com/k?X-Amz-Signature={S}",
        f"openssl -passin pass:{S}", f"keytool -storepass {S}", f"redis-cli -a {S}",
        f"sqlcmd -P {S}",
        f"curl -b sid={S} x", f"TOKEN+={S}", f"TOKEN=\\\n  {S}", f"TOKEN?={S}", f"TOKEN := {S}",
        f'curl -d \'{{"password": {{"value": "{S}"}}}}\'',
        f'curl -d "{{\\"password\\":\\"{S}\\"}}"',
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", ["{}", "set -e\n{}\nmake", "x {} && y"])
def test_no_spelling_of_an_assignment_leaves_a_part(text: str, around: str) -> None:
    shown = json.dumps(exported(record({"BUILDKITE_COMMAND": around.format(text)}))["env"])
    assert S not in shown
    assert "make" in shown or "make" not in around


def test_what_the_job_was_is_kept() -> None:
    env = job_env(BUILDKITE_COMMAND="make deploy TARGET=prod && mkdir -p out && sort -u x")
    plugins = json.dumps([{"github.com/buildkite-plugins/docker#v5": {"image": "node:22"}}])
    env |= {"BUILDKITE_PLUGINS": plugins, "BUILDKITE_BUILD_AUTHOR": "Ada", "EMPTY_AUTH": ""}
    env |= {"BUILDKITE_SECRETS_CONFIG": '[{"key":"NPM_TOKEN"}]', "TOKEN_NAME_IN": "x $NPM_TOKEN"}
    kept = {**env, "TOKEN_NAME_IN": None}
    found = exported(record(dict(env)))
    assert found["env"] == kept
    assert found["masked"] == ["EARLIER"]
    assert found["exported"] is True
    reference = found["events"][2]["secrets"][0]["reference"]
    assert reference == EVENTS[2]["secrets"][0]["reference"]
    assert found["events"][0]["grant"]["secrets"] == {"NPM_TOKEN": "ssm:/ci/npm-token"}
    assert found["events"][1]["role"] == "arn:aws:iam::1:role/x"


def test_what_is_masked_in_part_is_named_and_the_export_is_an_input() -> None:
    found = exported(record({**job_env(), **PLANTED}))
    assert {"BUILDKITE_COMMAND", "BUILDKITE_MESSAGE", "BUILDKITE_PLUGINS", "EARLIER"} <= set(
        found["masked"]
    )
    assert "BUILDKITE_REPO" not in found["masked"], "it has its meaning without credentials"
    read = from_record.read(found, "exported")
    assert {"NPM_TOKEN", "BUILDKITE_COMMAND"} <= set(read.unknown)
    assert read.env["BUILDKITE_REPO"] == "https://git.example.com/acme/storefront.git"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("TOKEN=$NPM_TOKEN make", None), ('PASSWORD="${PW}" make', None), ("TOKEN=$(cat x)", None),
        ("mkdir -p a b", None), ("docker run -u 1000:1000 x", None), ("author: Ada", None),
        ("npm_config_registry=https://r.example.com", None), ("tokenize --input x", None),
        ("TOKEN=${NPM_TOKEN:-abc}", "TOKEN=***"),
        ("a TOKEN: x, b", "a TOKEN: ***, b"),
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str, shown: str | None) -> None:
    found = exported(record({"A": text}))["env"]["A"]
    assert found == (text if shown is None else shown)


@pytest.mark.parametrize(
    "name",
    [
        "NPM_TOKEN",
        "token",
        "apiKey",
        "API_KEY",
        "x.password",
        "dbPwd",
        "SSH_KEY",
        "MY_SECRET_KEY_2",
        "COOKIE",
        "KUBECONFIG",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "BUILDKITE_STEP_KEY",
        "key",
        "AUTHOR",
        "TOKENIZER",
        "PATH",
        "keys",
        "monkey",
        "COMPASS",
        "BUILDKITE_BUILD_AUTHOR",
    ],
)
def test_names_of_other_values(name: str) -> None:
    assert not is_secret_name(name)


@given(st.text(alphabet=st.characters(codec="ascii", categories=("L", "N")), min_size=6),
       st.sampled_from(["TOKEN={}", "a; export DB_PASSWORD={} b", "--api-key {}", "x --token={}",
                        "https://u:{}@h/x", "password: {}", '{{"token": "{}"}}']))  # fmt: skip
def test_no_word_after_a_secrets_name_is_left(secret: str, where: str) -> None:
    text = where.format(f"q7{secret}q7")
    assert f"q7{secret}q7" not in json.dumps(exported(record({"A": text}))["env"])


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=9), JSON), JSON)
def test_no_record_is_a_surprise_and_twice_is_as_once(env: dict[str, Any], events: Any) -> None:
    document = {"schema": SCHEMA, "env": env, "events": events}
    try:
        found = exported(document)
    except ValueError as wrong:
        assert str(wrong)
    else:
        assert found["env"].keys() == env.keys()
        assert exported(found) == found


@pytest.mark.parametrize(
    "text", ["-" * 130_000, "token " * 20_000, "a=" * 60_000, 'token="' * 20_000, "login " * 20_000,
             "://" * 40_000, "x:y@" * 30_000, "-----BEGIN PRIVATE KEY-----" * 4000, "a.-" * 40_000]
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    started = time.monotonic()
    assert exported(record({"A": text}))["env"]
    assert time.monotonic() - started < 10


def test_the_schema_that_is_written_can_be_read() -> None:
    assert from_record.NEWEST == SCHEMA


def test_variables_of_service_containers_are_masked_by_name() -> None:
    env = {"POSTGRES_PASSWORD": S, "PGDATA": "/data", "DATABASE": f"postgres://app:{S}@db/app"}
    grant = {"env": ["GIT_*"], "services": {"db": {"image": "postgres:15", "env": env}}}
    document = {"schema": SCHEMA, "env": {}, "events": [{"event": "admitted", "grant": grant}]}
    found = exported(document)
    assert S not in json.dumps(found)
    shown = found["events"][0]["grant"]
    assert shown["env"] == ["GIT_*"]
    assert shown["services"]["db"]["env"]["PGDATA"] == "/data"
