"""What the check of a commit may use: the git tokens and ssh keys of the rule it decides about.

They are read with the host's role. The rule's own role is for jobs that are admitted, and this is
before that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bootstrap.aws import secrets
from bootstrap.host.config import Aws
from bootstrap.log import JobLog
from bootstrap.policy.model import Grant
from bootstrap.record import Record
from bootstrap.secret import Secret

PURPOSE = "commit-on-branch"


@dataclass(frozen=True, kw_only=True, slots=True)
class RepositoryAccess:
    """Credentials for one repository; without any it has to be public."""

    git_tokens: Mapping[str, Secret] = field(default_factory=dict)  # by their URLs
    ssh_keys: Mapping[str, Secret] = field(default_factory=dict)  # by their references
    known_hosts: tuple[str, ...] = ()


def repository_access(
    grant: Grant | None, repository: str, aws: Aws, *, log: JobLog, record: Record
) -> RepositoryAccess:
    """Fetch what the grant has for this repository's transport, mask it and write it down.

    Raises WrongConfiguration for a secret that is not there, CannotStart for one that cannot be
    had now.
    """
    by_https = repository.startswith("https://")
    tokens = grant.git_tokens if grant and by_https else {}
    keys = grant.ssh_keys if grant and not by_https else ()
    if grant is None or not (tokens or keys):
        return RepositoryAccess()
    if grant.secrets_with_role:
        log.note(
            f"{PURPOSE}: a private repository cannot be verified, since the rule reads its secrets "
            "with its own role, which only admitted jobs get"
        )
        return RepositoryAccess()
    wanted = {
        **{f"token {url}": reference for url, reference in tokens.items()},
        **{f"key {reference}": reference for reference in keys},
    }
    found = secrets.fetch(aws, wanted)
    log.mask(*found.values())
    record.secrets(wanted, purpose=PURPOSE)
    return RepositoryAccess(
        git_tokens={url: found[f"token {url}"] for url in tokens},
        ssh_keys={reference: found[f"key {reference}"] for reference in keys},
        known_hosts=grant.known_hosts,
    )
