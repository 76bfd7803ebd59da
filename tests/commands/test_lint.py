"""`airlock policy lint`: by what a host would do with each file, and with few warnings."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands.policy.lint import lint
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.findings import ALWAYS, MEANINGS
from bootstrap.policy.parse import parse, parse_guardrails
from tests.commands.test_policy import policy
from tests.policy import corpus, sane
from tests.policy.given import HEAD

ROOT = Path(__file__).parents[2]
ALL = HEAD + "  - {name: all, when: {branch: main}, allow: {}}\n"


def linted(directory: Path | None, *ignore: str, config: Path = Path("absent")) -> tuple[int, Any]:
    """Return the exit status and the findings."""
    lines: list[str] = []
    status = lint(
        directory=directory, config_path=config, ignore=ignore, as_json=True, output=lines.append
    )
    return status, json.loads("\n".join(lines))


def ids(findings: list[dict[str, Any]]) -> list[str]:
    return [finding["id"] for finding in findings]


@pytest.mark.parametrize("name", ["storefront.yaml", "guardrails.yaml"])
@pytest.mark.parametrize(
    ("state", "problem", "fix"),
    [
        ("link", "cannot be read: it is a symbolic link, which hosts do not follow", "a copy of"),
        ("writable", "no write permission for others", "`chown root` and `chmod go-w` it."),
        ("directory", "is not a regular file", "put a document in its place"),
        ("binary", "is not UTF-8 at byte", "Save it as UTF-8."),
        ("pipe", "is not a regular file", "put a document in its place"),
    ],
)
def test_what_a_host_refuses_is_an_error(
    folder: Path, name: str, state: str, problem: str, fix: str
) -> None:
    path = folder / name
    text = b"guardrails: acme\n" if name == "guardrails.yaml" else path.read_bytes()
    path.unlink(missing_ok=True)
    match state:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path, 0o644)
        case _:
            path.write_bytes(text + (b"# \xff" if state == "binary" else b""))
            path.chmod(0o664 if state == "writable" else 0o644)
    if state == "link":
        path.symlink_to(path.rename(folder / "real"))
    status, findings = linted(folder)
    assert status == 1
    (finding,) = (f for f in findings if f["id"] == "mistake")
    assert problem in finding["text"]
    assert finding["severity"] == "error"
    assert fix in finding["fix"]


def test_a_store_that_others_can_write_is_an_error(folder: Path) -> None:
    folder.chmod(0o777)
    _, findings = linted(folder)
    assert "belongs to uid" in findings[0]["text"]


def test_guardrails_under_another_name_are_recognised(folder: Path) -> None:
    (folder / "rails.yaml").write_text("guardrails: acme\nforks: refuse\n")
    _, findings = linted(folder)
    assert "these are guardrails, which are read from guardrails.yaml" in findings[0]["text"]


def test_guardrails_that_airlock_toml_does_not_name_are_an_error(folder: Path) -> None:
    (folder / "guardrails.yaml").write_text("guardrails: acme\n")
    config = folder.parent / "airlock.toml"
    text = f'[policy]\nstore = "file:{folder}"\n{{}}[sandbox]\nimage = "x"\n'
    config.write_text(text.format(""))
    config.chmod(0o644)
    status, findings = linted(None, config=config)
    assert (status, ids(findings)) == (1, ["guardrails-not-used"])
    config.write_text(text.format(f'guardrails = "file:{folder}/guardrails.yaml"\n'))
    assert linted(None, config=config) == (0, [])


def test_signed_identity_makes_steps_and_tags_worth_something(folder: Path) -> None:
    role = "arn:aws:iam::111122223333:role/ci/reader"
    rule = f"  - {{name: a, when: {{branch: '*', step: x}}, allow: {{role: '{role}'}}}}\n"
    (folder / "storefront.yaml").write_text(HEAD + rule)
    assert ids(linted(folder)[1]) == ["only-the-jobs-word"]
    config = folder.parent / "airlock.toml"
    config.write_text(
        f'[policy]\nstore = "file:{folder}"\nidentity = "signed"\n[sandbox]\nimage = "x"\n'
    )
    config.chmod(0o644)
    assert linted(None, config=config) == (0, [])


def test_policies_below_the_directory_are_not_silently_unread(folder: Path) -> None:
    (folder / "team").mkdir()
    assert linted(folder) == (0, []), "an empty directory is no mistake"
    (folder / "team/other.yaml").write_text(ALL)
    (folder / ".git").mkdir()
    (folder / ".git/x.yaml").touch()
    status, findings = linted(folder)
    assert (status, ids(findings)) == (0, ["not-read"])
    assert findings[0]["origin"] == f"{folder}/team"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("image-without-digst", 'did you mean "image-without-digest"?'),
        ("", "there is no finding ''"),
        *((name, "cannot be ignored") for name in sorted(ALWAYS)),
    ],
)
def test_an_id_that_cannot_be_ignored_is_an_error(folder: Path, name: str, problem: str) -> None:
    with pytest.raises(WrongConfiguration, match="--ignore") as wrong:
        linted(folder, name)
    assert problem in wrong.value.problem
    assert "image-without-digest" in wrong.value.hint


def test_an_ignored_finding_is_not_reported(folder: Path) -> None:
    (folder / "storefront.yaml").write_text(HEAD + "  - {name: a, allow: {image: 'node:22'}}\n")
    assert ids(linted(folder)[1]) == ["image-without-digest"]
    assert linted(folder, "image-without-digest") == (0, [])


def test_sound_policies_have_at_most_three_warnings(tmp_path: Path) -> None:
    assert linted(ROOT / "agent-config/policies") == (0, [])
    assert linted(corpus.write(tmp_path / "corpus", 20)) == (0, [])
    status, findings = linted(sane.write(tmp_path / "sane"))
    assert status == 0
    assert len(findings) <= 3


def test_every_finding_is_documented() -> None:
    text = (ROOT / "docs/governance.md").read_text()
    assert [name for name in MEANINGS if f"| `{name}` |" not in text] == []


DOCUMENTS: list[dict[str, Any]] = [
    {"pipeline": "a", "repository": "git@github.com:acme/a.git", "rules": [
        {"name": "r", "when": {"branch": "main", "env": {"A": "x"}, "agent-tag": {"a": "b"}},
         "allow": {"role": "arn:aws:iam::111122223333:role/x", "session": {"tags": {"a": "b"}},
                   "secrets": {"A": "ssm:/a"}, "limits": {"memory": "1GiB", "cpus": "1"},
                   "registries": {"a.example.com": "ssm:/a"}, "ssh-keys": "ssm:/k"}}]},
    {"guardrails": "a", "accounts": ["111122223333"], "limits": {"memory": "1GiB"},
     "session": "1h", "forks": "nothing", "plugins": []},
]  # fmt: skip
LEAVES: tuple[Any, ...] = (
    "", "1", "nan", "1h", "*", "none", "ssm:/a", "é\u200b", "x" * 1100, [], {}, ["1"], {"A": []},
    {"a b": "x"},
)  # fmt: skip


def damaged(value: Any, chance: random.Random) -> Any:
    if chance.random() < 0.1:
        return chance.choice(LEAVES)
    if isinstance(value, dict):
        return {key: damaged(member, chance) for key, member in value.items()}
    return [damaged(member, chance) for member in value] if isinstance(value, list) else value


def test_mistakes_are_explained_in_our_own_words() -> None:
    chance = random.Random(12)  # noqa: S311 - chooses what is damaged
    details: list[str] = []
    for number in range(600):
        document = json.dumps(damaged(DOCUMENTS[number % 2], chance), ensure_ascii=False)
        try:
            (parse_guardrails if number % 2 else parse)(document, "x")
        except WrongConfiguration as wrong:
            details += wrong.details
    assert len(set(details)) > 100
    foreign = ("Input ", "should", "valid", "Field ", "Value error", "function-", "[key]")
    assert [d for d in details if any(word in d for word in foreign)] == []


def test_findings_that_are_not_printed_are_counted(folder: Path) -> None:
    (folder / "storefront.yaml").write_text(
        HEAD + "  - name: a    # airlock: ignore fork-reaches-grant: the role reads public data\n"
        "    when: {pull-request: any}\n    allow: {role: 'arn:aws:iam::111122223333:role/x'}\n"
        "  - {name: b, when: {branch: main, tag: v1}, allow: {image: 'x:1'}}\n"
    )
    done = policy("lint", folder, "--ignore", "image-without-digest", "--ignore", "contradiction")
    assert done.stdout == (
        "1 policy, 0 errors, 0 warnings; not shown: 1 finding answered by a comment, "
        "2 findings by --ignore\n"
    )
    assert done.returncode == 0
    (folder / "storefront.yaml").write_text(
        HEAD + "  # airlock: ignore ref-prefix: branches are really called that\n"
        "  - name: a\n    when: {branch: [refs/heads/a, refs/heads/b, refs/heads/c]}\n"
        "    allow: {}\n"
    )
    three = policy("lint", folder).stdout
    assert three == (
        "1 policy, 0 errors, 0 warnings; not shown: 3 findings answered by a comment\n"
    )
