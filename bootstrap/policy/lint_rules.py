"""The checks of one rule; each yields its findings."""

import re
from collections.abc import Callable, Iterator

from bootstrap.job.grades import Grade, grade_of
from bootstrap.policy.catalogue import granted
from bootstrap.policy.findings import Finding, error, warning
from bootstrap.policy.guardrails import is_empty
from bootstrap.policy.model import NO_TAG, Policy, Rule
from bootstrap.policy.reach import pull_requests_of
from bootstrap.policy.steering import left_out

_PRODUCTION = re.compile(r"prod|deploy|release|admin", re.IGNORECASE)


def _open_to_pull_requests(policy: Policy, rule: Rule) -> Iterator[Finding]:
    kind = pull_requests_of(rule)
    if is_empty(rule.allow) or kind == "no":
        return
    if kind == "any":
        yield error(
            "fork-reaches-grant", policy, rule.line,
            f"rule {rule.name!r} grants {_names(rule)} to anyone who opens a pull request",
            "Write `pull-request: same-repository`, or grant nothing.",
        )  # fmt: skip
    elif kept := _kept_by_others(policy, rule):
        yield warning(
            "pull-request-reaches-grant", policy, rule.line,
            f"rule {rule.name!r} grants {', '.join(kept)} to anyone who may push a branch, while "
            "other rules keep it for fewer builds or its name means production",
            "Grant pull requests something of their own that needs no review.",
        )  # fmt: skip


def _kept_by_others(policy: Policy, rule: Rule) -> tuple[str, ...]:
    """Return what the rule grants that is named like production or that builds alone get."""
    others = {
        granted_name
        for other in policy.rules
        if other is not rule and pull_requests_of(other) == "no" and _narrows(other)
        for granted_name in granted(other.allow)
    }
    return tuple(
        name
        for kind, name in granted(rule.allow)
        if kind != "image"
        and ((kind, name) in others or _PRODUCTION.search(name.rsplit("/", 1)[-1]))
    )


def _narrows(rule: Rule) -> bool:
    """Return whether the rule is for less than every build of a branch."""
    wanted = (
        [pattern for pattern in condition.patterns if not pattern.startswith("!")]
        for condition in rule.when
        if condition.subject not in {"tag", "pull-request"}
    )
    return any(patterns and "*" not in patterns for patterns in wanted)


def _unknown_commit(policy: Policy, rule: Rule) -> Iterator[Finding]:
    """While the repository cannot be reached, every commit would pass."""
    for condition in rule.when:
        if "verified-or-unknown" in condition.patterns and not is_empty(rule.allow):
            yield warning(
                "unknown-commit-reaches-grant", policy, condition.line,
                f"rule {rule.name!r} grants {_names(rule)} even if the commit could not be checked",
                "Write `commit-on-branch: verified`.",
            )  # fmt: skip


def _broad_production(policy: Policy, rule: Rule) -> Iterator[Finding]:
    where = [c for c in rule.when if c.subject in {"branch", "tag", "commit"}]
    if any("*" not in c.patterns for c in where if c.patterns != (NO_TAG,)):
        return
    if pull_requests_of(rule) != "no":
        return  # that is worse, and is reported
    for kind, name in granted(rule.allow):
        if kind == "role" and _PRODUCTION.search(name.rsplit("/", 1)[-1]):
            yield warning(
                "any-branch-reaches-production", policy, rule.line,
                f"rule {rule.name!r} grants {name} to every branch",
                "Add `branch` or `tag` with those that may use it.",
            )  # fmt: skip


def _unbound_plugins(policy: Policy, rule: Rule) -> Iterator[Finding]:
    """Hooks of plugins run in the same job as the command, with everything the rule grants."""
    subjects = {condition.subject for condition in rule.when}
    if "command" in subjects and "plugin" not in subjects and not is_empty(rule.allow):
        yield error(
            "plugins-beside-the-command", policy, rule.line,
            f"rule {rule.name!r} names a command, but allows any plugin, which gets "
            f"{_names(rule)} too",
            'Add `plugin` with the plugins that a step may use, or `plugin: "!*"` for none.',
        )  # fmt: skip


_BINDING = ("command", "plugin", "commit", "commit-on-branch")


def _steering(policy: Policy, rule: Rule) -> Iterator[Finding]:
    """A condition on a command or commit means little beside variables that change what runs."""
    binding = [c.subject for c in rule.when if c.subject in _BINDING]
    if rule.allow.env and binding and not is_empty(rule.allow):
        yield warning(
            "variables-change-what-runs", policy, rule.line,
            f"rule {rule.name!r} names a {binding[0]}, but lets anyone who starts a build set "
            f"{' and '.join(rule.allow.env)}, which change what runs",
            "List in allow.env only what the job needs, or set it in the image.",
        )  # fmt: skip
    asked = {c.name: "" for c in rule.when if c.subject == "env" and c.name}
    dropped = left_out(asked, rule.allow)
    for name, reason in dropped.items():
        yield warning(
            "condition-on-left-out-variable", policy, rule.line,
            f"rule {rule.name!r} has a condition on {name}, which its jobs do not get: {reason}",
            "Add it to allow.env, if the job needs it.",
        )  # fmt: skip


# True of every job of a pipeline, or chosen by whoever writes a step: these keep nobody out.
_OF_EVERYBODY = frozenset(
    {"organization", "pipeline", "pull-request", "repository", "command", "plugin"}
)


def forgeable(policy: Policy, rule: Rule, *, signed: bool) -> Iterator[Finding]:
    """Yield whether a step can state all that the grant depends on. `signed` is of the host."""
    asked, vouched = [], False
    for condition in rule.when:
        if condition.subject in _OF_EVERYBODY or condition.patterns == (NO_TAG,):
            continue
        if grade_of(condition.subject, signed=signed) is Grade.CLAIMED:
            asked.append(condition)
        elif "*" not in condition.patterns:
            vouched = True
    if asked and not vouched and not is_empty(rule.allow):
        yield warning(
            "only-the-jobs-word", policy, asked[0].line,
            f"rule {rule.name!r} grants {_names(rule)} to anyone who "
            + (
                "starts a build, because people can change the name that creator is"
                if asked[0].subject == "creator"
                else f"writes a step, because a step can set {asked[0].subject} itself"
            ),
            "Add a condition that Buildkite vouches for (branch, creator-team, source), or set "
            'policy.identity = "signed" on the hosts: docs/policy.md#what-a-condition-is-worth',
        )  # fmt: skip


def _unpinned_image(policy: Policy, rule: Rule) -> Iterator[Finding]:
    """Once for each image of a policy."""
    for image in rule.allow.images:
        first = next(other for other in policy.rules if image in other.allow.images)
        if "@sha256:" in image or first is not rule:
            continue
        names = [name for name, one in rule.allow.services.items() if one.image == image]
        of = "" if image == rule.allow.image else f" as service {' and '.join(names)}"
        yield warning(
            "image-without-digest", policy, rule.line,
            f"rule {rule.name!r} runs {image}{of}, which anyone who can push it can replace",
            "Name the image by digest, as repository@sha256:….",
        )  # fmt: skip


def _unversioned_plugins(policy: Policy, rule: Rule) -> Iterator[Finding]:
    for condition in rule.when:
        unversioned = [
            p for p in condition.patterns if "#" not in p and not p.startswith(("!", "*"))
        ]
        if condition.subject == "plugin" and unversioned:
            yield warning(
                "plugin-without-version", policy, condition.line,
                f"{' and '.join(unversioned)} in rule {rule.name!r} matches only plugins without a "
                "version",
                "Add the versions, as in docker#v5.*.",
            )  # fmt: skip


CHECKS: tuple[Callable[[Policy, Rule], Iterator[Finding]], ...] = (
    _open_to_pull_requests,
    _unknown_commit,
    _broad_production,
    _steering,
    _unbound_plugins,
    _unpinned_image,
    _unversioned_plugins,
)


def _names(rule: Rule) -> str:
    return ", ".join(name for kind, name in granted(rule.allow) if kind != "image")
