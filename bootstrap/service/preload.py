"""Loads everything that a worker will need, before the first one is forked."""

import gc
import grp
import importlib
import pwd
import sys
from pathlib import Path

import bootstrap
from bootstrap import memory, packaged
from bootstrap.aws.client import prepare
from bootstrap.buildkite.redaction import without_secrets
from bootstrap.host import parsed
from bootstrap.host.config import Host
from bootstrap.host.trash import discarded
from bootstrap.sandbox import confinement
from bootstrap.sandbox.ahead.holder import adopted_by
from bootstrap.sandbox.network import firewall, nftables
from bootstrap.service import holes
from bootstrap.text import without_credentials

# Libraries, before Airlock's own modules: what a job uses of these lies together then, so that a
# worker copies fewer pages. Among them is what is imported only where it is needed, because that
# takes long and a job alone may not need it, and what Python and libraries themselves import late.
LIBRARIES = (
    "_strptime",
    "bootstrap.sandbox.egress.messages",  # with dnspython
    "botocore.config",
    "botocore.configprovider",
    "botocore.credentials",
    "botocore.httpsession",
    "botocore.loaders",
    "botocore.session",
    "botocore.utils",
    "difflib",
    "encodings.idna",
    "encodings.unicode_escape",
    "http.client",
    "netrc",
    "prometheus_client",
    "pydantic",
    "pydantic.fields",
    "stringprep",
    "structlog",
    "tenacity",
    "tomllib",
    "traceback",
    "yaml",
)
# Before the others, with what they import: what every job runs lies together then.
FIRST = (
    "bootstrap.run",
    "bootstrap.sandbox.agent_gateway",
)
# What a decision imports late.
OF_POLICIES = (
    "bootstrap.policy.guardrails_schema",
    "bootstrap.policy.parameters",
    "bootstrap.policy.parse",
    "bootstrap.policy.stores.ssm",
)
_FILL: list[object] = []
# The command line, and what only its commands do: no worker needs them. Of policies a worker needs
# what a decision imports, and what it imports late.
_NOT_NEEDED = (
    "bootstrap.agent_api.offline",
    "bootstrap.aws.caller_identity",
    "bootstrap.aws.excess",
    "bootstrap.buildkite.job_urls",
    "bootstrap.buildkite.rest_api",
    "bootstrap.cli",
    "bootstrap.colour",
    "bootstrap.command_line",
    "bootstrap.commands.completion",
    "bootstrap.commands.doctor",
    "bootstrap.commands.firewall",
    "bootstrap.commands.host_options",
    "bootstrap.commands.input_options",
    "bootstrap.commands.policy",
    "bootstrap.commands.record",
    "bootstrap.commands.replay",
    "bootstrap.commands.why",
    "bootstrap.completion",
    "bootstrap.doctor",
    "bootstrap.parsers",
    "bootstrap.policy",
    "bootstrap.progress",
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
    for module in LIBRARIES:
        importlib.import_module(module)
    gc.collect()
    _FILL.extend(holes.fill())
    for module in (*FIRST, *_own(), *OF_POLICIES):
        importlib.import_module(module)
    load_optional(host)
    packaged.read_all()
    parsed.fingerprint()
    confinement.profile()
    firewall.ruleset_text()
    nftables.library()
    # What compiles a pattern when it is first used, by fnmatch, pathlib or re.
    without_secrets({"NAME": ""}, {})
    without_credentials("@")
    package = Path(bootstrap.__path__[0])  # any directory of directories does
    discarded(package)
    tuple(adopted_by(package))
    # What libc reads when users are first looked up.
    pwd.getpwall()
    grp.getgrall()
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
    """Return Airlock's own modules but those above. To list them imports none."""
    package = Path(bootstrap.__path__[0])
    files = (path.relative_to(package.parent).with_suffix("") for path in package.rglob("*.py"))
    found = sorted(".".join(file.parts).removesuffix(".__init__") for file in files)
    return [module for module in found if not module.startswith(_NOT_NEEDED)]
