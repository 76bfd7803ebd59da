"""What a role needs to read with its own session what rules read with it (`secrets-with: role`).

A job has that session as well: what it may read, the job may read. So each pipeline's secrets are
for sessions with that pipeline's tag, which no job can change.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from bootstrap.aws.iam import Statement, Tag
from bootstrap.policy.iam import host
from bootstrap.policy.iam.model import one_or_list
from bootstrap.policy.iam.quotas import Need
from bootstrap.policy.model import Grant

Grants = Sequence[tuple[str, Grant]]  # pipeline and grant


def by_role(role: str, grants: Grants, keys: Sequence[str]) -> Iterator[Need]:
    """Yield what reading the secrets of these grants of the role needs."""
    readers: dict[str, set[str]] = {}
    for pipeline, grant in grants:
        for reference in grant.references if grant.secrets_with_role else ():
            readers.setdefault(reference, set()).add(pipeline)
    untagged = {reference for _, reference in _untagged(grants)}
    shared: dict[tuple[str, ...], list[str]] = {}
    for reference, pipelines in readers.items():
        named = () if reference in untagged else tuple(sorted(pipelines))
        shared.setdefault(named, []).append(reference)
    for number, (only, references) in enumerate(sorted(shared.items())):
        for need in host.secrets(references, keys=keys, **host.of_account(role)):
            yield _of_pipelines(need, only, f"{number + 1}" if number else "")


def read_by_all(role: str, grants: Grants, pipelines: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each secret that other pipelines than the rule's can read as well."""
    for pipeline, reference in _untagged(grants):
        if {*pipelines} - {pipeline}:
            yield (
                f"{role} reads {reference} for every pipeline that has it: a session by "
                "Buildkite's token has no tags, by which its policy could tell them apart."
            )


def _untagged(grants: Grants) -> Iterator[tuple[str, str]]:
    """Yield pipeline and reference of what sessions without tags read."""
    for pipeline, grant in grants:
        if grant.secrets_with_role and grant.web_identity and not grant.via:
            yield from ((pipeline, reference) for reference in grant.references)


def _of_pipelines(need: Need, pipelines: Sequence[str], mark: str) -> Need:
    """Return the need for sessions of these pipelines alone; of all, if none is named.

    A document has each Sid once, which the mark sees to.
    """

    def made(names: list[str]) -> Statement:
        statement = need.made(names)
        condition = dict(statement.get("Condition", {}))
        if pipelines:
            condition["StringEquals"] = {Tag.PIPELINE.of_session: one_or_list(pipelines)}
        conditional = {"Condition": condition} if condition else {}
        return {**statement, "Sid": f"{statement['Sid']}{mark}", **conditional}

    return replace(need, made=made)
