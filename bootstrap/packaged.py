"""The files that Airlock's package has beside its modules, each read once.

A worker of the service outlives an upgrade, which replaces them: the service reads all of them
before it forks the first one.
"""

from functools import cache
from importlib import resources

# package -> its files that jobs need
FILES = {
    "bootstrap.host": ("empty_trash.sh",),
    "bootstrap.sandbox": ("seccomp.json", "entry.sh", "git_credential.sh"),
    "bootstrap.sandbox.network": ("inside.nft",),
    "bootstrap.sandbox.egress": ("egress.nft",),
    "bootstrap.sandbox.ssh": ("known_hosts", "confine.py"),
    "bootstrap.replay": ("entry_shell.sh", "command_shell.sh"),
    "bootstrap.sandbox.commit_check": ("ancestry.sh",),
}
# Those of commands that no worker runs: "bootstrap.doctor" has trial.sh and cves.toml.


@cache
def data(package: str, name: str) -> bytes:
    """Return the content of a file in this package."""
    return resources.files(package).joinpath(name).read_bytes()


def text(package: str, name: str) -> str:
    """Return the content of a file in this package, which is UTF-8."""
    return data(package, name).decode()


def read_all() -> None:
    """Read every file that a job may need."""
    for package, names in FILES.items():
        for name in names:
            data(package, name)
