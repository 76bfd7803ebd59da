"""What the README and the other documents show is so."""

import json
import re
import textwrap
import tomllib
from pathlib import Path

import pytest

from bootstrap.errors import AirlockError
from bootstrap.grants.ssh_keys import SshKeys
from bootstrap.host import config
from bootstrap.job.assemble import claims_of
from bootstrap.job.claims import confirmed
from bootstrap.job.grades import grade_of
from bootstrap.job.model import Provenance, Unvouched
from bootstrap.log import README as README_ADDRESS
from bootstrap.policy import cases
from bootstrap.policy.parse import parse, parse_guardrails
from bootstrap.policy.schema import When
from tests.job.given import JOB_ID, job_env, process_env
from tests.policy.given import HEAD
from tests.test_cli import verbs
from tests.test_docs import anchors

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
ALL = "\n".join(DOCUMENTS.values())
SHOWN = [
    (page, language, text)
    for page, content in DOCUMENTS.items()
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", content, re.MULTILINE | re.DOTALL)
]


def blocks(language: str) -> dict[str, list[str]]:
    """Return what the documents show in a language, by the page that shows it."""
    found: dict[str, list[str]] = {}
    for page, named, text in SHOWN:
        if named == language:
            found.setdefault(page, []).append(text)
    return found


def test_the_readme_is_short() -> None:
    assert README.count("\n") <= 200


def test_the_policies_shown_are_correct_and_decide_as_the_cases_shown_expect() -> None:
    shown = blocks("yaml")
    (start,) = shown.pop("README.md")
    policy, agent_api, guardrails = shown.pop("docs/policy.md")
    (grants,) = shown.pop("docs/credentials.md")
    (tests,) = shown.pop("docs/governance.md")
    (services,) = shown.pop("docs/services.md")
    egress, bounds = shown.pop("docs/egress.md")
    del shown["docs/operations.md"]  # rules of Prometheus: tests/metrics
    del shown["docs/aws.md"]  # tests/policy/test_iam_documented.py
    del shown["docs/recipes.md"]  # tests/policy/test_recipes.py
    (images,) = shown.pop("docs/builds.md")
    rule = HEAD + images.removeprefix("rules:\n")
    assert parse(rule, "docs/builds.md").rules[0].allow.builds
    assert not shown
    assert parse(start, "README.md").rules[1].when
    rule = f"{HEAD}  - name: all\n{textwrap.indent(agent_api, '    ')}"
    assert parse(rule, "docs/policy.md").rules[0].allow.audiences
    rule = f"{HEAD}  - name: all\n{textwrap.indent(services, '    ')}"
    assert set(parse(rule, "docs/services.md").rules[0].allow.services) == {"postgres", "redis"}
    listed = f"{HEAD}  - name: all\n{textwrap.indent(egress, '    ')}"
    assert parse(listed, "docs/egress.md").rules[0].allow.egress
    assert parse_guardrails(f"guardrails: acme\n{bounds}", "docs/egress.md").egress
    kinds = parse(grants, "docs/credentials.md").rules[0].allow.kinds
    assert any(isinstance(kind, SshKeys) for kind in kinds)
    made = parse(policy, "docs/policy.md")
    rails = parse_guardrails(guardrails, "docs/policy.md")
    document = cases.parse(tests, "docs/governance.md")
    outcomes = cases.outcomes([document], lambda _: (made, rails))
    assert [outcome.problem for outcome in outcomes] == ["", "", ""]


def test_the_commands_shown_exist() -> None:
    shown = set(re.findall(r"^(?:\$ )?airlock policy ([a-z-]+) ", ALL, re.MULTILINE))
    assert shown <= set(verbs())
    assert len(shown) >= 8


def test_the_configuration_shown_is_complete() -> None:
    shown = blocks("toml")
    (builds,) = shown.pop("docs/builds.md")
    table = {"sandbox": {"image": "job:1"}, **tomllib.loads(builds)}
    assert config.parse(table, ROOT).builds
    ((page, texts),) = shown.items()
    assert page == "docs/install.md"
    assert [config.parse(tomllib.loads(text), ROOT) for text in texts]


def test_the_iam_documents_shown_allow_the_three_actions() -> None:
    shown = blocks("json")
    del shown["docs/aws.md"]  # tests/policy/test_iam_documented.py
    ((page, texts),) = shown.items()
    assert page == "docs/install.md"
    assert len(texts) == 2
    for document in map(json.loads, texts):
        named = [statement["Action"] for statement in document["Statement"]]
        actions = [a for each in named for a in ([each] if isinstance(each, str) else each)]
        assert sorted(actions) == [
            "sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession",
        ]  # fmt: skip


def test_the_bootstrap_script_is_the_same_everywhere() -> None:
    settings = (ROOT / "agent-config/buildkite-agent.cfg").read_text() + ALL
    lines = re.findall(r"^bootstrap-script=.*$", settings, re.MULTILINE)
    assert len(lines) == 4
    assert len(set(lines)) == 1


@pytest.mark.parametrize("kind", AirlockError.__subclasses__())
def test_the_link_that_a_failure_prints_leads_to_a_heading_of_the_readme(
    kind: type[AirlockError],
) -> None:
    assert README_ADDRESS.endswith("#")
    assert kind.docs in anchors(ROOT / "README.md")


def test_every_attack_is_linked_from_the_promise_that_it_tries_to_break() -> None:
    attacks = {path.name for path in (ROOT / "tests/attacks").glob("test_*.py")}
    linked = set(re.findall(r"\]\(tests/attacks/([^)]+)\)", README))
    assert attacks == linked
    promises = re.findall(r"^\| (\d+) \|.*\]\(tests/attacks/", README, re.MULTILINE)
    explained = re.findall(r"^### (\d+)\. ", DOCUMENTS["docs/security.md"], re.MULTILINE)
    assert promises == explained == [str(number) for number in range(1, 13)]


WORTH = {
    condition: (default, signed)
    for condition, default, signed in re.findall(
        r"^\| `([a-z-]+)` \| ([^|]+) \| ([^|]+) \|", DOCUMENTS["docs/policy.md"], re.MULTILINE
    )
}
# How a job looks that has everything; what is absent from it could not show who says it.
EVERYTHING = {
    "BUILDKITE_TAG": "v1", "BUILDKITE_AGENT_META_DATA_SIZE": "large", "BUILDKITE_PLUGINS": "[]",
    "BUILDKITE_UNBLOCKER_TEAMS": "platform",
}  # fmt: skip
CLAIMS = {
    "organization_slug": "acme", "pipeline_slug": "storefront", "build_branch": "main",
    "build_tag": "v1", "build_commit": job_env()["BUILDKITE_COMMIT"], "build_source": "ui",
    "step_key": "deploy", "queue_key": "deploy", "build_number": 42, "job_id": JOB_ID,
    "agent_tag:size": "large",
}  # fmt: skip


def test_what_a_condition_is_worth() -> None:
    """Every condition has its row, with the grade of its fact for both kinds of identity."""
    conditions = {field.replace("_", "-") for field in When.model_fields}
    assert conditions <= WORTH.keys()
    plain = claims_of(job_env(**EVERYTHING), process_env())
    signed = confirmed(plain, CLAIMS, ("size",))
    for condition in conditions - {"env", "commit-on-branch"}:
        fact = "agent-tag:size" if condition == "agent-tag" else condition
        default, with_signature = WORTH[condition]
        assert ("never holds" in default) == isinstance(plain.facts[fact], Unvouched), condition
        held = getattr(signed.facts[fact], "provenance", None)
        assert (with_signature == "signed") == (held is Provenance.SIGNED), condition
    for condition in conditions - {"unblocker-team"}:
        least = "vouched" if condition == "queue" else grade_of(condition, signed=True)
        assert grade_of(condition) == WORTH[condition][0], condition
        assert least in {WORTH[condition][1], "vouched"}, condition


def test_every_make_target_shown_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make (\w+)", ALL, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_dependency_has_its_row() -> None:
    install = DOCUMENTS["docs/install.md"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=\[]", requirement)[0]
        assert re.search(rf"^\| \[{re.escape(name)}\]\(https", install, re.MULTILINE), name


def test_no_document_names_a_package_registry() -> None:
    """The network rule: what is installed from where is the machine's own setting."""
    hosts = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "docker" + ".io/")
    for path in ROOT.rglob("*"):
        if path.is_file() and path.suffix in {".md", ".lock", ".json", ".toml"}:
            if {".venv", "node_modules", ".git"} & set(path.parts):
                continue
            text = path.read_text(errors="replace")
            assert not [host for host in hosts if host in text], path
