"""Loads everything that a worker will need, before the first one is forked."""

import ctypes
import gc
import importlib
import pkgutil

import bootstrap
from bootstrap import packaged
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
    "docker",
    "docker.errors",
    "docker.types",
    "encodings.idna",
    "encodings.unicode_escape",
    "http.client",
    "jwt",
    "netrc",
    "requests.exceptions",
    "stringprep",
    "structlog",
    "tenacity",
    "traceback",
)
_M_ARENA_MAX = -8  # <malloc.h>
_FILL: list[object] = []
# Commands that no worker runs.
_NOT_NEEDED = ("bootstrap.commands.policy", "bootstrap.__main__")


def load(host: Host) -> None:
    """Import all modules of a job, read all files of the package, and keep both for good.

    What exists now is never collected, so that children do not write to the memory they share.
    """
    _use_one_arena()
    gc.disable()
    for module in (*LATE, *_own()):
        importlib.import_module(module)
    packaged.read_all()
    firewall.ruleset_text()
    nftables.library()
    prepare(host.aws)
    without_secrets({"NAME": ""}, {})  # fnmatch compiles each pattern when it is first used
    keep()


def _use_one_arena() -> None:
    """Have threads share malloc's memory, instead of having some of their own each (mallopt(3))."""
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def keep() -> None:
    """Let what exists now never be collected, and what is new not lie beside it."""
    gc.collect()
    _FILL.extend(holes.fill())
    gc.freeze()


def _own() -> list[str]:
    """Return Airlock's own modules, apart from commands that no worker runs."""
    found = pkgutil.walk_packages(bootstrap.__path__, f"{bootstrap.__name__}.")
    return [module.name for module in found if not module.name.startswith(_NOT_NEEDED)]
