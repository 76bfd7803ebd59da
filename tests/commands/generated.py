"""Generated stores of documents, hosts that read them, jobs and builds."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from bootstrap import forms
from bootstrap.host import config
from tests.policy.samples import OTHER, ROLE

REPOSITORY = "git@github.com:acme/storefront.git"


def some(**optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Mappings with some of these keys; `_` in a name stands for `-`."""
    named = {name.replace("_", "-"): st.sampled_from(values) for name, values in optional.items()}
    return st.fixed_dictionaries({}, optional=named)


WHEN = some(
    branch=["main", "*", ["main", "!v*"], "!main", "none"],
    tag=["none", "v*", ["none", "v*"], "!v1"],
    source=["ui", ["ui", "api"], "!webhook"],
    step=["deploy", "!deploy"],
    queue=["deploy", "default", "*"],
    command=["make*", "!make*"],
    creator=["Ada", "*"],
    creator_team=["platform", "other", "!platform"],
    author_team=["platform"],
    unblocker_team=["platform"],
    pull_request=["no", "same-repository", "any"],
    plugin=["docker#v5", "!*", "*", "!docker"],
    repository=[REPOSITORY, "git@github.com:acme/other.git"],
    organization=["acme", "!acme"],
    agent_tag=[{"size": "large"}, {"size": "!large"}],
    env=[{"MODE": "live"}, {"MODE": "absent"}, {"BASH_ENV": "*"}],
)
ALLOW = some(
    role=[ROLE, OTHER],
    roles=[{"audit": OTHER}],
    secrets=[{"A": "ssm:/ci/a"}],
    image=["node:22"],
    limits=[{"memory": "1GiB"}, {"memory": "64GiB"}],
    session=[{"duration": "1h"}, {"duration": "12h"}],
    env=["BASH_ENV"],
)
RULES = st.lists(st.tuples(WHEN, ALLOW), min_size=1, max_size=3)
RAILS = some(
    roles=[[], [ROLE], ["*"], "!*deploy"],
    secrets=[[], ["ssm:/ci/*"]],
    plugins=[[], ["docker#*"]],
    session=["4h"],
    limits=[{"memory": "16GiB"}],
    forks=["refuse", "nothing", "anything"],
)
# What is wrong with a file, or that there is none; nothing is wrong with most.
STATES = ("", "", "", "", "absent", "broken", "link", "writable", "dangling", "directory", "binary",
          "other")  # fmt: skip
FILE = st.sampled_from(STATES)
JOB = some(
    BUILDKITE_BRANCH=["main", "v1", "none", "dev"],
    BUILDKITE_TAG=["v1", ""],
    BUILDKITE_SOURCE=["ui", "webhook", "schedule"],
    BUILDKITE_STEP_KEY=["deploy", ""],
    BUILDKITE_COMMAND=["make deploy", "sh\nmake"],
    BUILDKITE_BUILD_CREATOR_TEAMS=["platform", "other:platform", ""],
    BUILDKITE_UNBLOCKER_TEAMS=["platform"],
    BUILDKITE_PULL_REQUEST=["false", "7", ""],
    BUILDKITE_PULL_REQUEST_REPO=[REPOSITORY, "https://github.com/mallory/storefront.git"],
    BUILDKITE_REPO=[REPOSITORY, "https://github.com/acme/storefront.git", "/etc"],
    BUILDKITE_PIPELINE_SLUG=["storefront", "other", "guardrails", "..", ""],
    BUILDKITE_PLUGINS=["", "[", '[{"github.com/buildkite-plugins/docker-buildkite-plugin#v5": 0}]'],
    BUILDKITE_AGENT_META_DATA_SIZE=["large", "small"],
    BUILDKITE_GIT_REMOTE_MIRROR_URL=["https://mirror.example.com/x.git"],
    MODE=["live", ""],
    BASH_ENV=["/x"],
).map(lambda env: {name.replace("-", "_"): value for name, value in env.items()})


GIVEN = some(
    branch=["main", "dev"], tag=["none", "v1"], source=["ui", "webhook"], step=["deploy"],
    queue=["deploy"], command=["make"], creator=["Ada"], author_team=["platform"],
    unblocker_team=["platform"], pull_request=["no", "same-repository", "fork"],
    plugin=[["docker#v5"], ["mallory/x#v1"]], repository=["git@github.com:acme/other.git"],
    organization=["other"], agent_tag=[{"size": "large"}], env=[{"MODE": "live"}],
)  # fmt: skip


def put(path: Path, document: dict[str, Any], state: str) -> None:
    """Write a document of the store, in the state in which a careless person leaves it."""
    apart = json.loads(json.dumps(document))  # equal parts would become one, with an anchor
    text = yaml.safe_dump(apart, sort_keys=False)
    match state:
        case "absent":
            return
        case "directory":
            path.mkdir()
            return
        case "dangling":
            path.symlink_to("nowhere")
            return
        case "broken":
            text = text.replace(":", ": [", 1)
        case "other":
            text = text.replace("storefront\n", "elsewhere\n", 1)
    path.write_bytes(text.encode() + (b"# \xff" if state == "binary" else b""))
    path.chmod(0o664 if state == "writable" else 0o644)
    if state == "link":
        path.symlink_to(path.rename(path.with_name(f"{path.name}.real")))


@contextmanager
def stored(
    rules: list[tuple[dict[str, Any], dict[str, Any]]],
    rails: dict[str, Any] | None,
    states: tuple[str, str],
) -> Iterator[Path]:
    """Yield a directory of policies, and remove it."""
    directory = Path(tempfile.mkdtemp(prefix="airlock-same-"))
    named = [
        {"name": f"rule {number}", "when": when, "allow": allow}
        for number, (when, allow) in enumerate(rules)
    ]
    policy = {"pipeline": "storefront", "repository": REPOSITORY, "rules": named}
    store = directory / "policies"
    store.mkdir(mode=0o755)
    try:
        put(store / "storefront.yaml", policy, states[0])
        if rails is not None:
            put(store / "guardrails.yaml", {"guardrails": "acme", **rails}, states[1])
        yield store
    finally:
        shutil.rmtree(directory)


def toml(store: Path, **policy: str) -> dict[str, Any]:
    """Return airlock.toml of a host of this store, and of the guardrails in it."""
    rails = store / "guardrails.yaml"
    named = {"guardrails": f"file:{rails}"} if rails.is_symlink() or rails.exists() else {}
    return {
        "policy": {"store": f"file:{store}", **named, **policy},
        "sandbox": {"image": "job:1"},
        "paths": {"runtime": f"{store.parent}/run", "records": f"{store.parent}/records.jsonl"},
    }


BASE = config.parse({"sandbox": {"image": "job:1"}}, Path("airlock.toml"))


def host_with(store: Path) -> config.Host:
    """Return the host of that airlock.toml, which takes long to check."""
    named = toml(store)
    places = {key: forms.store(value) for key, value in named["policy"].items()}
    paths = {key: Path(value) for key, value in named["paths"].items()}
    return BASE.model_copy(
        update={
            "policy": BASE.policy.model_copy(update=places),
            "paths": BASE.paths.model_copy(update=paths),
        }
    )


def lines_of(document: dict[str, Any]) -> Iterator[str]:
    for table, keys in document.items():
        yield f"[{table}]"
        yield from (f"{key} = {json.dumps(value)}" for key, value in keys.items())
