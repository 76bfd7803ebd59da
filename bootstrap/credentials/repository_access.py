"""What the check of a commit may use: its rule's git credentials for the repository.

Secrets are read with the host's role. The rule's own role is only for admitted jobs, and the check
comes before the decision.
"""

from dataclasses import dataclass, field, replace

from bootstrap.credentials import secrets
from bootstrap.credentials.obtain import named
from bootstrap.grants.kind import Obtained
from bootstrap.host.config import Aws
from bootstrap.log import JobLog
from bootstrap.policy.model import Grant
from bootstrap.record import Record

PURPOSE = "commit-on-branch"


@dataclass(frozen=True, kw_only=True, slots=True)
class RepositoryAccess:
    """A grant of nothing but credentials for one repository, and what it needs.

    Without any, the repository must be public.
    """

    grant: Grant = field(default_factory=Grant)
    obtained: Obtained = field(default_factory=lambda: Obtained(sessions={}, secrets={}, logins={}))


def repository_access(
    grant: Grant | None, repository: str, aws: Aws, *, log: JobLog, record: Record
) -> RepositoryAccess:
    """Fetch the grant's credentials for this repository, mask and record them.

    Raises WrongConfiguration for a secret that does not exist or is malformed, CannotStart for one
    that cannot be read now.
    """
    kinds = tuple(kind for kind in grant.kinds if kind.fetches(repository)) if grant else ()
    if grant is None or not kinds:
        return RepositoryAccess()
    if grant.secrets_with_role:
        log.note(
            f"{PURPOSE}: a private repository cannot be verified, since the rule reads its secrets "
            "with its own role, which only admitted jobs get"
        )
        return RepositoryAccess()
    reduced = replace(Grant(known_hosts=grant.known_hosts), kinds=kinds)
    found = secrets.fetch(aws, {reference: reference for reference in reduced.references})
    log.mask(*found.values())
    record.secrets(tuple(named(reduced)), purpose=PURPOSE)
    obtained = Obtained(sessions={}, secrets=found, logins={})
    for kind in kinds:
        kind.check(obtained)
        log.mask(*kind.derived(obtained))
    return RepositoryAccess(grant=reduced, obtained=obtained)
