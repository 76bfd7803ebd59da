"""The first policy of a pipeline: its branch gets a role, everything else only a sandbox."""

import json
from dataclasses import dataclass

import yaml

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.cases import parse as parse_cases
from bootstrap.policy.parse import parse
from bootstrap.policy.proposals import is_file_name
from bootstrap.policy.spelling import is_ref_name

OTHERS = "everything else, but for forks"


@dataclass(frozen=True, kw_only=True, slots=True)
class First:
    """The texts of <pipeline>.yaml and <pipeline>.test.yaml."""

    policy: str
    cases: str


def first(pipeline: str, repository: str, *, branch: str, role: str | None) -> First:
    """Return a policy of at most ten lines, and cases that it passes.

    Raises WrongConfiguration if one of the values is not what a policy can have there.
    """
    _check(pipeline, repository, branch, role or "")
    allow = f"\n      role: {_scalar(role)}" if role else " {}"
    policy = f"""pipeline: {_scalar(pipeline)}
repository: {_scalar(repository)}
rules:
  - name: {_scalar(branch)}
    when: {{branch: {_quoted(branch)}}}
    allow:{allow}
  - name: {OTHERS}
    when: {{branch: "*", pull-request: same-repository}}
    allow: {{workspace: fresh}}
"""
    cases = f"""pipeline: {_scalar(pipeline)}
cases:
  - name: the branch decides
    given: {{branch: {_quoted(branch)}}}
    expect: {{rule: {_quoted(branch)}, role: {_quoted(role or "none")}}}
  - name: another branch gets no role
    given: {{branch: {_quoted(f"not-{branch}")}}}
    expect: {{rule: {_quoted(OTHERS)}, role: none}}
  - name: a pull request of the branch's name gets no role
    given: {{branch: {_quoted(branch)}, pull-request: same-repository}}
    expect: {{rule: {_quoted(OTHERS)}, role: none}}
  - name: a fork is refused
    given: {{branch: {_quoted(branch)}, pull-request: fork}}
    expect: refused
"""
    parse(policy, f"{pipeline}.yaml")
    parse_cases(cases, f"{pipeline}.test.yaml")
    return First(policy=policy, cases=cases)


def _check(pipeline: str, repository: str, branch: str, role: str) -> None:
    if not all(value.isprintable() for value in (pipeline, repository, branch, role)):
        raise WrongConfiguration(
            "a value has characters that are not displayed; expected printable text",
            hint="Type it again rather than copying it.",
        )
    if not is_file_name(pipeline):
        raise WrongConfiguration(
            f"the pipeline is {pipeline!r}; expected a slug: lower-case letters, digits, - . and _",
            hint="Buildkite shows it in the address of the pipeline's page.",
        )
    if not is_ref_name(branch) or branch.startswith("!"):
        raise WrongConfiguration(
            f"--branch is {branch!r}; expected the name of one branch, as git allows it",
            hint="Write patterns into the policy afterwards, with cases for them.",
        )


def _scalar(text: str) -> str:
    """Return the text as a value of a block: plain where that is the same text."""
    width = 2 * len(text) + 100  # on one line
    return yaml.safe_dump(text, allow_unicode=True, width=width).split("\n")[0]


def _quoted(text: str) -> str:
    """Return the text as a value between braces: plain only where nothing can be misread."""
    is_word = text.replace("-", "").isalpha() and text.isascii() and _scalar(text) == text
    return text if is_word else json.dumps(text, ensure_ascii=False)
