"""Loads everything that a worker will need, before the first one is forked."""

import gc
import importlib
import pkgutil
import sys

import bootstrap
from bootstrap import memory, packaged
from bootstrap.aws.client import prepare
from bootstrap.buildkite.redaction import without_secrets
from bootstrap.host.config import Host
from bootstrap.sandbox.network import firewall, nftables
from bootstrap.service import holes

# What is imported where it is needed, because it takes long and a job alone may not need it; and
# what Python and libraries themselves import late.
LATE = (
    "_strptime",
    "boto3",
    "botocore.config",
    "botocore.configprovider",
    "botocore.credentials",
    "botocore.httpsession",
    "botocore.loaders",
    "botocore.session",
    "botocore.utils",
    "encodings.idna",
    "encodings.unicode_escape",
    "http.client",
    "netrc",
    "requests.exceptions",
    "stringprep",
    "structlog",
    "tenacity",
    "traceback",
)
_FILL: list[object] = []
# Commands that no worker runs.
_NOT_NEEDED = (
    "bootstrap.commands.policy",
    "bootstrap.commands.record",
    "bootstrap.commands.why",
    "bootstrap.policy.cases",
    "bootstrap.policy.catalogue",
    "bootstrap.policy.difference",
    "bootstrap.policy.draft",
    "bootstrap.policy.lint",
    "bootstrap.policy.report",
    "bootstrap.policy.since",
    "bootstrap.replay",
    "bootstrap.__main__",
)


def load(host: Host) -> None:
    """Import all modules of a job, read all files of the package, and keep both for good.

    What exists now is never collected, so that children do not write to the memory they share.
    """
    memory.share_one_arena()
    gc.disable()
    # First: what reading the models takes for a moment is there for all that comes then.
    prepare(host.aws)
    for module in (*LATE, *_own()):
        importlib.import_module(module)
    load_optional(host)
    packaged.read_all()
    firewall.ruleset_text()
    nftables.library()
    without_secrets({"NAME": ""}, {})  # fnmatch compiles each pattern when it is first used
    keep()


def load_optional(host: Host) -> None:
    """Import what jobs need under some configurations only."""
    if host.policy.identity == "signed":
        importlib.import_module("jwt")  # with `cryptography`: 4 MiB


def keep() -> None:
    """Let what exists now never be collected, and what is new not lie beside it.

    The interpreter's cache of attributes has references to thousands of names. A process that used
    other ones would replace these, and so copy a page for each.
    """
    gc.collect()
    _FILL.extend(holes.fill())
    sys._clear_type_cache()  # noqa: SLF001 - its only name
    gc.freeze()


def _own() -> list[str]:
    """Return Airlock's own modules, apart from commands that no worker runs."""
    found = pkgutil.walk_packages(bootstrap.__path__, f"{bootstrap.__name__}.")
    return [module.name for module in found if not module.name.startswith(_NOT_NEEDED)]
