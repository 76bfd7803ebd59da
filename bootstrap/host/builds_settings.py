"""The table [builds] of airlock.toml: what builds images for jobs, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from bootstrap.host.section import Section

if TYPE_CHECKING:
    from pydantic import Field

    from bootstrap.fields import Memory, Size

USERS = 1 << 16  # uids, and gids, of one builder
# By which the kernel gives users without privileges no namespace: where each setting is below
# /proc/sys, the value that refuses them, and one that does not.
REFUSING = (
    ("user/max_user_namespaces", 0, 10_000),
    ("kernel/unprivileged_userns_clone", 0, 1),  # Debian's
    ("kernel/apparmor_restrict_unprivileged_userns", 1, 0),  # Ubuntu's
)


@dataclass(frozen=True, kw_only=True)
class Builds(Section):
    """BuildKit's image, its users on this host, and the limits of each of its containers.

    None is the limit of `[sandbox]`. `cache` is in bytes for each workspace, 0 no bound.
    """

    image: Annotated[str, Field(min_length=1)]
    # systemd leaves these numbers to nobody (its page on UIDs and GIDs).
    first_uid: Annotated[int, Field(ge=USERS)] = 0x7000_0000
    memory: Memory | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None
    pids: Annotated[int, Field(ge=64)] | None = None
    cache: Size = 20 << 30

    def uids(self, slots: int) -> range:
        """Return every uid, and gid of the same number, of the builders of a host's slots."""
        return range(self.first_uid, self.first_uid + slots * USERS)

    def uids_of(self, slot: int) -> range:
        """Return those of the builder of one slot, counted from 0; root's in it is the first."""
        first = self.first_uid + slot * USERS
        return range(first, first + USERS)

    def check(self, jobs: range) -> None:
        """Raise ValueError unless these are other users than those of jobs, `jobs`."""
        mine = self.uids(len(jobs))
        if mine.stop > 1 << 31 or (mine.start < jobs.stop and jobs.start < mine.stop):
            raise ValueError(
                f"builds.first-uid gives builders uids {mine.start} to {mine.stop - 1}, 65536 for "
                f"each slot; expected a range that ends below 2147483648 and has none of jobs' "
                f"uids, {jobs.start} to {jobs.stop - 1}"
            )
